"""How soon after its keyframe the judges see another emotion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.generated import ClipFolder, ClipSpec
from bench.tables import show
from mooe.metrics import JUDGED_EMOTIONS, ClipJudgement
from mooe.metrics.clip import EMOTION_EVERY
from mooe.metrics.motion import MEASURED_CHANGES
from mooe.metrics.tracks import FaceTracks

TURNS = (("happy", "sad"), ("angry", "happy"), ("sad", "surprised"))
# Seconds that a turn takes from one keyframe to the next; it is due in the middle
TURN_SECONDS = 0.4

Array = NDArray[np.float64]


def best_step(track: Array) -> float:
    """Where, between two of its places 0 to F - 1, a step of level fits a track ``[F]`` best by least squares."""
    ends = range(1, len(track))
    return min(ends, key=lambda k: float(track[:k].var() * k + track[k:].var() * (len(track) - k))) - 0.5


def _shapes(tracks: FaceTracks, names: list[str]) -> Array:
    return np.stack([tracks.blendshape(name) for name in names], 1).astype(np.float64)


def share_of_turn(turning: FaceTracks, before: FaceTracks, after: FaceTracks, turn: tuple[str, str]) -> Array:
    """How far each frame is from one emotion to the other, ``[F]``, about 0 to 1.

    All three clips have the same seed and sound, so what speech does to the blendshapes cancels out.
    """
    names = sorted({name for emotion in turn for name in MEASURED_CHANGES[emotion]})
    first, last = _shapes(before, names), _shapes(after, names)
    way = (last - first).mean(0)
    share: Array = (_shapes(turning, names) - first) @ way / max(float(way @ way), 1e-12)
    return share


def measure_timeline(clips: ClipFolder, portraits: list[Path], speech: Path, seed: int) -> dict[str, Any]:
    """Seconds from the middle between two keyframes to the turn that blendshapes and the emotion judge show."""
    rows: dict[str, dict[str, Any]] = {}
    for portrait, turn in zip(portraits, TURNS, strict=False):
        before, after = (clips.judgement(ClipSpec(portrait, speech, ((name, 1.0),), seed)) for name in turn)
        if before is None or after is None:
            continue
        fps = before.tracks.fps
        middle = round(len(before.tracks) / fps / 2, 1)
        file = clips.folder / f"{turn[0]}_to_{turn[1]}.yaml"
        times = (middle - TURN_SECONDS / 2, middle + TURN_SECONDS / 2)
        keyframes = [f"  - {{at: {at:.2f}, emotion: {name}}}" for at, name in zip(times, turn, strict=True)]
        file.write_text("\n".join(["keyframes:", *keyframes, ""]), encoding="utf-8")
        turning = clips.judgement(ClipSpec(portrait, speech, (), seed, ("--timeline", str(file))))
        if turning is None:
            continue
        shown = best_step(share_of_turn(turning.tracks, before.tracks, after.tracks, turn)) / fps
        judged = _judged(turning, turn)
        rows[portrait.stem] = {
            "turn": " to ".join(turn), "due": middle, "blendshapes": shown - middle, "judge": judged - middle,
        }  # fmt: skip
    table = [[stem, row["turn"], row["due"], row["blendshapes"], row["judge"]] for stem, row in rows.items()]
    show("Seconds from where a turn is due to where it is seen", ["", "turn", "due", "blendshapes", "judge"], table)
    return rows


def _judged(turning: ClipJudgement, turn: tuple[str, str]) -> float:
    """When the judge's probabilities of the two change places, in seconds."""
    first, last = (turning.emotions[:, JUDGED_EMOTIONS.index(name)].astype(np.float64) for name in turn)
    return best_step(last - first) * EMOTION_EVERY / turning.tracks.fps
