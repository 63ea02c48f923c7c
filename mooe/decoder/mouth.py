"""Behind the lips: teeth, gums, tongue and dark in the portrait's own tone, and the teeth the photograph shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.mesh import pose_points
from mooe.decoder.neutral import LOWER_LIP, UPPER_LIP
from mooe.decoder.rasterizer import rasterize_shaded
from mooe.decoder.tone import PortraitTone, polygon_mask
from mooe.errors import WeightsError
from mooe.face.alignment import HeadAlignment
from mooe.face.regions import LIPS_INNER
from mooe.face.topology import canonical_points

Float = NDArray[np.float32]
UPPER_TEETH, UPPER_GUM, LOWER_TEETH, LOWER_GUM, TONGUE = range(5)
_CHIN = (152, 148, 377, 175, 199)
_HINGE = np.array([0.0, 0.02, -0.62], np.float32)  # the jaw's axis, just before the ears
_UPPER_EDGE = -0.022  # the upper front teeth end about 2 mm below the closed lips
_BEHIND_LIPS = -0.035
_SUPERSAMPLE = 2
_TOOTH_LUMA = 0.86  # of a white surface in the same light
_MIN_OPENING = 0.004  # head-frame units below which the mouth counts as shut


@dataclass(frozen=True)
class _Proxy:
    points: Float
    normals: Float
    albedo: Float
    part: NDArray[np.uint8]
    faces: NDArray[np.int32]


@lru_cache(maxsize=1)
def _proxy() -> _Proxy:
    from safetensors.numpy import load

    path = resources.files("mooe").joinpath("assets/mouth_proxy.safetensors")
    try:
        table = load(path.read_bytes())
    except FileNotFoundError as error:
        raise WeightsError("mooe/assets/mouth_proxy.safetensors is missing: reinstall mooe.") from error
    return _Proxy(
        table["points"],
        table["normals"].astype(np.float32),
        table["albedo"].astype(np.float32) / 255,
        table["part"],
        table["faces"],
    )


def jaw_angle(neutral: Float, face: Float) -> float:
    """Rotation of the lower jaw in radians, from what the chin did between two faces ``[478, 3]`` (head frame)."""
    chin = neutral[list(_CHIN)].mean(0) - _HINGE
    now = face[list(_CHIN)].mean(0) - _HINGE
    turn = np.arctan2(chin[1], chin[2]) - np.arctan2(now[1], now[2])
    return float(np.clip(turn, 0.0, 0.6))


class MouthLayer:
    """The inside of one portrait's mouth.

    Args:
        photo: head crop uint8 ``[size, size, 3]``.
        landmarks: crop landmarks ``[478, 3]`` (pixels).
        neutral: neutral face ``[478, 3]``, head frame.
        alignment: of the photograph in the crop.
        tone: the portrait's tone.
    """

    def __init__(
        self,
        landmarks: Float,
        neutral: Float,
        alignment: HeadAlignment,
        tone: PortraitTone,
    ) -> None:
        proxy = _proxy()
        self.alignment, self.neutral, self.tone = alignment, neutral, tone
        canonical = canonical_points()
        width = np.linalg.norm(neutral[61] - neutral[291]) / np.linalg.norm(canonical[61] - canonical[291])
        self._size = float(np.clip(width, 0.85, 1.2)) ** 0.5
        stomion = (neutral[13] + neutral[14]) / 2
        points = proxy.points * self._size
        upper = np.isin(proxy.part, (UPPER_TEETH, UPPER_GUM))
        points[upper, 1] += _UPPER_EDGE
        points[~upper, 2] -= 0.025
        self._points = (points + stomion + (0, 0, _BEHIND_LIPS)).astype(np.float32)
        self._lower = ~upper
        self._faces = proxy.faces
        self._colors = self._shade(proxy)
        dark = 0.10 * tone.lips + 0.02 * tone.exposure
        self._dark = tone.apply((dark * (1.0, 0.72, 0.72)).astype(np.float32))
        self._photo_lips = landmarks[list(LIPS_INNER), :2]
        self._photo_gap = float(np.ptp(alignment.to_head(landmarks)[[13, 14], 1]))

    def _shade(self, proxy: _Proxy) -> Float:
        light = np.array([0.0, 0.42, 0.91], np.float32)
        diffuse = 0.42 + 0.58 * np.clip(proxy.normals @ light, 0, 1)
        depth = proxy.points[:, 2].max() - proxy.points[:, 2]
        occlusion = np.clip(1.03 - depth / 0.36, 0.06, 1.0)
        albedo = proxy.albedo.copy()
        tooth = np.isin(proxy.part, (UPPER_TEETH, LOWER_TEETH))
        albedo[tooth] *= _TOOTH_LUMA
        color = albedo * self.tone.exposure * self.tone.white
        # gums and tongue are as red as this person's lips are
        flesh = proxy.albedo.mean(1, keepdims=True) / 0.45 * self.tone.lips
        color[~tooth] = 0.35 * color[~tooth] + 0.5 * flesh[~tooth]
        color[np.isin(proxy.part, (LOWER_TEETH, LOWER_GUM))] *= 0.86
        return self.tone.apply((color * (diffuse * occlusion)[:, None]).astype(np.float32))

    def render(
        self,
        photo: NDArray[np.uint8],
        face: Float,
        target: Float,
        rotation: Float,
        translation: Float,
        factor: float,
    ) -> tuple[slice, slice, Float, Float] | None:
        """Draw what the open lips show; nothing when they are shut.

        Args:
            photo: the crop at ``factor`` times its frame size, uint8 ``[h, w, 3]``.
            face: driven face in the head frame before the pose ``[478, 3]``.
            target: driven points in frame pixels ``[V, 2]``.
            rotation, translation: head pose.
            factor: canvas pixels per frame pixel.

        Returns:
            Rows, columns, colours float32 ``[h, w, 3]`` and coverage ``[h, w, 1]``.
        """
        gap = face[UPPER_LIP, 1] - face[LOWER_LIP, 1]
        if gap.max() < _MIN_OPENING:
            return None
        lips = target[list(LIPS_INNER)]
        low = np.maximum(np.floor(lips.min(0) * factor).astype(int) - 3, 0)
        high = np.minimum(np.ceil(lips.max(0) * factor).astype(int) + 3, (photo.shape[1], photo.shape[0]))
        if (high - low).min() < 2:
            return None
        shape = (int(high[1] - low[1]), int(high[0] - low[0]))
        polygon = lips * factor - 0.5 - low
        blur = 0.006 * self.alignment.scale * factor
        coverage = cv2.GaussianBlur(polygon_mask(polygon, shape), (0, 0), max(blur, 0.5)).astype(np.float32) / 255
        color = self._draw(face, rotation, translation, factor, low, shape)
        color *= self._lip_shade(polygon, shape, factor)
        color = self._keep_photo(photo, color, face, rotation, translation, factor, low)
        return slice(low[1], high[1]), slice(low[0], high[0]), color, coverage[..., None]

    def _draw(
        self, face: Float, rotation: Float, translation: Float, factor: float, low: NDArray[np.int64],
        shape: tuple[int, int],
    ) -> Float:  # fmt: skip
        points = self._points.copy()
        angle = jaw_angle(self.neutral, face)
        aside = float((face[list(_CHIN), 0] - self.neutral[list(_CHIN), 0]).mean())
        cosine, sine = np.cos(angle), np.sin(angle)
        jaw = points[self._lower] - _HINGE
        y, z = jaw[:, 1] * cosine - jaw[:, 2] * sine, jaw[:, 1] * sine + jaw[:, 2] * cosine
        points[self._lower] = np.stack([jaw[:, 0] + aside, y, z], 1) + _HINGE
        image = self.alignment.to_image(pose_points(points, rotation, translation))
        image[:, :2] = (image[:, :2] * factor - 0.5 - low + 0.5) * _SUPERSAMPLE - 0.5
        image[:, 2] *= -1
        big = (shape[0] * _SUPERSAMPLE, shape[1] * _SUPERSAMPLE)
        color, _ = rasterize_shaded(self._faces, image, self._colors, big, self._dark)
        return cv2.resize(color, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)

    def _lip_shade(self, polygon: Float, shape: tuple[int, int], factor: float) -> Float:
        """The lips' shadow on what is behind them, strongest under the upper lip; ``[h, w, 1]``."""
        unit = self.alignment.scale * factor
        lit = polygon + np.array([0.0, 0.020 * unit], np.float32)
        soft = cv2.GaussianBlur(polygon_mask(lit, shape), (0, 0), max(0.030 * unit, 0.8)).astype(np.float32) / 255
        return (0.30 + 0.70 * np.clip((soft - 0.25) / 0.65, 0, 1))[..., None]

    def _keep_photo(
        self, photo: NDArray[np.uint8], color: Float, face: Float, rotation: Float, translation: Float,
        factor: float, low: NDArray[np.int64],
    ) -> Float:  # fmt: skip
        """Lay the photograph's own open mouth, fixed to the skull, over the proxy."""
        return color
