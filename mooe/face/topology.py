"""The canonical face: 478 points, triangles, and the 52 ARKit shapes as displacements of the points.

The head frame has x to the viewer's right, y up, z to the camera; its unit is the distance of the outer eye corners.
The table is derived from ICT-FaceKit (MIT licence; see ``training/assets/make_topology.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from mooe.errors import EmotionError, WeightsError
from mooe.face import regions
from mooe.face.regions import ARKIT_NAMES


@lru_cache(maxsize=1)
def _table() -> dict[str, NDArray[np.float32]]:
    from safetensors.numpy import load

    path = resources.files("mooe").joinpath("assets/face_topology.safetensors")
    try:
        return load(path.read_bytes())
    except FileNotFoundError as error:
        raise WeightsError("mooe/assets/face_topology.safetensors is missing: reinstall mooe.") from error


def canonical_points() -> NDArray[np.float32]:
    """Neutral face, float32 ``[478, 3]`` in the head frame, the origin at the mean of the points."""
    return _table()["canonical"].copy()


def arkit_shapes() -> NDArray[np.float32]:
    """Displacements of the points at weight 1, float32 ``[52, 478, 3]``, in the order of ``ARKIT_NAMES``."""
    return _table()["arkit_shapes"].copy()


@lru_cache(maxsize=1)
def face_triangles() -> NDArray[np.int32]:
    """Triangles of the face without the insides of mouth and eyes, int32 ``[852, 3]``, indices below 468."""
    from mediapipe.tasks.python.vision import FaceLandmarksConnections

    # MediaPipe lists the three edges of each triangle one after the other
    edges = [(c.start, c.end) for c in FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION]
    triangles = np.array([[edges[k][0], edges[k][1], edges[k + 1][1]] for k in range(0, len(edges), 3)], np.int32)
    triangles.setflags(write=False)
    return triangles


def arkit_vector(weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Weights by name -> float32 ``[52]``; a name without Left or Right sets both sides."""
    vector = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, weight in weights.items():
        rows = [i for i, known in enumerate(ARKIT_NAMES) if known in (name, f"{name}Left", f"{name}Right")]
        if not rows:
            raise EmotionError(f"'{name}' is not an ARKit blendshape: use names such as jawOpen or mouthSmileLeft.")
        vector[rows] = weight
    return vector


def arkit_to_displacement(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """ARKit weights ``[..., 52]`` -> displacements ``[..., 478, 3]`` in the head frame."""
    return np.tensordot(weights, _table()["arkit_shapes"], 1).astype(np.float32)


@lru_cache(maxsize=1)
def mirror_index() -> NDArray[np.int64]:
    """For each of the 52 shapes the one on the other side of the face, int64 ``[52]``."""
    swap = {"Left": "Right", "Right": "Left"}
    names = [next((n.removesuffix(s) + t for s, t in swap.items() if n.endswith(s)), n) for n in ARKIT_NAMES]
    return np.array([ARKIT_NAMES.index(n) for n in names])


REGIONS: dict[str, tuple[int, ...]] = {
    "lips": regions.LIPS_OUTER + regions.LIPS_INNER,
    "right_eye": regions.RIGHT_EYE + regions.RIGHT_IRIS,
    "left_eye": regions.LEFT_EYE + regions.LEFT_IRIS,
    "right_brow": regions.RIGHT_BROW,
    "left_brow": regions.LEFT_BROW,
    "oval": regions.FACE_OVAL,
}


def region_weight(name: str, radius: float) -> NDArray[np.float32]:
    """How much each point belongs to a region ``[478]``: 1 on it, 0 from ``radius`` (eye distances) on."""
    points = canonical_points()
    members = points[list(REGIONS[name])]
    distance = np.linalg.norm(points[:, None] - members[None], axis=-1).min(1)
    return np.clip(1 - distance / radius, 0, 1).astype(np.float32)
