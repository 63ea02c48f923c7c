"""How the face and head move: blinks, jitter, head rotation, and blendshape changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mooe.face.regions import LIPS_INNER, LIPS_OUTER, RIGID
from mooe.metrics.tracks import FaceTracks

_BLINK_PROMINENCE = 0.2
_LONGEST_BLINK = 0.6  # seconds at half height
_JITTER_ABOVE = 6.0  # Hz
_SHORTEST = 16  # frames that the filter needs

# Mean change of MediaPipe's blendshapes from neutral to strongly acted talking, three actors.
MEASURED_CHANGES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "happy": {"mouthSmile": 0.43, "mouthUpperUp": 0.41, "eyeSquint": 0.22, "mouthLowerDown": 0.15,
                  "browOuterUp": 0.10, "mouthPucker": -0.23},
        "sad": {"eyeSquint": 0.42, "browOuterUp": -0.29, "mouthPucker": -0.22, "eyeBlink": 0.14,
                "mouthFrown": 0.10, "browDown": 0.08},
        "angry": {"eyeSquint": 0.46, "browOuterUp": -0.40, "browInnerUp": -0.42, "browDown": 0.15,
                  "jawOpen": 0.16, "mouthUpperUp": 0.16},
        "disgusted": {"browInnerUp": -0.40, "eyeSquint": 0.37, "browOuterUp": -0.33, "mouthUpperUp": 0.26,
                      "mouthStretch": 0.18, "mouthLowerDown": 0.16, "browDown": 0.16},
        "fearful": {"browInnerUp": 0.27, "jawOpen": 0.17, "browOuterUp": 0.13, "eyeWide": 0.14,
                    "mouthStretch": 0.13, "mouthSmile": 0.13},
        "surprised": {"browInnerUp": 0.41, "browOuterUp": 0.38, "eyeWide": 0.20, "jawOpen": 0.17,
                      "eyeSquint": -0.15},
    }
)  # fmt: skip


def blendshape_change(tracks: FaceTracks, neutral: FaceTracks, names: Sequence[str]) -> dict[str, float]:
    """Change of the mean blendshape from the neutral clip, by name (sides averaged).

    The tracker's zero is not the face's, so only changes within one person mean something.
    """
    return {name: float(tracks.blendshape(name).mean() - neutral.blendshape(name).mean()) for name in names}


def agreement(change: Mapping[str, float], measured: Mapping[str, float]) -> float:
    """Cosine of a change with the one measured on actors, over the blendshapes the measured one names."""
    names = list(measured)
    a = np.array([change[name] for name in names])
    b = np.array([measured[name] for name in names])
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def strength(change: Mapping[str, float], full: Mapping[str, float]) -> float:
    """How much of the change ``full`` is in ``change``: least-squares factor over the names of ``full``."""
    a = np.array([change[name] for name in full])
    b = np.array(list(full.values()))
    return float(a @ b / max(float(b @ b), 1e-12))


@dataclass(frozen=True)
class Blinks:
    """Frames of the blinks, how many a minute, and the median of eyeBlink at their peaks."""

    frames: tuple[int, ...]
    per_minute: float
    closure: float


def count_blinks(tracks: FaceTracks) -> Blinks:
    """Blinks are short peaks of eyeBlink (mean of both eyes) that stand out by .2, at most .6 s wide."""
    from scipy.signal import find_peaks

    track = np.pad(tracks.blendshape("eyeBlink"), 1, mode="edge")
    peaks, _ = find_peaks(track, prominence=_BLINK_PROMINENCE, width=(None, _LONGEST_BLINK * tracks.fps), distance=3)
    minutes = len(tracks) / tracks.fps / 60
    closure = float(np.median(track[peaks])) if len(peaks) else float("nan")
    return Blinks(tuple(int(peak) - 1 for peak in peaks), len(peaks) / minutes, closure)


@dataclass(frozen=True)
class Jitter:
    """Movement above 6 Hz: RMS over frames, mean over points, in thousandths of the eye distance."""

    rigid: float
    mouth: float


def jitter(tracks: FaceTracks) -> Jitter:
    """Fast trembling of the rigid points (head) and of the lips, in the picture's plane.

    Raises:
        ValueError: the clip has fewer than 16 frames or too few a second.
    """
    from scipy.signal import butter, sosfiltfilt

    if len(tracks) < _SHORTEST or tracks.fps <= 2 * _JITTER_ABOVE:
        raise ValueError(f"Jitter needs {_SHORTEST} frames at more than {2 * _JITTER_ABOVE:.0f} a second.")
    highpass = butter(4, _JITTER_ABOVE, "highpass", fs=tracks.fps, output="sos")
    points = tracks.landmarks[..., :2].astype(np.float64) / float(np.median(tracks.eye_distance()))
    fast = sosfiltfilt(highpass, points, axis=0, padlen=min(15, len(points) - 1))
    each = 1000 * np.sqrt((fast**2).sum(axis=-1).mean(axis=0))
    return Jitter(float(each[list(RIGID)].mean()), float(each[list(LIPS_OUTER + LIPS_INNER)].mean()))


@dataclass(frozen=True)
class HeadMotion:
    """Head rotation in degrees, each for yaw, pitch, roll; angular speed in degrees a second."""

    deviation: tuple[float, float, float]
    range: tuple[float, float, float]
    speed_mean: float
    speed_p95: float


def head_motion(tracks: FaceTracks) -> HeadMotion:
    """Statistics of the head rotation relative to its mean."""
    from scipy.spatial.transform import Rotation

    rotations = Rotation.from_rotvec(tracks.rotations.astype(np.float64))
    relative = rotations.mean().inv() * rotations
    angles = np.degrees(relative.as_euler("YXZ"))
    steps = np.degrees((rotations[:-1].inv() * rotations[1:]).magnitude()) * tracks.fps
    deviation, extent = angles.std(axis=0), np.ptp(angles, axis=0)
    return HeadMotion(
        (float(deviation[0]), float(deviation[1]), float(deviation[2])),
        (float(extent[0]), float(extent[1]), float(extent[2])),
        float(steps.mean()) if len(steps) else 0.0,
        float(np.percentile(steps, 95)) if len(steps) else 0.0,
    )


def accelerations(tracks: FaceTracks) -> NDArray[np.float64]:
    """Mean size [F - 2] of the landmarks' second difference in thousandths of the eye distance.

    Entry i belongs to the step from frame i + 1 to i + 2: a jump between the frames b - 1 and b shows in b -
    2.
    """
    points = tracks.landmarks[..., :2].astype(np.float64) / float(np.median(tracks.eye_distance()))
    return np.asarray(1000 * np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1).mean(axis=1))
