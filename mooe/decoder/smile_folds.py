"""Folds of a photographed smile, filled with the colour of the skin beside them.

When a smile goes, the folds from the nose past the corners of the mouth flatten. A photograph keeps them: they are
found as long dark lines where smiles fold, so that moles, pores and the hairs of a beard are left alone, and besides
the shade goes that smiles usually bring there. Each colour moves towards that of the skin around, so that a warm
shadow does not glow, and never beyond it, so that there are no bright streaks. And lips that a smile has stretched pale
get their colour back.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.images import (
    blur,
    enlarge_flow_part,
    local_mean,
    on_canvas,
    resize_bytes,
    sample_weight,
    shown_part,
)
from mooe.decoder.rasterizer import rasterize_polygon
from mooe.decoder.shading import canonical_pixels, expression_maps, face_flow
from mooe.decoder.tone import LUMA
from mooe.face.regions import LIPS_INNER, LIPS_OUTER

Float = NDArray[np.float32]

_FINEST = 200.0  # pixels an eye distance: finer detail is left alone
# Widths in eye distances: grain of the skin, a fold's surroundings and those of the whole furrow, the least length of a
# fold, the rim of the lips' red, the end of the face
_GRAIN, _BESIDE, _AROUND, _LENGTH, _RIM, _EDGE = 0.005, 0.06, 0.20, 0.16, 0.03, 0.02
_REACH = 0.75  # how far from the lips there are folds and what they are filled with
_DIRECTIONS = 12
_BLUSH = 0.2  # by which share lips at rest differ more from the skin than smiling ones, of three people
_SURE = 1.15  # so that a line's middle counts whole
_PLAIN = 0.6  # weight of a smile from which on the folds found are filled wholly
_DARK = 12.0  # grey levels added before the logarithm, so that black is not infinitely dark
_SHADOW = 0.15  # log luminance below its surroundings at which skin counts little as their colour
_LEAST = 0.06  # log luminance missing below which a fold is filled in part only
_SEEN = 0.5  # grey levels that would be seen


class SmileFolds:
    """What flattens the folds of one photograph's smile.

    Args:
        photo: the head crop, uint8 ``[side, side, 3]``.
        landmarks: float32 ``[478, 3]`` in its pixels.
        smile: weight of the smile that it shows.
        eye_distance: of the outer eye corners in pixels.
    """

    def __init__(self, photo: NDArray[np.uint8], landmarks: Float, smile: float, eye_distance: float) -> None:
        scale = min(1.0, _FINEST / eye_distance)
        shape = tuple(max(round(side * scale), 1) for side in photo.shape[:2])
        small = photo if scale == 1.0 else resize_bytes(photo, shape)
        lips, reach = landmarks[list(LIPS_OUTER), :2] * scale, _REACH * eye_distance * scale
        low = np.clip((lips.min(0) - reach).astype(int), 0, np.array(shape[::-1]) - 1)
        high = np.ceil(lips.max(0) + reach).astype(int)
        part = small[low[1] : high[1], low[0] : high[0]]
        moved = landmarks * np.float32(scale) - np.array([*low, 0], np.float32)
        self._side, self._corner = shape[0], low.astype(np.float32)
        self._filled = _filling(part, moved, smile, eye_distance * scale)
        seen = np.abs(self._filled).max(-1) > _SEEN
        self._there = cv2.dilate(seen.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)

    def flatten(self, frame: NDArray[np.uint8], flow: Float, share: float) -> None:
        """Fill the folds in a frame in place.

        Args:
            frame: what is drawn along ``flow``, uint8, as large as the flow or larger.
            flow: places in the head crop, ``[h, w, 2]``, pixel indices at the flow's scale.
            share: how much of the folds is filled, 0..1.
        """
        seen = sample_weight(self._there, self._places(flow, len(flow))) > 0
        factor = len(frame) / len(flow)
        box = on_canvas(shown_part(seen), factor)
        if box is None:
            return
        at = self._places(enlarge_flow_part(flow, factor, *box), len(frame))
        filled = frame[box] + sample_weight(self._filled, at) * np.float32(share)
        frame[box] = np.clip(np.rint(filled), 0, 255).astype(np.uint8)

    def _places(self, flow: Float, side: int) -> Float:
        """Where pixel indices of a head crop of ``side`` pixels lie in the maps."""
        factor = np.float32(self._side / side)
        return np.asarray((flow + np.float32(0.5)) * factor - np.float32(0.5) - self._corner, np.float32)


def _filling(photo: NDArray[np.uint8], landmarks: Float, smile: float, eye_distance: float) -> Float:
    """What is added to red, green and blue to flatten the folds wholly, ``[h, w, 3]``."""
    tables = expression_maps()
    target = (landmarks[:468, :2] - 0.5).astype(np.float32)
    depth = np.ascontiguousarray(landmarks[:468, 2], np.float32)
    size = tables["fold"].shape[-1]
    grid, face = face_flow(target, canonical_pixels(size), depth, (photo.shape[0], photo.shape[1]))
    usual, where = (sample_weight(table, grid) for table in (tables["ratio"][0], tables["fold"]))
    usual = usual * where  # beyond the folds it is people's mean, and takes likeness away
    pixels = photo.astype(np.float32)
    smooth = blur(pixels, _GRAIN * eye_distance)
    logs, raw = (np.log(image @ LUMA + _DARK) for image in (smooth, pixels))
    outer, inner = (
        rasterize_polygon(landmarks[list(ring), :2] - 0.5, face.shape) for ring in (LIPS_OUTER, LIPS_INNER)
    )
    skin = face * (1 - np.clip(blur(outer, _RIM * eye_distance), 0, 1)) ** 2
    for _ in range(2):  # folds are no part of what lies beside them
        beside = local_mean(logs, skin, _BESIDE * eye_distance)
        valley = np.maximum(beside - logs, 0)
        skin = skin * np.exp(-valley / _SHADOW)
    around = np.dstack([local_mean(pixels[..., channel], skin, _AROUND * eye_distance) for channel in range(3)])
    goal = np.log(around @ LUMA + _DARK)
    line = min(smile / _PLAIN, 1.0) * where * _long(valley, eye_distance)
    line = np.clip(line * np.maximum(beside - raw, 0) / np.maximum(goal - raw, _LEAST), 0, 1)
    shade = np.clip(-smile * usual / np.maximum(goal - logs, _LEAST), 0, 1)
    line, shade = line[..., None], shade[..., None]
    filled = line * (around - pixels) + (1 - line) * shade * (around - smooth)
    filled = np.minimum(filled, np.maximum(around - pixels, 0))
    lit = pixels * (np.exp(-smile * np.maximum(usual, 0))[..., None] - 1)
    lips = blur(outer * (1 - inner), _GRAIN * eye_distance)[..., None]
    blush = _BLUSH * min(smile / _PLAIN, 1.0) * lips * np.minimum(pixels - around, 0)
    soft = blur(face, _EDGE * eye_distance) * face
    return np.asarray(soft[..., None] * (filled + (1 - line) * lit + blush), np.float32)


def _long(valley: Float, eye_distance: float) -> Float:
    """How much of a dark place belongs to a line that is long in some direction, ``[h, w]`` in 0..1."""
    half = max(round(_LENGTH * eye_distance / 2), 1)
    lines = np.zeros_like(valley)
    for angle in np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        x, y = round(half * np.cos(angle)), round(half * np.sin(angle))
        line = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
        cv2.line(line, (half - x, half - y), (half + x, half + y), 1)
        lines = np.maximum(lines, cv2.morphologyEx(valley, cv2.MORPH_OPEN, line))
    return np.minimum(_SURE * blur(lines / (valley + 1e-3), _GRAIN * eye_distance), 1)
