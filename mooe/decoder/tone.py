"""The portrait's own tone: exposure, white balance and colourfulness, for what the photograph does not show."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.rasterizer import rasterize_polygon
from mooe.face.regions import FACE_OVAL, LEFT_EYE, LEFT_IRIS, LIPS_INNER, LIPS_OUTER, RIGHT_EYE, RIGHT_IRIS

Float = NDArray[np.float32]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_CHEEKS = (205, 425, 50, 280, 207, 427, 187, 411, 200, 199)  # skin around the mouth
_SKIN = np.array([1.32, 1.0, 0.80], np.float32)  # skin in white light, relative to green
_TONED_RESIDUAL = 1.5, 3.0  # chroma left unexplained by lightness (Lab units) in a toned and in a colour photograph


@dataclass(frozen=True)
class PortraitTone:
    """What light the portrait stands in.

    Attributes:
        exposure: luma that a matt white surface in the mouth's place would have, 0..255.
        white: float32 ``[3]``, colour of the light, mean 1.
        lips: float32 ``[3]``, median RGB of the lips.
        skin: float32 ``[3]``, median RGB around the mouth.
        chroma: 1 in a colour photograph, 0 in a grey or toned one.
        toning: float32 ``[256, 2]``, Lab a and b by lightness of a grey, sepia or blue print (0 for grey).
    """

    exposure: float
    white: Float
    lips: Float
    skin: Float
    chroma: float
    toning: Float

    @classmethod
    def measure(cls, image: NDArray[np.uint8], landmarks: Float) -> PortraitTone:
        """Measure a head crop uint8 ``[h, w, 3]`` with its landmarks ``[478, 3]`` in pixels."""
        points = landmarks[:, :2] - 0.5
        eye_distance = float(np.linalg.norm(points[33] - points[263]))
        skin = _median(image, _discs(points, _CHEEKS, 0.05 * eye_distance, image.shape[:2]), (128, 128, 128))
        lips_mask = rasterize_polygon(points[list(LIPS_OUTER)], image.shape[:2])
        lips_mask = lips_mask - rasterize_polygon(points[list(LIPS_INNER)], image.shape[:2])
        lips = _median(image, lips_mask > 0.8, tuple(skin))
        sclera = _sclera(image, points)
        skin_luma = float(skin @ LUMA)
        sclera_luma = float(sclera @ LUMA) if sclera is not None else skin_luma
        exposure = float(np.clip(max(1.15 * sclera_luma, 1.20 * skin_luma), 30, 240))
        # the colour of the light, as far as skin and eye whites tell
        white = np.asarray(skin / _SKIN, np.float32)
        white /= max(float(white @ LUMA), 1e-3)
        if sclera is not None:
            white = 0.5 * white + 0.5 * sclera / max(float(sclera @ LUMA), 1.0)
        white = 0.4 + 0.6 * white
        chroma, toning = _toning(image, points)
        return cls(exposure, np.clip(white, 0.92, 1.10).astype(np.float32), lips, skin, chroma, toning)

    def apply(self, color: Float) -> Float:
        """Bring RGB colours ``[..., 3]`` (0..255) to the photograph's toning; colour photographs are left alone."""
        if self.chroma >= 1.0:
            return color
        luma = np.clip(color @ LUMA, 0, 255)
        lab = np.concatenate([luma[..., None], self.toning[luma.astype(np.int64)] + 128], -1)
        flat = np.clip(np.rint(lab), 0, 255).astype(np.uint8).reshape(1, -1, 3)
        # lightness and luma differ a little: only the chroma is taken
        toned = cv2.cvtColor(flat, cv2.COLOR_LAB2RGB).reshape(color.shape).astype(np.float32)
        toned += (luma - toned @ LUMA)[..., None]
        return np.asarray(color * self.chroma + toned * (1 - self.chroma), np.float32)


def _discs(
    points: NDArray[np.floating], members: tuple[int, ...], radius: float, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], np.uint8)
    for x, y in points[list(members)]:
        cv2.circle(mask, (round(float(x)), round(float(y))), max(1, int(radius)), 255, -1)
    return mask > 0


def _median(image: NDArray[np.uint8], mask: NDArray[np.bool_], fallback: tuple[float, ...]) -> Float:
    pixels = image[mask]
    if len(pixels) < 4:
        return np.array(fallback, np.float32)
    return np.median(pixels, 0).astype(np.float32)


def _sclera(image: NDArray[np.uint8], points: NDArray[np.floating]) -> Float | None:
    found = []
    for ring, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        mask = rasterize_polygon(points[list(ring)], image.shape[:2]) > 0.99
        centre = points[iris[0]]
        radius = float(np.linalg.norm(points[list(iris[1:])] - centre, axis=1).mean())
        rows, columns = np.nonzero(mask)
        keep = np.hypot(columns - centre[0], rows - centre[1]) > 1.15 * radius
        pixels = image[rows[keep], columns[keep]].astype(np.float32)
        if len(pixels) >= 6:
            luma = pixels @ LUMA
            found.append(pixels[luma >= np.quantile(luma, 0.7)].mean(0))
    return np.mean(found, 0).astype(np.float32) if found else None


def _toning(image: NDArray[np.uint8], points: NDArray[np.floating]) -> tuple[float, Float]:
    mask = rasterize_polygon(points[list(FACE_OVAL)], image.shape[:2]) > 0.5
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 1.0), cv2.COLOR_RGB2LAB)[mask].astype(np.float32)
    lightness, ab = lab[:, 0], lab[:, 1:] - 128
    edges = np.arange(0, 257, 16)
    sums = np.stack([np.histogram(lightness, edges, weights=ab[:, k])[0] for k in range(2)], 1)
    counts = np.histogram(lightness, edges)[0]
    used = counts > 8
    if not used.any():
        return 1.0, np.zeros((256, 2), np.float32)
    centres = edges[:-1][used] + 8
    means = sums[used] / counts[used][:, None]
    toning = np.stack([np.interp(np.arange(256), centres, means[:, k]) for k in range(2)], 1).astype(np.float32)
    residual = float(np.sqrt(np.mean((ab - toning[lightness.astype(np.int64)]) ** 2)))
    low, high = _TONED_RESIDUAL
    return float(np.clip((residual - low) / (high - low), 0, 1)), toning
