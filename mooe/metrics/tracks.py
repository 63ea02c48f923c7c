"""A video seen by the face tracker: landmarks, blendshapes and head rotation of every frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mooe.errors import MooeError, NoFaceError
from mooe.face.alignment import rotation_vector
from mooe.face.regions import ARKIT_NAMES, LEFT_EYE, RIGHT_EYE
from mooe.face.tracker import NUM_LANDMARKS, Face, FaceTracker

# MediaPipe has no tongueOut.
_TRACKED = tuple(name for name in ARKIT_NAMES if name != "tongueOut")


@dataclass(frozen=True)
class FaceTracks:
    """The tracks of one face through a clip of F frames.

    Attributes:
        landmarks: float32 [F, 478, 3] in pixels (x right, y down, z away).
        blendshapes: float32 [F, 52] in the order of ``ARKIT_NAMES``.
        rotations: float32 [F, 3], head rotation vectors in radians (x: pitch, y: yaw, z: roll).
        found: bool [F]; frames without a face hold values interpolated from their neighbours.
        fps: frames a second.
    """

    landmarks: NDArray[np.float32]
    blendshapes: NDArray[np.float32]
    rotations: NDArray[np.float32]
    found: NDArray[np.bool_]
    fps: float = 25.0

    def __len__(self) -> int:
        return len(self.landmarks)

    def blendshape(self, name: str) -> NDArray[np.float32]:
        """Track [F] of one blendshape; a name that lacks ARKit's Left or Right gives the mean of both."""
        if name in ARKIT_NAMES:
            return self.blendshapes[:, ARKIT_NAMES.index(name)]
        sides = [f"{name}{side}" for side in ("Left", "Right")]
        if any(side not in ARKIT_NAMES for side in sides):
            raise MooeError(f"There is no blendshape {name}: use ARKit's names.")
        return self.blendshapes[:, [ARKIT_NAMES.index(side) for side in sides]].mean(axis=1)

    def eye_distance(self) -> NDArray[np.float32]:
        """Distance [F] of the outer eye corners in pixels, in the picture's plane."""
        corners = self.landmarks[:, RIGHT_EYE[0], :2] - self.landmarks[:, LEFT_EYE[0], :2]
        return np.asarray(np.linalg.norm(corners, axis=1), np.float32)

    def save(self, path: Path) -> None:
        """Write a compressed archive."""
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                landmarks=self.landmarks,
                blendshapes=self.blendshapes,
                rotations=self.rotations,
                found=self.found,
                fps=np.array(self.fps),
            )

    @classmethod
    def load(cls, path: Path) -> FaceTracks:
        """Read what :meth:`save` wrote."""
        with np.load(path) as data:
            return cls(data["landmarks"], data["blendshapes"], data["rotations"], data["found"], float(data["fps"]))


class TrackRecorder:
    """Collects one face per frame into :class:`FaceTracks`."""

    def __init__(self, fps: float = 25.0) -> None:
        self._fps = fps
        self._faces: list[Face | None] = []

    def add(self, face: Face | None) -> None:
        """Add the next frame's face, or None when the tracker found none."""
        self._faces.append(face)

    def finish(self) -> FaceTracks:
        """The tracks of all frames added; raises NoFaceError when no frame had a face."""
        count = len(self._faces)
        found = np.array([face is not None for face in self._faces], bool)
        if not found.any():
            raise NoFaceError("No face was found in any frame of the clip: give a clip that shows one.")
        landmarks = np.zeros((count, NUM_LANDMARKS, 3), np.float32)
        blendshapes = np.zeros((count, len(ARKIT_NAMES)), np.float32)
        rotations = np.zeros((count, 3), np.float32)
        columns = [ARKIT_NAMES.index(name) for name in _TRACKED]
        for index, face in enumerate(self._faces):
            if face is not None:
                landmarks[index] = face.landmarks
                blendshapes[index, columns] = [face.blendshapes.get(name, 0.0) for name in _TRACKED]
                rotations[index] = _rotation_of(face.pose)
        filled = [_fill(track, found) for track in (landmarks, blendshapes, rotations)]
        return FaceTracks(filled[0], filled[1], filled[2], found, self._fps)


def track_frames(frames: Iterable[NDArray[np.uint8]], fps: float = 25.0) -> FaceTracks:
    """Track the largest face of every frame.

    Each frame is looked at by itself: the tracker's video mode smooths over time, which hides jitter and
    delays lips.

    Args:
        frames: uint8 RGB [height, width, 3] each.
        fps: frames a second.

    Raises:
        NoFaceError: no frame has a face.
    """
    recorder = TrackRecorder(fps)
    with FaceTracker(max_faces=1) as tracker:
        for frame in frames:
            faces = tracker.detect(frame)
            recorder.add(faces[0] if faces else None)
    return recorder.finish()


def _rotation_of(pose: NDArray[np.float64]) -> NDArray[np.float32]:
    matrix = pose[:3, :3]
    return rotation_vector(matrix / np.linalg.norm(matrix, axis=0, keepdims=True))


def _fill(track: NDArray[np.float32], found: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Interpolate the frames [F, ...] that were not found, linearly in time."""
    if found.all():
        return track
    flat = track.reshape(len(track), -1)
    times, known = np.arange(len(track)), np.flatnonzero(found)
    columns = [np.interp(times, known, flat[known, column]) for column in range(flat.shape[1])]
    return np.stack(columns, axis=1).reshape(track.shape).astype(np.float32)
