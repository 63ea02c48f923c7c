"""Result files that are there whole or not at all."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import av

from mooe.errors import OutputError

_UNFINISHED: set[Path] = set()


def check_output(path: str | PathLike[str], suffix: str, *, force: bool = False) -> Path:
    """Refuse a result path that could not be written, before any work is spent on it.

    Args:
        path: where the result shall be.
        suffix: the ending it must have, such as ".mp4" (upper or lower case).
        force: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        OutputError: wrong ending, missing or unwritable folder, a folder in its place, or an existing file
            without `force`.
    """
    file = Path(path)
    try:
        if file.suffix.lower() != suffix:
            raise OutputError(f"{file} must end in {suffix}: choose such a name for the result.")
        if not file.parent.exists():
            raise OutputError(f"The folder {file.parent} does not exist: make it first or choose another one.")
        if not file.parent.is_dir():
            raise OutputError(f"{file.parent} is not a folder: choose another place for the result.")
        if file.is_dir():
            raise OutputError(f"{file} is a folder: choose a file name for the result.")
        if file.exists() and not force:
            raise OutputError(f"{file} exists already: choose another name or allow replacing it with --force.")
        with contextlib.suppress(FileNotFoundError):
            file.lstat()  # refuses names that the file system cannot hold
        with _unfinished(file) as probe:
            probe.touch(exist_ok=False)
    except (OSError, ValueError) as error:
        raise OutputError(_unwritable(file, error)) from error
    return file


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` on success and goes on any error."""
    with _unfinished(path) as temporary:
        yield temporary
        with as_output_error(path):
            os.replace(temporary, path)


@contextlib.contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn an error of the system or of FFmpeg about `path` into an OutputError."""
    try:
        yield
    except (OSError, ValueError, av.FFmpegError) as error:
        raise OutputError(_unwritable(path, error)) from error


def write_json(path: str | PathLike[str], content: Mapping[str, Any]) -> None:
    """Write `content` as indented UTF-8 JSON, whole or not at all (raises OutputError)."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(Path(path)) as temporary, as_output_error(Path(path)):
        temporary.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A name beside `path` for a file that does not outlive the block, nor the program."""
    # Not derived from the target's name, which may already be as long as the file system allows.
    temporary = path.parent / f".mooe-{secrets.token_hex(6)}.part"
    _UNFINISHED.add(temporary)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        _UNFINISHED.discard(temporary)


@atexit.register
def _remove_unfinished() -> None:
    """A Ctrl-C that comes between the entering of a block and its first line leaves that block's file."""
    for temporary in _UNFINISHED:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{str(path)!r} cannot be written ({reason}): choose a folder you may write to, with space left."
