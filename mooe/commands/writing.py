"""Frames as they are made -> the video of `mooe generate`, in one go or in parts that survive a stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mooe.commands.resuming import PART_FRAMES, ResumableClip
from mooe.commands.speech_options import sound_for_listeners
from mooe.media import VideoWriter
from mooe.media.joining import join_videos

if TYPE_CHECKING:
    from mooe.audio import Speech
    from mooe.pipeline import MoEEChunk, MoEEStream
    from mooe.report import StageClock

OnChunk = Callable[["MoEEChunk"], None]


def write_video(
    out: Path, stream: MoEEStream, speech: Path | Speech, clock: StageClock, on_chunk: OnChunk, *, force: bool
) -> None:
    """Write all chunks and the speech into a video.

    Args:
        out: the video.
        stream: gives the chunks.
        speech: what is heard.
        clock: counts the time towards "video".
        on_chunk: told of each chunk once it is written; its frames are gone by then.
        force: replace an existing file.
    """
    sound, rate = sound_for_listeners(speech)
    with contextlib.ExitStack() as stack:
        writer: VideoWriter | None = None
        for chunk in stream:
            with clock.stage("video"):
                if writer is None:
                    height, width = chunk.frames[0].shape[:2]
                    writer = VideoWriter(out, width, height, audio=sound, sample_rate=rate, force=force)
                    stack.enter_context(writer)
                _write(writer, chunk)
            on_chunk(chunk)
        with clock.stage("video"):
            stack.close()


def write_in_parts(
    out: Path,
    stream: MoEEStream,
    speech: Path | Speech,
    clock: StageClock,
    on_chunk: OnChunk,
    *,
    force: bool,
    clip: ResumableClip,
    progress: Callable[[], dict[str, Any]],
) -> None:
    """The same, with parts of the video kept in a folder until all are there; ``stream`` goes on behind the last one.

    Args:
        out, stream, speech, clock, on_chunk, force: as in :func:`write_video`.
        clip: the folder.
        progress: gives what is to be kept of the caller's beside the stream's state.
    """
    for chunks in _portions(stream):
        with contextlib.ExitStack() as stack:
            writer: VideoWriter | None = None
            for chunk in chunks:
                with clock.stage("video"):
                    if writer is None:
                        height, width = chunk.frames[0].shape[:2]
                        writer = stack.enter_context(VideoWriter(clip.next_part(), width, height, force=True))
                    _write(writer, chunk)
                on_chunk(chunk)
            clip.save({"stream": stream.state(), "progress": progress()})
            with clock.stage("video"):
                stack.close()
        clip.closed()
    sound, rate = sound_for_listeners(speech)
    with clock.stage("video"):
        join_videos(clip.parts, out, audio=sound, sample_rate=rate, force=force)
    clip.remove()


def _portions(stream: MoEEStream) -> Iterator[Iterator[MoEEChunk]]:
    """The chunks in portions of :data:`PART_FRAMES` frames or a little more; none is empty."""
    chunks = iter(stream)
    for first in chunks:

        def portion(first: MoEEChunk = first) -> Iterator[MoEEChunk]:
            count = len(first.frames)
            yield first
            while count < PART_FRAMES and (chunk := next(chunks, None)) is not None:
                count += len(chunk.frames)
                yield chunk

        yield portion()


def _write(writer: VideoWriter, chunk: MoEEChunk) -> None:
    """Write a chunk's frames, and let go of each: the next chunk is drawn into the memory meanwhile."""
    while chunk.frames:
        writer.write(chunk.frames.pop(0))


class GateMeans:
    """Mean share of each emotion expert over a clip."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        from mooe.emotion import EMOTIONS

        self._names = EMOTIONS
        self.sum = np.zeros(len(EMOTIONS)) if state is None else np.asarray(state["gates"])

    def add(self, chunk: MoEEChunk) -> None:
        """Count a chunk."""
        self.sum = self.sum + chunk.gates.sum(0)

    def state(self) -> dict[str, Any]:
        """What is kept of it."""
        return {"gates": self.sum}

    def means(self, frames: int) -> dict[str, float]:
        """By name."""
        return dict(zip(self._names, (self.sum / frames).tolist(), strict=True))
