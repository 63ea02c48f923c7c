"""Which parts of a photograph follow the head: hair, ears and headgear do, the background behind them stays."""

from __future__ import annotations

import cv2
import numpy as np

from mooe.decoder.images import Float, Image, blur, resize, resize_bytes
from mooe.face.alignment import HeadAlignment
from mooe.face.regions import FACE_OVAL

_SIDE = 128  # the matte is coarse on purpose: it only steers smooth motion
_ITERATIONS = 3
# All in head-frame units:
_FIRM = 0.06  # beyond the matte's edge everything still follows,
_LOOSE = 0.34  # and nothing does from here on
_NEAR_FACE = (1.08, 1.12)  # half axes of the ellipse that follows in any case
_HAIR = (1.55, 1.75)  # half axes of the largest hair and headgear that is looked for
_CHIN = 152


def head_attachment(frame: Image, landmarks: Float, alignment: HeadAlignment) -> Float:
    """How firmly each pixel of a head crop is attached to the head, float32 ``[size, size]`` in 0..1.

    The foreground is found by GrabCut (Rother et al. 2004) from the face's place. Below the chin, where neck and
    clothes give way by themselves, everything counts as attached.

    Args:
        frame: uint8 ``[size, size, 3]``.
        landmarks: ``[478, 3]`` in frame pixels.
        alignment: of the head in the frame.
    """
    scale = _SIDE / frame.shape[0]
    unit = alignment.scale * scale
    small = resize_bytes(frame, (_SIDE, _SIDE))
    points = landmarks[:, :2] * np.float32(scale)
    matte, near = _matte(small, points, unit)
    distance = cv2.distanceTransform((~matte).astype(np.uint8), cv2.DIST_L2, 5) / unit
    follows = 1 - np.clip((distance - _FIRM) / (_LOOSE - _FIRM), 0, 1)
    follows = follows * follows * (3 - 2 * follows)
    rows = np.arange(_SIDE, dtype=np.float32)[:, None]
    below = np.clip((rows - points[_CHIN, 1]) / (0.35 * unit) + 0.5, 0, 1)
    attached = np.maximum(np.maximum(follows, near), below).astype(np.float32)
    return np.clip(resize(blur(attached, 0.05 * unit), frame.shape[:2]), 0, 1)


def _matte(small: Image, points: Float, unit: float) -> tuple[np.ndarray, Float]:
    """The foreground (bool) and what surely moves with the face (0..1), both ``[128, 128]``."""
    oval = points[list(FACE_OVAL)]
    centre, chin = oval.mean(0), points[_CHIN]
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)

    def radius(axes: tuple[float, float]) -> Float:
        return np.asarray(np.hypot((x - centre[0]) / (axes[0] * unit), (y - centre[1]) / (axes[1] * unit)))

    reach = radius(_HAIR)
    labels = np.full((_SIDE, _SIDE), cv2.GC_PR_BGD, np.uint8)
    labels[reach < 0.8] = cv2.GC_PR_FGD
    drop = y - chin[1] - 0.25 * unit
    labels[(drop > 0) & (np.abs(x - chin[0]) < 0.6 * unit + 1.2 * drop)] = cv2.GC_PR_FGD
    labels[(reach > 1.35) & (y < chin[1])] = cv2.GC_BGD
    face = np.zeros((_SIDE, _SIDE), np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(np.rint(oval).astype(np.int32)), 1)
    labels[face > 0] = cv2.GC_FGD
    labels[(y > chin[1]) & (np.abs(x - chin[0]) < 0.3 * unit)] = cv2.GC_FGD
    near = np.asarray(np.clip((1.15 - radius(_NEAR_FACE)) / 0.3, 0, 1), np.float32)
    if (labels == cv2.GC_BGD).any():
        cv2.setRNGSeed(0)  # GrabCut draws its first clusters at random; a portrait must always look the same
        background, head = np.zeros((1, 65)), np.zeros((1, 65))
        everywhere = (0, 0, _SIDE, _SIDE)  # not used, as the labels say where to start
        cv2.grabCut(small, labels, everywhere, background, head, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    foreground = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return foreground, near
