"""Emotion: names and mixtures, encoders, latents, and the Mixture of Emotion Experts.

What needs torch stays in its module (`adapters`, `encoders`, `experts`, `gates`, `latents`), so that reading
what a user asks for is quick.
"""

from mooe.emotion.action_units import ACTION_UNITS, EMOTION_ACTION_UNITS, ActionUnit, action_units_to_arkit
from mooe.emotion.taxonomy import (
    COMPOUND_EMOTIONS,
    EMOTIONS,
    NEUTRAL,
    EmotionMix,
    EmotionSpec,
    canonical_name,
    parse_emotion,
)
from mooe.emotion.timeline import EmotionTimeline

__all__ = [
    "ACTION_UNITS",
    "COMPOUND_EMOTIONS",
    "EMOTIONS",
    "EMOTION_ACTION_UNITS",
    "NEUTRAL",
    "ActionUnit",
    "EmotionMix",
    "EmotionSpec",
    "EmotionTimeline",
    "action_units_to_arkit",
    "canonical_name",
    "parse_emotion",
]
