"""From a person's photograph to the person's neutral face, and from displacements to that person's driven face."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mooe.emotion.taxonomy import EMOTIONS
from mooe.face.regions import (
    ARKIT_NAMES,
    LEFT_EYE,
    LEFT_LID_PAIRS,
    LIP_PAIRS,
    LIPS_BETWEEN,
    LIPS_INNER,
    RIGHT_EYE,
    RIGHT_LID_PAIRS,
)
from mooe.face.topology import arkit_shapes, arkit_to_displacement, arkit_vector, canonical_points

Float = NDArray[np.float32]
UPPER_LIP, LOWER_LIP = (np.array(side) for side in zip(*LIP_PAIRS, strict=True))
# The lower lip between its edges, below each point of the inner one
_UNDER_EDGE = [np.array([row[LIPS_INNER.index(int(point))] for point in LOWER_LIP]) for row in LIPS_BETWEEN]
LID_PAIRS = np.array(RIGHT_LID_PAIRS + LEFT_LID_PAIRS)

# Shapes that are plainly seen when they are there, and those a resting mouth is often said to have.
_PLAIN = ("mouthSmile", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthDimple", "mouthFrown", "mouthFunnel",
          "jawOpen")  # fmt: skip
_DOUBTFUL = ("mouth", "jaw", "cheek")
_PLAIN_DEAD_ZONE, _DOUBTFUL_DEAD_ZONE = 0.05, 0.40
_LIP_REACH = 0.11  # how far closing the lips moves the skin around them, head-frame units
_LIP_RIM = 0.06  # of the red of the lips about their inner edge
_UPPER_WHOLE, _LOWER_WHOLE = 0.03, 0.10  # distance from its inner edge up to which a lip goes with it wholly
_LIP_RED = 0.08  # height of a lip's red
_FULLER = (0.032, 0.038)  # what stretched upper and lower lips get back of it, as of three people who stop smiling
_CORNERS = 0.016  # how far the shape of a smile lifts the corners of a mouth more than those people's smiles do
_SLIGHT = 0.3  # weight up to which a smile is slight
_WIDE_SMILE = 0.16  # opening of a wide smile
# Depth of people's lower lips below the line between the mouth's corners, against the middle's, by lip pair (207 frames
# of films of open mouths); jaws of the shape table pull it to a point
_LOWER_PROFILE = np.array([0.37, 0.60, 0.80, 0.94, 1.0, 0.94, 0.80, 0.60, 0.37], np.float32)
_PROFILE_GAP = 0.06  # opening from which on a lip is rounded wholly
# Missing depth, against the middle's, up to which a lip is pointed, and from which the mouth is narrow on purpose
_POINTED, _NARROW = 0.12, 0.25
# An eye opens at most so much wider than in the photograph: up to a height of about half its width, as people's do
_WIDEST, _LEAST_WIDER, _WIDE_EYE = 1.4, 0.22, 0.50
_LID_SCALE = (0.35, 2.2)
_REST_NEAR, _REST_FAR = 0.12, 0.5  # distance from the lips within which an expression is taken away whole, and less
# Share of it taken away far from the lips: a face's outline is the person's, not the smile's, but that of an open jaw
# is mostly the jaw's
_REST_LEAST, _JAW_LEAST = 0.4, 0.75
_FROWN_AT_REST = 0.2  # weight of browDown that a resting face may read
# What lets go of a photographed frown of weight 1, and of what a photographed smile leaves about the mouth's corners
_FROWN_RELIEF = {"browDown": -0.8, "browInnerUp": 0.3, "browOuterUp": 0.3, "eyeSquint": -0.6, "eyeWide": 1.0}
_SMILE_RELIEF = {"mouthSmile": -0.24, "mouthDimple": -0.18}
# What opens eyes again that a smile of weight 1 has narrowed, as those of three people who stop smiling; to a height of
# this share of their width, and from what distance of that on less
_SMILING_EYES = {"eyeWide": 0.25, "eyeSquint": -0.28}
_OPEN_EYE, _OPENING = 0.38, 0.08
_SMILE_AT_REST = 0.1  # weight of mouthSmile that a resting face may read


def _lip_falloff() -> tuple[Float, Float]:
    """Weights ``[478, 9]`` that spread a motion of the upper or lower inner-lip points over the skin beside them."""
    points = canonical_points()
    middle = (points[UPPER_LIP] + points[LOWER_LIP]) / 2
    weights = []
    for members, side, whole in ((UPPER_LIP, 1.0, _UPPER_WHOLE), (LOWER_LIP, -1.0, _LOWER_WHOLE)):
        distance = np.linalg.norm(points[:, None, :2] - points[members][None, :, :2], axis=-1)
        nearest = distance.min(1)
        share = np.exp(-((distance / 0.05) ** 2)) + 1e-12
        share /= share.sum(1, keepdims=True)
        line = (share * middle[None, :, 1]).sum(1)
        on_side = np.clip((points[:, 1] - line) * side / 0.02, 0, 1)
        on_side[members] = 1.0
        other = LOWER_LIP if side > 0 else UPPER_LIP
        on_side[other] = 0.0
        reach = np.exp(-((np.maximum(nearest - whole, 0) / _LIP_REACH) ** 2))
        reach[[LIPS_INNER[0], LIPS_INNER[10]]] = 0.0
        exact = np.zeros_like(share)
        exact[members, np.arange(len(members))] = 1.0
        share[members] = exact[members]
        weights.append((share * (on_side * reach)[:, None]).astype(np.float32))
    return weights[0], weights[1]


_UPPER_FALLOFF, _LOWER_FALLOFF = _lip_falloff()


def _lip_fullness() -> Float:
    """By how much closing an open smile makes the lips fuller, upwards, ``[478]``, at most."""
    edge = np.clip(_LIP_DISTANCE / _LIP_RED, 0, 1)
    upper, lower = _UPPER_FALLOFF.sum(1), _LOWER_FALLOFF.sum(1)
    return np.asarray((_FULLER[0] * upper - _FULLER[1] * lower) * edge, np.float32)


def _corner_reach() -> Float:
    """How much of a motion of the mouth's corners each point takes, ``[478]``."""
    points = canonical_points()[:, :2]
    corners = points[[LIPS_INNER[0], LIPS_INNER[10]]]
    distance = np.linalg.norm(points[:, None] - corners[None], axis=-1).min(1)
    return np.asarray(np.exp(-((distance / _LIP_REACH) ** 2)), np.float32)


