"""Displacements of the face's points -> the 52 ARKit weights, by non-negative least squares."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mooe.face.topology import arkit_shapes

Array = NDArray[np.float32]

_RIDGE = 1e-3
_ITERATIONS = 150


@lru_cache(maxsize=1)
def _normal_equations() -> tuple[Array, Array, float]:
    basis = arkit_shapes().reshape(52, -1).astype(np.float64)
    gram = basis @ basis.T
    # shapes without displacement (tongueOut) must stay at 0
    gram += _RIDGE * np.eye(52) * np.trace(gram) / 52
    return basis.astype(np.float32), gram.astype(np.float32), float(np.linalg.eigvalsh(gram)[-1])


def displacement_to_arkit(displacement: Array) -> Array:
    """Displacements ``[F, 478, 3]`` -> ARKit weights ``[F, 52]`` in [0, 1].

    Accelerated projected gradient (Beck and Teboulle, 2009) on the normal equations, all frames at once.
    """
    basis, gram, largest = _normal_equations()
    target = displacement.reshape(len(displacement), -1) @ basis.T
    weights = momentum = np.zeros_like(target)
    inertia = 1.0
    for _ in range(_ITERATIONS):
        step = np.clip(momentum - (momentum @ gram - target) / largest, 0, 1)
        following = (1 + np.sqrt(1 + 4 * inertia**2)) / 2
        momentum = step + (inertia - 1) / following * (step - weights)
        weights, inertia = step, following
    return np.asarray(weights, np.float32)
