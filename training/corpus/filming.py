"""From tracks of a filmed face to clips of the corpus: which stretches are good enough, and their motion arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import nnls

from mooe.audio import FRAME_RATE
from mooe.decoder.neutral import LID_PAIRS, mouth_expression, neutral_points
from mooe.emotion.action_units import ACTION_UNITS, EMOTION_ACTION_UNITS
from mooe.emotion.taxonomy import EMOTIONS
from mooe.errors import NoFaceError
from mooe.face.alignment import HeadAlignment, rotation_vector
from mooe.face.regions import ARKIT_NAMES, LEFT_EYE, LIP_PAIRS, RIGHT_EYE
from mooe.face.topology import canonical_points
from mooe.motion.behavior import BLINK_CURVE, blink_curve
from mooe.motion.controls import counter_turn
from mooe.motion.lora import LONGEST_BLINK, SHORTEST_BLINK
from training.corpus.tracking import FaceTrack
from training.corpus.upper_face import shown_by_shapes

Array = NDArray[np.float32]
_FLIP = np.array([1.0, -1.0, -1.0], np.float32)
# Frames of deviation of a filter against the tracker's jitter; wider ones would blunt the lips' closures
_SMOOTHING = 0.6
# Frames of a usual blink in which the lids are more than half shut, and of the longest; eyes shut for longer rest
SHUT_FRAMES = int((BLINK_CURVE > 0.5).sum())
LONGEST_SHUT = int((blink_curve(LONGEST_BLINK) > 0.5).sum())
LONGEST_CURVE = len(blink_curve(LONGEST_BLINK))
# Openings of a person's eyes, as a share of the canonical face's, to which lids are scaled
_LEAST_EYES, _MOST_EYES = 0.35, 2.2
# Share of the calmest frames from which the resting face comes
_CALM_SHARE = 0.08


@dataclass(frozen=True)
class QualityLimits:
    """What a frame or stretch must reach to be kept."""

    min_seconds: float = 2.0
    """Shortest stretch of good frames, and the shortest clip."""
    max_seconds: float = 12.0
    """Longest clip; longer stretches are cut."""
    min_eye_distance: float = 36.0
    """Distance of the outer eye corners in pixels."""
    max_turn: float = 32.0
    """Degrees by which the head may be turned away or tilted back."""
    min_sharpness: float = 12.0
    """Variance of the Laplacian of the face at 128 pixels."""
    min_brightness: float = 28.0
    """Mean grey level of the face, 0 to 255."""
    max_gap: float = 0.12
    """Seconds of missing faces that are filled in between."""


@dataclass(frozen=True)
class Stretch:
    """Frames ``start`` to ``stop`` of a track; ``reason`` says why they are not used, "" if they are."""

    start: int
    stop: int
    reason: str


@dataclass(frozen=True)
class Motion:
    """A stretch's motion, F frames at 25 a second; see ``filmed.py`` for shapes and units."""

    displacement: Array
    rotation: Array
    translation: Array
    gaze: Array
    blink: Array
    blendshapes: Array
    landmarks: Array
    start: float
    """Seconds of the first frame from the start of the video."""


def frame_faults(track: FaceTrack, limits: QualityLimits) -> list[str]:
    """What is wrong with each frame, "" where nothing is."""
    corners = track.landmarks[:, RIGHT_EYE[0], :2] - track.landmarks[:, LEFT_EYE[0], :2]
    eyes = np.linalg.norm(corners, axis=1)
    turn = np.array(
        [_turn(points) if found else 0.0 for points, found in zip(track.landmarks, track.found, strict=True)]
    )
    checks = (
        (~track.found, "no face"),
        (track.crowded, "several faces"),
        (track.inside < 0.98, "face cut off by the picture's edge"),
        # turned heads bring the corners together; that is the next check's business
        (eyes < limits.min_eye_distance * np.cos(np.radians(np.minimum(turn, 60))), "face too small"),
        (turn > limits.max_turn, "head turned away"),
        (track.brightness < limits.min_brightness, "too dark"),
        (track.sharpness < limits.min_sharpness, "blurred"),
    )
    faults = [""] * len(track.times)
    for bad, reason in reversed(checks):
        for index in np.flatnonzero(bad):
            faults[index] = reason
    return faults


