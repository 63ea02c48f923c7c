"""Films of a portrait that another film drives, without a page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from demo_films import FRAMES

from mooe.demo.driving import MANNERS, Drive, DrivenFilm, reenact
from mooe.demo.studio import Cancelled, Progress, Studio
from mooe.media import read_video
from mooe.media.inspection import inspect_video


@pytest.mark.parametrize("manner", MANNERS)
def test_a_film_of_a_face_moves_the_portrait(
    studio: Studio, portrait_path: Path, driving: Path, manner: str, tmp_path: Path
) -> None:
    *steps, film = reenact(studio, Drive(str(portrait_path), str(driving), manner=manner), tmp_path)
    shares = [step.share for step in steps if isinstance(step, Progress)]
    assert shares == sorted(shares)
    assert isinstance(film, DrivenFilm)
    assert json.loads(film.report.read_text(encoding="utf-8")) == film.content
    with read_video(film.path) as video:
        frames = np.stack(list(video))
        assert video.info.has_audio
    assert len(frames) == film.content["frames"] == FRAMES
    assert np.ptp(frames.astype(int), axis=0).max() > 40
    assert inspect_video(film.path).pixel_mark


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_a_stopped_reenactment_leaves_nothing(
    studio: Studio, portrait_path: Path, driving: Path, share: float, tmp_path: Path
) -> None:
    seen = [0.0]
    steps = reenact(studio, Drive(str(portrait_path), str(driving)), tmp_path, lambda: seen[-1] > share)
    with pytest.raises(Cancelled):
        for step in steps:
            assert isinstance(step, Progress)
            seen.append(step.share)
    assert not list(tmp_path.iterdir())
