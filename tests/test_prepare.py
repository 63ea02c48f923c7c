"""The filmed corpus: layouts of data sets, quality, motion arrays, and takes for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.audio import FRAME_RATE
from mooe.decoder.neutral import LID_PAIRS
from mooe.emotion.action_units import ACTION_UNITS, action_units_to_arkit
from mooe.errors import ConfigError
from mooe.face.alignment import HeadAlignment, rotation_matrix
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement, arkit_vector, canonical_points
from training.corpus.filmed import FilmedClip, FilmedCorpus, MixedCorpus
from training.corpus.filming import (
    LONGEST_SHUT,
    QualityLimits,
    action_units,
    blink_length,
    blink_track,
    lid_opening,
    resting_face,
    split_track,
    stretch_motion,
)
from training.corpus.sources import find_videos
from training.corpus.speaker import MARKED, SpeakerStyle, speak
from training.corpus.tracking import FaceTrack
from training.motion_batch import draw_batch

SECONDS = 4.0


def label_of(root: Path, path: str) -> tuple[str, str | None, float, str]:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    (source,) = find_videos([root])
    return source.speaker, source.emotion, source.intensity, source.skipped


@pytest.mark.parametrize(
    ("path", "speaker", "emotion", "strong", "used"),
    [
        ("M003/video/front/angry/level_3/001.mp4", "M003", "angry", True, True),
        ("M003/video/left_30/angry/level_3/001.mp4", "M003", "angry", True, False),
        ("M003/video/front/contempt/level_1/001.mp4", "M003", None, False, True),
        ("1001_DFA_FEA_HI.flv", "1001", "fearful", True, True),
        ("1001_IEO_SAD_LO.flv", "1001", "sad", False, True),
        ("Actor_07/01-01-08-02-01-01-07.mp4", "Actor_07", "surprised", True, True),
        ("Actor_07/02-01-08-02-01-01-07.mp4", "Actor_07", "surprised", True, False),
        ("RD_Radio11_000.mp4", "RD_Radio11", None, True, True),
        ("mara/holiday.mov", "mara", None, True, True),
    ],
)
def test_layouts_say_who_speaks_and_how(
    tmp_path: Path, path: str, speaker: str, emotion: str | None, strong: bool, used: bool
) -> None:
    found = label_of(tmp_path, path)
    assert found[:2] == (speaker, emotion)
    assert (found[2] == 1) == strong
    assert (found[3] == "") == used


def test_metadata_is_read_and_its_mistakes_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    table = tmp_path / "metadata.csv"
    table.write_text("file_name,emotion,intensity,speaker\na.mp4,joy,0.5,mara\nb.mp4,,,\n", encoding="utf-8")
    first, second = find_videos([tmp_path])
    assert (first.speaker, first.emotion, first.intensity) == ("mara", "happy", 0.5)
    assert "not there" in second.skipped
    table.write_text("file_name,mood\na.mp4,joy\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="mood"):
        find_videos([tmp_path])
    table.write_text("file_name,emotion\na.mp4,jolly\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 2.*jolly"):
        find_videos([tmp_path])


def test_names_are_unique_and_missing_folders_are_named(tmp_path: Path) -> None:
    for name in ("a/x.mp4", "a_x.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len({source.name for source in find_videos([tmp_path])}) == 2
    with pytest.raises(ConfigError, match="no video or folder"):
        find_videos([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no videos in"):
        find_videos([tmp_path / "empty"])


def made_track(rate: float = 30.0, **weights: np.ndarray) -> FaceTrack:
    """A track of the canonical face that moves by ARKit weights over time, turning a little."""
    times = np.arange(int(SECONDS * rate)) / rate
    shapes = np.zeros((len(times), len(ARKIT_NAMES)), np.float32)
    for name, values in weights.items():
        shapes[:, ARKIT_NAMES.index(name)] = np.interp(times, np.arange(len(values)) / FRAME_RATE, values)
    turn = 0.1 * np.sin(times)
    points = canonical_points() + arkit_to_displacement(shapes)
    landmarks = np.stack(
        [
            HeadAlignment(
                rotation_matrix(np.array([0.0, angle, 0.0])), 80.0, np.array([160.0, 120.0, 0.0], np.float32)
            ).to_image(face)
            for angle, face in zip(turn, points, strict=True)
        ]
    )
    count = len(times)
    return FaceTrack(
        times, landmarks, shapes, np.ones(count, bool), np.ones(count, np.float32), np.zeros(count, bool),
        np.full(count, 100, np.float32), np.full(count, 120, np.float32), np.zeros(count, np.int64), 1.0,
        [(0.0, np.zeros((112, 112, 3), np.uint8))],
    )  # fmt: skip


def test_motion_comes_back_from_landmarks_at_another_rate() -> None:
    frames = int(SECONDS * FRAME_RATE)
    jaw = np.clip(np.sin(np.arange(frames) / 6), 0, 1) * 0.5
    track = made_track(jawOpen=jaw)
    (stretch,) = split_track(track, QualityLimits())
    motion = stretch_motion(track, stretch, resting_face(track, np.ones(len(track.times), bool)))
    expected = jaw[: len(motion.displacement), None] * arkit_to_displacement(arkit_vector({"jawOpen": 1.0}))[152, 1]
    assert np.abs(motion.displacement[:, 152, 1] - expected[:, 0]).max() < 0.02
    assert np.abs(motion.rotation[:, 1] - (0.1 * np.sin(np.arange(len(jaw)) / 25))[: len(motion.rotation)]).max() < 0.07


def test_bad_frames_are_left_out_with_their_reasons() -> None:
    track = made_track()
    track.found[:20] = False
    track.sharpness[40:50] = 0
    track.scene[80:] = 1
    stretches = split_track(track, QualityLimits(min_seconds=0.9))
    assert [s.reason for s in stretches] == ["no face", "shorter than 0.9 s", "blurred", "", ""]
    assert [(s.start, s.stop) for s in stretches][-2:] == [(50, 80), (80, 120)]
    # a tracker that loses a face for a frame or two is forgiven
    track = made_track()
    track.found[60:62] = False
    assert [s.reason for s in split_track(track, QualityLimits())] == [""]


def test_long_stretches_are_cut_evenly() -> None:
    stretches = split_track(made_track(), QualityLimits(min_seconds=0.5, max_seconds=1.5))
    lengths = [s.stop - s.start for s in stretches]
    assert sum(lengths) == 120 and max(lengths) - min(lengths) <= 1 and max(lengths) <= 46


def shut_lids(spans: dict[int, int], frames: int = 200) -> np.ndarray:
    """Displacements ``[F, 478, 3]`` of lids shut from each frame on, for so many frames."""
    lids = np.zeros((frames, len(ARKIT_NAMES)), np.float32)
    for start, count in spans.items():
        lids[start : start + count, [ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]] = 0.9
    return arkit_to_displacement(lids)


def test_blinks_keep_their_length() -> None:
    blinking = blink_track(shut_lids({20: 8, 90: 8, 150: 8}))
    assert blink_length([blinking]) == pytest.approx(2.0, rel=0.15)
    assert blink_length([np.zeros(50, np.float32)]) == 1


def test_eyes_that_rest_are_told_as_shut_and_are_no_blinks() -> None:
    resting = LONGEST_SHUT + 22
    track = blink_track(shut_lids({20: 4, 80: resting}))
    assert blink_length([track]) == 1
    shut = np.flatnonzero(track > 0.5)
    assert shut.tolist() == [*range(20, 24), *range(80, 80 + resting)]
    # cut off by the clip's end they are told as far as they go
    assert (blink_track(shut_lids({180: resting}))[181:] > 0.5).all()


def test_eyes_about_as_open_as_usual_are_no_style() -> None:
    # lids that rise and fall about where they usually are
    rng = np.random.default_rng(0)
    weights = (0.3 + 0.15 * np.sin(np.arange(100) / 4) + rng.normal(0, 0.02, 100)).astype(np.float32)
    track = made_track(FRAME_RATE, eyeBlinkLeft=weights, eyeBlinkRight=weights)
    (stretch,) = split_track(track, QualityLimits())
    motion = stretch_motion(track, stretch, resting_face(track, np.ones(100, bool)))
    opening, usual = lid_opening(motion.displacement), lid_opening(np.zeros((1, 478, 3), np.float32))[0]
    assert abs(float(np.median(opening)) / usual - 1) < 0.03
    assert not motion.blink.any()


@pytest.mark.parametrize("size", [0.5, 1.0, 1.6])
def test_narrow_eyes_shut_as_wide_ones_do(size: float) -> None:
    weights = np.zeros(100, np.float32)
    weights[40:46] = 1.0
    track = made_track(FRAME_RATE, eyeBlinkLeft=weights, eyeBlinkRight=weights)
    upper, lower = LID_PAIRS.T
    middle = (track.landmarks[:, upper] + track.landmarks[:, lower]) / 2
    for side in (upper, lower):
        track.landmarks[:, side] = middle + size * (track.landmarks[:, side] - middle)
    (stretch,) = split_track(track, QualityLimits())
    motion = stretch_motion(track, stretch, resting_face(track, np.ones(100, bool)))
    opening, usual = lid_opening(motion.displacement), lid_opening(np.zeros((1, 478, 3), np.float32))[0]
    assert opening[42:44].max() < 0.15 * usual and opening[:30].min() > 0.9 * usual
    assert np.flatnonzero(motion.blink > 0.5).tolist() == list(range(40, 46))


def test_action_units_are_found_again() -> None:
    numbers = list(ACTION_UNITS)
    shapes = arkit_vector(action_units_to_arkit({1: 0.8, 12: 0.6}))[None]
    found = action_units(shapes)[0]
    assert found[numbers.index(1)] > 0.6 and found[numbers.index(12)] > 0.4
    assert sorted(np.argsort(-found)[:2]) == sorted([numbers.index(1), numbers.index(12)])


def clip(
    emotion: int | None = None, frames: int = 30, audible: bool = True, encoder: str = "test", width: int = 20
) -> FilmedClip:
    weights = np.zeros(6, np.float32) if emotion is None else np.eye(6, dtype=np.float32)[emotion]
    rng = np.random.default_rng(frames)
    return FilmedClip(
        features=rng.random((frames, width), np.float32).astype(np.float16).astype(np.float32),
        displacement=np.full((frames, 478, 3), 0.25, np.float32), rotation=np.zeros((frames, 3), np.float32),
        translation=np.zeros((frames, 3), np.float32), gaze=np.zeros((frames, 2), np.float32),
        blink=np.zeros(frames, np.float32), emotion=weights, action_units=np.zeros((frames, 25), np.float32),
        audible=audible, speaker="mara", labelled="label", encoder=encoder,
    )  # fmt: skip


def test_a_clip_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    clip(2).save(tmp_path / "a.npz")
    loaded = FilmedClip.load(tmp_path / "a.npz")
    for name, value in vars(clip(2)).items():
        assert np.array_equal(getattr(loaded, name), value), name
    (tmp_path / "a.npz").write_bytes(b"half")
    with pytest.raises(ConfigError, match=r"a\.npz"):
        FilmedClip.load(tmp_path / "a.npz")


def test_takes_of_filmed_and_acted_clips_make_one_batch(tmp_path: Path) -> None:
    from mooe.motion.codec import MotionCodec
    from tests.test_training import clip as speech_clip
    from training.corpus.motion import MotionCorpus

    clip(0).save(tmp_path / "happy.npz")
    clip(None, 8).save(tmp_path / "calm.npz")
    clip(None, 20, audible=False).save(tmp_path / "silent.npz")
    filmed = FilmedCorpus(sorted(tmp_path.glob("*.npz")), 12)
    mixed = MixedCorpus([(filmed, 1.0), (MotionCorpus([speech_clip()], 12), 1.0)])
    streams = [np.random.default_rng([1, number]) for number in range(24)]
    takes = [mixed.sample(stream, alternative=True) for stream in streams]
    batch = draw_batch(takes, MotionCodec(map_size=16, patch_size=4), streams)
    assert batch.latents.shape == (24, 12, 48, 4, 4)
    assert batch.audible.any() and not batch.audible.all()
    happy = batch.emotion.amax((1, 2)) > 0
    filmed_takes = torch.tensor([bool((t.displacement == 0.25).all()) for t in takes])
    assert not batch.speech_known[happy & filmed_takes].any()
    assert batch.speech_known[~filmed_takes].all()
    one, again = (mixed.sample(np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one.displacement, again.displacement)


def test_clips_of_two_encoders_do_not_mix(tmp_path: Path) -> None:
    clip().save(tmp_path / "a.npz")
    clip(encoder="other").save(tmp_path / "b.npz")
    with pytest.raises(ConfigError, match="other and test"):
        FilmedCorpus(sorted(tmp_path.glob("*.npz")), 12)


def test_a_marked_speaker_differs_by_style_alone() -> None:
    from tests.test_training import clip as speech_clip

    plain, marked = (speak(speech_clip(), style, np.random.default_rng(0)) for style in (SpeakerStyle(), MARKED))
    corners = [(c.displacement[:, 291, 1] - c.displacement[:, 61, 1]).mean() for c in (plain, marked)]
    assert abs(corners[0]) < 0.005 and corners[1] > 0.03
    assert np.array_equal(plain.features, marked.features)
