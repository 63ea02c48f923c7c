"""A film of a face -> the motion of that face, and from it the motion of a portrait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from mooe.audio import FRAME_RATE
from mooe.decoder import SourcePortrait
from mooe.decoder.mesh import HEAD_PIVOT
from mooe.decoder.neutral import mouth_expression, neutral_points
from mooe.errors import ConfigError, MooeError
from mooe.face.alignment import HeadAlignment, rotation_matrix, rotation_vector
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement
from mooe.media import VideoReader, read_video
from mooe.metrics.tracks import FaceTracks, track_frames
from mooe.pipeline_output import FaceMotion

Float = NDArray[np.float32]
Mode = Literal["relative", "absolute"]
_RESTFUL = 0.15  # share of the frames, those with the least expression, that tell the neutral face
_WIDEST_TURN = 0.45  # radians; a photograph does not show what lies beyond
_FARTHEST = 0.5  # eye distances
_BLINK_BEGINS, _BLINK_RANGE = 0.35, 0.3  # reading of a lid that begins to shut, and from there to shut
_PUNCTUAL = 0.002  # seconds; containers round times to milliseconds
_SMOOTHED = 5  # frames; tracker noise is above, speech below what a parabola over so many frames follows


@dataclass(frozen=True)
class Performance:
    """How a filmed face moves, F frames at 25 a second.

    Attributes:
        displacement: float32 ``[F, 478, 3]`` from the performer's own neutral face, head frame, eye distances.
        rotation: float32 ``[F, 3, 3]``, head frame to the camera's axes.
        translation: float32 ``[F, 3]``, place of the head from its mean, eye distances (x right, y up; z is 0, for an
            orthographic picture does not tell it).
        bridged: frames of the film without a face, filled in from their neighbours.
    """

    displacement: Float
    rotation: Float
    translation: Float
    bridged: int

    def __len__(self) -> int:
        return len(self.displacement)


def film_performance(path: str | PathLike[str]) -> Performance:
    """Track the largest face of a film.

    Args:
        path: any video PyAV reads; its sound is not looked at.

    Raises:
        MooeError: the file is no video.
        NoFaceError: no frame has a face.
    """
    times: list[float] = []

    def timed(film: VideoReader) -> Iterator[NDArray[np.uint8]]:
        for frame in film:
            times.append(film.time)
            yield frame

    with read_video(path) as film:
        tracks = track_frames(timed(film), film.info.fps)
    return performance_of(tracks, times)


def performance_of(tracks: FaceTracks, times: Sequence[float] | None = None) -> Performance:
    """The performance in tracked landmarks, resampled to 25 frames a second.

    Args:
        tracks: of a film of at least one frame.
        times: when each frame is shown, in seconds, for films of no steady rate, such as those of webcams (whose
            files often name a rate that is not theirs); None trusts the rate of the tracks.

    Raises:
        MooeError: there are no frames, or the rate or the times are none.
    """
    if len(tracks) < 1 or not tracks.fps > 0:
        raise MooeError("The film has no frames: give one that shows a face.")
    shown = np.arange(len(tracks)) / tracks.fps if times is None else np.maximum.accumulate(np.asarray(times))
    if len(shown) != len(tracks) or not np.isfinite(shown).all():
        raise MooeError("The times of the film's frames cannot be used: give one finite time for each frame.")
    landmarks = _resample(tracks.landmarks, shown)
    blendshapes = _resample(tracks.blendshapes, shown)
    alignments = [HeadAlignment.from_landmarks(frame) for frame in landmarks]
    points = np.stack([a.to_head(frame) for a, frame in zip(alignments, landmarks, strict=True)])
    displacement = points - _performers_neutral(points, blendshapes) + _blinks(blendshapes)
    scale = float(np.median([a.scale for a in alignments]))
    place = np.stack([a.translation * [1, -1, 0] for a in alignments]) / scale
    return Performance(
        _smooth(displacement),
        np.stack([a.rotation for a in alignments]),
        _smooth(place - place.mean(0)),
        int((~tracks.found).sum()),
    )


def retarget(
    performance: Performance, portrait: SourcePortrait, mode: Mode = "relative", best_frame: bool = False
) -> FaceMotion:
    """Carry a performance over to a portrait.

    Args:
        performance: of the driving face.
        portrait: the face to move.
        mode: ``"relative"`` adds the change since a reference frame to the photograph as it is, so that frame gives
            the photograph; ``"absolute"`` puts the performer's expression on the portrait's neutral face and turns
            the head as the performer's is turned (Siarohin et al., 2019, distinguish the same two).
        best_frame: take as reference the frame most like the photograph, not the first.

    Returns:
        Motion of as many frames; turns beyond what the photograph can show are limited.

    Raises:
        ConfigError: unknown mode.
    """
    if mode not in ("relative", "absolute"):
        raise ConfigError(f"The mode '{mode}' is unknown: use relative or absolute.")
    shown = portrait.points - portrait.neutral
    reference = _most_like(performance, portrait, shown) if best_frame else 0
    own = portrait.alignment.rotation
    if mode == "relative":
        displacement = shown + performance.displacement - performance.displacement[reference]
        start = performance.rotation[reference]
        translation = performance.translation - performance.translation[reference]
    else:
        displacement = performance.displacement
        start = own
        translation = performance.translation
    # the decoder turns the head in its own frame, from the photograph's pose
    turns = np.stack([rotation_vector(start.T @ turned) for turned in performance.rotation])
    rotation = _limited(_smooth(turns), _WIDEST_TURN)
    # and about a point between the ears, which moves the head's middle
    swing = np.stack([HEAD_PIVOT - rotation_matrix(turn) @ HEAD_PIVOT for turn in rotation])
    return FaceMotion(np.asarray(displacement, np.float32), rotation, _limited(translation @ own - swing, _FARTHEST))


def _performers_neutral(points: Float, blendshapes: Float) -> Float:
    """The neutral face of the frames ``[F, 478, 3]`` that show the least expression."""
    mouths = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("mouth", "jaw"))]
    blinks = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith("eyeBlink")]
    effort = blendshapes[:, mouths].sum(1) + 2 * blendshapes[:, blinks].sum(1)
    restful = np.argsort(effort, kind="stable")[: max(1, round(_RESTFUL * len(points)))]
    mean = dict(zip(ARKIT_NAMES, blendshapes[restful].mean(0).tolist(), strict=True))
    return neutral_points(np.median(points[restful], 0).astype(np.float32), mouth_expression(mean))


def _blinks(blendshapes: Float) -> Float:
    """What the tracker's landmarks leave open of closing lids: they stop well before they meet."""
    weights = np.zeros_like(blendshapes)
    for column, name in enumerate(ARKIT_NAMES):
        if name.startswith("eyeBlink"):
            weights[:, column] = np.clip((blendshapes[:, column] - _BLINK_BEGINS) / _BLINK_RANGE, 0, 1)
    return arkit_to_displacement(weights)


