"""The face above the mouth as ARKit's shapes can show it: what is left of tracked points when they slide.

A tracker's points of brows, forehead and temples slide over the skin when a head turns, and tremble: on one film of a
man in conversation two thirds of their variance is nothing that a face's muscles do. Whoever learns from the points as
they are learns that, and shows it as well. What the shapes show of it trembles too, by twice the speed at which brows
move from one fifth of a second to the next, so their weights are smoothed over time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import nnls

from mooe.decoder.neutral import LID_PAIRS
from mooe.face.regions import ARKIT_NAMES, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from mooe.face.topology import arkit_shapes, canonical_points

Array = NDArray[np.float32]
# The region's lower edge, and how far below it points are their own again, in eye distances
_EDGE, _FADE = 0.1, 0.25
# Keeps shapes from standing in for each other where points cannot tell them apart
_RIDGE = 0.02
# Standard deviation of the smoothing in frames: half is left of what moves at 3 Hz
_STEADY = 1.5
# Blinks and glances are quick and seen well
_QUICK = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("eyeBlink", "eyeLook"))]


@lru_cache(maxsize=1)
def upper_face() -> list[int]:
    """Points above the mouth, without lids and irises: those follow the blinks and glances that they are told."""
    height = canonical_points()[:, 1]
    told = {*LID_PAIRS.ravel().tolist(), *RIGHT_IRIS, *LEFT_IRIS}
    return [i for i in np.flatnonzero(height > height[RIGHT_EYE[0]] - _EDGE).tolist() if i not in told]


@lru_cache(maxsize=1)
def _upper_share() -> Array:
    """How much of each point is set, ``[478]``: 1 on :func:`upper_face`, 0 at the mouth and on lids and irises."""
    height = canonical_points()[:, 1]
    edge = height[RIGHT_EYE[0]] - _EDGE
    share = np.clip(1 + (height - edge) / _FADE, 0, 1)
    share[[*LID_PAIRS.ravel().tolist(), *RIGHT_IRIS, *LEFT_IRIS]] = 0
    return share.astype(np.float32)


@lru_cache(maxsize=1)
def _fit() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthonormal basis of the shapes, ``[1434 + 52, 52]``, and the triangular matrix that leads to them."""
    shapes = arkit_shapes().reshape(len(arkit_shapes()), -1).T.astype(np.float64)
    basis, triangle = np.linalg.qr(np.vstack([shapes, _RIDGE * np.eye(shapes.shape[1])]))
    return basis, triangle


def shown_by_shapes(displacement: Array) -> Array:
    """Displacements ``[F, 478, 3]`` with those above the mouth as the nearest mixture of ARKit's shapes has them.

    Weights are those of least squares over the whole face, none below 0 (Lawson and Hanson, 1974), smoothed in time but
    for blinks and glances. Lids, irises, mouth and jaw stay as they are.
    """
    basis, triangle = _fit()
    shapes = arkit_shapes().reshape(len(triangle), -1)
    points = displacement.reshape(len(displacement), -1)
    weights = np.array([nnls(triangle, row)[0] for row in points.astype(np.float64) @ basis[: points.shape[1]]])
    steady = gaussian_filter1d(weights, _STEADY, axis=0, mode="nearest")
    steady[:, _QUICK] = weights[:, _QUICK]
    fitted = (steady.astype(np.float32) @ shapes).reshape(displacement.shape)
    return np.asarray(displacement + _upper_share()[:, None] * (fitted - displacement), np.float32)
