"""Video files: H.264 with AAC sound, written and read frame by frame."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from mooe.errors import MooeError, OutputError
from mooe.media import content_credentials
from mooe.media.color import to_yuv420
from mooe.media.outputs import as_output_error, check_output, replacing
from mooe.media.pixel_mark import PixelMark

FRAME_RATE = 25
SOUND_RATE = 48_000
# x264 and swscale give the same bytes only for the same number of threads.
ENCODER_THREADS = 2
SOUND_BLOCK = 4096
COMMENT = "AI-generated video: a photograph animated with mooe."

Sound = NDArray[np.float32] | Iterable[NDArray[np.float32]]


class VideoWriter:
    """Writes an mp4 that is there whole when the `with` block ends well, and not at all otherwise.

    Frames are H.264 yuv420p (BT.709); sound is mono AAC at 48 kHz, interleaved while frames arrive, so memory
    does not grow with the length. The same input gives the same bytes.

    Args:
        path: the target, ending in .mp4.
        width, height: size of the frames in pixels; an odd side gains one repeated row or column, because
            yuv420p needs even sides.
        audio: float32 in [-1, 1], mono: an array [samples] or an iterable of such blocks. All of it is
            written, also what lasts longer than the frames.
        sample_rate: of `audio`, in Hz.
        fps: frames a second.
        crf: x264's constant rate factor; lower is better and larger.
        preset: x264's speed preset.
        force: replace an existing file.
        marked: write what says that the video is AI-generated: the mark in the pixels and, where the extra c2pa is
            installed, a signed manifest, whose time of signing makes the file's bytes differ from run to run.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        width: int,
        height: int,
        *,
        audio: Sound | None = None,
        sample_rate: int = 16_000,
        fps: int = FRAME_RATE,
        crf: int = 18,
        preset: str = "veryfast",
        force: bool = False,
        marked: bool = True,
    ) -> None:
        self.path = check_output(path, ".mp4", force=force)
        if width < 1 or height < 1:
            raise OutputError(f"A video of {width} x {height} pixels cannot be written: use a larger picture.")
        self.width, self.height, self.fps = width, height, fps
        self.frames_written = 0
        self._options = {"crf": str(crf), "preset": preset, "x264-params": _encoder_settings()}
        self._sound = None if audio is None else _blocks(audio)
        self._sample_rate = sample_rate
        self._samples_written = 0
        self._mark = PixelMark() if marked else None
        self._sign = marked and content_credentials.wanted()
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(replacing(self.path))
            with as_output_error(self.path):
                self._open(self._temporary)
            stack.callback(self._close_quietly)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._cleanup.__exit__(kind, error, trace)
            return
        with self._cleanup, as_output_error(self.path):
            self._finish()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, uint8 RGB [height, width, 3], and the sound that goes with it."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise OutputError(
                f"A frame of shape {frame.shape} and type {frame.dtype} does not fit this video: give uint8 "
                f"[{self.height}, {self.width}, 3]."
            )
        if self.height % 2 or self.width % 2:
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        if self._mark is not None:
            frame = self._mark.apply(frame)
        picture = to_yuv420(frame)
        picture.pts, picture.time_base = self.frames_written, Fraction(1, self.fps)
        with as_output_error(self.path):
            self._container.mux(self._video.encode(picture))
            self.frames_written += 1
            self._write_sound(until=self.frames_written / self.fps)

    def _open(self, temporary: Path) -> None:
        self._container = av.open(
            # Absolute, or FFmpeg takes what stands before a colon in a folder's name for a protocol.
            str(temporary.absolute()),
            "w",
            format="mp4",
            # bitexact keeps dates and library versions out of the file; faststart lets it play while loading.
            options={"movflags": "+faststart", "fflags": "+bitexact"},
        )
        self._container.metadata["comment"] = COMMENT
        self._video = self._add_video()
        if self._sound is not None:
            self._audio = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
            self._audio.bit_rate = 128_000

    def _add_video(self) -> Any:
        """Start the picture track."""
        video = self._container.add_stream("libx264", rate=self.fps, options=self._options)
        video.width, video.height = self.width + self.width % 2, self.height + self.height % 2
        video.pix_fmt = "yuv420p"
        context = video.codec_context
        context.thread_count = ENCODER_THREADS
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        return video

    def _flush_video(self) -> None:
        """Write the pictures that the encoder still holds."""
        self._container.mux(self._video.encode(None))

    def _write_sound(self, until: float | None) -> None:
        """Encode sound up to the time `until` in seconds, or all that is left."""
        while self._sound is not None and (until is None or self._samples_written < until * self._sample_rate):
            block = next(self._sound, None)
            if block is None:
                self._sound = None
                self._container.mux(self._audio.encode(None))
                return
            sound = av.AudioFrame.from_ndarray(block[None].clip(-1, 1), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = self._sample_rate, self._samples_written
            sound.time_base = Fraction(1, self._sample_rate)
            self._samples_written += len(block)
            self._container.mux(self._audio.encode(sound))

    def _close_quietly(self) -> None:
        # After a failure there is nothing to rescue; after `_finish` this does nothing.
        with contextlib.suppress(OSError, ValueError, av.FFmpegError):
            self._container.close()

    def _finish(self) -> None:
        if not self.frames_written:
            raise OutputError("A video without frames cannot be written: give at least one frame.")
        self._write_sound(until=None)
        self._flush_video()
        self._container.close()
        if self._sign:
            with replacing(self._temporary) as signed:
                content_credentials.sign(self._temporary, signed)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself; `frames` is 0 where the container does not say."""

    width: int
    height: int
    fps: float
    frames: int
    seconds: float
    codec: str
    pixel_format: str
    has_audio: bool


class VideoReader:
    """Iterates once over the frames of a video, uint8 RGB [height, width, 3]; use it in a `with` block.

    Attributes:
        info: what the file says of itself.
        comment: the comment in it.
        time: when the frame that was read last is shown, in seconds from the beginning of the file.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._container = _open_input(self.path)
        if not self._container.streams.video:
            self._container.close()
            raise MooeError(f"{self.path} has no picture track: give a video file.")
        self._stream = self._container.streams.video[0]
        # Decoding is exact whatever the number of threads.
        self._stream.thread_type = "AUTO"
        self.info = self._read_info()
        self.comment = str(self._container.metadata.get("comment", ""))
        self.time = 0.0

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        try:
            start = (self._container.start_time or 0) / av.time_base
            for number, frame in enumerate(self._container.decode(self._stream)):
                self.time = number / self.info.fps if frame.time is None else frame.time - start
                yield cast(NDArray[np.uint8], frame.to_ndarray(format="rgb24"))
        except av.FFmpegError as error:
            raise MooeError(f"{self.path} is damaged ({error.strerror}): make the video again.") from error

    def _read_info(self) -> VideoInfo:
        stream, container = self._stream, self._container
        rate = stream.average_rate or stream.guessed_rate or Fraction(FRAME_RATE)
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        return VideoInfo(
            width=stream.width,
            height=stream.height,
            fps=float(rate),
            frames=stream.frames,
            seconds=seconds,
            codec=stream.codec_context.name,
            pixel_format=stream.pix_fmt or "",
            has_audio=bool(container.streams.audio),
        )


def read_video(path: str | PathLike[str]) -> VideoReader:
    """Open a video for reading; see :class:`VideoReader` (raises MooeError when it cannot be read)."""
    return VideoReader(path)


def _encoder_settings() -> str:
    """Settings of x264 beside its preset.

    A simpler search for motion, of which a portrait has little, takes a third less time than the preset's own for
    files an eighth larger. x264's AVX-512 code was seen to give different bytes from run to run for the same frames
    (most often at widths that are no multiple of 32); with AVX2 hundreds of runs agree.
    """
    search = "subme=1:me=dia"
    return f"{search}:asm=avx2" if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") else search


def _blocks(audio: Sound) -> Iterator[NDArray[np.float32]]:
    for part in [audio] if isinstance(audio, np.ndarray) else audio:
        for start in range(0, len(part), SOUND_BLOCK):
            yield np.asarray(part[start : start + SOUND_BLOCK], dtype=np.float32)


def _open_input(path: Path) -> Any:
    try:
        return av.open(str(path.absolute()))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MooeError(f"{path} cannot be read as a video ({reason}): give a video file.") from error
