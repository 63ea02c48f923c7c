"""Expressions that are no mixture of emotions, laid over the motion as displacements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from mooe.face.topology import arkit_to_displacement
from mooe.motion.lips import keep_apart, lip_gap, shut_lips

Array = NDArray[np.float32]

# Gap of the lips' middle, in eye distances, from which on they do not touch
_TOUCHING = 0.012
# Scaled energy (see `mooe.audio.prosody`) of quiet and of clear speech
_QUIET, _CLEAR = 0.4, 0.8
SPEECH_REACH = 3  # frames: the silence of a p is speech


def speech_activity(energy: Array) -> Array:
    """Whether somebody speaks, from the energy of the prosody; ``[F]`` -> ``[F]`` in [0, 1]."""
    level = np.clip((energy - _QUIET) / (_CLEAR - _QUIET), 0, 1)
    return maximum_filter1d(level, 2 * SPEECH_REACH + 1).astype(np.float32)


def add_expression(displacement: Array, arkit: Array, speaking: Array) -> Array:
    """Lay ARKit weights over a motion.

    Lips that speech shuts stay shut, whatever the weights do to them; in silence the weights have their way.

    Args:
        displacement: ``[F, 478, 3]`` in the head frame, eye distances.
        arkit: weights ``[F, 52]``.
        speaking: ``[F]`` in [0, 1], from `speech_activity`.

    Returns:
        ``[F, 478, 3]``; frames without weights as they were.
    """
    result = displacement.copy()
    asked = arkit.any(axis=1)
    if not asked.any():
        return result
    before = displacement[asked]
    gap = lip_gap(before)[:, 2:7].max(axis=1)
    shut = np.clip(1.5 - gap / _TOUCHING, 0, 1) * speaking[asked]
    moved = before + arkit_to_displacement(arkit[asked])
    result[asked] = keep_apart(shut_lips(moved, shut.astype(np.float32)))
    return result