def _turn(landmarks: Array) -> float:
    """Degrees between the face's forward direction and the camera."""
    try:
        forward = HeadAlignment.from_landmarks(landmarks).rotation[2, 2]
    except NoFaceError:
        return 90.0
    return float(np.degrees(np.arccos(np.clip(forward, -1, 1))))


def split_track(track: FaceTrack, limits: QualityLimits) -> list[Stretch]:
    """Cut a track into good stretches and bad ones with their reasons, in order of time."""
    faults = frame_faults(track, limits)
    _forgive_gaps(faults, track, limits.max_gap)
    stretches: list[Stretch] = []
    start = 0
    for index in range(1, len(faults) + 1):
        ended = (
            index == len(faults)
            or bool(faults[index]) != bool(faults[start])
            or track.scene[index] != track.scene[start]
        )
        if not ended:
            continue
        stretches += _divide(Stretch(start, index, _commonest(faults[start:index])), track, limits)
        start = index
    return stretches


def _forgive_gaps(faults: list[str], track: FaceTrack, longest: float) -> None:
    """Single frames without a face are interpolated later."""
    index = 0
    while index < len(faults):
        stop = index
        while stop < len(faults) and faults[stop] == "no face":
            stop += 1
        inside = 0 < index < stop < len(faults)
        if inside and track.times[stop] - track.times[index - 1] <= longest and not (faults[index - 1] or faults[stop]):
            faults[index:stop] = [""] * (stop - index)
        index = max(stop, index + 1)


def _commonest(reasons: list[str]) -> str:
    return max(set(reasons), key=reasons.count)


def _divide(stretch: Stretch, track: FaceTrack, limits: QualityLimits) -> list[Stretch]:
    if stretch.reason:
        return [stretch]
    seconds = _seconds(stretch, track)
    if seconds < limits.min_seconds:
        return [Stretch(stretch.start, stretch.stop, f"shorter than {limits.min_seconds:g} s")]
    pieces = int(np.ceil(seconds / limits.max_seconds))
    bounds = np.linspace(stretch.start, stretch.stop, pieces + 1).astype(int)
    return [Stretch(int(a), int(b), "") for a, b in pairwise(bounds)]


def _seconds(stretch: Stretch, track: FaceTrack) -> float:
    return float(track.times[stretch.stop - 1] - track.times[stretch.start])


def resting_face(track: FaceTrack, good: NDArray[np.bool_]) -> Array:
    """The person's neutral face in the head frame, ``[478, 3]``: the median of the calmest good frames.

    Calm is a mouth at rest and eyes as open as usual, as a portrait shows them: beside the frames with the widest eyes
    all others would look narrowed, whoever was filmed. What the mouth still shows in these frames is taken off as it
    is from a photograph (:func:`mooe.decoder.neutral.neutral_points`), so a corner that is always raised counts as a
    style.
    """
    mouth = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("jaw", "mouth"))]
    lids = [ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    brows = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith("brow")]
    frames = np.flatnonzero(good & track.found)
    closing = track.blendshapes[:, lids].sum(1)
    unrest = track.blendshapes[:, mouth].sum(1) + 2 * np.abs(closing - np.median(closing[frames]))
    unrest = unrest + track.blendshapes[:, brows].sum(1)
    count = int(np.clip(len(frames) * _CALM_SHARE, min(5, len(frames)), 60))
    faces = []
    for index in frames[np.argsort(unrest[frames])[:count]]:
        points = track.landmarks[index]
        shapes = dict(zip(ARKIT_NAMES, track.blendshapes[index].tolist(), strict=True))
        faces.append(neutral_points(HeadAlignment.from_landmarks(points).to_head(points), mouth_expression(shapes)))
    rest: Array = np.median(faces, axis=0).astype(np.float32)
    return rest


