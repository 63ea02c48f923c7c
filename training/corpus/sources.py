"""Folders of talking videos and what their layouts say of each video: who speaks, with which emotion, how strongly.

Layouts:

===========  ==================================================================================================
plain        any folder of videos; a file's folder is its speaker, nothing is known of the emotion
videofolder  ``metadata.csv`` beside the videos with ``file_name`` and, if known, ``speaker``, ``emotion``,
             ``intensity`` (0 to 1)
mead         ``M003/video/front/angry/level_2/001.mp4`` (Wang et al., ECCV 2020)
hdtf         ``RD_Radio1_000.mp4``, ``WDA_..``, ``WRA_..`` (Zhang et al., CVPR 2021); no emotions
cremad       ``1001_DFA_ANG_XX.flv`` (Cao et al., IEEE TAC 2014)
ravdess      ``Actor_01/01-01-03-01-01-01-01.mp4`` (Livingstone and Russo, PLoS ONE 2018)
===========  ==================================================================================================
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mooe.emotion.taxonomy import NEUTRAL, canonical_name
from mooe.errors import ConfigError, EmotionError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".flv", ".mpg", ".mpeg", ".3gp", ".ogv"})
METADATA = "metadata.csv"
_COLUMNS = frozenset({"file_name", "speaker", "emotion", "intensity"})


@dataclass(frozen=True)
class VideoSource:
    """A video and what is known of it beforehand.

    Attributes:
        path: the file.
        name: unique among the sources; letters, digits, ``-`` and ``_``.
        speaker: who speaks.
        emotion: a name that :func:`mooe.emotion.canonical_name` knows, or None if not known.
        intensity: strength of the emotion, 0 to 1.
        skipped: why it is of no use, "" if it is.
    """

    path: Path
    name: str
    speaker: str
    emotion: str | None = None
    intensity: float = 1.0
    skipped: str = ""


@dataclass(frozen=True)
class _Label:
    speaker: str
    emotion: str | None = None
    intensity: float = 1.0
    skipped: str = ""


_MEAD_EMOTIONS = {
    "angry": "angry", "disgusted": "disgusted", "fear": "fearful", "happy": "happy", "neutral": NEUTRAL, "sad": "sad",
    "surprised": "surprised", "contempt": None,
}  # fmt: skip
_MEAD_LEVELS = {"level_1": 0.4, "level_2": 0.7, "level_3": 1.0}
_CREMAD_EMOTIONS = {
    "ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": NEUTRAL, "SAD": "sad"
}  # fmt: skip
_CREMAD_LEVELS = {"LO": 0.4, "MD": 0.7, "HI": 1.0, "XX": 0.7}
_RAVDESS_EMOTIONS = {
    "01": NEUTRAL, "02": NEUTRAL, "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgusted",
    "08": "surprised",
}  # fmt: skip
_RAVDESS_LEVELS = {"01": 0.7, "02": 1.0}


def _mead(path: Path) -> _Label | None:
    parts = path.parts
    if len(parts) < 6 or parts[-5] != "video" or parts[-3] not in _MEAD_EMOTIONS or parts[-2] not in _MEAD_LEVELS:
        return None
    skipped = "" if parts[-4] == "front" else f"seen from {parts[-4]}, not from the front"
    return _Label(parts[-6], _MEAD_EMOTIONS[parts[-3]], _MEAD_LEVELS[parts[-2]], skipped)


def _cremad(path: Path) -> _Label | None:
    found = re.fullmatch(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_(LO|MD|HI|XX|X)", path.stem)
    if found is None or found[2] not in _CREMAD_EMOTIONS:
        return None
    return _Label(found[1], _CREMAD_EMOTIONS[found[2]], _CREMAD_LEVELS[found[3].ljust(2, "X")])


def _ravdess(path: Path) -> _Label | None:
    found = re.fullmatch(r"(0[123])-(0[12])-(0[1-8])-(0[12])-0[12]-0[12]-(\d\d)", path.stem)
    if found is None:
        return None
    skipped = "without sound; its twin 01-... has it" if found[1] == "02" else "sung" if found[2] == "02" else ""
    return _Label(f"Actor_{found[5]}", _RAVDESS_EMOTIONS[found[3]], _RAVDESS_LEVELS[found[4]], skipped)


def _hdtf(path: Path) -> _Label | None:
    found = re.fullmatch(r"((?:RD|WDA|WRA)_.+?)(?:_\d+)?", path.stem)
    return None if found is None else _Label(found[1])


def _plain(path: Path) -> _Label | None:
    return _Label(path.parent.name or "speaker")


LAYOUTS: dict[str, Callable[[Path], _Label | None]] = {
    "mead": _mead, "cremad": _cremad, "ravdess": _ravdess, "hdtf": _hdtf, "plain": _plain,
}  # fmt: skip


def find_videos(roots: Sequence[Path], layout: str | None = None) -> list[VideoSource]:
    """All videos under files and folders, sorted by path.

    Args:
        roots: videos and folders.
        layout: a name of the module's table; None finds out file by file.

    Raises:
        ConfigError: a root does not exist, holds no video, the layout is not known, or metadata.csv is not valid.
    """
    if layout is not None and layout not in (*LAYOUTS, "videofolder"):
        raise ConfigError(f"The layout '{layout}' is not known: use {', '.join((*LAYOUTS, 'videofolder'))}.")
    sources: list[VideoSource] = []
    names: set[str] = set()
    for root in roots:
        found = list(_read_root(root, layout))
        if not found:
            raise ConfigError(f"There are no videos in {root}: give videos, or a folder that holds some.")
        for path, label in found:
            name = _unique(path, root, names)
            sources.append(VideoSource(path, name, label.speaker, label.emotion, label.intensity, label.skipped))
    return sources


def _read_root(root: Path, layout: str | None) -> Iterator[tuple[Path, _Label]]:
    if root.is_file():
        yield root, _label(root, layout)
        return
    if not root.is_dir():
        raise ConfigError(f"There is no video or folder {root}: check the path.")
    if (root / METADATA).is_file() and layout in (None, "videofolder"):
        yield from _read_metadata(root)
        return
    if layout == "videofolder":
        raise ConfigError(f"There is no {METADATA} in {root}: write one with the column file_name, or use plain.")
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            yield path, _label(path, layout)


def _label(path: Path, layout: str | None) -> _Label:
    readers = [LAYOUTS[layout]] if layout in LAYOUTS else list(LAYOUTS.values())
    for reader in readers:
        found = reader(path)
        if found is not None:
            return found
    return _Label(path.parent.name or "speaker", skipped=f"its name is none of {layout}")


def _read_metadata(root: Path) -> Iterator[tuple[Path, _Label]]:
    source = root / METADATA
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{source} cannot be read ({error}): save it as CSV in UTF-8.") from error
    unknown = {str(key) for row in rows for key in row} - _COLUMNS
    if unknown or not rows or not rows[0].get("file_name"):
        raise ConfigError(
            f"{source} has the columns {', '.join(sorted(unknown)) or 'of no row'} that are not known: use "
            f"{', '.join(sorted(_COLUMNS))}, of which file_name must be there."
        )
    for number, row in enumerate(rows, start=2):
        path = root / (row["file_name"] or "")
        if not path.is_file():
            yield path, _Label(root.name, skipped=f"named in {METADATA}, line {number}, and not there")
            continue
        yield path, _metadata_label(row, root, f"{source}, line {number}")


def _metadata_label(row: dict[str, str | None], root: Path, place: str) -> _Label:
    emotion, intensity = row.get("emotion") or None, row.get("intensity") or "1"
    try:
        named = None if emotion is None else canonical_name(emotion)
        strength = float(intensity)
    except (EmotionError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from error
    if not 0 <= strength <= 1:
        raise ConfigError(f"{place}: the intensity {intensity} is not between 0 and 1: correct it.")
    return _Label(row.get("speaker") or root.name, named, strength)


def _unique(path: Path, root: Path, names: set[str]) -> str:
    """A name for results, from the path below the root."""
    relative = path.relative_to(root) if root.is_dir() and path.is_relative_to(root) else Path(path.name)
    plain = re.sub(r"[^\w-]+", "_", "_".join(relative.with_suffix("").parts)).strip("_") or "video"
    name, number = plain, 2
    while name in names:
        name, number = f"{plain}_{number}", number + 1
    names.add(name)
    return name
