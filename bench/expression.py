"""Emotion, intensity and identity of generated clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from bench.generated import ClipFolder, ClipSpec
from bench.tables import show
from mooe.emotion.taxonomy import EMOTIONS, NEUTRAL
from mooe.metrics import JUDGED_EMOTIONS, ClipJudgement
from mooe.metrics.lips import lip_gap, lip_lag
from mooe.metrics.motion import MEASURED_CHANGES, agreement, blendshape_change, strength

LADDER = (0.25, 0.5, 0.75, 1.0)
COMPOUND = (("happy", 0.7), ("surprised", 0.7))
_SHAPES = sorted({name for changes in MEASURED_CHANGES.values() for name in changes})


def _emotion_clips(clips: ClipFolder, portrait: Path, speech: Path, seed: int) -> dict[str, ClipJudgement]:
    specs = {NEUTRAL: ClipSpec(portrait, speech, (), seed)}
    specs |= {name: ClipSpec(portrait, speech, ((name, 1.0),), seed) for name in EMOTIONS}
    judged = {name: clips.judgement(spec) for name, spec in specs.items()}
    return {name: judgement for name, judgement in judged.items() if judgement is not None}


def measure_emotion(clips: ClipFolder, portraits: list[Path], speech: Path, seed: int) -> dict[str, Any]:
    """Verdicts of the judge, blendshape changes from neutral, identity, and lips against the neutral clip."""
    verdicts: dict[str, dict[str, str]] = {}
    changes: dict[str, list[dict[str, float]]] = {name: [] for name in EMOTIONS}
    identities: dict[str, list[float]] = {}
    lips: dict[str, list[float]] = {name: [] for name in EMOTIONS}
    for portrait in portraits:
        judged = _emotion_clips(clips, portrait, speech, seed)
        verdicts[portrait.stem] = {name: judgement.verdict.emotion for name, judgement in judged.items()}
        for name, judgement in judged.items():
            identities.setdefault(name, []).append(float(judgement.identities.mean()))
        neutral = judged.get(NEUTRAL)
        for name in EMOTIONS:
            if neutral is not None and name in judged:
                changes[name].append(blendshape_change(judged[name].tracks, neutral.tracks, _SHAPES))
                gaps = lip_gap(judged[name].tracks), lip_gap(neutral.tracks)
                lips[name].append(lip_lag([gaps]).correlation)
    mean = {
        name: {shape: float(np.mean([row[shape] for row in rows])) for shape in _SHAPES}
        for name, rows in changes.items()
        if rows
    }
    hits = sum(asked == seen for row in verdicts.values() for asked, seen in row.items())
    everyone = [value for values in identities.values() for value in values]
    result = {
        "hits": hits,
        "of": sum(map(len, verdicts.values())),
        "verdicts": verdicts,
        "changes": mean,
        "agreement_with_actors": {n: agreement(row, MEASURED_CHANGES[n]) for n, row in mean.items()},
        "seen_as_measured": _expected_changes(mean),
        "identity_mean": float(np.mean(everyone)) if everyone else None,
        "identity": {name: float(np.mean(values)) for name, values in identities.items()},
        "lip_gap_correlation_with_neutral": {n: float(np.mean(v)) for n, v in lips.items() if v},
        "compound": _compound(clips, portraits, speech, seed),
    }
    _show_emotion(result)
    return result


def _expected_changes(mean: dict[str, dict[str, float]]) -> dict[str, bool]:
    """Whether the plainest signs are there."""
    checks = {}
    if "happy" in mean:
        checks["happy: mouthSmile +.25"] = mean["happy"]["mouthSmile"] >= 0.25
    if "surprised" in mean:
        shapes = mean["surprised"]
        checks["surprised: brows up"] = min(shapes["browInnerUp"], shapes["browOuterUp"]) > 0.05
        checks["surprised: eyeWide up"] = shapes["eyeWide"] > 0.02
    if "angry" in mean:
        shapes = mean["angry"]
        checks["angry: brows down or eyes narrowed"] = (
            shapes["browDown"] > 0.05 or shapes["eyeSquint"] > 0.1 or shapes["browInnerUp"] < -0.1
        )
    return checks


def _compound(clips: ClipFolder, portraits: list[Path], speech: Path, seed: int) -> dict[str, float]:
    """How strongly each part of a compound shows, in its own emotion's change at weight 1."""
    shown: dict[str, list[float]] = {name: [] for name, _ in COMPOUND}
    for portrait in portraits[:1]:
        both = clips.judgement(ClipSpec(portrait, speech, COMPOUND, seed))
        neutral = clips.judgement(ClipSpec(portrait, speech, (), seed))
        for name, _ in COMPOUND:
            alone = clips.judgement(ClipSpec(portrait, speech, ((name, 1.0),), seed))
            if both is None or neutral is None or alone is None:
                continue
            full = blendshape_change(alone.tracks, neutral.tracks, list(MEASURED_CHANGES[name]))
            shown[name].append(strength(blendshape_change(both.tracks, neutral.tracks, list(full)), full))
    return {name: float(np.mean(values)) for name, values in shown.items() if values}


