"""Words and places for mixtures of emotions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mooe.emotion import COMPOUND_EMOTIONS, EMOTIONS, EmotionMix

# Neighbours on the wheel are emotions that have a compound of their own.
WHEEL = ("happy", "surprised", "fearful", "sad", "angry", "disgusted")
COLOURS = {
    "happy": "#e0a100", "surprised": "#d9622b", "fearful": "#8a5bc7", "sad": "#3b7dd8", "angry": "#cf3f4f",
    "disgusted": "#4d9a4a",
}  # fmt: skip
_ALIKE = 0.93  # cosine from which a mixture bears a compound's name
_NOTHING = 0.02


def mix_of(weights: Sequence[float], intensity: float = 1.0) -> EmotionMix:
    """The mixture of six weights in the order of `EMOTIONS`, of which more than 1 in sum is scaled down."""
    return EmotionMix(np.asarray(weights, np.float32)).scaled(intensity)


def name_of(mix: EmotionMix) -> str:
    """What a person would call a mixture, such as "happily surprised, 60 %"."""
    if mix.strength < _NOTHING:
        return "neutral"
    directions = {name: {name: 1.0} for name in EMOTIONS} | {name: dict(c) for name, c in COMPOUND_EMOTIONS.items()}
    likeness = {name: _cosine(mix, shares) for name, shares in directions.items()}
    best = max(likeness, key=lambda name: likeness[name])
    if likeness[best] < _ALIKE:
        shares = sorted(mix.as_dict().items(), key=lambda item: -item[1])
        best = " and ".join(name for name, weight in shares[:3] if weight > 0.15 * shares[0][1])
    return f"{best.replace('_', ' ')}, {100 * mix.strength:.0f} %"


def wheel_layout() -> dict[str, object]:
    """What the wheel shows: emotions around it with their places in `EMOTIONS`, and compounds with their weights."""
    return {
        "emotions": [{"name": name, "colour": COLOURS[name], "slider": EMOTIONS.index(name)} for name in WHEEL],
        "compounds": [
            {"name": name.replace("_", " "), "weights": [shares.get(emotion, 0.0) for emotion in EMOTIONS]}
            for name, shares in COMPOUND_EMOTIONS.items()
        ],
    }


def _cosine(mix: EmotionMix, shares: dict[str, float]) -> float:
    other = np.array([shares.get(name, 0.0) for name in EMOTIONS])
    return float(mix.weights @ other / (np.linalg.norm(mix.weights) * np.linalg.norm(other) + 1e-9))
