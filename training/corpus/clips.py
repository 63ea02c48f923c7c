"""Labelled speech clips on disk: one ``.npz`` file a clip, a hundred clips a folder.

Layout: ``FOLDER/000/00012.npz`` with the keys

=========  =================================================================================
audio      int16 [n], mono, 16 kHz
phones     unicode [P], IPA symbols; ``sil`` where nobody speaks
starts     float32 [P], seconds from the start of the clip
ends       float32 [P], seconds; ``ends[i] == starts[i + 1]`` and the last one is the duration
text       what is said ("" for clips without speech)
voice      name of the voice, or of the file a clip was cut from
language   espeak-ng language code, "" for clips without speech
kind       ``speech``, ``silence``, ``noise``, ``breath`` or ``tones``
=========  =================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mooe.audio.constants import SAMPLE_RATE, SILENCE

__all__ = ["SAMPLE_RATE", "SILENCE", "SpeechClip", "clip_files", "clip_path", "load_clip", "save_clip", "save_npz"]

CLIPS_PER_FOLDER = 100


@dataclass
class SpeechClip:
    """Sound with the times of its phones.

    Attributes:
        audio: float32 [n] in [-1, 1], 16 kHz mono.
        phones: list of (IPA symbol, start in seconds, end in seconds) without gaps.
        text, voice, language, kind: see the module's table.
    """

    audio: np.ndarray
    phones: list[tuple[str, float, float]] = field(default_factory=list)
    text: str = ""
    voice: str = ""
    language: str = ""
    kind: str = "speech"

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLE_RATE


def clip_path(folder: Path, index: int) -> Path:
    """Where clip number `index` lies."""
    return folder / f"{index // CLIPS_PER_FOLDER:03d}" / f"{index:05d}.npz"


def save_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write a compressed archive to a temporary file, then rename it: a reader never sees half a clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        temporary.replace(path)
    finally:
        # what a full disk left
        temporary.unlink(missing_ok=True)


def save_clip(path: Path, clip: SpeechClip) -> None:
    """Write one clip in the layout above."""
    save_npz(
        path,
        audio=np.clip(np.round(clip.audio * 32767.0), -32768, 32767).astype(np.int16),
        phones=np.array([phone for phone, _, _ in clip.phones], dtype=np.str_),
        starts=np.array([start for _, start, _ in clip.phones], dtype=np.float32),
        ends=np.array([end for _, _, end in clip.phones], dtype=np.float32),
        text=np.array(clip.text),
        voice=np.array(clip.voice),
        language=np.array(clip.language),
        kind=np.array(clip.kind),
    )


def load_clip(path: Path) -> SpeechClip:
    """Read one clip."""
    with np.load(path) as data:
        times = zip(data["phones"], data["starts"], data["ends"], strict=True)
        return SpeechClip(
            audio=data["audio"].astype(np.float32) / 32767.0,
            phones=[(str(phone), float(start), float(end)) for phone, start, end in times],
            text=str(data["text"]),
            voice=str(data["voice"]),
            language=str(data["language"]),
            kind=str(data["kind"]),
        )


def clip_files(folder: Path) -> Iterator[Path]:
    """All finished clips of a folder, in order of their numbers."""
    yield from sorted(folder.glob("[0-9][0-9][0-9]/[0-9]*.npz"))
