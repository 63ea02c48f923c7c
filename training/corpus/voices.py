"""Statistics of emotional voices, made from neutral speech by rules.

There is no emotional speech among what this project may ship weights from, so windows of synthesised neutral speech are
moved the way that voices were found to move with emotions (Juslin and Laukka, "Communication of emotions in vocal
expression and music performance", Psychological Bulletin, 2003, table 7). What a head trained on this can do has to be
measured on real voices; it knows loud from quiet anger no better than the rules do.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mooe.emotion.taxonomy import NEUTRAL
from mooe.emotion.voice import STATISTICS, VOICE_CLASSES, voice_statistics, windows
from mooe.errors import ConfigError

Array = NDArray[np.float32]
logger = logging.getLogger(__name__)

# Change of each statistic in standard deviations over neutral windows
SHIFTS: dict[str, dict[str, float]] = {
    NEUTRAL: {},
    "happy": {
        "pitch": 1.2, "pitch_deviation": 1.0, "pitch_range": 1.0, "pitch_slope": 0.5, "energy_deviation": 0.5,
        "energy_change": 0.6, "tilt": 0.3, "voicing": 0.3, "phone_rate": 0.3,
    },
    "sad": {
        "pitch": -0.6, "pitch_deviation": -1.2, "pitch_range": -1.2, "pitch_slope": -0.8, "energy_change": -0.6,
        "tilt": -0.6, "zero_crossings": -0.4, "voicing": -0.2, "speech_share": -0.6, "phone_rate": -0.9,
    },
    "angry": {
        "pitch": 0.8, "pitch_deviation": 0.6, "pitch_range": 0.6, "pitch_slope": 0.6, "energy_change": 0.8, "tilt": 0.9,
        "flatness": 0.5, "zero_crossings": 0.7, "voicing": -0.7, "speech_share": 0.4, "phone_rate": 0.5,
    },
    "fearful": {
        "pitch": 1.0, "pitch_deviation": -0.3, "pitch_range": -0.3, "pitch_slope": 0.6, "flatness": 1.0,
        "zero_crossings": 0.8, "voicing": -1.0, "voiced_share": -0.5, "speech_share": -0.3, "phone_rate": 0.8,
    },
}  # fmt: skip
# Voices, rooms and microphones differ by more than the corpus' voices do, in the same unit
_SPREAD = {"pitch": 0.7, "tilt": 1.0, "flatness": 0.6, "zero_crossings": 0.6, "voicing": 0.4, "phone_rate": 0.6}


def neutral_statistics(folder: Path) -> Array:
    """Statistics [N, 13] of all windows of the speech that ``features.py`` wrote to `folder`, worse recordings too.

    Raises:
        ConfigError: there is none.
    """
    rows = []
    for path in sorted(folder.glob("*/*.npz")):
        with np.load(path) as data:
            if str(data["kind"]) != "speech":
                continue
            renderings = (data["features"], *data["augmented"])
        for features in renderings:
            found = (voice_statistics(features[span]) for span in windows(len(features)))
            rows += [row for row in found if row is not None]
    if not rows:
        raise ConfigError(f"There are no speech features in {folder}: run training/corpus/features.py first.")
    logger.info("%d windows of neutral speech", len(rows))
    return np.stack(rows)


def emotional_statistics(neutral: Array, count: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """Draw windows of voices with emotions.

    Args:
        neutral: statistics [N, 13].
        count: windows to draw.
        rng: source of all choices.

    Returns:
        Statistics [count, 13] and classes [count] as indices into `VOICE_CLASSES`.
    """
    spread = neutral.std(0)
    rules = np.array([[SHIFTS[name].get(s, 0.0) for s in STATISTICS] for name in VOICE_CLASSES], np.float32)
    others = np.array([_SPREAD.get(s, 0.3) for s in STATISTICS], np.float32)
    classes = rng.integers(len(VOICE_CLASSES), size=count)
    strength = rng.uniform(0.7, 2.0, (count, 1))
    shift = rules[classes] * strength * rng.normal(1.0, 0.35, (count, len(STATISTICS)))
    shift += others * rng.standard_normal((count, len(STATISTICS)))
    rows = neutral[rng.integers(len(neutral), size=count)] + shift * spread
    return rows.astype(np.float32), classes