def stretch_motion(track: FaceTrack, stretch: Stretch, rest: Array) -> Motion:
    """Motion arrays of a stretch at 25 frames a second, given the person's resting face ``[478, 3]``.

    Above the mouth they are what ARKit's shapes can show of it (:func:`training.corpus.upper_face.shown_by_shapes`).
    """
    known = np.flatnonzero(track.found[stretch.start : stretch.stop]) + stretch.start
    first, last = track.times[known[0]], track.times[known[-1]]
    # whole frames of the sound's clock, so that features need no shift
    start = np.ceil(first * FRAME_RATE - 1e-6) / FRAME_RATE
    times = start + np.arange(int((last - start) * FRAME_RATE + 1e-6) + 1) / FRAME_RATE
    landmarks = _resample(track.landmarks[known], track.times[known], times)
    landmarks = gaussian_filter1d(landmarks, _SMOOTHING, axis=0).astype(np.float32)
    blendshapes = _resample(track.blendshapes[known], track.times[known], times)
    alignments = [HeadAlignment.from_landmarks(points) for points in landmarks]
    head = np.stack([a.to_head(points) for a, points in zip(alignments, landmarks, strict=True)])
    rotation, translation = _head_pose(alignments)
    direction = _eye_direction(blendshapes)
    displacement = shown_by_shapes(_scale_lids(head - rest, rest))
    return Motion(
        displacement=displacement,
        rotation=rotation,
        translation=translation,
        gaze=np.clip(direction - direction.mean(0) - counter_turn(rotation), -0.6, 0.6).astype(np.float32),
        blink=blink_track(displacement),
        blendshapes=blendshapes,
        landmarks=landmarks,
        start=float(start),
    )


def _resample(values: Array, known: NDArray[np.float64], times: NDArray[np.float64]) -> Array:
    """Linear interpolation along the first axis."""
    right = np.clip(np.searchsorted(known, times), 1, max(len(known) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(known) - 1)
    span = np.maximum(known[right] - known[left], 1e-9)
    share = np.clip((times - known[left]) / span, 0, 1).astype(np.float32)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(values[left] * (1 - share) + values[right] * share, np.float32)


def _head_pose(alignments: list[HeadAlignment]) -> tuple[Array, Array]:
    """Rotations ``[F, 3]`` from the mean pose, and translations ``[F, 3]`` from the mean place; depth is not seen."""
    matrices = np.stack([a.rotation for a in alignments])
    u, _, vt = np.linalg.svd(matrices.mean(0))
    mean = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    rotation = np.stack([rotation_vector(matrix @ mean.T) for matrix in matrices])
    scale = float(np.median([a.scale for a in alignments]))
    place = np.stack([a.translation for a in alignments]) * _FLIP / scale
    translation = (place - place.mean(0)).astype(np.float32)
    translation[:, 2] = 0.0
    return rotation.astype(np.float32), translation


def _eye_direction(blendshapes: Array) -> Array:
    """Eye-in-head direction ``[F, 2]``, to the viewer's right and up, in eyeLook weight."""

    def weight(name: str) -> Array:
        return blendshapes[:, ARKIT_NAMES.index(name)]

    right = weight("eyeLookOutLeft") + weight("eyeLookInRight") - weight("eyeLookInLeft") - weight("eyeLookOutRight")
    up = sum(weight(f"eyeLookUp{s}") - weight(f"eyeLookDown{s}") for s in ("Left", "Right"))
    direction: Array = (np.stack([right, up], 1) / 2).astype(np.float32)
    return direction


def _scale_lids(displacement: Array, rest: Array) -> Array:
    """Displacements ``[F, 478, 3]`` with the lids' as large as the canonical face's, so that all eyes shut at the same.

    :class:`mooe.decoder.neutral.FaceDriver` scales them to the portrait's own eyes.

    Args:
        displacement: from the resting face.
        rest: the person's resting face ``[478, 3]``.
    """
    upper, lower = LID_PAIRS.T
    usual, own = (points[upper, 1] - points[lower, 1] for points in (canonical_points(), rest))
    scale = usual / np.clip(own, _LEAST_EYES * usual, _MOST_EYES * usual)
    scaled = displacement.copy()
    for side in (upper, lower):
        scaled[:, side, 1] *= scale
    return scaled


def lid_opening(displacement: Array) -> Array:
    """Mean opening of the lids, ``[F, 478, 3]`` -> ``[F]`` in eye distances of the canonical face."""
    upper, lower = LID_PAIRS.T
    points = canonical_points()[:, 1] + displacement[..., 1]
    return np.asarray((points[:, upper] - points[:, lower]).mean(1), np.float32)


def closures(displacement: Array) -> list[tuple[int, int]]:
    """First frames, and those after the last, of the times in which the lids are more than half shut.

    Half of their usual opening, that is: lids that always hang count from where they hang.
    """
    opening = lid_opening(displacement)
    open_eyes = float(lid_opening(np.zeros((1, *displacement.shape[1:]), np.float32))[0])
    # a stretch that is mostly slept through does not say how far the eyes are usually open
    shut = opening < 0.5 * max(float(np.median(opening)), 0.5 * open_eyes)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shut, [False]]).astype(np.int8))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def blink_track(displacement: Array) -> Array:
    """Lid closing ``[F]``: at each closure of ``[F, 478, 3]`` the usual curve, as long as it; held where eyes rest.

    The lids themselves are asked and not the tracker's weights, which fall before the lids have risen: told of shorter
    blinks than it is shown, a model would learn to make them longer.
    """
    track = np.zeros(len(displacement) + LONGEST_CURVE, np.float32)
    for start, stop in closures(displacement):
        if stop - start > LONGEST_SHUT:
            held = np.ones(len(BLINK_CURVE), np.int64)
            held[BLINK_CURVE.argmax()] += stop - start - SHUT_FRAMES
            curve = np.repeat(BLINK_CURVE, held)
        else:
            curve = blink_curve(max((stop - start) / SHUT_FRAMES, SHORTEST_BLINK))
        begin = max(start - int(np.argmax(curve > 0.5)), 0)
        track[begin : begin + len(curve)] = np.maximum(track[begin : begin + len(curve)], curve)
    return track[: len(displacement)]


