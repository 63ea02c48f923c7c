"""Emotion of clips whose emotion is known: accuracy, confusion, and how strength follows the intensity asked for.

Two judges look: the classifier facex, and MediaPipe's blendshapes, whose change from the same person's neutral clip is
compared with the change measured on actors.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mooe.emotion.action_units import is_pattern
from mooe.emotion.taxonomy import COMPOUND_EMOTIONS, NEUTRAL, canonical_name, check_weight
from mooe.errors import EmotionError, MooeError
from mooe.face.tracker import FaceTracker
from mooe.media.video import read_video
from mooe.metrics.emotion import JUDGED_EMOTIONS, EmotionJudge, emotion_verdict
from mooe.metrics.motion import MEASURED_CHANGES, agreement, blendshape_change, strength
from mooe.metrics.tracks import FaceTracks, TrackRecorder

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
LABEL_FILE = "emotions.csv"
_EVERY = 4  # frames from one judgement to the next
# Share of the actors' change below which a face counts as neutral
_NEUTRAL_BELOW = 0.25
_SHAPES = sorted({name for changes in MEASURED_CHANGES.values() for name in changes})


@dataclass(frozen=True)
class ClipLabel:
    """What a clip was asked to show.

    Attributes:
        path: the video.
        emotion: canonical name; compounds too.
        intensity: in [0, 1].
        subject: clips of one subject are compared with its neutral clip.
    """

    path: Path
    emotion: str
    intensity: float = 1.0
    subject: str = ""

    @property
    def accepted(self) -> tuple[str, ...]:
        """Names that count as right: of a compound, either part."""
        if self.intensity == 0:
            return (NEUTRAL,)
        return tuple(COMPOUND_EMOTIONS.get(self.emotion, (self.emotion,)))


@dataclass(frozen=True)
class ClipResult:
    """What the judges see in a clip.

    Attributes:
        label: what was asked for.
        probabilities: mean probability by class of facex; empty if it is not installed.
        seen: class of facex with the highest one; None without it.
        blendshapes: the emotion whose change on actors the blendshapes' change is nearest to, neutral if it is small;
            None without the subject's neutral clip.
        strength: share of the actors' change that is there; None for neutral, or without the neutral clip.
    """

    label: ClipLabel
    probabilities: Mapping[str, float]
    seen: str | None
    blendshapes: str | None = None
    strength: float | None = None


@dataclass
class EmotionReport:
    """Results of several clips."""

    results: list[ClipResult] = field(default_factory=list)

    def accuracy(self, judge: str) -> tuple[int, int]:
        """Clips judged right, and all clips that the judge ("facex" or "blendshapes") could judge."""
        judged = [(r.label.accepted, seen) for r in self.results if (seen := _verdict(r, judge)) is not None]
        return sum(seen in accepted for accepted, seen in judged), len(judged)

    def confusion(self, judge: str) -> dict[str, dict[str, int]]:
        """Counts by emotion asked for (at full intensity or the largest there is), then by emotion seen."""
        rows: dict[str, Counter[str]] = {}
        for result in self.results:
            seen = _verdict(result, judge)
            if seen is not None:
                asked = NEUTRAL if result.label.intensity == 0 else result.label.emotion
                rows.setdefault(asked, Counter())[seen] += 1
        return {asked: dict(counts) for asked, counts in sorted(rows.items())}

    def curves(self, judge: str) -> dict[str, list[tuple[float, float]]]:
        """Mean strength by intensity of each emotion with two intensities or more: probability by facex, share of the
        actors' change by the blendshapes."""
        found: dict[str, dict[float, list[float]]] = {}
        for result in self.results:
            value = result.strength if judge == "blendshapes" else result.probabilities.get(result.label.emotion)
            if value is not None:
                found.setdefault(result.label.emotion, {}).setdefault(result.label.intensity, []).append(value)
        means = {name: sorted((x, float(np.mean(v))) for x, v in points.items()) for name, points in found.items()}
        return {name: points for name, points in means.items() if len(points) > 1}

    def rank_correlation(self, judge: str) -> dict[str, float]:
        """Spearman's correlation of strength with intensity, by emotion with three intensities or more."""
        curves = {name: points for name, points in self.curves(judge).items() if len(points) > 2}
        return {name: float(spearmanr(*zip(*points, strict=True)).statistic) for name, points in curves.items()}

    def rows(self) -> list[dict[str, str]]:
        """A row a clip, for a table."""
        return [
            {
                "file": result.label.path.name,
                "asked": result.label.emotion,
                "intensity": f"{result.label.intensity:g}",
                "facex": result.seen or "",
                "blendshapes": result.blendshapes or "",
                "strength": "" if result.strength is None else f"{result.strength:.3f}",
                **{f"p_{name}": f"{p:.4f}" for name, p in result.probabilities.items()},
            }
            for result in self.results
        ]


