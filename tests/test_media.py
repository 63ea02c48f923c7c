"""Pictures in, videos out: what is written is what was asked for, and nothing is left when it fails."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image

from mooe.audio import load_audio
from mooe.errors import MooeError, OutputError, PortraitError
from mooe.media import VideoWriter, check_output, read_image, read_video, shrink_to, write_json
from mooe.media.color import to_yuv420

Tone = Callable[..., NDArray[np.float32]]


def moving_frame(index: int, width: int, height: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    red, green = (columns + 3 * index) % 256, (rows + index) % 256
    return np.stack([red, green, (rows + columns) % 256], -1).astype(np.uint8)


def write_clip(path: Path, audio: object, frames: int, width: int = 96, height: int = 64, **settings: object) -> None:
    with VideoWriter(path, width, height, audio=audio, **settings) as writer:  # type: ignore[arg-type]
        for index in range(frames):
            writer.write(moving_frame(index, width, height))


def sound_seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        return float(stream.duration * stream.time_base)


def test_a_written_video_reads_back(tmp_path: Path, tone: Tone) -> None:
    out = tmp_path / "clip.mp4"
    write_clip(out, tone(1.02), 26)
    with read_video(out) as video:
        frames = list(video)
        assert (video.info.width, video.info.height, video.info.fps) == (96, 64, 25)
        assert (video.info.codec, video.info.pixel_format) == ("h264", "yuv420p")
        assert video.info.frames == len(frames) == 26
        assert video.info.seconds == pytest.approx(26 / 25)
    assert sound_seconds(out) == pytest.approx(1.02, abs=1 / 25)
    # Smooth parts come back nearly as they were: neither colour matrix nor range is off.
    flat = np.full((64, 96, 3), (200, 120, 60), np.uint8)
    with VideoWriter(tmp_path / "flat.mp4", 96, 64) as writer:
        writer.write(flat)
    with read_video(tmp_path / "flat.mp4") as video:
        assert np.abs(next(iter(video)).astype(int) - flat).max() <= 4


@pytest.mark.parametrize(("width", "height"), [(96, 64), (514, 602), (130, 66)])
def test_colours_are_those_of_swscale(width: int, height: int) -> None:
    frame = moving_frame(5, width, height)
    theirs = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    ours = to_yuv420(frame)
    assert (ours.width, ours.height, ours.format.name) == (width, height, "yuv420p")
    luma, chroma = (
        [np.abs(np.frombuffer(a, np.uint8).reshape(-1, a.line_size)[:, : a.width].astype(int)
                - np.frombuffer(b, np.uint8).reshape(-1, b.line_size)[:, : b.width])
         for a, b in list(zip(ours.planes, theirs.planes, strict=True))[part]]
        for part in (slice(0, 1), slice(1, 3))
    )  # fmt: skip
    assert luma[0].max() <= 1
    # where a ramp wraps around they may differ in how they average
    assert all(np.median(difference) <= 1 and difference.mean() < 1.5 for difference in chroma)


@pytest.mark.parametrize(("seconds", "frames"), [(1.5, 10), (0.2, 25), (0.0, 5)])
def test_sound_is_kept_whole_whatever_the_frames(tmp_path: Path, tone: Tone, seconds: float, frames: int) -> None:
    out = tmp_path / "clip.mp4"
    write_clip(out, tone(seconds), frames)
    with read_video(out) as video:
        assert sum(1 for _ in video) == frames
    if seconds:
        assert sound_seconds(out) == pytest.approx(seconds, abs=1 / 25)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_any_sample_rate_keeps_its_duration_and_pitch(tmp_path: Path, tone: Tone, rate: int) -> None:
    out = tmp_path / "clip.mp4"
    write_clip(out, tone(1.0, rate), 25, sample_rate=rate)
    samples = load_audio(out)
    assert len(samples) / 16_000 == pytest.approx(1.0, abs=1 / 25)
    spectrum = np.abs(np.fft.rfft(samples[:15_000]))
    assert spectrum.argmax() * 16_000 / 15_000 == pytest.approx(220, abs=2)


def test_sound_in_blocks_is_the_same_as_sound_in_one_piece(tmp_path: Path, tone: Tone) -> None:
    whole = tone(0.9)
    write_clip(tmp_path / "whole.mp4", whole, 23)
    write_clip(tmp_path / "blocks.mp4", (whole[i : i + 4096] for i in range(0, len(whole), 4096)), 23)
    assert (tmp_path / "whole.mp4").read_bytes() == (tmp_path / "blocks.mp4").read_bytes()


@pytest.mark.parametrize("size", [(96, 64), (201, 151), (208, 160)])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, tone: Tone, size: tuple[int, int]) -> None:
    copies = []
    for attempt in range(6):
        write_clip(tmp_path / f"{attempt}.mp4", tone(1.0), 25, *size)
        copies.append((tmp_path / f"{attempt}.mp4").read_bytes())
    assert len(set(copies)) == 1


def test_odd_sizes_gain_one_repeated_row_and_column(tmp_path: Path) -> None:
    write_clip(tmp_path / "odd.mp4", None, 2, 97, 65)
    with read_video(tmp_path / "odd.mp4") as video:
        assert (video.info.width, video.info.height) == (98, 66)


def test_the_index_stands_before_the_frames_so_that_players_start_at_once(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", None, 5)
    content = (tmp_path / "clip.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), OutputError("full")])
def test_nothing_is_left_when_writing_fails(tmp_path: Path, tone: Tone, error: BaseException) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / "clip.mp4", 96, 64, audio=tone(1)) as writer:
            writer.write(moving_frame(0, 96, 64))
            raise error

    with pytest.raises(type(error)) as raised:
        fail()
    assert raised.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_file_that_was_to_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    out.write_bytes(b"earlier work")
    with pytest.raises(OutputError), VideoWriter(out, 96, 64, force=True) as writer:
        writer.write(moving_frame(0, 95, 64))
    assert out.read_bytes() == b"earlier work"
    assert list(tmp_path.iterdir()) == [out]


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="without frames"), VideoWriter(tmp_path / "clip.mp4", 96, 64):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_gives_one_sentence_and_no_file(tmp_path: Path) -> None:
    code = (
        "import resource, sys, numpy as np\n"
        "from mooe.media import VideoWriter\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "noise = np.random.default_rng(0)\n"
        "with VideoWriter(sys.argv[1], 256, 256) as writer:\n"
        "    for _ in range(40):\n"
        "        writer.write(noise.integers(0, 256, (256, 256, 3), dtype=np.uint8))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "clip.mp4")], capture_output=True, text=True, check=False
    )
    assert "mooe.errors.OutputError" in run.stderr
    assert "cannot be written" in run.stderr.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    def silence(seconds: int) -> object:
        return (np.zeros(16_000, np.float32) for _ in range(seconds))

    write_clip(tmp_path / "short.mp4", silence(10), 250)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_clip(tmp_path / "long.mp4", silence(120), 3000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_bytes(b"x")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    for name, message in {
        "there.mp4": "exists already",
        "folder.mp4": "is a folder",
        "clip.avi": "must end in .mp4",
        "nowhere/clip.mp4": "does not exist",
        "file/clip.mp4": "is not a folder",
        "x" * 300 + ".mp4": "cannot be written",
        "nul\0.mp4": "cannot be written",
    }.items():
        with pytest.raises(OutputError, match=message):
            check_output(tmp_path / name, ".mp4")
    assert check_output(tmp_path / "there.mp4", ".mp4", force=True) == tmp_path / "there.mp4"
    assert check_output(tmp_path / "Größe: 1 (neu).MP4", ".mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.mp4", "there.mp4"]


def test_names_with_spaces_colons_and_other_alphabets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a:b ü 顔"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    write_clip(Path(folder.name) / "c d%03d.mp4", None, 2)
    with read_video(Path(folder.name) / "c d%03d.mp4") as video:
        assert len(list(video)) == 2


def test_json_is_whole_or_not_there(tmp_path: Path) -> None:
    write_json(tmp_path / "r.json", {"face": "顔", "value": 1.5})
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == {"face": "顔", "value": 1.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "bad.json", {"value": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_videos_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    for name in ("text.mp4", "missing.mp4", "."):
        with pytest.raises(MooeError, match="cannot be read"):
            read_video(tmp_path / name)


def save(path: Path, mode: str, colour: object, **settings: object) -> Path:
    Image.new(mode, (64, 48), colour).save(path, **settings)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGB", (10, 20, 30), ".png", (10, 20, 30)),
        ("L", 70, ".png", (70, 70, 70)),
        ("RGBA", (10, 20, 30, 0), ".png", (255, 255, 255)),
        ("RGBA", (200, 100, 0, 255), ".webp", (200, 100, 0)),
        ("LA", (0, 0), ".png", (255, 255, 255)),
        ("1", 1, ".png", (255, 255, 255)),
        ("I;16", 65535, ".png", (255, 255, 255)),
        ("I;16", 32768, ".tiff", (128, 128, 128)),
        ("CMYK", (0, 0, 0, 0), ".jpg", (255, 255, 255)),
        ("P", 0, ".gif", (0, 0, 0)),
    ],
)
def test_every_picture_becomes_rgb(
    tmp_path: Path, mode: str, colour: object, suffix: str, expected: tuple[int, int, int]
) -> None:
    lossless = {"lossless": True} if suffix == ".webp" else {}
    image = read_image(save(tmp_path / f"p{suffix}", mode, colour, **lossless))
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_allclose(image.reshape(-1, 3).mean(0), expected, atol=1.5)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.fromarray(moving_frame(0, 64, 48))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(moving_frame(0, 64, 48), -1))


def test_bad_pictures_are_refused_in_one_sentence(tmp_path: Path, portrait_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(portrait_path.read_bytes()[:30_000])
    Image.new("1", (20_000, 6_000)).save(tmp_path / "huge.png")
    Image.new("RGB", (3, 3)).save(tmp_path / "tiny.png")
    for name, message in {
        "missing.png": "does not exist",
        ".": "is a folder",
        "text.jpg": "not a picture",
        "empty.png": "not a picture",
        "cut.jpg": "damaged or cut short",
        "huge.png": "more than 100 megapixels",
        "tiny.png": "only 3 x 3 pixels",
        "x" * 300 + ".png": "cannot be opened",
    }.items():
        with pytest.raises(PortraitError, match=message) as raised:
            read_image(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_shrinking_keeps_the_shape_of_things_and_never_enlarges() -> None:
    image = np.zeros((300, 200, 3), np.uint8)
    assert shrink_to(image, 150).shape == (150, 100, 3)
    assert shrink_to(image, 300) is image


def test_a_stop_between_opening_and_writing_leaves_nothing(tmp_path: Path) -> None:
    """A signal can come after a result's file is begun and before anybody is there to take it away again."""
    script = (
        "import sys; from pathlib import Path; from mooe.media.outputs import replacing\n"
        "block = replacing(Path(sys.argv[1]) / 'result.json'); block.__enter__().touch(); print('begun'); sys.exit(130)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 130 and done.stdout.strip() == "begun", done.stderr
    assert not list(tmp_path.iterdir())
