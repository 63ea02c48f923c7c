"""Light on a face that turns: it stays where it is while the head and the skin move under it.

A photograph's shading moves with the pixels that carry it, so a face that turns towards the window stays as dark as it
was. The light is read from the photograph, as luminance that is linear in the direction the skin faces (spherical
harmonics of first order, Ramamoorthi and Hanrahan, 2001), and each frame is multiplied by the ratio of what it would
give on the moved face and what it gives on the photographed one (quotient images, Shashua and Riklin-Raviv, 2001).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from mooe.decoder.images import blur, resize, sample_weight
from mooe.decoder.rasterizer import rasterize_flow, wound_alike
from mooe.decoder.tone import LUMA
from mooe.face.regions import FACE_OVAL, LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE
from mooe.face.topology import face_triangles

Float = NDArray[np.float32]
_FACE_POINTS = 468
_EYES = (*RIGHT_EYE, *LEFT_EYE)
_NOT_SKIN = (*LIPS_INNER, *LIPS_OUTER, *_EYES, *RIGHT_BROW, *LEFT_BROW)
_GRAIN = 0.04  # eye distances over which skin is averaged where its luminance is read
_RIDGE = 0.02  # against a light that follows the colours of the skin
_DARKEST = 0.25  # of the usual luminance; shades are never wholly black
_STRENGTH = 1.2  # tracked faces are smoother than faces are: on four films of people slopes were 1.1 to 2.2
_MOST = 0.35  # log luminance
_DARK = 4.0  # luminance below which noise would rule the logarithms
_FEW = 0.01  # variance of log luminance: skin that is hardly shaded tells little of the shade's colour
_COLORS = 0.7, 1.4
_AWAY = 0.15, 0.45  # cosines to the line of sight between which a direction begins to be trusted
_RINGS = ((1.3, 0.6), (1.8, 0.0))  # times the outline's size, and the share of its change that is left there
_BLOWN = 205.0, 250.0  # luminance
_BLOWN_KEPT = 0.7


@lru_cache(maxsize=1)
def _neighbours() -> csr_matrix:
    """Each point and those it shares an edge with, in equal shares: ``[468, 468]``."""
    near = np.eye(_FACE_POINTS, dtype=np.float32)
    for corners in face_triangles():
        near[np.ix_(corners, corners)] = 1
    return csr_matrix(near / near.sum(1, keepdims=True))


@lru_cache(maxsize=1)
def _directions() -> csr_matrix:
    """Vertex normals from those of the triangles: ``[468, T]``, means over the neighbours' neighbours."""
    triangles = face_triangles()
    touches = np.zeros((_FACE_POINTS, len(triangles)), np.float32)
    for number, corners in enumerate(triangles):
        touches[corners, number] = 1
    return csr_matrix(_neighbours() @ _neighbours() @ touches)


@lru_cache(maxsize=1)
def _nearby() -> csr_matrix:
    """Means over a wider neighbourhood: ``[468, 468]``."""
    return _neighbours() ** 4


@lru_cache(maxsize=1)
def _lids() -> NDArray[np.intp]:
    """Points about the eyes whose directions the lids' edges have a part in."""
    return np.flatnonzero((_neighbours() ** 2)[:, list(_EYES)].sum(1))


def face_normals(points: Float) -> Float:
    """Directions the skin faces, ``[468, 3]`` of length 1: x right, y up, z towards the viewer.

    Args:
        points: landmarks in an image, ``[N, 3]`` in pixels: x right, y down, z away.
    """
    corners = (points[:_FACE_POINTS] * np.array([1, -1, -1], np.float32))[face_triangles()]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = _directions() @ flat
    normals *= np.sign(np.median(normals[:, 2])) or 1.0
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6), np.float32)


def read_light(luminance: Float, normals: Float, weight: Float) -> Float:
    """Light ``[4]`` whose luminance ``light[0] + normals @ light[1:]`` is nearest to that of points ``[N]``."""
    terms = np.concatenate([np.ones((len(normals), 1)), normals], 1)
    weighted = terms * weight[:, None]
    ridge = np.diag([0.0, 1.0, 1.0, 1.0]) * _RIDGE * weight.sum()
    # without a point that counts there is no light either
    return np.asarray(np.linalg.lstsq(weighted.T @ terms + ridge, weighted.T @ luminance, rcond=None)[0], np.float32)


def shade_colors(colors: Float, weight: Float) -> Float:
    """How much of a change of log luminance red, green and blue take, ``[3]``: skin in the shade is redder.

    Args:
        colors: of points of the skin, ``[N, 3]`` in 0..255.
        weight: of the points, ``[N]``.
    """
    share = weight / max(float(weight.sum()), 1e-6)
    logs = np.log(np.concatenate([colors @ LUMA[:, None], colors], 1) + _DARK)
    logs -= share @ logs
    luma, channels = logs[:, 0], logs[:, 1:]
    slopes = ((share * luma) @ channels + _FEW) / (share @ luma**2 + _FEW)
    return np.asarray(np.clip(slopes, *_COLORS), np.float32)


