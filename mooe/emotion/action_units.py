"""Facial action units (FACS) as ARKit blendshape weights, and the units that show each emotion."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mooe.emotion.taxonomy import check_weight
from mooe.errors import EmotionError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_vector


@dataclass(frozen=True)
class ActionUnit:
    """One facial action unit.

    Attributes:
        number: its FACS number.
        name: its FACS name.
        arkit: ARKit blendshape weights in [0, 1] at the unit's full strength.
    """

    number: int
    name: str
    arkit: Mapping[str, float]


def _unit(number: int, name: str, sided: Mapping[str, float] | None = None, **single: float) -> ActionUnit:
    """A unit from blendshapes that come as a left and right pair, and from single ones."""
    pairs = {
        f"{shape}{side}": weight for shape, weight in (sided or {}).items() for side in ("Left", "Right")
    }
    return ActionUnit(number, name, MappingProxyType(pairs | single))


_UNITS = (
    _unit(1, "inner brow raiser", browInnerUp=1.0),
    _unit(2, "outer brow raiser", {"browOuterUp": 1.0}),
    _unit(4, "brow lowerer", {"browDown": 1.0}),
    _unit(5, "upper lid raiser", {"eyeWide": 1.0}),
    _unit(6, "cheek raiser", {"cheekSquint": 1.0, "eyeSquint": 0.6}),
    _unit(7, "lid tightener", {"eyeSquint": 1.0}),
    _unit(9, "nose wrinkler", {"noseSneer": 1.0, "browDown": 0.3}),
    _unit(10, "upper lip raiser", {"mouthUpperUp": 1.0}),
    _unit(12, "lip corner puller", {"mouthSmile": 1.0}),
    _unit(14, "dimpler", {"mouthDimple": 1.0}),
    _unit(15, "lip corner depressor", {"mouthFrown": 1.0}),
    _unit(16, "lower lip depressor", {"mouthLowerDown": 1.0}),
    _unit(17, "chin raiser", mouthShrugLower=1.0, mouthShrugUpper=0.4),
    _unit(18, "lip pucker", mouthPucker=1.0),
    _unit(20, "lip stretcher", {"mouthStretch": 1.0}),
    _unit(22, "lip funneler", mouthFunnel=1.0),
    _unit(23, "lip tightener", {"mouthPress": 0.5}, mouthRollUpper=0.4, mouthRollLower=0.4),
    _unit(24, "lip pressor", {"mouthPress": 1.0}),
    _unit(25, "lips part", {"mouthUpperUp": 0.15, "mouthLowerDown": 0.3}),
    _unit(26, "jaw drop", jawOpen=0.4),
    _unit(27, "mouth stretch", jawOpen=1.0),
    _unit(28, "lip suck", mouthRollUpper=1.0, mouthRollLower=1.0),
    _unit(29, "jaw thrust", jawForward=1.0),
    _unit(33, "cheek blow", cheekPuff=1.0),
    _unit(43, "eyes closed", {"eyeBlink": 1.0}),
)

ACTION_UNITS: Mapping[int, ActionUnit] = MappingProxyType({unit.number: unit for unit in _UNITS})
"""Action units by FACS number; vectors of action units follow this order."""

# FACS prototypes with the intensities of a clear, not an extreme, expression in [0, 1]; the mouth units are
# lower than in posed photographs, as the mouth is also speaking.
_PROTOTYPES: dict[str, dict[int, float]] = {
    "happy": {6: 0.7, 12: 1.0, 25: 0.5},
    "sad": {1: 0.9, 4: 0.6, 15: 0.9, 17: 0.5, 43: 0.15},
    "angry": {4: 1.0, 5: 0.3, 7: 0.9, 23: 0.6, 24: 0.2},
    "disgusted": {4: 0.3, 7: 0.4, 9: 1.0, 10: 0.8, 17: 0.4},
    "fearful": {1: 1.0, 2: 0.6, 4: 0.5, 5: 0.9, 20: 0.7, 25: 0.5, 26: 0.4},
    "surprised": {1: 1.0, 2: 1.0, 5: 0.8, 25: 0.5, 26: 0.8},
}
EMOTION_ACTION_UNITS: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {emotion: MappingProxyType(units) for emotion, units in _PROTOTYPES.items()}
)
"""Prototype action units (FACS number -> intensity in [0, 1]) of each basic emotion."""

EXPRESSION_PATTERNS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"contemptuous": MappingProxyType({"R12": 0.6, "R14": 0.8})}
)
"""Expressions that are no mixture of the basic emotions, as action units with their side (FACS notation).

