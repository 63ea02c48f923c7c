"""Glasses: found in the photograph, taken off the skin, and laid over the moving face as the rigid thing they are.

A warp that raises brows would bend the rims over them. A small network marks frames, bridges and temples about the
eyes; what lies under them is painted in from beside them and moves with the skin, while the glasses move with the head
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn

from mooe.decoder.images import Float, Image, blur, resize
from mooe.weights import asset_folder

HEIGHT, WIDTH = 128, 192  # of the picture that the network sees
_EYES = 112.0  # pixels between the outer eye corners in it
_CORNER = (40.0, 58.0)  # where the right eye's outer corner lies in it
_OUTER_CORNERS = (33, 263)
_SURE = 0.3  # gaps are worse than a little skin that stays
# Least share of the picture that is marked in glasses: drawn ones have .019 and more, faces without at most .004
_FEWEST = 0.008
_ROOM = 0.012  # eye distances about the marked pixels that are painted over, and from there to where the skin moves


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.norm = nn.GroupNorm(4, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = nn.functional.silu(self.second(nn.functional.silu(self.norm(self.first(x)))))
        return found


class GlassesNetwork(ModelMixin, ConfigMixin):
    """A U-Net (Ronneberger, Fischer and Brox, 2015) that marks the pixels of glasses' frames.

    Args:
        channels: width at each scale, each half as fine as the one before.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, channels: tuple[int, ...] = (12, 24, 40, 64)) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _Block(inputs, outputs, 1 if level == 0 else 2)
            for level, (inputs, outputs) in enumerate(zip((3, *channels), channels, strict=False))
        )
        self.up = nn.ModuleList(_Block(coarse + fine, fine) for fine, coarse in pairwise(channels))
        self.out = nn.Conv2d(channels[0], 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """RGB pictures ``[B, 3, 128, 192]``, 0 to 1, of :func:`eye_picture` -> logits ``[B, 1, 128, 192]``."""
        mean, deviation = pictures.mean((1, 2, 3), keepdim=True), pictures.std((1, 2, 3), keepdim=True)
        x = (pictures - mean) / (deviation + 0.02)
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
        for block, fine in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            x = block(torch.cat([nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"), fine], 1))
        logits: Tensor = self.out(x)
        return logits


@lru_cache(maxsize=1)
def _network() -> GlassesNetwork:
    network: GlassesNetwork = GlassesNetwork.from_pretrained(asset_folder("glasses"))
    return network.eval().float()


def eye_axes(landmarks: Float) -> Float:
    """Affine map ``[2, 3]`` from the network's picture to pixel indices of a photo with ``landmarks`` ``[478, 2+]``."""
    right, left = (landmarks[corner, :2] - 0.5 for corner in _OUTER_CORNERS)
    along = (left - right) / _EYES
    axes = np.array([[along[0], -along[1]], [along[1], along[0]]], np.float64)
    return np.column_stack([axes, right - axes @ np.array(_CORNER)]).astype(np.float32)


def eye_picture(photo: Image, axes: Float, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """The surroundings of the eyes as the network sees them, uint8 ``[height, width, 3]``."""
    scale = float(np.linalg.norm(axes[:, 0]))
    soft = cv2.GaussianBlur(photo, (0, 0), 0.45 * scale) if scale > 1.2 else photo
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(soft, axes, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.uint8)


def mark_glasses(photo: Image, landmarks: Float) -> Float | None:
    """Where a photo shows glasses' frames.

    Args:
        photo: uint8 ``[h, w, 3]``.
        landmarks: ``[478, 2+]`` in its pixels.

    Returns:
        float32 ``[h, w]``, 0 to 1; None if there are no glasses.
    """
    axes = eye_axes(landmarks)
    seen = torch.from_numpy(eye_picture(photo, axes)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        marked = torch.sigmoid(_network()(seen))[0, 0].numpy()
    if (marked > _SURE).mean() < _FEWEST:
        return None
    size = (photo.shape[1], photo.shape[0])
    return np.asarray(cv2.warpAffine(marked, axes, size, flags=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True)
class Glasses:
    """A portrait's glasses, and the portrait without them.

    Attributes:
        frame, native: the head crop with the glasses taken off, uint8, as of the portrait.
        frame_weight, native_weight: 1 on the glasses, falling to 0 beside them, float32 ``[h, w]``.
    """

    frame: Image
    native: Image
    frame_weight: Float
    native_weight: Float


def take_off_glasses(frame: Image, native: Image, landmarks: Float, unit: float) -> Glasses | None:
    """Find a portrait's glasses and paint them over; None if there are none.

    Args:
        frame: head crop uint8 ``[size, size, 3]``; native: the same at the picture's resolution.
        landmarks: ``[478, 2+]`` in the frame's pixels.
        unit: eye distance in the frame's pixels.
    """
    factor = native.shape[0] / frame.shape[0]
    marked = mark_glasses(native, landmarks * np.float32(factor))
    if marked is None:
        return None
    bare, weight = _paint_over(native, marked, unit * factor)
    small, small_weight = _paint_over(frame, resize(marked, frame.shape[:2]), unit)
    return Glasses(small, bare, small_weight, weight)


def _paint_over(photo: Image, marked: NDArray[np.float32], unit: float) -> tuple[Image, Float]:
    """The photo without what is marked, and a weight that is 1 wherever the two differ."""
    room = max(1, round(_ROOM * unit))
    disc, wide = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)) for r in (room, 4 * room))
    # rivets and ornaments in a rim's bends are left out of the marks
    hole = cv2.dilate(cv2.morphologyEx((marked > _SURE).astype(np.uint8), cv2.MORPH_CLOSE, wide), disc)
    bare = cv2.inpaint(photo, hole, 2 * room, cv2.INPAINT_TELEA)
    around = cv2.dilate(hole, disc, iterations=2).astype(np.float32)
    weight = np.maximum(blur(around, max(0.5 * room, 0.5)), hole)
    return np.asarray(bare, np.uint8), np.asarray(weight, np.float32)
