"""Upright squares around a face, as the judges were trained to see it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.errors import PortraitError
from mooe.face.regions import LEFT_EYE, RIGHT_EYE


def cut_square(image: NDArray[np.uint8], center: tuple[float, float], side: float, size: int) -> NDArray[np.float32]:
    """Cut a square out of an image and resample it without aliasing.

    Args:
        image: uint8 RGB [height, width, 3].
        center: x, y in landmark pixels (column i covers [i, i + 1)).
        side: side of the square in pixels; beyond the image its border pixels are repeated.
        size: side of the result.

    Returns:
        float32 [size, size, 3] in [0, 255].

    Raises:
        PortraitError: the square has no area.
    """
    if not side > 1.0:
        raise PortraitError("The face is too small to judge: use a picture with a larger face.")
    factor = size / side
    if factor < 0.95:
        # A box filter's worth of blur before taking every (1 / factor)-th pixel.
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 * (1.0 / factor - 1.0) + 0.05), np.uint8)
    x, y = center[0] - 0.5, center[1] - 0.5  # landmark pixels to pixel indices
    middle = (size - 1) / 2
    matrix = np.array([[factor, 0.0, middle - x * factor], [0.0, factor, middle - y * factor]])
    square = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(square, np.float32)


def eye_line(landmarks: NDArray[np.floating]) -> tuple[NDArray[np.floating], float]:
    """Middle (x, y) between the outer eye corners and their distance, depth included, in pixels.

    Args:
        landmarks: [478, 3] in pixels.
    """
    right, left = landmarks[RIGHT_EYE[0]], landmarks[LEFT_EYE[0]]
    return (right[:2] + left[:2]) / 2, float(np.linalg.norm(right - left))
