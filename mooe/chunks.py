"""From sampled motion to drawn frames, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mooe.emotion.controls import ControlSchedule
from mooe.motion.additive import add_expression
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
    render: Callable[[Array, Array, Array], Frame],
    *,
    ahead: bool = False,
) -> Iterator[MoEEChunk]:
    """Sample and draw one chunk after the other.

    Args:
        stream: with its motion ready to be sampled; gets the times of the stages, and its state with each chunk.
        codec: motion latents -> displacements.
        schedule: what the face is asked to do besides what is sampled.
        render: draws a frame from displacement, rotation and translation.
        ahead: sample a chunk's motion while the one before is drawn and used; not for live sound, which must not be
            asked for before it is needed.
    """
    moved = _moved(stream, codec, schedule)
    if ahead and not stream.speech.live:
        moved = made_ahead(moved)
    for motion, gates, first, state in moved:
        each = zip(motion.displacement, motion.rotation, motion.translation, strict=True)
        with stream.timed("decoder"):
            frames = [render(*one) for one in each]
        stream.reached = state
        yield MoEEChunk(frames, motion, gates, first)


def _moved(stream: MoEEStream, codec: MotionCodec, schedule: ControlSchedule) -> Iterator[_Moved]:
    """The motion of each chunk, and the state behind it."""
    source = stream.motion
    while source is not None:
        with stream.timed("audio"):
            if not source.listen():
                return
        with stream.timed("motion"):
            first, latents, gates = source.window()
            displacement = codec.decode(latents)[0].cpu().numpy()
            count = len(displacement)
            pose = source.driver.pose(first, count)
            added = schedule.arkit(count, first_frame=first)
            displacement = add_expression(displacement, added, source.driver.speaking(first, count))
        shares = np.zeros((count, 6), np.float32) if gates is None else gates.numpy()
        yield _Moved(FaceMotion(displacement, pose[:, :3], pose[:, 3:]), shares, first, source.state())
