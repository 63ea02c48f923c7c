"""Where one part of a face comes to lie before another, as a jaw before the neck: fine edges."""

from __future__ import annotations

import cv2
import numpy as np

from mooe.decoder.background import LayeredPhoto
from mooe.decoder.compensation import RenderMaps
from mooe.decoder.images import Float, Image, enlarge_part
from mooe.decoder.mesh import MovedMesh

_JUMP = 1.2  # frame pixels that neighbours' sources lie further apart than they do, where one hides what is between
_OPENINGS = 2  # from this region on: mouth, eyes and lids have edges of their own
_FINENESS = 2
_ENLARGED = 1.2  # up to here a frame's own pixels are fine enough
_LEAST = 0.05
_ROW = 256


def fold_weight(maps: RenderMaps) -> Float | None:
    """Where a frame's flow jumps, the pixels on both sides as 1, float32 ``[size, size]``; None if it does nowhere."""
    x, y = cv2.split(maps.flow)
    jumps = np.zeros(maps.region.shape, np.uint8)
    across = np.maximum(np.abs(x[:, 1:] - x[:, :-1] - 1), np.abs(y[:, 1:] - y[:, :-1])) > _JUMP
    down = np.maximum(np.abs(x[1:] - x[:-1]), np.abs(y[1:] - y[:-1] - 1)) > _JUMP
    for part, found in ((np.s_[:, :-1], across), (np.s_[:, 1:], across), (np.s_[:-1], down), (np.s_[1:], down)):
        jumps[part] |= found
    jumps[cv2.dilate((maps.region >= _OPENINGS).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0] = 0
    return jumps.astype(np.float32) if jumps.any() else None


def draw_folds(
    frame: Image, layers: LayeredPhoto, flow: Float, maps: RenderMaps, moved: MovedMesh, window: Float, factor: float
) -> None:
    """Draw again in place where the flow jumps, from the mesh itself.

    The flow has one sample a frame pixel. Between two that lie apart in the photograph, a canvas that is larger than
    the frame would show steps.

    Args:
        frame: the canvas uint8 ``[h, w, 3]``.
        layers: the photograph on the canvas.
        flow: the frame's backward flow ``[size, size, 2]``.
        maps: what geometry alone made of the frame.
        moved: the frame's mesh.
        window: ``[size, size, 1]``, the share of the mesh's motion that is kept.
        factor: canvas pixels per frame pixel.
    """
    weight = fold_weight(maps) if factor > _ENLARGED else None
    if weight is None:
        return
    found = np.argwhere(weight)
    # the weight is interpolated as the flow is: to the next pixel's middle
    low, high = (found.min(0) - 0.5) * factor, (found.max(0) + 1.5) * factor
    top, left = np.maximum(low, 0).astype(int)
    shape = tuple(np.minimum(np.ceil(high).astype(int), frame.shape[:2]) - (top, left))
    part = slice(top, top + shape[0]), slice(left, left + shape[1])
    share, residual, kept = (enlarge_part(one, factor, *part) for one in (weight, flow - maps.flow, window))
    rows, columns = np.nonzero(share > _LEAST)
    if not len(rows):
        return
    finer = (shape[0] * _FINENESS, shape[1] * _FINENESS)
    fine, _ = moved.rasterize(finer, (float(left), float(top)), factor, _FINENESS)
    fine = fine.reshape(shape[0], _FINENESS, shape[1], _FINENESS, 2)[rows, :, columns]
    step = (np.arange(_FINENESS, dtype=np.float32) + np.float32(0.5)) / _FINENESS - np.float32(0.5)
    across, down = (places.astype(np.float32)[:, None, None] for places in (columns + left, rows + top))
    own = np.stack(np.broadcast_arrays(across + step, down + step[:, None]), -1)
    move = fine - own
    move *= kept[rows, columns][:, None, None, None]
    move += np.float32(factor) * residual[rows, columns][:, None, None]
    samples = _sampled(layers, (own + move).reshape(-1, 2)).reshape(len(rows), -1, 4)
    distance = np.maximum(np.abs(move[..., 0]), np.abs(move[..., 1]))
    person, far = (np.einsum(how, x) / _FINENESS**2 for how, x in (("nsc->nc", samples), ("nij->n", distance)))
    drawn = layers.composed(person, far, rows + top, columns + left)
    before = frame[rows + top, columns + left].astype(np.float32)
    frame[rows + top, columns + left] = np.rint(before + (drawn - before) * share[rows, columns][:, None])


def _sampled(layers: LayeredPhoto, at: Float) -> Float:
    """The person at places ``[N, 2]`` (pixel indices), float32 ``[N, 4]``."""
    # OpenCV takes no row longer than 32,767
    grid = np.pad(at, ((0, -len(at) % _ROW), (0, 0))).reshape(-1, _ROW, 2)
    return layers.fine.sample_layer(grid).reshape(-1, 4)[: len(at)].astype(np.float32)