def _lip_distance() -> Float:
    """Distance of each point of the canonical face from the lips' inner edge, seen from the front, ``[478]``."""
    points = canonical_points()
    distance = np.linalg.norm(points[:, None, :2] - points[None, LIPS_INNER, :2], axis=-1)
    return np.asarray(distance.min(1), np.float32)


_LIP_DISTANCE = _lip_distance()
_FULLNESS = _lip_fullness()
_CORNER_REACH = _corner_reach()


def _rest_share() -> Float:
    """How much of an expression is taken away at each point, ``[478, 1]``."""
    far = np.clip((_LIP_DISTANCE - _REST_NEAR) / (_REST_FAR - _REST_NEAR), 0, 1)
    share = 1 - (1 - _REST_LEAST) * far * far * (3 - 2 * far)
    return np.asarray(share[:, None], np.float32)


_REST_SHARE = _rest_share()
_JAW = np.array([name.startswith("jaw") for name in ARKIT_NAMES])


def _spread_lips(points: Float, up: Float, down: Float) -> Float:
    """Move the lips' pairs by ``up`` (upper) and ``down`` (lower) ``[9, 3]`` with the skin around them."""
    return points + _UPPER_FALLOFF @ up + _LOWER_FALLOFF @ down


def _shown(name: str, weight: float, doubtful: bool) -> float:
    """How much of a shape a picture shows beyond what a face at rest may read."""
    if name.startswith(_PLAIN):
        return max(weight - _PLAIN_DEAD_ZONE, 0.0) / (1 - _PLAIN_DEAD_ZONE)
    if doubtful and name.startswith(_DOUBTFUL):
        return max(weight - _DOUBTFUL_DEAD_ZONE, 0.0) / (1 - _DOUBTFUL_DEAD_ZONE)
    return 0.0


