"""Emotion over time: keyframes in seconds, eased between."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mooe.emotion.taxonomy import EmotionMix
from mooe.errors import EmotionError


@dataclass(frozen=True)
class EmotionTimeline:
    """Emotion mixtures at points in time, with a smoothstep between neighbours and held before and after.

    Attributes:
        keyframes: (seconds, mixture) in rising order of time, at least one.

    Raises:
        EmotionError: there is no keyframe, or times are negative, not finite or not rising.
    """

    keyframes: tuple[tuple[float, EmotionMix], ...]

    def __post_init__(self) -> None:
        times = [seconds for seconds, _ in self.keyframes]
        if not times:
            raise EmotionError("An emotion timeline needs at least one keyframe.")
        if not all(math.isfinite(seconds) and seconds >= 0 for seconds in times):
            raise EmotionError("Keyframe times must be seconds from the start of the speech, 0 or later.")
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise EmotionError("Keyframes must be in order of time, no two at the same time.")

    @classmethod
    def constant(cls, mix: EmotionMix, onset: float = 0.0) -> Self:
        """The same mixture throughout, or rising from neutral within the first `onset` seconds."""
        if onset == 0:
            return cls(((0.0, mix),))
        return cls(((0.0, EmotionMix.neutral()), (onset, mix)))

    def weights(self, num_frames: int, frame_rate: float = 25.0, first_frame: int = 0) -> NDArray[np.float32]:
        """Emotion weights float32 [num_frames, 6], of frame i at (first_frame + i) / frame_rate seconds."""
        times = np.array([seconds for seconds, _ in self.keyframes])
        levels = np.stack([mix.weights for _, mix in self.keyframes])
        return ease_between(times, levels, num_frames, frame_rate, first_frame)


def ease_between(
    times: NDArray[np.float64],
    levels: NDArray[np.float32],
    num_frames: int,
    frame_rate: float = 25.0,
    first_frame: int = 0,
    ease: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Values between keyframes: a smoothstep from each to the next, held before the first and after the last.

    Args:
        times: rising seconds [K].
        levels: values at these times, [K, D].
        num_frames: frames to give, the first of them `first_frame`, `frame_rate` a second.
        ease: seconds [K] that the change to each keyframe takes, right before it; None for all the time since the
            keyframe before.

    Returns:
        float32 [num_frames, D]
    """
    levels = levels.astype(np.float64)
    if len(times) == 1:
        return np.broadcast_to(levels[0].astype(np.float32), (num_frames, levels.shape[1])).copy()
    seconds = (first_frame + np.arange(num_frames)) / frame_rate
    segment = np.clip(np.searchsorted(times, seconds, side="right") - 1, 0, len(times) - 2)
    span = times[segment + 1] - times[segment]
    if ease is not None:
        span = np.clip(ease[segment + 1], 1e-9, span)
    progress = np.clip(1 - (times[segment + 1] - seconds) / span, 0.0, 1.0)
    eased = (progress**2 * (3 - 2 * progress))[:, None]
    return (levels[segment] * (1 - eased) + levels[segment + 1] * eased).astype(np.float32)
