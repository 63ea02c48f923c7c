"""From sampled motion to drawn frames, chunk by chunk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.neutral import give_way
from mooe.emotion.controls import ControlSchedule
from mooe.motion.additive import add_expression, blink_as_drawn, moderate_gape, shut_as_spoken
from mooe.motion.ahead import made_ahead
from mooe.motion.codec import MotionCodec
from mooe.pipeline_output import FaceMotion, Frame, MoEEChunk, MoEEStream

Array = NDArray[np.float32]


class _Moved(NamedTuple):
    motion: FaceMotion
    gates: Array
    first: int
    state: dict[str, Any]


def make_chunks(
    stream: MoEEStream,
    codec: MotionCodec,
    schedule: ControlSchedule,
    render: Callable[[Array, Array, Array], Iterator[Frame]],
    relief: Array,
    *,
    ahead: bool = False,
) -> Iterator[MoEEChunk]:
    """Sample and draw one chunk after the other.

    Args:
        stream: with its motion ready to be sampled; gets the times of the stages, and its state with each chunk.
        codec: motion latents -> displacements.
        schedule: what the face is asked to do besides what is sampled.
        render: draws frames from displacements, rotations and translations.
        relief: what the portrait's face lets go of as far as emotions are asked for, ``[6, 478, 3]``.
        ahead: draw a chunk while the one before is used, and sample the motion of the one after it meanwhile; not for
            live sound, which must not be asked for before it is needed.
    """
    moved = _moved(stream, codec, schedule, relief)
    if not ahead or stream.speech.live:
        chunks = _drawn(stream, moved, render, jobs=1)
    else:
        chunks = made_ahead(_drawn(stream, made_ahead(moved), render, jobs=2))
    for chunk, state in chunks:
        stream.reached = state
        yield chunk


def _drawn(
    stream: MoEEStream, moved: Iterator[_Moved], render: Callable[[Array, Array, Array], Iterator[Frame]], jobs: int
) -> Iterator[tuple[MoEEChunk, dict[str, Any]]]:
    """Chunks, and the state behind each."""
    for motion, gates, first, state in moved:
        with stream.timed("decoder"), _opencv.beside(jobs):
            frames = list(render(motion.displacement, motion.rotation, motion.translation))
        yield MoEEChunk(frames, motion, gates, first), state


class _DrawingThreads:
    """OpenCV's threads, which all clips of a process share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: list[int] = []  # of each clip that is being drawn
        self._usual = 1  # threads while none is

    @contextmanager
    def beside(self, jobs: int) -> Iterator[None]:
        """Let OpenCV take its share of the processors where so many jobs run side by side.

        A frame's pictures are small: shared out among all threads they cost a third more processor time, which the
        motion sampled beside them is short of.
        """
        with self._lock:
            if not self._jobs:
                self._usual = cv2.getNumThreads()
            self._jobs.append(jobs)
            self._share()
        try:
            yield
        finally:
            with self._lock:
                self._jobs.remove(jobs)
                self._share()

    def _share(self) -> None:
        cv2.setNumThreads(max(1, self._usual // max(self._jobs, default=1)))


_opencv = _DrawingThreads()


def _moved(
    stream: MoEEStream, codec: MotionCodec, schedule: ControlSchedule, relief: Array
) -> Iterator[_Moved]:
    """The motion of each chunk, and the state behind it."""
    source = stream.motion
    while source is not None:
        with stream.timed("audio"):
            if not source.listen():
                return
        with stream.timed("motion"):
            first, latents, gates = source.window()
            displacement = source.driver.finish(codec.decode(latents)[0].cpu().numpy(), first)
            count = len(displacement)
            emotion, speaking = schedule.weights(count, first_frame=first), source.driver.speaking(first, count)
            if source.spoken is not None:
                spoken = codec.decode(source.spoken)[0].cpu().numpy()
                displacement = moderate_gape(shut_as_spoken(displacement, spoken, speaking, emotion), emotion)
                displacement = blink_as_drawn(displacement, spoken[1:-1], source.driver.blinks(first, count), emotion)
            displacement = give_way(displacement, relief, emotion)
            pose = source.driver.pose(first, count)
            added = schedule.arkit(count, first_frame=first)
            displacement = add_expression(displacement, added, speaking)
        shares = np.zeros((count, 6), np.float32) if gates is None else gates.numpy()
        yield _Moved(FaceMotion(displacement, pose[:, :3], pose[:, 3:]), shares, first, source.state())