def mouth_expression(blendshapes: Mapping[str, float], doubtful: bool = True) -> Float:
    """The expression around the mouth that a picture shows, ARKit weights ``[52]``.

    Brows and eyes are left out: a tracker's zero is not a face's rest.

    Args:
        blendshapes: the picture's ARKit weights by name.
        doubtful: count shapes too that a resting mouth is often said to have, as far as they are strong.
    """
    return np.array([_shown(name, blendshapes.get(name, 0.0), doubtful) for name in ARKIT_NAMES], np.float32)


def _excess(blendshapes: Mapping[str, float], name: str, rest: float) -> float:
    """By how much a shape of both sides is stronger than a resting face may read."""
    sides = (blendshapes.get(f"{name}{side}", 0.0) for side in ("Left", "Right"))
    return max(sum(sides) / 2 - rest, 0.0)


def photographed_frown(blendshapes: Mapping[str, float]) -> float:
    """How far a picture's brows are lower than a resting face's may be, 0 to 0.8, by its ARKit weights."""
    return _excess(blendshapes, "browDown", _FROWN_AT_REST)


def photographed_smile(blendshapes: Mapping[str, float]) -> float:
    """How much more a picture smiles than a resting face may, 0 to 0.9, by its ARKit weights."""
    return _excess(blendshapes, "mouthSmile", _SMILE_AT_REST)


def expression_relief(frown: float, smile: float) -> Float:
    """What each emotion at weight 1 lets go of, displacements float32 ``[6, 478, 3]`` in the order of ``EMOTIONS``.

    A frown in the photograph, often only the sun's, is kept while no emotion is asked for. Under an emotion it would
    add up with that of anger, and stand against the raised brows of surprise. Cheeks and folds of a smile stay in the
    photograph's pixels when its shape is taken away, and make a mouth at rest look pleased: under any emotion but joy
    its corners go a little further down.

    Args:
        frown: from :func:`photographed_frown`.
        smile: from :func:`photographed_smile`.
    """
    let_go = frown * arkit_to_displacement(arkit_vector(_FROWN_RELIEF))
    relief = np.repeat(let_go[None], len(EMOTIONS), 0)
    unhappy = [number for number, name in enumerate(EMOTIONS) if name != "happy"]
    relief[unhappy] += smile * arkit_to_displacement(arkit_vector(_SMILE_RELIEF))
    return np.asarray(relief, np.float32)


def give_way(displacement: Float, relief: Float, emotion: Float) -> Float:
    """Let what a photograph shows of other expressions go as far as emotions are asked for.

    Args:
        displacement: of frames, ``[..., 478, 3]``.
        relief: from :func:`expression_relief`.
        emotion: their emotion weights ``[..., 6]``.

    Returns:
        Displacements of the same shape, unchanged where no emotion is asked for.
    """
    asked = emotion / np.maximum(emotion.sum(-1, keepdims=True), 1.0)
    return np.asarray(displacement + np.tensordot(asked, relief, 1), np.float32)