def _most_like(performance: Performance, portrait: SourcePortrait, shown: Float) -> int:
    face = np.sqrt(((performance.displacement - shown) ** 2).sum(-1).mean(-1))
    turn = [np.linalg.norm(rotation_vector(portrait.alignment.rotation.T @ r)) for r in performance.rotation]
    return int(np.argmin(face / max(float(face.std()), 1e-6) + np.array(turn) / max(float(np.std(turn)), 1e-6)))


def _resample(track: NDArray[np.floating], times: NDArray[np.float64]) -> Float:
    """A track ``[F, ...]`` of frames shown at these times, at 25 frames a second from time 0."""
    steady = np.arange(len(track)) / FRAME_RATE
    if np.abs(times - steady).max() < _PUNCTUAL:
        return np.asarray(track, np.float32)
    last = float(np.median(np.diff(times))) if len(times) > 1 else 1 / FRAME_RATE
    count = max(1, int(np.ceil((times[-1] + last) * FRAME_RATE - 1e-3)))
    position = np.interp(np.arange(count) / FRAME_RATE, times, np.arange(len(track)))
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, len(track) - 1)
    share = (position - before).reshape(-1, *[1] * (track.ndim - 1))
    return np.asarray(track[before] * (1 - share) + track[after] * share, np.float32)


def _smooth(track: NDArray[np.floating]) -> Float:
    if len(track) < _SMOOTHED:
        return np.asarray(track, np.float32)
    return np.asarray(savgol_filter(track, _SMOOTHED, 2, axis=0), np.float32)


def _limited(vectors: NDArray[np.floating], most: float) -> Float:
    """Vectors ``[F, 3]`` shortened smoothly to less than ``most``."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    factor = np.where(length > 1e-9, most * np.tanh(length / most) / np.maximum(length, 1e-9), 1.0)
    return np.asarray(vectors * factor, np.float32)