def _show_emotion(result: dict[str, Any]) -> None:
    order = (NEUTRAL, *EMOTIONS)
    rows = [[stem, *(row.get(name, "-") for name in order)] for stem, row in result["verdicts"].items()]
    show(f"Seen as (columns: asked for); {result['hits']} of {result['of']}", ["", *order], rows)
    rows = []
    for name, row in result["changes"].items():
        # What the actors do, then the three largest changes besides.
        asked = MEASURED_CHANGES[name]
        others = sorted((s for s in row if s not in asked), key=lambda shape: -abs(row[shape]))[:3]
        wanted = " ".join(f"{shape} {row[shape]:+.2f} ({goal:+.2f})" for shape, goal in asked.items())
        besides = " ".join(f"{shape} {row[shape]:+.2f}" for shape in others)
        rows.append([name, wanted, besides, result["agreement_with_actors"][name]])
    show("Change of blendshapes (actors' in brackets)", ["", "named", "besides", "cosine"], rows)
    rows = [
        [name, value, result["lip_gap_correlation_with_neutral"].get(name, "")]
        for name, value in result["identity"].items()
    ]
    show(f"Identity, mean {result['identity_mean']}", ["", "cosine", "lip gap r with neutral"], rows)
    signs = [[sign, "yes" if there else "NO"] for sign, there in result["seen_as_measured"].items()]
    show("Signs", ["", ""], signs)
    show("Compound, strength of each part", ["", ""], list(result["compound"].items()))


def measure_intensity(clips: ClipFolder, portrait: Path, speech: Path, seed: int) -> dict[str, Any]:
    """Strength and judged probability against the weight, for each emotion."""
    result: dict[str, Any] = {}
    neutral = clips.judgement(ClipSpec(portrait, speech, (), seed))
    if neutral is None:
        return result
    for name in EMOTIONS:
        ladder = {weight: clips.judgement(ClipSpec(portrait, speech, ((name, weight),), seed)) for weight in LADDER}
        judged = {0.0: neutral} | {weight: one for weight, one in ladder.items() if one is not None}
        if 1.0 not in judged or len(judged) < 3:
            continue
        full = blendshape_change(judged[1.0].tracks, neutral.tracks, list(MEASURED_CHANGES[name]))
        changes = {weight: blendshape_change(one.tracks, neutral.tracks, list(full)) for weight, one in judged.items()}
        column = JUDGED_EMOTIONS.index(name)
        strengths = [strength(change, full) for change in changes.values()]
        probabilities = [float(one.emotions[:, column].mean()) for one in judged.values()]
        result[name] = {
            "weights": list(judged),
            "strength": strengths,
            "probability": probabilities,
            "spearman_strength": float(spearmanr(list(judged), strengths).statistic),
            "spearman_probability": float(spearmanr(list(judged), probabilities).statistic),
        }
    rows = [
        [
            name,
            " ".join(f"{value:.2f}" for value in row["strength"]),
            row["spearman_strength"],
            " ".join(f"{value:.2f}" for value in row["probability"]),
            row["spearman_probability"],
        ]
        for name, row in result.items()
    ]
    title = "Strength and judged probability at weight 0, .25, .5, .75, 1"
    show(title, ["", "strength", "Spearman", "probability", "Spearman"], rows)
    return result
