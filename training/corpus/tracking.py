"""From a video file to one face's tracks, scene by scene, with what a quality filter needs to know of every frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from mooe.errors import MooeError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.tracker import Face, FaceTracker

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

# Faster cameras are thinned out to this, as 25 frames a second are made of it in the end
FASTEST_RATE = 35.0
LARGEST_SIDE = 1280
THUMBNAIL_SIDE = 112
_SMALL = (48, 27)
# Mean difference of neighbouring small frames in grey levels at which a scene is taken to end
_CUT_DIFFERENCE = 28.0
# A face that jumps by this share of its size is another face
_JUMP = 0.6
# A second face that is at least this share of the first in size
_RIVAL = 0.6


@dataclass
class FaceTrack:
    """One face of a video, N frames at their own times.

    Attributes:
        times: seconds from the start of the video, float64 ``[N]``.
        landmarks: float32 ``[N, 478, 3]`` in pixels of the (shrunk) frames.
        blendshapes: float32 ``[N, 52]`` in the order of ``ARKIT_NAMES``.
        found: bool ``[N]``, whether there was a face.
        inside: share of the landmarks inside the picture, ``[N]``.
        crowded: whether another face was nearly as large, bool ``[N]``.
        sharpness: variance of the Laplacian of the face at 128 pixels, ``[N]``.
        brightness: mean grey level of the face, ``[N]``.
        scene: number of the scene, int ``[N]``; a new one begins at cuts and when another face takes over.
        factor: pixels of the landmarks per pixel of the file.
        thumbnails: a small picture of the face about each second: (seconds, uint8 ``[112, 112, 3]``).
    """

    times: NDArray[np.float64]
    landmarks: Array
    blendshapes: Array
    found: NDArray[np.bool_]
    inside: Array
    crowded: NDArray[np.bool_]
    sharpness: Array
    brightness: Array
    scene: NDArray[np.int64]
    factor: float
    thumbnails: list[tuple[float, Image]] = field(default_factory=list)


@dataclass
class _Row:
    time: float
    face: Face | None
    crowded: bool
    sharpness: float
    brightness: float
    scene: int


def read_frames(path: Path) -> Iterator[tuple[float, Image]]:
    """Frames upright with their times in seconds from the first one; phones' varying rates are kept as they are.

    Raises:
        MooeError: the file cannot be read, or holds no pictures.
    """
    try:
        with open(path, "rb") as file, av.open(file) as container:
            if not container.streams.video:
                raise MooeError(f"{path.name} has no picture track.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first, last = None, -1.0
            for frame in cast(InputContainer, container).decode(stream):
                if frame.pts is None:
                    continue
                first = frame.time if first is None else first
                time = frame.time - first
                if time < last + 1 / FASTEST_RATE:
                    continue
                last = time
                image = frame.to_ndarray(format="rgb24")
                # the turn that phones write beside the pictures, counter-clockwise
                yield time, np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))
    except (av.FFmpegError, OSError) as error:
        raise MooeError(f"{path.name} cannot be decoded ({getattr(error, 'strerror', None) or error}).") from error


def sound_offset(path: Path) -> float:
    """Seconds by which the sound track begins after the pictures; 0 where either does not say."""
    try:
        with open(path, "rb") as file, av.open(file) as container:
            starts = [
                float(tracks[0].start_time * tracks[0].time_base)
                for tracks in (container.streams.audio, container.streams.video)
                if tracks and tracks[0].start_time is not None and tracks[0].time_base is not None
            ]
    except (av.FFmpegError, OSError):
        return 0.0
    return starts[0] - starts[1] if len(starts) == 2 else 0.0


def track_video(path: Path) -> FaceTrack:
    """Follow the largest face through a video.

    Raises:
        MooeError: the file cannot be read or holds no frame.
    """
    rows: list[_Row] = []
    thumbnails: list[tuple[float, Image]] = []
    before: Array | None = None
    last: Face | None = None
    scene, factor = 0, 1.0
    with FaceTracker(max_faces=3) as tracker:
        for time, full in read_frames(path):
            factor = min(1.0, LARGEST_SIDE / max(full.shape[:2]))
            image = full if factor == 1 else np.asarray(cv2.resize(full, None, fx=factor, fy=factor), np.uint8)
            small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), _SMALL, interpolation=cv2.INTER_AREA)
            grey = small.astype(np.float32)
            faces = tracker.detect(image)
            face = _same_face(faces, last)
            cut = before is not None and float(np.abs(grey - before).mean()) > _CUT_DIFFERENCE
            jumped = face is not None and last is not None and _distance(face, last) > _JUMP * last.size
            scene += cut or jumped
            before, last = grey, face or last
            rival = any(other is not face and face is not None and other.size > _RIVAL * face.size for other in faces)
            square = None if face is None else _face_square(image, face)
            sharpness = 0.0 if square is None else float(cv2.Laplacian(square, cv2.CV_32F).var())
            rows.append(_Row(time, face, rival, sharpness, 0.0 if square is None else float(square.mean()), scene))
            if not thumbnails or time - thumbnails[-1][0] >= 1.0:
                thumbnails.append((time, _thumbnail(image, face)))
    if not rows:
        raise MooeError(f"{path.name} holds no picture that can be decoded.")
    return _stack(rows, factor, thumbnails)


def _same_face(faces: list[Face], last: Face | None) -> Face | None:
    """The face that was followed before if it is still there, else the largest."""
    if not faces:
        return None
    if last is not None:
        nearest = min(faces, key=lambda face: _distance(face, last))
        if _distance(nearest, last) < _JUMP * last.size:
            return nearest
    return faces[0]


def _distance(one: Face, other: Face) -> float:
    return float(np.hypot(*np.subtract(one.center, other.center)))


def _face_square(image: Image, face: Face) -> Image | None:
    """The face in grey at 128 pixels, or None where it lies outside the picture."""
    left, top, right, bottom = (round(x) for x in face.box)
    part = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if min(part.shape[:2]) < 8:
        return None
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA), np.uint8)


def _thumbnail(image: Image, face: Face | None) -> Image:
    """The head, or the whole picture where there is none."""
    if face is not None:
        (x, y), half = face.center, face.size * 0.8
        left, top = max(round(x - half), 0), max(round(y - half), 0)
        part = image[top : max(round(y + half), top + 1), left : max(round(x + half), left + 1)]
        image = part if min(part.shape[:2], default=0) >= 8 else image
    scale = THUMBNAIL_SIDE / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small[:THUMBNAIL_SIDE, :THUMBNAIL_SIDE]
    return canvas


def _stack(rows: list[_Row], factor: float, thumbnails: list[tuple[float, Image]]) -> FaceTrack:
    landmarks = np.zeros((len(rows), 478, 3), np.float32)
    blendshapes = np.zeros((len(rows), len(ARKIT_NAMES)), np.float32)
    inside = np.zeros(len(rows), np.float32)
    for index, row in enumerate(rows):
        if row.face is not None:
            landmarks[index], inside[index] = row.face.landmarks, row.face.score
            blendshapes[index] = [row.face.blendshapes.get(name, 0.0) for name in ARKIT_NAMES]
    return FaceTrack(
        np.array([row.time for row in rows]),
        landmarks,
        blendshapes,
        np.array([row.face is not None for row in rows]),
        inside,
        np.array([row.crowded for row in rows]),
        np.array([row.sharpness for row in rows], np.float32),
        np.array([row.brightness for row in rows], np.float32),
        np.array([row.scene for row in rows]),
        factor,
        thumbnails,
    )