def neutral_points(points: Float, weights: Float) -> Float:
    """The person's neutral face: the photograph's expression removed, lips just closed.

    Args:
        points: the photograph's landmarks in the head frame, float32 ``[478, 3]``.
        weights: the expression that the photograph shows, ARKit weights ``[52]``, from :func:`mouth_expression`.

    Returns:
        float32 ``[478, 3]`` in the head frame.
    """
    jaw, others = (np.tensordot(np.where(part, weights, 0), arkit_shapes(), 1) for part in (_JAW, ~_JAW))
    neutral = (points - np.maximum(_REST_SHARE, _JAW_LEAST) * jaw - _REST_SHARE * others).astype(np.float32)
    gap = neutral[UPPER_LIP] - neutral[LOWER_LIP]
    gap[:, [0, 2]] = 0.0
    closed = _spread_lips(neutral, -0.45 * gap, 0.55 * gap)
    closed[:, 1] += _stretched(points, weights) * _FULLNESS + _CORNERS * _broad_smile(weights) * _CORNER_REACH
    closed += _opened_eyes(points, weights)
    return closed.astype(np.float32)


def _smile(weights: Float) -> float:
    """Weight of the smile in ARKit weights ``[52]``, at most 1."""
    return min(float(np.mean([weights[ARKIT_NAMES.index(f"mouthSmile{side}")] for side in ("Left", "Right")])), 1.0)


def _broad_smile(weights: Float) -> float:
    """How much there is of what only broad smiles do, 0 to 1."""
    return max((_smile(weights) - _SLIGHT) / (1 - _SLIGHT), 0.0) ** 2


