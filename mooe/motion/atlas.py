"""The atlas: a fixed unfolded face on which the displacements of the 478 points become a small image.

Lips and lids lie apart on it, so that neighbouring texels belong to skin that moves together. Reading a point is
bilinear sampling; writing is its regularised least-squares inverse, smooth where no point lies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mooe.face.topology import arkit_to_displacement, arkit_vector, canonical_points, region_weight

# An expression with lips and lids well apart, in ARKit weights
_LAYOUT = {"jawOpen": 0.5, "mouthFunnel": 0.2, "eyeWide": 1.0}
_MARGIN = 0.94
_SMOOTHNESS = 1e-2


def atlas_positions() -> NDArray[np.float64]:
    """Where the points lie on the atlas: ``[478, 2]`` in [-1, 1], x to the right and y down."""
    points = (canonical_points() + arkit_to_displacement(arkit_vector(_LAYOUT)))[:, :2].astype(np.float64)
    points[:, 1] *= -1
    low, high = points.min(0), points.max(0)
    return ((points - low) / (high - low) * 2 - 1) * _MARGIN


def sampling_matrix(size: int) -> NDArray[np.float64]:
    """Bilinear reading of the points from a ``size`` x ``size`` map (align_corners=False): ``[478, size * size]``."""
    position = (atlas_positions() + 1) / 2 * size - 0.5
    corner = np.floor(position).astype(int)
    share = position - corner
    matrix = np.zeros((len(position), size * size))
    rows = np.arange(len(position))
    for right in (0, 1):
        for below in (0, 1):
            column = np.clip(corner[:, 0] + right, 0, size - 1)
            line = np.clip(corner[:, 1] + below, 0, size - 1)
            weight = np.abs(1 - right - share[:, 0]) * np.abs(1 - below - share[:, 1])
            np.add.at(matrix, (rows, line * size + column), weight)
    return matrix


def writing_matrix(size: int) -> NDArray[np.float64]:
    """Least-squares inverse of :func:`sampling_matrix`, smooth between the points: ``[size * size, 478]``."""
    sampling = sampling_matrix(size)
    index = np.arange(size * size).reshape(size, size)
    roughness = np.zeros((size * size, size * size))
    for a, b in ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:])):
        for i, j in zip(a.ravel(), b.ravel(), strict=True):
            roughness[i, i] += 1
            roughness[j, j] += 1
            roughness[i, j] -= 1
            roughness[j, i] -= 1
    system = sampling.T @ sampling + _SMOOTHNESS * roughness + 1e-9 * np.eye(size * size)
    return np.asarray(np.linalg.solve(system, sampling.T), np.float64)


def region_map(weights: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """A weight for each point ``[478]`` -> a map ``[size, size]`` with the weight of the nearest point."""
    centers = (np.arange(size) + 0.5) / size * 2 - 1
    grid = np.stack(np.meshgrid(centers, centers), -1).reshape(-1, 1, 2)
    nearest = ((grid - atlas_positions()[None]) ** 2).sum(-1).argmin(1)
    return weights[nearest].reshape(size, size).astype(np.float32)


def mouth_mask(latent_size: int) -> NDArray[np.float32]:
    """Places of the latent that hold the mouth and jaw, float32 ``[h, w]`` of 0 and 1."""
    return (region_map(region_weight("lips", 0.35), latent_size) > 0.15).astype(np.float32)


def lower_face_mask(latent_size: int) -> NDArray[np.float32]:
    """Places of the latent level with the mouth or below it, cheeks and jaw as well, ``[h, w]`` of 0 and 1."""
    level = np.maximum.accumulate(mouth_mask(latent_size).max(1))
    return np.repeat(level[:, None], latent_size, 1)
