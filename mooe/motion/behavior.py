"""When people blink, nod, raise their brows and where they look: random schedules beside what the
video UNet does or as its controls."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
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


# Down in 200 ms, up again in 280 ms: at most 22 degrees a second in a nod of 3, within what heads in talk reach
NOD_CURVE: Array = np.concatenate(
    [0.5 - 0.5 * np.cos(np.pi * np.arange(1, 6) / 5), 0.5 + 0.5 * np.cos(np.pi * np.arange(1, 7) / 7)]
).astype(np.float32)
# Frames of sound before a stressed syllable that it stands out from, and after it that it is louder than
NOD_PAST, _LOCAL = 25, 4
# Frames from a nod's beginning to its apex, and frames of sound that a nod has to be decided by
_RISE = 5
NOD_LOOKAHEAD = _RISE + _LOCAL
_VOICED, _LOUD, _STANDS_OUT = 0.4, 0.6, 0.12
_SHORTEST_NOD_PAUSE = 12
# Up in 200 ms, held for 80 ms, down again in 400 ms
LIFT_CURVE: Array = np.concatenate([NOD_CURVE[:5], [1, 1], 0.5 + 0.5 * np.cos(np.pi * np.arange(1, 11) / 11)]).astype(
    np.float32
)
_SHORTEST_LIFT_PAUSE = 25


class BeatSchedule:
    """Movements on stressed syllables, at their apex where the syllable is loudest.

    A beat is decided by the sound around its syllable alone, so however the speech is cut, a seed gives the same.

    Args:
        rng: source of randomness.
        amount: mean size of a beat.
        share: of the stressed syllables that have one.
        curve: of a beat over time, up to 1 at its fifth frame.
        pause: frames from one apex to the next at least.
    """

    def __init__(self, rng: np.random.Generator, amount: float, share: float, curve: Array, pause: int) -> None:
        self._rng, self._amount, self._share, self._curve, self._pause = rng, amount, share, curve, pause
        self._tail = np.zeros(0, np.float32)
        # frames from the next one drawn to the last beat's apex
        self._last = -pause

    def state(self) -> dict[str, Any]:
        """All that has to be kept to go on from here."""
        return {"rng": self._rng.bit_generator.state, "tail": self._tail, "last": self._last}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._rng.bit_generator.state = state["rng"]
        self._tail, self._last = state["tail"], int(state["last"])

    def take(self, prosody: Array) -> Array:
        """How far the next F frames are moved, ``[F]``.

        Args:
            prosody: of these frames, ``NOD_PAST`` before and ``NOD_LOOKAHEAD`` after them, ``[F + 34, 8]``.
        """
        count = len(prosody) - NOD_PAST - NOD_LOOKAHEAD
        track = np.zeros(count + _RISE + len(self._curve), np.float32)
        track[: len(self._tail)] = self._tail[: len(track)]
        # a beat begins in these frames where its apex is up to the time of its rise later
        for apex in stressed(prosody, NOD_PAST + _RISE, NOD_PAST + _RISE + count) - NOD_PAST:
            size = self._amount * self._rng.gamma(3.0, 1 / 3) if self._rng.random() < self._share else 0.0
            if size and apex - self._last >= self._pause:
                track[apex - _RISE + 1 : apex - _RISE + 1 + len(self._curve)] += size * self._curve
                self._last = int(apex)
        self._last -= count
        self._tail = track[count:]
        return track[:count]


class NodSchedule(BeatSchedule):
    """Nods, in radians that the head is lowered.

    Head beats have their apex within the accented syllable (Loehr, "Gesture and Intonation", 2004; Esteve-Gibert et
    al., "The timing of head movements", JASA 2017), and not every accent has one.

    Args:
        rng: source of randomness.
        amount: mean depth of a nod, in radians.
        share: of the stressed syllables that are nodded to.
    """

    def __init__(self, rng: np.random.Generator, amount: float = 0.05, share: float = 0.65) -> None:
        super().__init__(rng, amount, share, NOD_CURVE, _SHORTEST_NOD_PAUSE)


class BrowLiftSchedule(BeatSchedule):
    """Raised brows, as weights of :data:`BROW_LIFT`.

    Brows go up with accents, not with each (Cavé et al., "About the relationship between eyebrow movements and F0
    variations", ICSLP 1996; Krahmer and Swerts, "The effects of visual beats on prosodic prominence", 2007).

    Args:
        rng: source of randomness.
        amount: mean weight of a lift.
        share: of the stressed syllables that have one.
    """

    def __init__(self, rng: np.random.Generator, amount: float = 0.3, share: float = 0.5) -> None:
        super().__init__(rng, amount, share, LIFT_CURVE, _SHORTEST_LIFT_PAUSE)


#: ARKit weights of brows raised by 1, which makes eyes and brows stand a quarter further apart
BROW_LIFT: Mapping[str, float] = MappingProxyType({"browInnerUp": 1.0, "browOuterUp": 0.7})


def stressed(prosody: Array, first: int, stop: int) -> NDArray[np.intp]:
    """Frames from ``first`` to ``stop`` at which a syllable that stands out is loudest.

    Args:
        prosody: rows of :func:`mooe.audio.prosody.prosody`, from ``first - NOD_PAST`` or earlier to ``stop + 4``.
    """
    band, voicing = prosody[:, 1], prosody[:, 3]
    found = []
    for frame in range(first, stop):
        near = band[frame - _LOCAL : frame + _LOCAL + 1]
        loudest = int(near.argmax()) == _LOCAL and band[frame] > _LOUD and voicing[frame] > _VOICED
        past = band[frame - NOD_PAST : frame]
        spoken = past[past > 0.5 * _LOUD]
        if loudest and (not len(spoken) or band[frame] > spoken.mean() + _STANDS_OUT):
            found.append(frame)
    return np.array(found, np.intp)
