"""What the verbs share of the terminal and of limits."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from mooe.errors import ConfigError

# Beyond this many pixels a side, players' H.264 decoders give up and encoding outlasts everything else.
MAX_VIDEO_SIDE = 1920
MIN_SIZE, MAX_SIZE, SIZE_STEP = 128, 1024, 8

BooksOption = Annotated[
    bool | None,
    typer.Option(
        "--books/--no-books",
        help="Refine by the decoder's learned codebooks, or draw by geometry alone, which is faster [default: with "
        "them where the processor computes in bfloat16].",
    ),
]


def check_size(size: int) -> None:
    """Refuse a side of the head crop that cannot be used (raises ConfigError)."""
    if not MIN_SIZE <= size <= MAX_SIZE or size % SIZE_STEP:
        raise ConfigError(
            f"--size {size} cannot be used: give a multiple of {SIZE_STEP} from {MIN_SIZE} to {MAX_SIZE}."
        )


def books_wanted(books: bool | None) -> bool:
    """Whether to use the codebooks; where nothing was asked, if they leave a film as fast as it lasts."""
    if books is None:
        from mooe.weights import books_keep_pace

        return books_keep_pace()
    return books


@contextlib.contextmanager
def native_logs_hidden() -> Iterator[None]:
    """Keep what native libraries log off the terminal; Python's own standard error still gets there.

    MediaPipe writes several lines past Python to the file descriptor, and has no switch for them.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        yield
        return
    sys.stderr.flush()
    python_stderr = sys.stderr
    kept = os.dup(descriptor)
    with open(kept, "w", encoding=python_stderr.encoding, errors="backslashreplace", buffering=1) as own:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), descriptor)
        sys.stderr = own
        try:
            yield
        finally:
            own.flush()
            sys.stderr = python_stderr
            os.dup2(kept, descriptor)