def read_labels(folder: Path) -> list[ClipLabel]:
    """Labels of the videos of a folder.

    They stand in ``emotions.csv`` (columns file, emotion, and if wanted intensity and subject), or else in the names:
    ``anna_happy.mp4``, ``anna_happy_0.5.mp4``, ``anna_happily_surprised.mp4``; what stands before the emotion is the
    subject.

    Raises:
        MooeError: there are no videos, or a label is missing or unknown.
    """
    if not folder.is_dir():
        raise MooeError(f"{folder} is not a folder: give the folder of the clips, or one clip with --emotion.")
    listed = folder / LABEL_FILE
    if listed.is_file():
        labels = _listed_labels(listed)
    else:
        videos = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]
        labels = [label_of_name(path) for path in videos]
    if not labels:
        raise MooeError(f"There are no videos in {folder}: give the folder of the clips.")
    return labels


def label_of_name(path: Path) -> ClipLabel:
    """The label that a file's name holds (see `read_labels`).

    Raises:
        EmotionError: it holds none.
    """
    parts = re.split(r"[_\s-]+", path.stem)
    intensity = 1.0
    if len(parts) > 1 and re.fullmatch(r"\d*\.?\d+", parts[-1]):
        intensity = check_weight(parts.pop(), f"intensity in the name {path.name!r}")
    for length in (2, 1):
        name = "_".join(parts[-length:])
        try:
            return ClipLabel(path, canonical_name(name), intensity, "_".join(parts[:-length]))
        except EmotionError:
            continue
    raise EmotionError(
        f"The name {path.name!r} ends in no emotion: name clips as anna_happy.mp4 or anna_happy_0.5.mp4, or list them "
        f"in {LABEL_FILE}."
    )


class EmotionEvaluator:
    """Judges clips one by one.

    Attributes:
        missing: why facex does not judge, a sentence; empty if it does.
    """

    def __init__(self) -> None:
        self.missing = ""
        self._judge: EmotionJudge | None = None
        try:
            self._judge = EmotionJudge()
        except MooeError as error:
            self.missing = str(error)

    def evaluate(
        self, labels: Sequence[ClipLabel], on_clip: Callable[[ClipLabel], None] = lambda _: None
    ) -> EmotionReport:
        """Judge clips; each subject's neutral clip is what its other clips are compared with.

        Args:
            labels: the clips.
            on_clip: called before each clip.

        Raises:
            MooeError: a clip cannot be read or shows no face.
        """
        seen: list[tuple[ClipLabel, NDArray[np.float32], FaceTracks]] = []
        neutral: dict[str, FaceTracks] = {}
        for label in labels:
            on_clip(label)
            with read_video(label.path) as video:
                probabilities, tracks = self._look(video, video.info.fps)
            seen.append((label, probabilities, tracks))
            if label.accepted == (NEUTRAL,):
                neutral.setdefault(label.subject, tracks)
        return EmotionReport([_result(label, p, t, neutral.get(label.subject)) for label, p, t in seen])

    def _look(
        self, frames: Iterable[NDArray[np.uint8]], fps: float
    ) -> tuple[NDArray[np.float32], FaceTracks]:
        recorder, rows = TrackRecorder(fps), []
        with FaceTracker(max_faces=1) as tracker:
            for index, frame in enumerate(frames):
                faces = tracker.detect(frame)
                recorder.add(faces[0] if faces else None)
                if faces and self._judge is not None and index % _EVERY == 0:
                    rows.append(self._judge.probabilities(frame, faces[0].landmarks))
        return np.array(rows, np.float32).reshape(-1, len(JUDGED_EMOTIONS)), recorder.finish()


def _result(
    label: ClipLabel, probabilities: NDArray[np.float32], tracks: FaceTracks, neutral: FaceTracks | None
) -> ClipResult:
    verdict = emotion_verdict(probabilities) if len(probabilities) else None
    by_name, seen = (verdict.probabilities, verdict.emotion) if verdict else ({}, None)
    if neutral is None:
        return ClipResult(label, by_name, seen)
    change = blendshape_change(tracks, neutral, _SHAPES)
    nearest = max(MEASURED_CHANGES, key=lambda name: agreement(change, MEASURED_CHANGES[name]))
    shown = {name: strength(change, measured) for name, measured in MEASURED_CHANGES.items()}
    found = nearest if shown[nearest] >= _NEUTRAL_BELOW else NEUTRAL
    return ClipResult(label, by_name, seen, found, shown.get(label.emotion))


def _verdict(result: ClipResult, judge: str) -> str | None:
    return result.seen if judge == "facex" else result.blendshapes


def _listed_labels(listed: Path) -> list[ClipLabel]:
    labels = []
    with listed.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            if not row.get("file") or not row.get("emotion"):
                raise MooeError(f"Line {number} of {listed} lacks the file or the emotion: add it.")
            if is_pattern(row["emotion"]):
                raise EmotionError(f"Line {number} of {listed} asks for contempt, which no judge knows: drop it.")
            intensity = check_weight(row.get("intensity") or 1.0, f"intensity in line {number} of {listed}")
            name = canonical_name(row["emotion"])
            labels.append(ClipLabel(listed.parent / row["file"], name, intensity, row.get("subject") or ""))
    return labels
