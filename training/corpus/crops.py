"""Head crops of kept clips as small videos with their sound, for models that learn from pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mooe.audio import FRAME_RATE, SAMPLE_RATE
from mooe.face.crop import PortraitCrop
from mooe.face.tracker import Face
from mooe.media import VideoWriter
from training.corpus.tracking import read_frames

Float = NDArray[np.float32]


@dataclass(frozen=True)
class CropWish:
    """A clip to cut out.

    Attributes:
        target: the .mp4 to write.
        start: seconds of the first frame from the start of the video.
        landmarks: ``[F, 478, 3]`` in pixels of the file; the crop stands still and holds them all.
    """

    target: Path
    start: float
    landmarks: Float


def write_crops(path: Path, wishes: Sequence[CropWish], waveform: Float | None, size: int) -> None:
    """Decode a video once and write the crops, ``size`` pixels a side, 25 frames a second.

    Args:
        path: the video.
        wishes: in order of time, not overlapping.
        waveform: its sound at 16 kHz from the video's first picture on, or None.
        size: side of the crops in pixels.

    Raises:
        MooeError: the video cannot be read or the crops cannot be written.
    """
    frames = read_frames(path)
    time, image = next(frames)
    following = next(frames, None)
    for wish in wishes:
        crop = _crop(wish.landmarks, size, image.shape[:2])
        count = len(wish.landmarks)
        sound = None
        if waveform is not None:
            first = round(wish.start * SAMPLE_RATE)
            sound = waveform[first : first + count * SAMPLE_RATE // FRAME_RATE]
        with VideoWriter(wish.target, size, size, audio=sound, force=True) as video:
            for number in range(count):
                wanted = wish.start + number / FRAME_RATE
                # the frame whose time is nearest
                while following is not None and abs(following[0] - wanted) <= abs(time - wanted):
                    (time, image), following = following, next(frames, None)
                video.write(crop.cut(image))


def _crop(landmarks: Float, size: int, picture: tuple[int, ...]) -> PortraitCrop:
    extremes = landmarks.mean(0)
    # the box of all frames, so that a moving head stays inside
    low, high = landmarks[..., :2].min((0, 1)), landmarks[..., :2].max((0, 1))
    inner_low, inner_high = extremes[:, :2].min(0), extremes[:, :2].max(0)
    stretched = (extremes[:, :2] - inner_low) / np.maximum(inner_high - inner_low, 1e-3) * (high - low) + low
    points = np.concatenate([stretched, extremes[:, 2:]], 1).astype(np.float32)
    return PortraitCrop.from_face(Face(points, {}, np.eye(4), 1.0), size, (picture[0], picture[1]))
