"""The demo as a process that serves programs: turns, cancelling, refusals, and a clean end."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from demo_films import FRAMES

from mooe.demo.server import working_folder
from mooe.demo.studio import Studio
from mooe.media import read_image, read_video

WriteWav = Callable[..., Path]
try:
    import gradio  # noqa: F401
    from gradio_client import Client, handle_file

    HAS_GRADIO = True
except ImportError:
    HAS_GRADIO = False
needs_gradio = pytest.mark.skipif(not HAS_GRADIO, reason="the extra demo (gradio) is not installed")


def test_folders_of_killed_processes_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    running = working_folder()
    left = tmp_path / "mooe-demo-4194304-abc"  # larger than any process number of Linux
    (left / "films").mkdir(parents=True)
    another = working_folder()
    assert running.is_dir()
    assert another.is_dir()
    assert not left.exists()


@needs_gradio
def test_only_controls_that_work_are_on_the_page(studio: Studio, tmp_path: Path) -> None:
    from mooe.demo.page import build

    text = json.dumps(build(studio, tmp_path).get_config_file(), default=str)
    for name, there in {
        '"prompt"': True,
        '"action-units"': True,
        '"tts-voice"': bool(studio.voices),
        '"speaker"': bool(studio.speakers),
        '"head-motion"': True,
        '"from-voice"': True,
        '"timeline"': True,
        '"driving"': True,
    }.items():
        assert (name in text) == there, name


@needs_gradio
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_programs_wait_in_turn_and_a_killed_server_leaves_nothing(
    tmp_path: Path, portrait_path: Path, voice: str, driving: Path, write_wav: WriteWav
) -> None:
    from demo_server import demo_server

    (tmp_path / "text.png").write_text("not a picture")
    not_a_film = tmp_path / "text.mp4"
    not_a_film.write_text("not a film")
    long = write_wav(np.zeros(600 * 4000), "ten minutes.wav", 4000)
    with demo_server(tmp_path / "server") as server:
        clients = [Client(server.url, verbose=False, download_files=tmp_path / f"got{k}") for k in range(3)]
        portrait = handle_file(str(portrait_path))
        jobs = [
            client.submit(portrait, handle_file(voice), "happy:0.6", 1.0, 1.0, number, api_name="/film")
            for number, client in enumerate(clients)
        ]
        results = [job.result(timeout=300) for job in jobs]
        assert [report["seed"] for _, report in results] == [0, 1, 2]
        films = [Path(film["video"] if isinstance(film, dict) else film).read_bytes() for film, _ in results]
        assert len(set(films)) == 3
        moved = clients[0].predict(portrait, handle_file(str(driving)), "best frame", 0, api_name="/reenact")
        assert moved[1]["frames"] == FRAMES
        with read_video(moved[0]["video"] if isinstance(moved[0], dict) else moved[0]) as video:
            assert sum(1 for _ in video) == FRAMES
            assert video.info.has_audio
        with pytest.raises(Exception, match="give a video file"):
            clients[0].predict(portrait, handle_file(str(not_a_film)), "relative", 0, api_name="/reenact")
        boxes = clients[0].predict(portrait, api_name="/faces")
        assert len(boxes) == 1
        assert read_image(clients[0].predict(portrait, 0, "sad", 1.0, api_name="/still")).shape == (256, 256, 3)
        for arguments, words in (
            ((handle_file(str(tmp_path / "text.png")), handle_file(voice), "happy", 1, 1, 0), "not a picture"),
            ((portrait, handle_file(str(long)), "happy", 1, 1, 0), "longer than 60 seconds"),
            ((portrait, handle_file(voice), "hapy", 1, 1, 0), "did you mean 'happy'"),
            ((portrait, handle_file(voice), "happy", 1, 1, 0.5), "whole numbers"),
            ((None, handle_file(voice), "happy", 1, 1, 0), "no portrait yet"),
        ):
            with pytest.raises(Exception, match=re.escape(words)) as caught:
                clients[0].predict(*arguments, api_name="/film")
            assert "Traceback" not in str(caught.value)
            assert str(tmp_path) not in str(caught.value)
        assert not [path for path in server.folder.rglob("*") if path.name.endswith(".part")]
        minute = write_wav(np.random.default_rng(0).standard_normal(55 * 4000) * 0.1, "minute.wav", 4000)
        clients[0].submit(portrait, handle_file(str(minute)), "happy", 1, 1, 0, api_name="/film")
        deadline = time.monotonic() + 120
        while not list(server.folder.rglob("*.part")) and time.monotonic() < deadline:
            time.sleep(0.05)
        printed = server.stop(signal.SIGTERM)
        assert "Traceback" not in printed
        assert not list(server.folder.rglob("*.part"))
        assert not list(server.folder.rglob("*.mp4"))
