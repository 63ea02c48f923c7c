"""What the page takes, and how it says no."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from mooe.audio import iter_audio
from mooe.audio.constants import SAMPLE_RATE
from mooe.errors import AudioError, ConfigError, MooeError, MotionError, PortraitError

MAX_UPLOAD_MB = 30
MAX_SPEECH_SECONDS = 60.0
MAX_FILM_SECONDS = 30.0
"""Length of a film that moves a portrait."""
MAX_TEXT = 600
"""Characters of typed speech: about as long as the longest recording."""
MAX_WAITING = 12
"""Films that may wait in the queue."""
KEPT_SECONDS = 3600
"""Age at which uploads and results are deleted."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def read_speech(path: str | None) -> NDArray[np.float32]:
    """A recording as float32 mono at 16 kHz, decoded no further than the limit.

    Raises:
        AudioError: there is none, it cannot be read, or it is longer than a minute.
    """
    if not path:
        raise AudioError("There is no voice yet: upload a recording, use the microphone or take the example.")
    _check_bytes(path, "recording", AudioError)
    pieces: list[NDArray[np.float32]] = []
    held = 0
    for piece in iter_audio(path, chunk_seconds=5.0):
        pieces.append(piece)
        held += len(piece)
        if held > (MAX_SPEECH_SECONDS + 0.5) * SAMPLE_RATE:
            raise AudioError(
                f"The voice is longer than {MAX_SPEECH_SECONDS:.0f} seconds: cut it shorter, or use the command "
                "'mooe generate', which takes any length."
            )
    return np.concatenate(pieces)


def check_portrait(path: str | None) -> Path:
    """The portrait's path (raises PortraitError when there is none or it is too large a file)."""
    if not path:
        raise PortraitError("There is no portrait yet: upload a photograph, use the webcam or take an example.")
    _check_bytes(path, "photograph", PortraitError)
    return Path(path)


def check_film(path: str | None) -> Path:
    """The path of a film that moves a portrait (raises MotionError when there is none or it is too large a file)."""
    if not path:
        raise MotionError("There is no film of a face yet: upload one or use the webcam.")
    _check_bytes(path, "film", MotionError)
    return Path(path)


def check_film_seconds(seconds: float) -> None:
    """Refuse a film that lasts longer than is taken (raises MotionError)."""
    if seconds > MAX_FILM_SECONDS + 0.5:
        raise MotionError(
            f"The film of a face is longer than {MAX_FILM_SECONDS:.0f} seconds: cut it shorter, or use the command "
            "'mooe reenact', which takes any length."
        )


def check_text(text: str) -> str:
    """Typed speech without white space around it (raises ConfigError when it is too long)."""
    if len(text) > MAX_TEXT:
        raise ConfigError(f"The text has {len(text)} characters: shorten it to {MAX_TEXT}.")
    return text.strip()


def sentence(error: MooeError) -> str:
    """The error's own words without the folders of this machine."""
    folders = {re.escape(str(Path(tempfile.gettempdir()))), re.escape(str(Path.home())), re.escape(str(Path.cwd()))}
    text = re.sub(rf"(?:{'|'.join(sorted(folders, key=len, reverse=True))})/(?:[\w.-]+/)*", "", str(error))
    return text[:1].upper() + text[1:]


@contextmanager
def in_sentences() -> Iterator[None]:
    """Turn what goes wrong inside into a `gr.Error` that a visitor can act on."""
    import gradio as gr

    title = "That does not work"
    try:
        yield
    except MooeError as error:
        raise gr.Error(sentence(error), title=title, print_exception=False) from error
    except MemoryError as error:
        message = "There is not enough memory for this: use a smaller picture or a shorter voice."
        raise gr.Error(message, title=title, print_exception=False) from error


def speaking(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A handler of the page whose errors are sentences."""

    @wraps(function)
    def handler(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with in_sentences():
            return function(*args, **kwargs)

    return handler


def _check_bytes(path: str, what: str, error: type[MooeError]) -> None:
    file = Path(path)
    if file.is_file() and file.stat().st_size > MAX_UPLOAD_MB * 2**20:
        raise error(f"The {what} has more than {MAX_UPLOAD_MB} MB: make it smaller first.")
