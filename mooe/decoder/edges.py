"""Where lids and lips meet: fine edges and the dark line between closed lips."""

from __future__ import annotations

import cv2
import numpy as np

from mooe.decoder.images import Float, Image, blur, mix, resize_bytes, sample
from mooe.decoder.mesh import MovedMesh
from mooe.decoder.neutral import LOWER_LIP, UPPER_LIP
from mooe.face.regions import LIPS_INNER

_MIDDLE_OUTER, _MIDDLE_INNER = [37, 0, 267, 84, 17, 314], [82, 13, 312, 87, 14, 317]
_LINE_WIDTH, _LINE_SOFTNESS = 0.012, 0.008  # head-frame units
_LINE_DARKNESS = 0.5
_FINENESS = 2


def canvas_box(points: Float, margin: float, factor: float, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns around frame ``points`` ``[N, 2]`` on a canvas ``factor`` times as large; None if outside."""
    low = np.maximum(((points.min(0) - margin) * factor).astype(int), 0)
    high = np.minimum(((points.max(0) + margin) * factor).astype(int) + 1, shape[1::-1])
    if (high - low).min() < 2:
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def draw_edge(
    frame: Image, photo: Image, lids: Image, lid_weight: float, ring: Float, moved: MovedMesh, factor: float
) -> None:
    """Draw an opening's edge again in place, sampled twice as finely.

    What meets at the edge lies apart in the photograph: one sample a pixel would leave a broken line.

    Args:
        frame: the canvas uint8 ``[h, w, 3]``, changed in place.
        photo: the photograph on the canvas; lids: the same without lashes, of which ``lid_weight`` is laid over.
        ring: the edge in frame pixels ``[N, 2]``.
        moved: the frame's mesh.
        factor: canvas pixels per frame pixel.
    """
    box = canvas_box(ring, 3.0 / factor, factor, frame.shape)
    if box is None:
        return
    left, top = box[1].start, box[0].start
    shape = (box[0].stop - top, box[1].stop - left)
    flow, _ = moved.rasterize((shape[0] * _FINENESS, shape[1] * _FINENESS), (left, top), factor, _FINENESS)
    drawn = sample(photo, flow)
    if lid_weight > 0:
        drawn = mix(drawn, sample(lids, flow), lid_weight)
    drawn = resize_bytes(drawn, shape)
    edge = np.zeros(shape, np.uint8)
    line = np.rint((ring * factor - (left, top) - 0.5) * 16).astype(np.int32)
    cv2.polylines(edge, [line], True, 255, 3, cv2.LINE_AA, 4)
    share = edge.astype(np.float32)[..., None] / 255
    frame[box] = np.rint(frame[box] + (drawn.astype(np.float32) - frame[box]) * share).astype(np.uint8)


def lip_line_strength(face: Float, neutral: Float, photo_opening: float) -> float:
    """How much of a dark line has to be added between the lips, 0..1.

    A photograph with an open mouth shows none, and lips that roll in take theirs with them.

    Args:
        face, neutral: driven and neutral points ``[478, 3]``, head frame.
        photo_opening: how open the photograph's mouth is, 0..1.
    """
    gap = float((face[UPPER_LIP, 1] - face[LOWER_LIP, 1]).mean())
    thickness, rest = (
        float(np.linalg.norm(points[_MIDDLE_OUTER, :2] - points[_MIDDLE_INNER, :2], axis=1).mean())
        for points in (face, neutral)
    )
    rolled = float(np.clip((0.75 - thickness / max(rest, 1e-4)) / 0.5, 0, 1))
    return max(photo_opening, rolled) * float(np.clip(1 - gap / 0.02, 0, 1))


def darken_lip_line(frame: Image, target: Float, strength: float, scale: float, factor: float) -> None:
    """Darken the line between the lips in place.

    Args:
        frame: the canvas uint8 ``[h, w, 3]``.
        target: driven points in frame pixels ``[V, 2]``.
        strength: 0..1.
        scale: frame pixels per head-frame unit; factor: canvas pixels per frame pixel.
    """
    box = canvas_box(target[list(LIPS_INNER)], 3.0, factor, frame.shape)
    if strength <= 0 or box is None:
        return
    unit = scale * factor
    # not as far as the corners, which keep their own shade
    middle = (target[UPPER_LIP] + target[LOWER_LIP])[1:-1] / 2
    line = middle * factor - (box[1].start, box[0].start) - 0.5
    shade = np.zeros(frame[box].shape[:2], np.uint8)
    fixed = np.rint(line * 16).astype(np.int32)
    cv2.polylines(shade, [fixed], False, 255, max(1, round(_LINE_WIDTH * unit)), cv2.LINE_AA, 4)
    soft = blur(shade.astype(np.float32) / np.float32(255), max(_LINE_SOFTNESS * unit, 0.6))[..., None]
    frame[box] = np.rint(frame[box] * (1 - _LINE_DARKNESS * strength * soft)).astype(np.uint8)