def _stretched(points: Float, weights: Float) -> float:
    """How far an open smile has drawn the lips out, 0 to 1."""
    gap = float((points[UPPER_LIP, 1] - points[LOWER_LIP, 1])[len(UPPER_LIP) // 2])
    return _smile(weights) * float(np.clip(gap / _WIDE_SMILE, 0, 1))


def _opened_eyes(points: Float, weights: Float) -> Float:
    """What opens the eyes that a smile has narrowed, ``[478, 3]``; eyes that are open stay as they are."""
    openings = [
        (points[ring[12], 1] - points[ring[4], 1]) / max(float(np.linalg.norm(points[ring[0]] - points[ring[8]])), 1e-4)
        for ring in (RIGHT_EYE, LEFT_EYE)
    ]
    narrow = np.clip((_OPEN_EYE - np.mean(openings)) / _OPENING, 0, 1)
    return narrow * _broad_smile(weights) * arkit_to_displacement(arkit_vector(_SMILING_EYES))


def lift_lips(points: Float, height: float) -> Float:
    """Closed lips ``[478, 3]`` and the skin around them moved up by ``height`` (head-frame units)."""
    lifted = points.copy()
    lifted[:, 1] += height * np.exp(-((np.maximum(_LIP_DISTANCE - _LIP_RIM, 0) / _LIP_REACH) ** 2))
    return lifted.astype(np.float32)


def _round_lower_lip(points: Float) -> Float:
    """An open mouth ``[478, 3]`` whose lower lip is as round as people's are; shut and narrow ones are left alone."""
    lower = points[LOWER_LIP]
    right, left = points[LIPS_INNER[0]], points[LIPS_INNER[10]]
    along = (lower[:, 0] - right[0]) / max(float(left[0] - right[0]), 1e-4)
    depth = right[1] + along * (left[1] - right[1]) - lower[:, 1]
    middle = float(depth[len(depth) // 2])
    gap = float((points[UPPER_LIP, 1] - lower[:, 1])[len(depth) // 2])
    if middle <= 0 or gap <= 0:
        return points
    missing = np.maximum(_LOWER_PROFILE * middle - depth, 0)
    pointed = np.clip((_NARROW - missing / middle) / (_NARROW - _POINTED), 0, 1)
    down = missing * pointed * min(gap / _PROFILE_GAP, 1.0)
    rounded = points.copy()
    rounded[LOWER_LIP, 1] -= down
    for row, share in zip(_UNDER_EDGE, (1 / 3, 2 / 3), strict=True):
        rounded[row, 1] -= np.float32(share) * down
    return rounded


def _room_to_widen(neutral: Float, gap: Float) -> Float:
    """By what share of its height each lid pair may open further, ``[14]``, from the pairs' heights at rest."""
    found = []
    for ring, heights in zip((RIGHT_EYE, LEFT_EYE), np.split(gap, 2), strict=True):
        width = float(np.linalg.norm(neutral[ring[0]] - neutral[ring[8]]))
        found.append(_WIDE_EYE * width / max(float(heights.max()), 1e-4) - 1)
    return np.repeat(np.clip(found, _LEAST_WIDER, _WIDEST), len(gap) // 2).astype(np.float32)


class FaceDriver:
    """Adds displacements to one person's neutral face and keeps lids and lips from crossing.

    Args:
        neutral: float32 ``[478, 3]``, head frame.
    """

    def __init__(self, neutral: Float) -> None:
        self.neutral = neutral
        canonical = canonical_points()
        upper, lower = LID_PAIRS.T
        self._canonical_gap = canonical[upper, 1] - canonical[lower, 1]
        blink = arkit_to_displacement(arkit_vector({"eyeBlink": 1.0}))
        left_open = 1 + (blink[upper, 1] - blink[lower, 1]) / self._canonical_gap
        # what a full blink of the shape table leaves open counts as shut
        self._shut = np.clip(left_open + 0.01, 0.02, 0.6)
        self._gap = np.maximum(neutral[upper, 1] - neutral[lower, 1], 0.0)
        self._wider = _room_to_widen(neutral, self._gap)
        self._lid_scale = np.clip(self._gap / self._canonical_gap, *_LID_SCALE).astype(np.float32)

    def __call__(self, displacement: Float) -> Float:
        """Driven points float32 ``[478, 3]`` for a displacement ``[478, 3]``, both in the head frame."""
        points = (self.neutral + displacement).astype(np.float32)
        self._set_lids(points, displacement)
        return _round_lower_lip(self._part_lips(points))

    def lid_opening(self, displacement: Float) -> Float:
        """How far each lid pair is open against the photograph (1 as photographed, 0 closed), ``[14]``."""
        upper, lower = LID_PAIRS.T
        gap = self._canonical_gap + displacement[upper, 1] - displacement[lower, 1]
        ratio = np.maximum((gap / self._canonical_gap - self._shut) / (1 - self._shut), 0.0)
        wide = 1 + self._wider * np.tanh((ratio - 1) / self._wider)
        return np.asarray(np.where(ratio > 1, wide, ratio), np.float32)

    def _set_lids(self, points: Float, displacement: Float) -> None:
        # The lids keep their path but cover this person's own opening, so that weight 1 of a blink shuts exactly.
        upper, lower = LID_PAIRS.T
        middle = (self.neutral[upper, 1] + self.neutral[lower, 1]) / 2
        up = self.neutral[upper, 1] + self._lid_scale * displacement[upper, 1]
        low = self.neutral[lower, 1] + self._lid_scale * displacement[lower, 1]
        wanted = self._gap * self.lid_opening(displacement)
        excess = (up - low) - wanted
        moved_up, moved_low = np.abs(up - self.neutral[upper, 1]), np.abs(low - self.neutral[lower, 1])
        share = (moved_up + 1e-4) / (moved_up + moved_low + 2e-4)
        up, low = up - excess * share, low + excess * (1 - share)
        crossed = up < low
        meet = np.where(crossed, (up + low) / 2, middle)
        points[upper, 1] = np.where(crossed, meet, up)
        points[lower, 1] = np.where(crossed, meet, low)

    def _part_lips(self, points: Float) -> Float:
        overlap = np.minimum(points[UPPER_LIP, 1] - points[LOWER_LIP, 1], 0.0)
        if not overlap.any():
            return points
        shift = np.zeros((len(UPPER_LIP), 3), np.float32)
        shift[:, 1] = overlap
        parted = _spread_lips(points, -0.5 * shift, 0.5 * shift)
        return parted.astype(np.float32)