class Relighting:
    """How one portrait's skin gets lighter and darker as it moves in the light of the photograph.

    Args:
        photo: the head crop, uint8 ``[size, size, 3]``.
        landmarks: float32 ``[478, 3]`` in its pixels.
        eye_distance: of the outer eye corners in pixels.

    Attributes:
        colors: float32 ``[3]``, how much of a change of log luminance red, green and blue take.
    """

    def __init__(self, photo: NDArray[np.uint8], landmarks: Float, eye_distance: float) -> None:
        points = landmarks[:_FACE_POINTS]
        normals = face_normals(points)
        soft = blur(photo.astype(np.float32), _GRAIN * eye_distance)
        luminance = soft @ LUMA
        at = np.ascontiguousarray(points[:, :2] - 0.5, np.float32)
        skin = _trust(normals)
        skin[list(_NOT_SKIN)] = 0
        self._light = read_light(sample_weight(luminance, at[None])[0], normals, skin)
        self.colors = shade_colors(sample_weight(soft, at[None])[0], skin)
        self._least = _DARKEST * max(float(np.median(self._light[0] + normals @ self._light[1:])), 1.0)
        self._seen = _trust(normals)
        self._seen[_lids()] = 0  # they fold away as they open, which a mesh does not
        self._log_rest = self._log(normals)
        # light changes slowly over a face: half as fine a map is enough
        self._points, self._shares = _with_rings(np.asarray((at + 0.5) / 2 - 0.5, np.float32))
        depth = -points[:, 2]
        self._depth = np.concatenate([depth, np.full(len(self._points) - len(depth), depth.min())]).astype(np.float32)
        self._triangles = _triangles(self._points)
        self._shape = (photo.shape[0] // 2, photo.shape[1] // 2)
        # what is blown out has no colour that darker light could show
        blown = np.clip((luminance - _BLOWN[0]) / (_BLOWN[1] - _BLOWN[0]), 0, 1)
        self._color = (1 - _BLOWN_KEPT * blown).astype(np.float32)

    def log_gain(self, points: Float) -> Float:
        """Log luminance to add to each pixel of the photograph before it is warped, ``[size, size]``.

        It goes on beyond the face, over hair and ears and what is behind them, and ends there.

        Args:
            points: the moved landmarks in the frame, ``[N, 3]`` in pixels; nothing is added where they are the
                photograph's.
        """
        normals = face_normals(points)
        change = _STRENGTH * (self._log(normals) - self._log_rest)
        trust = np.minimum(self._seen, _trust(normals))
        near = _nearby()
        around = near @ (trust * change) / np.maximum(near @ trust, 1e-3)
        change = _MOST * np.tanh((trust * change + (1 - trust) * around) / _MOST)
        beyond = np.tile(change[list(FACE_OVAL)], len(_RINGS)) * self._shares
        both = np.repeat(np.concatenate([change, beyond])[:, None], 2, 1).astype(np.float32)
        kinds = np.ones(len(self._triangles), np.uint8)
        found, covered = rasterize_flow(self._triangles, kinds, self._points, both, self._depth, self._shape)
        return resize(found[..., 0] * covered, self._color.shape) * self._color

    def _log(self, normals: Float) -> Float:
        luminance = self._light[0] + normals @ self._light[1:]
        return np.asarray(np.log(np.maximum(luminance, self._least)), np.float32)


def _trust(normals: Float) -> Float:
    """How far a direction can be relied on: those seen from the side are guessed."""
    return np.asarray(np.clip((normals[:, 2] - _AWAY[0]) / (_AWAY[1] - _AWAY[0]), 0, 1), np.float32)


def _with_rings(points: Float) -> tuple[Float, Float]:
    """Face points ``[468, 2]`` and rings about them, and what share of the outline's change each ring point takes."""
    oval = points[list(FACE_OVAL)]
    away = oval - oval.mean(0)
    up = -away[:, 1] / np.maximum(np.linalg.norm(away, axis=1), 1e-6)
    rings = [oval.mean(0) + factor * away for factor, _ in _RINGS]
    # a neck does not turn as the chin before it does
    shares = [share * np.clip(0.5 + up, 0, 1) for _, share in _RINGS]
    return np.concatenate([points, *rings]).astype(np.float32), np.concatenate(shares).astype(np.float32)


def _triangles(points: Float) -> NDArray[np.int32]:
    """The triangles of the face and the rings about it, wound alike."""
    parts, inner = [face_triangles()], np.array(FACE_OVAL)
    for number in range(len(_RINGS)):
        outer = _FACE_POINTS + number * len(inner) + np.arange(len(inner))
        near, far = np.roll(inner, -1), np.roll(outer, -1)
        parts += [np.stack([inner, far, near], 1), np.stack([inner, outer, far], 1)]
        inner = outer
    return wound_alike(np.concatenate(parts), points)
