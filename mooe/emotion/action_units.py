"""Facial action units (FACS) as ARKit blendshape weights, and the units that show each emotion."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mooe.errors import EmotionError


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