def blink_length(tracks: Iterable[Array]) -> float:
    """Mean length of the blinks in tracks ``[F]`` from :func:`blink_track`, 1 is usual, and 1 where there are none."""
    lengths = []
    for track in tracks:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], track > 0.5, [False]]).astype(np.int8)))
        lengths += [n for n in (edges[1::2] - edges[::2]).tolist() if n <= LONGEST_SHUT]
    return float(np.clip(np.mean(lengths) / SHUT_FRAMES, SHORTEST_BLINK, LONGEST_BLINK)) if lengths else 1.0


def action_units(blendshapes: Array) -> Array:
    """Intensities of ``ACTION_UNITS``, ``[F, U]`` in [0, 1], that best explain blendshapes ``[F, 52]``."""
    matrix = np.zeros((len(ARKIT_NAMES), len(ACTION_UNITS)))
    for column, unit in enumerate(ACTION_UNITS.values()):
        for name, weight in unit.arkit.items():
            matrix[ARKIT_NAMES.index(name), column] = weight
    # units that share shapes (12 and 14, 26 and 27) are kept from standing in for each other without need
    ridge = np.vstack([matrix, 0.1 * np.eye(matrix.shape[1])])
    rows = [nnls(ridge, np.concatenate([row, np.zeros(matrix.shape[1])]))[0] for row in blendshapes]
    return np.clip(np.array(rows), 0, 1).astype(np.float32)


def emotion_of_units(units: Array, resting: Array) -> Array:
    """A guess at the emotion from action units over a clip, weights ``[6]``; zeros where the face stays calm.

    FACS prototypes are fitted to the mean change of the upper face and the mouth's corners from the person's own
    resting level. It is a rule of the coding system, not a judge's opinion.

    Args:
        units: ``[F, U]`` of the clip.
        resting: ``[U]``, the person's median over all clips.
    """
    told = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 20)
    columns = [list(ACTION_UNITS).index(number) for number in told]
    prototypes = np.array([[EMOTION_ACTION_UNITS[e].get(n, 0.0) for n in told] for e in EMOTIONS]).T
    change = np.maximum(units.mean(0) - resting, 0)[columns]
    shares = nnls(np.vstack([prototypes, 0.3 * np.eye(len(EMOTIONS))]), np.concatenate([change, np.zeros(6)]))[0]
    weights = np.where(shares == shares.max(), shares, 0.0)
    return (weights if weights.max() > 0.35 else np.zeros(6)).clip(0, 1).astype(np.float32)


def lip_sync(motion: Motion, loudness: Array) -> float:
    """Largest correlation of lip opening and loudness ``[F]`` within a fifth of a second either way, -1 to 1."""
    pairs = np.array(LIP_PAIRS)
    opening = (motion.displacement[:, pairs[3:6, 0], 1] - motion.displacement[:, pairs[3:6, 1], 1]).mean(1)
    lips, sound = (gaussian_filter1d(np.asarray(x, np.float64), 2.0) for x in (opening, loudness))
    best = -1.0
    for lag in range(-5, 6):
        a = lips[max(lag, 0) : len(lips) + min(lag, 0)]
        b = sound[max(-lag, 0) : len(sound) + min(-lag, 0)]
        if len(a) > 10 and a.std() > 1e-6 and b.std() > 1e-6:
            best = max(best, float(np.corrcoef(a, b)[0, 1]))
    return best
