"""Laws of clips that are made as their speech comes: live sound, files of any length, going on after a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mooe import MoEEPipeline, MooeError
from mooe.audio import HamaSpeechEncoder, load_audio, speech_gain
from mooe.audio.reader import FeatureReader
from mooe.audio.source import LiveSpeech, open_speech
from mooe.audio.windows import LIVE_FIRST, LIVE_STEP
from mooe.checkpoint import load_state, save_state
from mooe.cli import run
from mooe.commands import resuming, writing
from mooe.decoder import SourcePortrait
from mooe.head_track import RecordedHead
from mooe.media import VideoWriter, read_video
from mooe.motion.behavior import BlinkSchedule, GazeSchedule
from mooe.motion.pose import FRAMES_PER_KNOT, interpolate_knots
from mooe.pipeline_output import FaceMotion, MoEEStream

Waveform = NDArray[np.float32]


def noise(seconds: float, seed: int = 0) -> Waveform:
    return (np.random.default_rng(seed).standard_normal(round(seconds * 16000)) * 0.05).astype(np.float32)


def start(pipe: MoEEPipeline, portrait: SourcePortrait, audio: object, **options: object) -> MoEEStream:
    settings = {"num_inference_steps": 1, "paste_back": False, "generator": torch.Generator().manual_seed(1), **options}
    return pipe.stream(portrait, audio, "happy", **settings)


def joined(stream: MoEEStream) -> FaceMotion:
    return FaceMotion.join([chunk.motion for chunk in stream])


def same(a: FaceMotion, b: FaceMotion) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("displacement", "rotation", "translation"))


def test_a_file_gives_what_its_samples_give(
    pipe: MoEEPipeline, portrait: SourcePortrait, write_wav: Callable[..., Path]
) -> None:
    path = write_wav(noise(2.5))
    stream = start(pipe, portrait, path)
    assert stream.num_frames == 63
    assert same(joined(stream), joined(start(pipe, portrait, load_audio(path))))
    assert np.array_equal(stream.audio, load_audio(path))


@pytest.mark.parametrize("piece", [160, 7777, 16000])
def test_live_sound_does_not_depend_on_how_it_is_cut(pipe: MoEEPipeline, portrait: SourcePortrait, piece: int) -> None:
    sound = noise(3.1)
    whole = start(pipe, portrait, iter([sound]))
    cut = start(pipe, portrait, (sound[i : i + piece] for i in range(0, len(sound), piece)))
    a, b = joined(whole), joined(cut)
    assert same(a, b)
    assert len(a) == whole.num_frames == 78
    assert not len(whole.audio)


def test_live_frames_come_within_a_second_of_sound(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    """The first chunk needs less than a second, each later one as much more sound as it has frames."""
    heard = 0

    def microphone() -> Iterator[Waveform]:
        nonlocal heard
        for _ in range(100):
            heard += 1
            yield noise(0.04, heard)

    stream = iter(start(pipe, portrait, microphone()))
    first = next(stream)
    assert heard <= 25 and len(first.frames) > 0
    made = len(first.frames)
    for chunk in stream:
        assert chunk.first == made
        made += len(chunk.frames)
        assert heard == 100 or heard - made <= LIVE_FIRST + LIVE_STEP
    assert made == 100


def test_live_blinks_and_gaze_are_those_of_the_recording(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    """The processes draw from seeds of their own, so only what depends on the sound may differ."""
    frames: list[NDArray[np.float32]] = []
    for audio in (noise(3.0), iter([noise(3.0)])):
        stream = start(pipe, portrait, audio)
        seen = []
        for chunk in stream:
            assert stream.motion is not None
            drawn = stream.motion.driver.state()
            begin = chunk.first - drawn["first"]
            seen.append(drawn["frames"][begin : begin + len(chunk.frames), :3])
        frames.append(np.concatenate(seen))
    assert np.array_equal(frames[0], frames[1])


def test_live_speech_that_cannot_be_used_is_refused(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    for pieces in ([], [np.zeros((2, 100), np.float32)], [np.full(100, np.nan, np.float32)]):
        with pytest.raises(MooeError, match=r"\.$"):
            joined(start(pipe, portrait, iter(pieces)))
    with pytest.raises(MooeError, match="gone back"):
        next(LiveSpeech([noise(1.0)]).features(pipe.speech_encoder, 10))


def test_features_from_any_frame_on_are_those_of_the_whole() -> None:
    encoder, sound = HamaSpeechEncoder(), noise(26.0)
    whole = encoder.encode(sound)
    gain = speech_gain([sound])
    for first in (0, 487, 520, 640):
        rows = np.concatenate(list(encoder.stream([sound], gain, first)))
        assert np.array_equal(rows, whole[first:])


def test_the_reader_holds_no_more_than_is_needed() -> None:
    parts = iter(np.arange(100, dtype=np.float32).reshape(20, 5, 1))
    reader = FeatureReader(parts)
    reader.read(12)
    assert reader.available == 15 and not reader.ended
    reader.forget(10)
    assert reader.rows(np.array([3, 10, 14, 99]))[:, 0].tolist() == [10, 10, 14, 14]
    reader.read(1000)
    assert reader.ended and reader.available == 100


def test_schedules_and_poses_do_not_depend_on_how_they_are_cut() -> None:
    for make in (lambda: BlinkSchedule(np.random.default_rng(5), 40.0), lambda: GazeSchedule(np.random.default_rng(5))):
        whole, cut = make().take(400), make()
        assert np.array_equal(whole, np.concatenate([cut.take(n) for n in (1, 7, 92, 200, 100)]))
        again, later = make(), make()
        again.take(123)
        later.restore(again.state())
        assert np.array_equal(later.take(50), whole[123:173])
    knots = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    whole = interpolate_knots(knots, 60)
    part = interpolate_knots(knots[5:], 20, 31, 5)
    assert FRAMES_PER_KNOT * 6 < 31 and np.array_equal(part, whole[31:51])


def test_going_on_from_a_state_gives_the_rest_of_the_clip(
    pipe: MoEEPipeline, portrait: SourcePortrait, tmp_path: Path
) -> None:
    sound = noise(26.0)
    whole = list(start(pipe, portrait, sound))
    begun = start(pipe, portrait, sound)
    for number, chunk in enumerate(begun):
        if number in (0, 17):
            save_state(tmp_path / "state.npz", begun.state())
            state = load_state(tmp_path / "state.npz")
            rest = start(pipe, portrait, sound, state=state)
            following = next(iter(rest))
            assert following.first == chunk.first + len(chunk.frames)
            assert same(following.motion, whole[number + 1].motion)
            assert all(np.array_equal(a, b) for a, b in zip(following.frames, whole[number + 1].frames, strict=True))
        if number == 17:
            break


def test_a_recorded_head_is_followed_and_turns_back_at_the_end(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    times = np.arange(60) / 25
    poses = np.zeros((60, 6), np.float32)
    poses[:, 1] = 0.08 * np.sin(2 * np.pi * times)
    head = RecordedHead(poses)
    followed = joined(start(pipe, portrait, noise(2.0), head_track=head))
    assert np.corrcoef(followed.rotation[:, 1], poses[:50, 1])[0, 1] > 0.99
    assert np.abs(followed.rotation[:, 0]).max() < 1e-6
    still = joined(start(pipe, portrait, noise(1.0), head_track=head, head_motion=0.0))
    assert not still.rotation.any()
    long = head.poses(0, 400)
    assert np.abs(np.diff(long, axis=0)).max() <= np.abs(np.diff(head.poses(0, 60), axis=0)).max() + 1e-6
    assert np.array_equal(long[60:118], long[58:0:-1])
    wild = joined(start(pipe, portrait, noise(1.0), head_track=RecordedHead(20 * poses)))
    assert np.abs(wild.rotation).max() < 0.2


def film(arguments: dict[str, str], *more: str) -> int:
    return run(["generate", *[part for pair in arguments.items() for part in pair], *more])


def test_resuming_gives_the_bytes_of_an_unbroken_run(
    portrait_path: Path, tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(writing, "PART_FRAMES", 40)
    speech = write_wav(noise(5.0))
    arguments = {
        "--portrait": str(portrait_path), "--audio": str(speech), "--model": "debug", "--steps": "1",
        "--size": "128", "--emotion": "sad",
    }  # fmt: skip
    unbroken, broken = tmp_path / "unbroken.mp4", tmp_path / "broken.mp4"
    assert film({**arguments, "--out": str(unbroken)}, "--resume", "--no-paste-back") == 0

    closed = resuming.ResumableClip.closed

    def stop_after_the_second(clip: resuming.ResumableClip) -> None:
        closed(clip)
        if len(clip.parts) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(resuming.ResumableClip, "closed", stop_after_the_second)
    assert film({**arguments, "--out": str(broken)}, "--resume", "--no-paste-back") == 130
    monkeypatch.setattr(resuming.ResumableClip, "closed", closed)
    assert not broken.exists() and (tmp_path / ".broken.mp4.parts").is_dir()
    assert film({**arguments, "--out": str(broken), "--seed": "3"}, "--resume", "--no-paste-back") == 2
    assert "seed differs" in capfd.readouterr().err
    assert film({**arguments, "--out": str(broken)}, "--resume", "--no-paste-back") == 0
    assert broken.read_bytes() == unbroken.read_bytes()
    assert not list(tmp_path.glob(".*"))
    with read_video(broken) as video:
        assert video.info.has_audio and video.info.seconds == pytest.approx(5.0, abs=0.05)
        assert sum(1 for _ in video) == 125


def test_joined_videos_show_every_frame_once(tmp_path: Path) -> None:
    from mooe.media.joining import join_videos

    rng = np.random.default_rng(0)
    frames = np.repeat(np.repeat(rng.integers(0, 255, (20, 8, 8, 3), np.uint8), 8, 1), 8, 2)
    parts = []
    for number, span in enumerate((slice(0, 7), slice(7, 8), slice(8, 20))):
        parts.append(tmp_path / f"{number}.mp4")
        with VideoWriter(parts[-1], 64, 64) as writer:
            for frame in frames[span]:
                writer.write(frame)
    join_videos(parts, tmp_path / "all.mp4", audio=noise(0.8))
    with read_video(tmp_path / "all.mp4") as video:
        shown = [frame.astype(float) for frame in video]
    assert len(shown) == 20
    for frame, seen in zip(frames, shown, strict=True):
        # nearest of all originals is its own: none is lost, doubled or moved
        assert np.argmin([np.abs(seen - other).mean() for other in frames.astype(float)]) == np.argmin(
            [np.abs(frame.astype(float) - other).mean() for other in frames.astype(float)]
        )


def test_sources_know_their_length(write_wav: Callable[..., Path]) -> None:
    for audio in (noise(1.01), torch.from_numpy(noise(1.01)), write_wav(noise(1.01))):
        source = open_speech(audio)
        assert source.num_frames == 26 and source.seconds == pytest.approx(1.01)
