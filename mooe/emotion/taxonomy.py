"""Emotions, their names and mixtures, and the facial action units that show them.

The six basic emotions are Ekman's, in the fixed order that every weight vector and every expert follows.
Compound emotions are the fifteen of Du, Tao and Martinez, "Compound facial expressions of emotion" (PNAS
2014), each a mixture of two basic ones. Action units follow the Facial Action Coding System (FACS; Ekman,
Friesen, Hager).
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mooe.errors import EmotionError

EMOTIONS: tuple[str, ...] = ("happy", "sad", "angry", "disgusted", "fearful", "surprised")
NEUTRAL = "neutral"

SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "calm": NEUTRAL,
        "none": NEUTRAL,
        "relaxed": NEUTRAL,
        "happiness": "happy",
        "happily": "happy",
        "joy": "happy",
        "joyful": "happy",
        "cheerful": "happy",
        "glad": "happy",
        "smiling": "happy",
        "sadness": "sad",
        "sadly": "sad",
        "sorrow": "sad",
        "sorrowful": "sad",
        "unhappy": "sad",
        "grief": "sad",
        "anger": "angry",
        "angrily": "angry",
        "mad": "angry",
        "furious": "angry",
        "rage": "angry",
        "disgust": "disgusted",
        "disgustedly": "disgusted",
        "fear": "fearful",
        "fearfully": "fearful",
        "afraid": "fearful",
        "scared": "fearful",
        "frightened": "fearful",
        "surprise": "surprised",
        "surprisedly": "surprised",
        "astonished": "surprised",
        "amazed": "surprised",
    }
)


def _mixture(**shares: float) -> Mapping[str, float]:
    return MappingProxyType(shares)


# Appalled and hatred are both disgust with anger, awed is fear with surprise; the paper's emphasis (the first
# emotion of each entry) is kept as a larger share, as nothing else tells them from their twins.
COMPOUND_EMOTIONS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "happily_surprised": _mixture(happy=0.5, surprised=0.5),
        "happily_disgusted": _mixture(happy=0.5, disgusted=0.5),
        "sadly_fearful": _mixture(sad=0.5, fearful=0.5),
        "sadly_angry": _mixture(sad=0.5, angry=0.5),
        "sadly_surprised": _mixture(sad=0.5, surprised=0.5),
        "sadly_disgusted": _mixture(sad=0.5, disgusted=0.5),
        "fearfully_angry": _mixture(fearful=0.5, angry=0.5),
        "fearfully_surprised": _mixture(fearful=0.5, surprised=0.5),
        "fearfully_disgusted": _mixture(fearful=0.5, disgusted=0.5),
        "angrily_surprised": _mixture(angry=0.5, surprised=0.5),
        "angrily_disgusted": _mixture(angry=0.5, disgusted=0.5),
        "disgustedly_surprised": _mixture(disgusted=0.5, surprised=0.5),
        "appalled": _mixture(disgusted=0.7, angry=0.3),
        "hatred": _mixture(angry=0.7, disgusted=0.3),
        "awed": _mixture(surprised=0.7, fearful=0.3),
    }
)


@dataclass(frozen=True, eq=False)
class EmotionMix:
    """A mixture of the six basic emotions; the empty mixture is neutral.

    Attributes:
        weights: read-only float32 [6] in the order of `EMOTIONS`, each >= 0 and <= 1 in sum. Weights given
            with a larger sum are scaled down together, so a compound is never stronger than one emotion.

    Raises:
        EmotionError: the weights are not six finite numbers in [0, 1].
    """

    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        weights = np.array(self.weights, dtype=np.float32)
        if weights.shape != (len(EMOTIONS),):
            raise EmotionError(
                f"An emotion mixture needs {len(EMOTIONS)} weights, one for each of {_listing(EMOTIONS)}."
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights <= 1).all()):
            raise EmotionError("Emotion weights must be numbers between 0 and 1.")
        total = float(weights.sum(dtype=np.float64))
        if total > 1:
            weights = (weights / total).astype(np.float32)
        weights.setflags(write=False)
        object.__setattr__(self, "weights", weights)

    @classmethod
    def neutral(cls) -> Self:
        return cls(np.zeros(len(EMOTIONS), dtype=np.float32))

    @classmethod
    def from_mapping(cls, weights: Mapping[str, float]) -> Self:
        """Mixture from names (any that `canonical_name` knows) and weights in [0, 1], which add up."""
        return cls(_sum_up(weights.items()))

    @property
    def strength(self) -> float:
        """Sum of the weights, in [0, 1]; 0 is neutral."""
        return min(1.0, float(self.weights.sum(dtype=np.float64)))

    @property
    def is_neutral(self) -> bool:
        return not self.weights.any()

    def scaled(self, intensity: float) -> Self:
        """The same mixture at `intensity` (in [0, 1]) times its strength."""
        factor = check_weight(intensity, "intensity")
        return type(self)(self.weights * np.float32(factor))

    def as_dict(self) -> dict[str, float]:
        """Names and weights of the emotions present."""
        return {
            name: float(weight) for name, weight in zip(EMOTIONS, self.weights, strict=True) if weight > 0
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EmotionMix) and np.array_equal(self.weights, other.weights)

    def __hash__(self) -> int:
        return hash(self.weights.tobytes())

    def __str__(self) -> str:
        return " + ".join(f"{name}:{weight:.2g}" for name, weight in self.as_dict().items()) or NEUTRAL


EmotionSpec: TypeAlias = EmotionMix | str | Mapping[str, float] | Sequence[str] | None


def parse_emotion(spec: EmotionSpec, intensity: float = 1.0) -> EmotionMix:
    """Reads what a user asks for.

    Args:
        spec: "NAME" or "NAME:WEIGHT", a sequence of those, a mapping from names to weights, an `EmotionMix`,
            or None for neutral. Several emotions make a compound. Weights are in [0, 1], 1 if left out.
        intensity: factor in [0, 1] on the whole mixture.

    Raises:
        EmotionError: a name is not known, or a weight or the intensity is not a number in [0, 1].
    """
    if spec is None:
        mix = EmotionMix.neutral()
    elif isinstance(spec, EmotionMix):
        mix = spec
    elif isinstance(spec, Mapping):
        mix = EmotionMix.from_mapping(spec)
    elif isinstance(spec, (str, Sequence)):
        mix = EmotionMix(_sum_up(read_item(item) for item in ([spec] if isinstance(spec, str) else spec)))
    else:
        raise EmotionError(
            f"An emotion must be a name, a list of NAME:WEIGHT or a mapping, not {type(spec).__name__}."
        )
    return mix.scaled(intensity)


def canonical_name(name: str) -> str:
    """The name under which `name` (any case, hyphens or spaces, synonyms) is known here.

    Raises:
        EmotionError: the name is not known; the message names the nearest one and all valid ones.
    """
    key = str(name).strip().lower().replace("-", "_").replace(" ", "_")
    key = SYNONYMS.get(key, key)
    if key == NEUTRAL or key in EMOTIONS or key in COMPOUND_EMOTIONS:
        return key
    valid = (NEUTRAL, *EMOTIONS, *COMPOUND_EMOTIONS)
    nearest = difflib.get_close_matches(key, (*valid, *SYNONYMS), n=1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise EmotionError(f"Unknown emotion {name!r}{hint}: choose from {_listing(valid)}.")


def _direction(name: str) -> NDArray[np.float64]:
    """Weights [6] of a name at weight 1; they sum to 1, or to 0 for neutral."""
    key = canonical_name(name)
    shares = COMPOUND_EMOTIONS.get(key, {} if key == NEUTRAL else {key: 1.0})
    return np.array([shares.get(emotion, 0.0) for emotion in EMOTIONS], dtype=np.float64)


def read_item(item: str) -> tuple[str, float | str]:
    """Name and weight of NAME or NAME:WEIGHT."""
    name, colon, weight = str(item).partition(":")
    return name.strip(), weight if colon else 1.0


def _sum_up(items: Iterable[tuple[str, float | str]]) -> NDArray[np.float32]:
    """Weights float32 [6] of names and weights, which add up to at most 1 (equal names may come twice)."""
    total = np.zeros(len(EMOTIONS), dtype=np.float64)
    for name, weight in items:
        total += check_weight(weight, f"weight of {name!r}") * _direction(name)
    return (total / max(1.0, float(total.sum()))).astype(np.float32)


def check_weight(value: object, what: str) -> float:
    """`value` as a number in [0, 1]; raises EmotionError, in which `what` names it."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise EmotionError(f"The {what} must be a number between 0 and 1, not {value!r}.")
    return number


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]