Contempt is the one expression of the FACS tradition that is one-sided: a tightened and slightly raised lip corner
(Ekman and Friesen, "A new pan-cultural facial expression of emotion", 1986).
"""

PATTERN_SYNONYMS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("contempt", "contemptuous", "contemptuously", "scorn", "scornful", "disdain"), "contemptuous")
)

_UNIT_NAME = re.compile(r"(?:AU)?\s*([LR]?)\s*(\d+)\s*([LR]?)", re.IGNORECASE)


def action_units_to_arkit(intensities: Mapping[int, float]) -> dict[str, float]:
    """ARKit weights of a set of action units.

    Args:
        intensities: FACS numbers with intensities in [0, 1].

    Returns:
        Weight in [0, 1] for each ARKit blendshape that takes part. Where units share a blendshape the largest
        contribution counts: muscles pulling at the same place do not pull twice as far.

    Raises:
        EmotionError: a number is not in `ACTION_UNITS`.
    """
    weights: dict[str, float] = {}
    for number, intensity in intensities.items():
        if number not in ACTION_UNITS:
            known = ", ".join(str(unit) for unit in ACTION_UNITS)
            raise EmotionError(f"Unknown action unit {number}: choose from {known}.")
        for shape, weight in ACTION_UNITS[number].arkit.items():
            weights[shape] = max(weights.get(shape, 0.0), min(1.0, weight * intensity))
    return weights


def parse_action_unit(name: str) -> tuple[int, str]:
    """Number and side ("", "Left" or "Right", the person's own) of "AU12", "12", "AU12L" or "R12".

    Raises:
        EmotionError: there is no such unit.
    """
    match = _UNIT_NAME.fullmatch(str(name).strip())
    if match is None or (match[1] and match[3]) or int(match[2]) not in ACTION_UNITS:
        known = ", ".join(f"AU{unit}" for unit in ACTION_UNITS)
        raise EmotionError(f"Unknown action unit {name!r}: choose from {known}, with L or R for one side.")
    side = {"": "", "L": "Left", "R": "Right"}[(match[1] or match[3]).upper()]
    number = int(match[2])
    if side and not any(shape.endswith(side) for shape in ACTION_UNITS[number].arkit):
        raise EmotionError(f"The action unit AU{number} has no sides: write AU{number}.")
    return number, side


def parse_weights(items: Mapping[str, float] | Iterable[str] | None) -> dict[str, float]:
    """Names and weights of "NAME=WEIGHT" items or a mapping; None is nothing.

    Raises:
        EmotionError: an item has no weight, or it is not a number in [0, 1].
    """
    if items is None:
        return {}
    if isinstance(items, Mapping):
        return {str(name): check_weight(weight, f"weight of {name!r}") for name, weight in items.items()}
    weights = {}
    for item in items:
        name, equals, weight = str(item).partition("=")
        if not equals:
            raise EmotionError(f"{item!r} lacks a weight: write it as {item}=0.8.")
        weights[name.strip()] = check_weight(weight, f"weight of {name.strip()!r}")
    return weights


def split_action_units(
    intensities: Mapping[str, float],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Action units as whole emotions and the rest.

    Only where every unit of an emotion's prototype is there is that emotion meant: AU6 with AU12 and AU25 is
    happiness, AU12 alone is a raised lip corner and nothing else. The largest emotion contained is taken out first.

    Args:
        intensities: units as in `parse_action_unit` with intensities in [0, 1].

    Returns:
        Weights float32 [6] of the emotions contained, in the order of the prototypes, and ARKit weights float32 [52] of
        what is left.

    Raises:
        EmotionError: a unit is not known.
    """
    both: dict[int, float] = {}
    sided = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, intensity in intensities.items():
        number, side = parse_action_unit(name)
        if not side:
            both[number] = max(both.get(number, 0.0), intensity)
            continue
        shapes = {shape: w for shape, w in ACTION_UNITS[number].arkit.items() if shape.endswith(side)}
        sided = np.maximum(sided, arkit_vector(shapes) * np.float32(intensity))
    emotions = np.zeros(len(EMOTION_ACTION_UNITS), np.float32)
    rest = dict(both)
    for _ in emotions:
        shares = [min(rest.get(unit, 0.0) / full for unit, full in p.items()) for p in EMOTION_ACTION_UNITS.values()]
        index = int(np.argmax(shares))
        if shares[index] < 1e-3:
            break
        emotions[index] += np.float32(shares[index])
        for unit, full in list(EMOTION_ACTION_UNITS.values())[index].items():
            rest[unit] -= shares[index] * full
    left = action_units_to_arkit({unit: value for unit, value in rest.items() if value > 1e-6})
    return emotions / max(1.0, float(emotions.sum())), np.maximum(sided, arkit_vector(left))


def is_pattern(name: object) -> bool:
    """Whether `name` is one of the names of an expression of `EXPRESSION_PATTERNS`."""
    return str(name).strip().lower() in PATTERN_SYNONYMS


def pattern_weights(name: str, weight: float) -> NDArray[np.float32]:
    """ARKit weights float32 [52] of an expression of `EXPRESSION_PATTERNS` by any of its names, at `weight`."""
    units = EXPRESSION_PATTERNS[PATTERN_SYNONYMS[str(name).strip().lower()]]
    return split_action_units({unit: intensity * weight for unit, intensity in units.items()})[1]
