"""What cannot be used is refused in a sentence, before much work is done, and leaves no file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mooe.demo.driving import Drive, reenact
from mooe.demo.limits import (
    MAX_FILM_SECONDS,
    MAX_SPEECH_SECONDS,
    MAX_TEXT,
    MAX_UPLOAD_MB,
    check_text,
    read_speech,
    sentence,
)
from mooe.demo.studio import Studio, Wish
from mooe.errors import AudioError, ConfigError, EmotionError, MooeError, MotionError, PortraitError
from mooe.media import VideoWriter

WriteWav = Callable[..., Path]


def test_films_that_cannot_drive_are_refused_in_sentences(
    studio: Studio, portrait_path: Path, driving: Path, tmp_path: Path, write_wav: WriteWav
) -> None:
    (tmp_path / "text.mp4").write_text("not a film")
    with VideoWriter(tmp_path / "meadow.mp4", 64, 64) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
    with VideoWriter(tmp_path / "long.mp4", 64, 64, fps=1) as writer:
        for _ in range(round(MAX_FILM_SECONDS) + 2):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    folder = tmp_path / "film"
    folder.mkdir()
    good = Drive(str(portrait_path), str(driving))
    cases: list[tuple[dict[str, Any], type[MooeError], str]] = [
        ({"portrait": None}, PortraitError, "no portrait yet"),
        ({"film": None}, MotionError, "no film of a face yet"),
        ({"film": str(tmp_path / "text.mp4")}, MooeError, "give a video file"),
        ({"film": str(write_wav(np.zeros(16_000)))}, MooeError, "no picture track"),
        ({"film": str(tmp_path / "meadow.mp4")}, PortraitError, "No face"),
        ({"film": str(tmp_path / "long.mp4")}, MotionError, "longer than 30 seconds"),
        ({"manner": "sideways"}, ConfigError, "use relative"),
    ]
    for change, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            list(reenact(studio, replace(good, **change), folder))
        assert "/" not in sentence(caught.value)
        assert not list(folder.iterdir())


def test_bad_inputs_are_refused_in_sentences(
    studio: Studio, portrait_path: Path, voice: str, tmp_path: Path, write_wav: WriteWav
) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "large.png").touch()
    with (tmp_path / "large.png").open("r+b") as file:
        file.truncate(MAX_UPLOAD_MB * 2**20 + 1)
    Image.new("RGB", (300, 300), (90, 120, 60)).save(tmp_path / "meadow.png")
    long = str(write_wav(np.zeros(round((MAX_SPEECH_SECONDS + 2) * 4000)), "long.wav", 4000))
    good = {"portrait": str(portrait_path), "voice": voice}
    cases: list[tuple[dict[str, Any], type[MooeError], str]] = [
        ({"portrait": None}, PortraitError, "no portrait yet"),
        ({"portrait": str(tmp_path / "text.png")}, PortraitError, "not a picture"),
        ({"portrait": str(tmp_path / "large.png")}, PortraitError, f"more than {MAX_UPLOAD_MB} MB"),
        ({"portrait": str(tmp_path / "meadow.png")}, PortraitError, "No face"),
        ({"face": 5}, PortraitError, "no face number 5"),
        ({"voice": None}, AudioError, "no voice yet"),
        ({"voice": str(tmp_path / "text.wav")}, AudioError, "not a sound file"),
        ({"voice": long}, AudioError, "longer than 60 seconds"),
        ({"text": "a" * (MAX_TEXT + 1)}, ConfigError, "shorten it"),
        ({"weights": (2.0, 0, 0, 0, 0, 0)}, EmotionError, "between 0 and 1"),
        ({"intensity": 3.0}, EmotionError, "between 0 and 1"),
        ({"keyframes": ((-1.0, (0.8, 0, 0, 0, 0, 0)),)}, EmotionError, "Keyframe times"),
        ({"controls": {"head_motion": 9}}, ConfigError, "out of range"),
        ({"speaker": "nobody"}, ConfigError, "choose one from the list"),
    ]
    folder = tmp_path / "film"
    folder.mkdir()
    for change, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            list(studio.film(Wish(**(good | change)), folder))
        said = sentence(caught.value)
        assert str(tmp_path) not in said
        assert "/" not in said.replace("NAME/", "")
        assert not list(folder.iterdir())


def test_long_recordings_are_not_decoded_to_their_end(tmp_path: Path, write_wav: WriteWav) -> None:
    assert check_text("  hello ") == "hello"
    exactly = write_wav(np.zeros(round(MAX_SPEECH_SECONDS * 4000)), "minute.wav", 4000)
    assert len(read_speech(str(exactly))) == pytest.approx(MAX_SPEECH_SECONDS * 16_000, rel=0.001)
