"""When people blink and where they look: random schedules that the video UNet is given as controls."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mooe.audio import FRAME_RATE

Array = NDArray[np.float32]

# Lids fall in about 100 ms, stay shut for a frame, and rise in about 200 ms (VanderWerf et al., 2003)
BLINK_CURVE: Array = np.array([0.35, 0.85, 1.0, 0.9, 0.6, 0.32, 0.14, 0.05], np.float32)
_SHORTEST_PAUSE = 1.0


def blink_curve(length: float = 1.0) -> Array:
    """Lid closing through one blink, ``[F]``, ``length`` times as long as usual."""
    if length == 1:
        return BLINK_CURVE
    count = max(round(len(BLINK_CURVE) * length), 2)
    usual = np.arange(len(BLINK_CURVE))
    return np.interp(np.linspace(0, len(BLINK_CURVE) - 1, count), usual, BLINK_CURVE).astype(np.float32)


class BlinkSchedule:
    """Lid closing over time, made chunk by chunk so that any length takes the same memory.

    Args:
        rng: source of randomness.
        rate: blinks a minute; 0 never blinks.
        length: of a blink, 1 is usual.
    """

    def __init__(self, rng: np.random.Generator, rate: float = 20.0, length: float = 1.0) -> None:
        self._rng, self._rate, self._curve = rng, rate, blink_curve(length)
        self._tail = np.zeros(0, np.float32)
        self._next = self._pause(first=True)

    def _pause(self, first: bool = False) -> int:
        if self._rate <= 0:
            return 2**62
        mean = max(60.0 / self._rate - _SHORTEST_PAUSE, 0.1)
        # gamma with shape 3: blinks neither clump nor tick like a clock
        pause = _SHORTEST_PAUSE + self._rng.gamma(3.0, mean / 3.0)
        return round((0.5 * pause if first else pause) * FRAME_RATE)

    def state(self) -> dict[str, Any]:
        """All that has to be kept to go on from here."""
        return {"rng": self._rng.bit_generator.state, "tail": self._tail, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._rng.bit_generator.state = state["rng"]
        self._tail, self._next = state["tail"], int(state["next"])

    def take(self, num_frames: int) -> Array:
        """The next frames' lid closing in [0, 1], float32 ``[num_frames]``."""
        track = np.zeros(num_frames + len(self._curve), np.float32)
        track[: len(self._tail)] = self._tail[: len(track)]
        while self._next < num_frames:
            span = slice(self._next, self._next + len(self._curve))
            track[span] = np.maximum(track[span], self._curve)
            self._next += self._pause()
        self._next -= num_frames
        self._tail = track[num_frames:]
        return track[:num_frames]


class GazeSchedule:
    """Small darts of the eyes around the viewer: horizontal and vertical gaze in ARKit weight units.

    Args:
        rng: source of randomness.
        amount: standard deviation of a dart, in eyeLook weight (1 is 30 degrees).
    """

    def __init__(self, rng: np.random.Generator, amount: float = 0.05) -> None:
        self._rng, self._amount = rng, amount
        self._target = np.zeros(2)
        self._left = 0

    def state(self) -> dict[str, Any]:
        """All that has to be kept to go on from here."""
        return {"rng": self._rng.bit_generator.state, "target": self._target, "left": self._left}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._rng.bit_generator.state = state["rng"]
        self._target, self._left = state["target"], int(state["left"])

    def take(self, num_frames: int) -> Array:
        """The next frames' gaze ``[num_frames, 2]``: to the viewer's right and up, relative to the viewer."""
        track = np.zeros((num_frames, 2), np.float32)
        for frame in range(num_frames):
            if self._left <= 0:
                home = self._rng.random() < 0.5
                self._target = np.zeros(2) if home else self._rng.normal(0, self._amount, 2) * (1.0, 0.6)
                self._left = int(self._rng.gamma(3.0, 0.35) * FRAME_RATE) + 8
            track[frame] = self._target
            self._left -= 1
        return track
