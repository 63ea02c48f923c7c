"""What the pipeline gives: motion, chunks, whole clips and streams of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diffusers.utils import BaseOutput
from numpy.typing import NDArray

from mooe.audio.source import SpeechSource
from mooe.motion.arkit import displacement_to_arkit
from mooe.motion.streaming import MotionStream

Frame = NDArray[np.uint8]


@dataclass
class FaceMotion:
    """Motion of F frames, independent of whose face it moves.

    Attributes:
        displacement: of the 478 landmarks from the neutral face, ``[F, 478, 3]``, head frame, eye distances.
        rotation: head rotation from the portrait's pose, rotation vectors ``[F, 3]`` in radians.
        translation: ``[F, 3]`` in eye distances.
    """

    displacement: NDArray[np.float32]
    rotation: NDArray[np.float32]
    translation: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.displacement)

    def arkit_weights(self) -> NDArray[np.float32]:
        """The 52 ARKit weights ``[F, 52]`` that come nearest, in the order of ``mooe.face.regions.ARKIT_NAMES``."""
        return displacement_to_arkit(self.displacement)

    @staticmethod
    def join(parts: list[FaceMotion]) -> FaceMotion:
        """Parts one after the other."""
        return FaceMotion(
            np.concatenate([p.displacement for p in parts]),
            np.concatenate([p.rotation for p in parts]),
            np.concatenate([p.translation for p in parts]),
        )


@dataclass
class MoEEChunk:
    """Frames as they are made.

    Attributes:
        frames: uint8 ``[H, W, 3]`` each.
        motion: their motion.
        gates: share of each emotion expert, ``[F, 6]``; zeros where the face is neutral.
        first: number of the first frame.
    """

    frames: list[Frame]
    motion: FaceMotion
    gates: NDArray[np.float32]
    first: int


@dataclass
class MoEEPipelineOutput(BaseOutput):
    """A whole clip.

    Attributes:
        frames: by ``output_type``: uint8 ``[F, H, W, 3]`` ("np"), a list of images ("pil"), float ``[F, 3, H, W]`` in
            [0, 1] ("pt") or motion latents ``[F, C, h, w]`` ("latent").
        audio: the speech, float32 mono at 16 kHz.
        fps: frames a second.
        motion: landmarks' displacements, head pose, ARKit weights.
        gates: share of each emotion expert, ``[F, 6]``.
    """

    frames: Any
    audio: NDArray[np.float32]
    fps: int
    motion: FaceMotion
    gates: NDArray[np.float32]


@dataclass
class MoEEStream:
    """Iterates over the chunks of a clip; memory does not grow with its length.

    Attributes:
        speech: where the speech comes from.
        fps: frames a second.
        motion: what the chunks are made of.
        timings: seconds spent so far by stage; those of stages that run side by side add up to more than has passed.
        reached: what :meth:`state` gives, set with each chunk.
        notes: what a person should know of how the wish for the emotion was understood, a sentence each.
    """

    speech: SpeechSource
    fps: int
    chunks: Iterator[MoEEChunk] = field(default_factory=lambda: iter(()))
    motion: MotionStream | None = None
    timings: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    notes: tuple[str, ...] = ()
    reached: dict[str, Any] | None = None

    @property
    def audio(self) -> NDArray[np.float32]:
        """The speech, float32 mono at 16 kHz; that of a file is read when asked for, live speech is not kept."""
        return self.speech.waveform

    @property
    def num_frames(self) -> int:
        """Frames in all; of live speech, those heard so far."""
        return self.speech.num_frames

    def __iter__(self) -> Iterator[MoEEChunk]:
        return self.chunks

    def state(self) -> dict[str, Any]:
        """What ``MoEEPipeline.stream`` needs to go on behind the last chunk: arrays, tensors, numbers, dictionaries."""
        if self.reached is not None:
            return self.reached
        return {} if self.motion is None else self.motion.state()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of what runs inside to a stage."""
        started = time.perf_counter()
        yield
        self.timings[stage] += time.perf_counter() - started
