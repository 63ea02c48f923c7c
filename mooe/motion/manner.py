"""How a person's brows wander: slow movement that neither sound nor emotion explains, drawn at random.

People in talk raise and lower their brows over seconds, each in their own measure. A denoiser of few steps that is told
sound, blinks and the head's turns gives nearly one answer to them, so what these leave open has to be drawn for it, as
blinks and head poses are. A speaker's manner is a vector autoregression of order 2 (Lütkepohl, "New Introduction to
Multiple Time Series Analysis", 2005, chapter 2) of five ARKit weights at the knots of the head poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mooe.errors import WeightsError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_shapes
from mooe.motion.pose import FRAMES_PER_KNOT, interpolate_knots

Array = NDArray[np.float32]
Double = NDArray[np.float64]

BROW_SHAPES = ("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight")
_ROWS = [ARKIT_NAMES.index(name) for name in BROW_SHAPES]
_COUNT = len(BROW_SHAPES)
_WARM_UP = 60  # knots until a process that began at rest has forgotten it
_MOST = 1.5  # weight beyond which no brow goes


@dataclass(frozen=True)
class BrowManner:
    """x[k] = A1 x[k-1] + A2 x[k-2] + L e[k], with e standard normal.

    Attributes:
        transition: A1 and A2, float64 ``[2, 5, 5]``.
        noise: L, float64 ``[5, 5]``.
    """

    transition: Double
    noise: Double

    def to_lists(self) -> dict[str, Any]:
        """As plain lists, for JSON."""
        return {"transition": self.transition.tolist(), "noise": self.noise.tolist()}

    @classmethod
    def from_lists(cls, stored: dict[str, Any]) -> BrowManner:
        """What :meth:`to_lists` gave.

        Raises:
            WeightsError: something is missing, of the wrong shape, or would grow without end.
        """
        try:
            manner = cls(np.array(stored["transition"], np.float64), np.array(stored["noise"], np.float64))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"The LoRA's brow manner is damaged ({error}): train or copy it again.") from error
        fits = manner.transition.shape == (2, _COUNT, _COUNT) and manner.noise.shape == (_COUNT, _COUNT)
        if not fits or not np.isfinite(manner.noise).all() or not manner.growth < 1:
            raise WeightsError("The LoRA's brow manner is damaged (it has no steady movement): train or copy it again.")
        return manner

    @property
    def growth(self) -> float:
        """Largest modulus of the process' eigenvalues: below 1, it stays within bounds; NaN if damaged."""
        if not np.isfinite(self.transition).all():
            return float("nan")
        return float(np.abs(np.linalg.eigvals(companion(self.transition))).max())


def companion(transition: Double) -> Double:
    """The order-2 process as one of order 1, ``[10, 10]``."""
    lower = np.hstack([np.eye(_COUNT), np.zeros((_COUNT, _COUNT))])
    return np.vstack([np.hstack(list(transition)), lower])


class MannerSchedule:
    """Brow movement over time, made chunk by chunk; however it is cut, a seed gives the same.

    Args:
        rng: source of randomness.
        manner: what to draw.
        weight: factor on the movement.
    """

    def __init__(self, rng: np.random.Generator, manner: BrowManner, weight: float = 1.0) -> None:
        self._rng, self._manner, self._weight = rng, manner, weight
        self._last = np.zeros((2, _COUNT))
        for _ in range(_WARM_UP):
            self._step()
        # the first is the knot before frame 0
        self._knots = np.zeros((0, _COUNT), np.float32)
        self._first_knot, self._frame = -1, 0

    def state(self) -> dict[str, Any]:
        """All that has to be kept to go on from here."""
        return {
            "rng": self._rng.bit_generator.state, "last": self._last, "knots": self._knots,
            "first_knot": self._first_knot, "frame": self._frame,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._rng.bit_generator.state = state["rng"]
        self._last, self._knots = state["last"], state["knots"]
        self._first_knot, self._frame = int(state["first_knot"]), int(state["frame"])

    def take(self, num_frames: int) -> Array:
        """Displacements of the next frames, ``[num_frames, 478, 3]``, eye distances."""
        last = (self._frame + num_frames - 1) // FRAMES_PER_KNOT + 2
        missing = last + 1 - self._first_knot - len(self._knots)
        if missing > 0:
            drawn = np.array([self._step() for _ in range(missing)], np.float32)
            self._knots = np.concatenate([self._knots, drawn])
        keep = self._frame // FRAMES_PER_KNOT - 1 - self._first_knot
        self._knots, self._first_knot = self._knots[keep:], self._first_knot + keep
        weights = interpolate_knots(self._knots, num_frames, self._frame, self._first_knot)
        self._frame += num_frames
        shapes = arkit_shapes()[_ROWS]
        moved = np.tensordot(np.clip(weights, -_MOST, _MOST) * self._weight, shapes, 1)
        return np.asarray(moved, np.float32)

    def _step(self) -> Double:
        a1, a2 = self._manner.transition
        now = a1 @ self._last[0] + a2 @ self._last[1] + self._manner.noise @ self._rng.standard_normal(_COUNT)
        self._last = np.stack([now, self._last[0]])
        return np.asarray(now)


def start_manners(rng: np.random.Generator, manners: Sequence[tuple[BrowManner, float]]) -> list[MannerSchedule]:
    """A schedule for each manner and its weight, from sources of their own; none for a weight of 0."""
    sources = rng.spawn(len(manners))
    return [MannerSchedule(source, m, weight) for source, (m, weight) in zip(sources, manners, strict=True) if weight]


@lru_cache(maxsize=1)
def _reader() -> Double:
    shapes = arkit_shapes()[_ROWS].reshape(_COUNT, -1).astype(np.float64)
    return np.asarray(np.linalg.pinv(shapes), np.float64)


def brow_weights(displacement: Array) -> Double:
    """Weights of :data:`BROW_SHAPES` that come nearest by least squares, without bounds: ``[F, 478, 3]`` -> ``[F, 5]``.

    Their shapes move nothing but the brows and the skin about them, so that nothing else is read as brows.
    """
    return np.asarray(displacement.reshape(len(displacement), -1).astype(np.float64) @ _reader())
