"""`mooe generate --resume`: parts of a long clip on disk, so that a run that was stopped can go on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mooe.checkpoint import load_state, save_state
from mooe.errors import OutputError
from mooe.media.outputs import as_output_error, write_json

# Frames after which a part is closed, with the next window: about 20 s
PART_FRAMES = 500


class ResumableClip:
    """A folder beside the result with the parts that are ready and the state behind the last of them.

    Args:
        out: the result; the folder is ``.NAME.parts`` beside it.
        job: all that decides the result's bytes.

    Raises:
        OutputError: the folder belongs to another job, or cannot be used.
    """

    def __init__(self, out: Path, job: Mapping[str, Any]) -> None:
        self.folder = out.parent / f".{out.name}.parts"
        described = json.loads(json.dumps(job))
        with as_output_error(self.folder):
            self.folder.mkdir(exist_ok=True)
        note = self.folder / "job.json"
        if not note.exists():
            write_json(note, described)
        elif (changed := _changed(note, described)) is not None:
            raise OutputError(
                f"{self.folder} holds the beginning of another clip ({changed} differs): give the same command again, "
                "or delete that folder."
            )
        self.parts = sorted(self.folder.glob("[0-9]*.mp4"))
        self.state: dict[str, Any] | None = None
        if self.parts:
            # The state is written before its part, so the one of the last whole part is there.
            self.state = load_state(self._state_path(len(self.parts) - 1))

    def next_part(self) -> Path:
        """Where the part that is being made belongs."""
        return self.folder / f"{len(self.parts):05d}.mp4"

    def save(self, state: dict[str, Any]) -> None:
        """Write the state behind the part that is about to be closed."""
        save_state(self._state_path(len(self.parts)), state)

    def closed(self) -> None:
        """The part is whole."""
        self.parts.append(self.next_part())

    def remove(self) -> None:
        """Delete the folder; the result is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _state_path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"


def fingerprint(path: Path | None) -> str | None:
    """SHA-256 of a file that goes into a clip; None without one or where it cannot be read."""
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changed(note: Path, job: Mapping[str, Any]) -> str | None:
    """The first setting that differs from those noted, or None."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{note} is damaged ({error}): delete its folder and start anew.") from error
    return next((name for name in {**noted, **job} if noted.get(name) != job.get(name)), None)
