"""Marks in videos: there by default, invisible, read back after H.264, and silent about other videos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mooe.cli import run
from mooe.errors import ConfigError, MooeError
from mooe.media import VideoWriter, read_image, read_video
from mooe.media import content_credentials as credentials
from mooe.media.inspection import inspect_video
from mooe.media.pixel_mark import ENOUGH, PAYLOAD, TILE, PixelMark, read_pixel_mark, tiles

Image = NDArray[np.uint8]
WriteVideo = Callable[..., Path]
PORTRAITS = ("grace_hopper.jpg", "astronaut.png")
needs_c2pa = pytest.mark.skipif(not credentials.available(), reason="the extra c2pa is not installed")


@pytest.fixture(params=PORTRAITS)
def portrait(request: pytest.FixtureRequest, examples: Path) -> Image:
    return read_image(examples / "portraits" / request.param)


@pytest.fixture
def film(tmp_path: Path) -> WriteVideo:
    """Writes a short video in which the middle of a picture moves: film(picture, name, **settings)."""

    def write(picture: Image, name: str = "clip.mp4", frames: int = 6, **settings: object) -> Path:
        height, width = picture.shape[:2]
        middle = (slice(height // 3, height // 2), slice(width // 3, width // 2))
        with VideoWriter(tmp_path / name, width, height, force=True, **settings) as writer:  # type: ignore[arg-type]
            for number in range(frames):
                frame = picture.copy()
                frame[middle] = np.roll(picture[middle], 2 * number, 0)
                writer.write(frame)
        return tmp_path / name

    return write


def test_the_mark_is_read_back_after_compression(film: WriteVideo, portrait: Image) -> None:
    for crf in (18, 23):
        found = inspect_video(film(portrait, crf=crf))
        assert found.pixel_mark, found.text()
        assert found.ai_generated


def test_it_is_read_back_after_a_second_compression(film: WriteVideo, portrait: Image) -> None:
    with read_video(film(portrait)) as video:
        first = next(iter(video))
    again = inspect_video(film(first, "again.mp4", crf=23, marked=False))
    assert again.pixel_mark, again.text()


def test_other_pictures_carry_no_mark(film: WriteVideo, portrait: Image) -> None:
    height, width = portrait.shape[:2]
    noise = np.random.default_rng(0).integers(0, 256, portrait.shape, np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], portrait.shape)
    flat = [np.full((height, width, 3), level, np.uint8) for level in (0, 77, 128, 255)]
    for picture in (portrait, noise, ramp, *flat):
        bits = read_pixel_mark([np.ascontiguousarray(picture)])
        assert bits is not None
        assert bits < ENOUGH
    unmarked = inspect_video(film(portrait, marked=False))
    assert not unmarked.pixel_mark


def test_nobody_sees_it(portrait: Image) -> None:
    before = portrait.copy()
    marked = PixelMark().apply(portrait)
    assert np.array_equal(portrait, before)
    change = marked.astype(int) - portrait
    assert change.any()
    assert np.abs(change).max() <= 12
    # brightness, which the eye sees best, hardly moves
    brightness = np.abs(change @ np.array([0.299, 0.587, 0.114]))
    assert np.quantile(brightness, 0.99) < 2
    assert brightness.mean() < 0.5


def test_it_stands_still_where_the_picture_does(portrait: Image) -> None:
    mark = PixelMark()
    first = mark.apply(portrait)
    for _ in range(60):
        assert np.array_equal(mark.apply(portrait), first)


def test_saturated_colours_do_not_wrap() -> None:
    for colour in ((0, 0, 255), (255, 0, 0), (255, 255, 0), (255, 255, 255), (0, 0, 0)):
        picture = np.full((256, 256, 3), colour, np.uint8)
        change = PixelMark().apply(picture).astype(int) - picture
        assert np.abs(change).max() <= 12


@pytest.mark.parametrize("size", [(128, 128), (256, 256), (600, 512), (1080, 1920), (129, 2000)])
def test_tiles_lie_inside_and_apart(size: tuple[int, int]) -> None:
    covered = np.zeros(size, int)
    places = tiles(*size)
    assert 1 <= len(places) <= 12
    for place in places:
        assert covered[place].shape == (TILE, TILE)
        covered[place] += 1
    assert covered.max() == 1


def test_small_pictures_stay_as_they_are(film: WriteVideo) -> None:
    small = np.random.default_rng(1).integers(0, 256, (96, 200, 3), np.uint8)
    assert np.array_equal(PixelMark().apply(small), small)
    found = inspect_video(film(small))
    assert found.pixel_bits is None
    assert found.ai_generated, "the comment in the container still tells"


def test_the_payload_is_balanced() -> None:
    assert len(PAYLOAD) == 64
    assert PAYLOAD.sum() == 32


def test_the_command_tells_in_text_and_json(
    film: WriteVideo, examples: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = film(read_image(examples / "portraits" / PORTRAITS[0]))
    assert run(["inspect", str(path)]) == 0
    assert "AI-generated" in capfd.readouterr().out
    assert run(["inspect", str(path), "--json"]) == 0
    content = json.loads(capfd.readouterr().out)
    assert content["ai_generated"] is True
    assert content["pixel_mark"]["found"] is True
    assert content["file"] == path.name
    (tmp_path / "text.mp4").write_text("not a video")
    for name in ("text.mp4", "missing.mp4", "."):
        assert run(["inspect", str(tmp_path / name)]) == 2
        error = capfd.readouterr().err
        assert error.startswith("mooe: ")
        assert error.count("\n") == 1


def test_a_video_of_somebody_else_has_no_comment(film: WriteVideo, portrait: Image, tmp_path: Path) -> None:
    import av

    source, target = film(portrait, marked=False), tmp_path / "plain.mp4"
    with av.open(str(source)) as given, av.open(str(target), "w") as plain:
        stream = plain.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                plain.mux(packet)
    found = inspect_video(target)
    assert not found.ai_generated
    assert "proves nothing" in found.text()


@needs_c2pa
def test_a_manifest_is_signed_and_notices_changes(
    film: WriteVideo, portrait: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsigned = film(portrait, "unsigned.mp4")
    assert credentials.read_manifest(unsigned) is None
    monkeypatch.delenv("MOOE_C2PA")
    path = film(portrait)
    manifest = inspect_video(path).manifest
    assert manifest is not None
    assert (manifest["state"], manifest["generator"], manifest["ai_generated"]) == ("Valid", "mooe", True)
    with read_video(path) as signed, read_video(unsigned) as plain:
        for one, other in zip(signed, plain, strict=True):
            assert np.array_equal(one, other)
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(bytes(content))
    changed = credentials.read_manifest(path)
    assert changed is not None
    assert changed["state"] == "Invalid"


@needs_c2pa
def test_a_wrong_certificate_is_named_and_leaves_no_file(
    film: WriteVideo, portrait: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOOE_C2PA")
    (tmp_path / "certificate.pem").write_text("no certificate")
    monkeypatch.setenv("MOOE_C2PA_CERTIFICATE", str(tmp_path / "certificate.pem"))
    for key in ("certificate.pem", "missing.pem"):
        monkeypatch.setenv("MOOE_C2PA_KEY", str(tmp_path / key))
        with pytest.raises(ConfigError, match="MOOE_C2PA_KEY"):
            film(portrait)
    assert [path.name for path in tmp_path.iterdir()] == ["certificate.pem"]


def test_files_that_are_no_videos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MooeError, match="check the path"):
        inspect_video(tmp_path / "missing.mp4")
