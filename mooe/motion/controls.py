"""What the video UNet is told of each frame besides the sound: a vector of controls, and how gaze follows the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

NUM_CONTROLS = 10
INTENSITY = 0  # column of the emotion's strength
# Brings each control to about unit variance
_SCALE = np.array([2.0, 5.0, 10.0, 10.0, 20.0, 20.0, 20.0, 30.0, 30.0, 30.0], np.float32)


@dataclass
class Controls:
    """Controls of F frames.

    Attributes:
        intensity: strength of the emotion, ``[F]`` in [0, 1].
        blink: lid closing, ``[F]`` in [0, 1].
        gaze: looking to the viewer's right and up, relative to the viewer, ``[F, 2]`` in ARKit weight.
        rotation: head rotation from the portrait's own pose, rotation vectors ``[F, 3]`` in radians.
        translation: head translation, ``[F, 3]`` in eye distances.
    """

    intensity: Array
    blink: Array
    gaze: Array
    rotation: Array
    translation: Array

    def stack(self) -> Array:
        """The scaled control vectors, float32 ``[F, 10]``."""
        columns = [self.intensity[:, None], self.blink[:, None], self.gaze, self.rotation, self.translation]
        stacked: Array = np.concatenate(columns, 1).astype(np.float32) * _SCALE
        return stacked


# An eyeLook weight of 1 is a turn of about half a radian
RADIANS_PER_WEIGHT = 0.5


def counter_turn(rotation: Array) -> Array:
    """How the eyes turn in a head that turns while they keep their aim, right and up ``[F, 2]`` in eyeLook weight.

    A rotation vector's y component turns the face to the viewer's right, its x component downwards.
    """
    counter: Array = np.stack([-rotation[:, 1], rotation[:, 0]], 1) / RADIANS_PER_WEIGHT
    return counter


def eye_in_head(gaze: Array, rotation: Array) -> Array:
    """Eye-in-head direction that holds the gaze while the head turns (vestibulo-ocular reflex), ``[F, 2]``."""
    held: Array = np.clip(gaze + counter_turn(rotation), -0.6, 0.6).astype(np.float32)
    return held


def gaze_weights(direction: Array) -> dict[str, Array]:
    """Eye-in-head direction ``[F, 2]`` -> the eight eyeLook weights, each ``[F]``."""
    right, up = direction[:, 0], direction[:, 1]
    to_right, to_left = np.maximum(right, 0), np.maximum(-right, 0)
    rise, fall = np.maximum(up, 0), np.maximum(-up, 0)
    # the viewer's right is the person's left
    return {
        "eyeLookOutLeft": to_right, "eyeLookInRight": to_right, "eyeLookInLeft": to_left, "eyeLookOutRight": to_left,
        "eyeLookUpLeft": rise, "eyeLookUpRight": rise, "eyeLookDownLeft": fall, "eyeLookDownRight": fall,
    }  # fmt: skip
