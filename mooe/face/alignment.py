"""Scaled-orthographic alignment between image landmarks and the head frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mooe.errors import NoFaceError
from mooe.face.regions import LEFT_EYE, RIGHT_EYE, RIGID
from mooe.face.topology import canonical_points

Float = NDArray[np.float32]
_FLIP = np.array([1.0, -1.0, -1.0], np.float32)  # image axes (right, down, away) <-> head axes (right, up, near)
_RIGHT_CORNER, _LEFT_CORNER = RIGHT_EYE[0], LEFT_EYE[0]


def rotation_matrix(vector: NDArray[np.floating]) -> Float:
    """Rotation vector ``[3]`` in radians -> float32 matrix ``[3, 3]`` (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3, dtype=np.float32)
    x, y, z = np.asarray(vector, np.float64) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).astype(np.float32)


def rotation_vector(matrix: NDArray[np.floating]) -> Float:
    """Rotation matrix ``[3, 3]`` -> rotation vector ``[3]`` in radians."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(np.asarray(matrix, np.float64)).as_rotvec().astype(np.float32)


@dataclass(frozen=True)
class HeadAlignment:
    """Where a head stands in an image: ``image = scale * flip(rotation @ head) + translation``.

    Attributes:
        rotation: float32 ``[3, 3]``, head frame to the camera's axes (x right, y up, z to the camera).
        scale: pixels per head-frame unit (the person's own outer eye-corner distance).
        translation: float32 ``[3]`` in image axes (x right, y down, z away), pixels: the image of the head
            frame's origin.
    """

    rotation: Float
    scale: float
    translation: Float

    @classmethod
    def from_landmarks(cls, landmarks: Float) -> HeadAlignment:
        """Fit to image landmarks ``[478, 3]`` (pixels; x right, y down, z away) by Procrustes on the rigid points.

        The scale is then set so that the outer eye corners are one unit apart.

        Raises:
            NoFaceError: when the landmarks fall together in a point.
        """
        points = landmarks.astype(np.float64) * _FLIP
        canonical = canonical_points().astype(np.float64)
        rigid = list(RIGID)
        source, target = canonical[rigid], points[rigid]
        source_mean, target_mean = source.mean(0), target.mean(0)
        u, singular, vt = np.linalg.svd((source - source_mean).T @ (target - target_mean))
        sign = np.array([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
        rotation = vt.T @ np.diag(sign) @ u.T
        corner = rotation.T @ (points[_LEFT_CORNER] - points[_RIGHT_CORNER])
        fitted = float((singular * sign).sum() / ((source - source_mean) ** 2).sum())
        # Depth is the tracker's guess, so the eye distance is taken across the face only, near the fitted size.
        scale = float(np.clip(corner[0], fitted * 0.85, fitted * 1.15))
        if not scale > 1e-3:
            raise NoFaceError("The face is too small to use: choose a picture with a larger face.")
        translation = (target_mean - scale * rotation @ source_mean) * _FLIP
        return cls(rotation.astype(np.float32), scale, translation.astype(np.float32))

    def to_head(self, landmarks: Float) -> Float:
        """Image points ``[..., 3]`` in pixels -> head frame ``[..., 3]``."""
        head = ((landmarks - self.translation) * _FLIP / np.float32(self.scale)) @ self.rotation
        return np.asarray(head, np.float32)

    def to_image(self, points: Float) -> Float:
        """Head-frame points ``[..., 3]`` -> image ``[..., 3]`` in pixels (x right, y down, z away)."""
        return (np.float32(self.scale) * (points @ self.rotation.T) * _FLIP + self.translation).astype(np.float32)

    def transformed(self, factor: float, offset: tuple[float, float]) -> HeadAlignment:
        """The alignment in an image whose pixel coordinates are ``factor * (x - offset)``."""
        shift = np.array([offset[0], offset[1], 0.0], np.float32)
        return HeadAlignment(self.rotation, self.scale * factor, (self.translation - shift) * np.float32(factor))
