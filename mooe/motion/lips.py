"""Lips that touch: shutting a mouth given as displacements, and keeping lips and lids from crossing.

Displacements are taken from the person's own neutral face with the lips just touching, so the gap between two
paired landmarks is the difference of their displacements along y.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mooe.face.regions import LEFT_LID_PAIRS, LIP_PAIRS, RIGHT_LID_PAIRS
from mooe.face.topology import canonical_points

Array = NDArray[np.float32]

# The lower lip does most of the closing
_UPPER_SHARE = 0.35
_REACH = 0.16


@lru_cache(maxsize=1)
def _spread() -> tuple[Array, Array]:
    """How far each point follows each upper and each lower inner-lip landmark: two ``[478, 9]`` matrices."""
    points = canonical_points()[:, :2]
    pairs = np.array(LIP_PAIRS)
    middle = points[pairs].mean(1)
    across = np.abs(points[:, None, 0] - middle[None, :, 0])
    column = np.exp(-0.5 * (across / 0.05) ** 2)
    column /= column.sum(1, keepdims=True) + 1e-9
    line = np.interp(points[:, 0], middle[:, 0], middle[:, 1])
    width = np.abs(points[pairs[0, 0], 0]) + 0.05
    inside = np.clip(1 - (np.abs(points[:, 0]) - width) / 0.08, 0, 1)
    height = points[:, 1] - line
    reach = np.clip(1 - np.abs(height) / _REACH, 0, 1) * inside
    upper = column * (reach * (height > 0))[:, None]
    lower = column * (reach * (height <= 0))[:, None]
    for row, (a, b) in enumerate(LIP_PAIRS):
        for matrix, index in ((upper, a), (lower, b)):
            matrix[index] = 0
            matrix[index, row] = 1
        lower[a] = 0
        upper[b] = 0
    return upper.astype(np.float32), lower.astype(np.float32)


def lip_gap(displacement: Array) -> Array:
    """Opening between the paired inner-lip landmarks, ``[..., 478, 3]`` -> ``[..., 9]`` in eye distances."""
    pairs = np.array(LIP_PAIRS)
    gap: Array = displacement[..., pairs[:, 0], 1] - displacement[..., pairs[:, 1], 1]
    return gap


def shut_lips(displacement: Array, amount: Array) -> Array:
    """Bring the lips together by ``amount`` (0: as they are, 1: touching); ``[..., 478, 3]`` and ``[...]``."""
    upper, lower = _spread()
    closing = np.maximum(lip_gap(displacement), 0) * np.asarray(amount, np.float32)[..., None]
    shut = displacement.copy()
    shut[..., 1] += (1 - _UPPER_SHARE) * closing @ lower.T - _UPPER_SHARE * closing @ upper.T
    return shut


def keep_apart(displacement: Array, lid_opening: Array | None = None) -> Array:
    """Lips and lids that would cross meet halfway instead.

    Args:
        displacement: ``[..., 478, 3]``.
        lid_opening: the neutral eye's opening per lid pair, ``[14]`` (right eye first); the canonical face's if None.
    """
    result = displacement.copy()
    points = canonical_points()
    lids = np.array(RIGHT_LID_PAIRS + LEFT_LID_PAIRS)
    opening = points[lids[:, 0], 1] - points[lids[:, 1], 1] if lid_opening is None else lid_opening
    pairs = np.concatenate([np.array(LIP_PAIRS), lids])
    rest = np.concatenate([np.zeros(len(LIP_PAIRS), np.float32), opening])
    gap = result[..., pairs[:, 0], 1] - result[..., pairs[:, 1], 1] + rest
    overlap = np.minimum(gap, 0) / 2
    result[..., pairs[:, 0], 1] -= overlap
    result[..., pairs[:, 1], 1] += overlap
    return result
