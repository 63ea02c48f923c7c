"""The preparing of videos as a user runs it: bad ones named, workers that die, full disks, wrong settings."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from mooe.errors import MooeError
from mooe.media import VideoWriter, read_image
from tests.worker_task import work
from training.common import run_command
from training.corpus.filmed import FilmedClip
from training.corpus.prepared_video import PrepareSettings
from training.corpus.workers import WorkerError, run_in_processes
from training.prepare import PrepareConfig, prepare
from training.prepare import main as prepare_main
from training.train_lora import main as train_lora_main


def test_a_killed_worker_costs_its_item_alone() -> None:
    outcomes = dict(run_in_processes(work, ["a", "kill", "raise", "b", "c"], 2))
    assert [outcomes[item] for item in "abc"] == ["A", "B", "C"]
    killed, raised = outcomes["kill"], outcomes["raise"]
    assert isinstance(killed, WorkerError) and "SIGKILL" in str(killed)
    assert isinstance(raised, WorkerError) and "No space left" in str(raised)


@pytest.mark.parametrize(
    ("main", "words", "named"),
    [
        (prepare_main, ["videos", "--out", "corpus", "--set", "allow_silnt=true"], "allow_silent"),
        (prepare_main, ["videos", "--out", "corpus", "--set", "limits.min_second=3"], "min_seconds"),
        (
            train_lora_main,
            ["--config", "configs/lora_speaker.yaml", "--data", "corpus", "--set", "lip_wait=1"],
            "lip_weight",
        ),
    ],
)
def test_unknown_keys_are_named_with_the_nearest(
    main: Callable[[], None],
    words: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *words])
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    told = capsys.readouterr().err
    wrong = words[-1].partition("=")[0].rpartition(".")[2]
    assert ended.value.code == 2 and f"'{wrong}'" in told and f"did you mean '{named}'" in told


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Path:
    """A talking face (a still one, with sound), a silent one, one without a face, a broken file."""
    folder = tmp_path_factory.mktemp("videos")
    picture = read_image(examples / "portraits" / "grace_hopper.jpg")
    picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
    height, width = picture.shape[:2]
    sound = (0.2 * np.sin(np.arange(int(2.4 * 16_000)) / 12)).astype(np.float32)
    for name, image, audio in (
        ("face", picture, sound), ("silent", picture, None), ("grey", np.full_like(picture, 90), sound)
    ):  # fmt: skip
        with VideoWriter(folder / f"{name}.mp4", width, height, audio=audio) as video:
            for _ in range(60):
                video.write(image)
    (folder / "broken.mp4").write_bytes((folder / "face.mp4").read_bytes()[:3000])
    return folder


@pytest.mark.slow
def test_bad_videos_are_named_the_rest_goes_on_and_nothing_is_done_twice(videos: Path, tmp_path: Path) -> None:
    # the sound of the still face is a tone, which lips need not follow
    settings = PrepareSettings(min_sync=-1.0, crop_size=64)
    records = {r["name"]: r for r in prepare(PrepareConfig([videos], tmp_path, workers=2, settings=settings))}
    assert len(records["face"]["clips"]) == 1 and not records["face"]["error"]
    assert "no sound track" in records["silent"]["error"]
    assert records["broken"]["error"]
    assert {part["reason"] for part in records["grey"]["rejected"]} == {"no face"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in records) and "no face" in page and "data:image/jpeg" in page
    clip_path = tmp_path / "clips" / "face-000.npz"
    loaded = FilmedClip.load(clip_path)
    assert loaded.audible and abs(loaded.displacement[:, 33]).max() < 0.1
    assert (tmp_path / "crops" / "face-000.mp4").is_file()
    before = clip_path.stat().st_mtime_ns
    again = prepare(PrepareConfig([videos], tmp_path, settings=settings))
    assert clip_path.stat().st_mtime_ns == before
    assert {r["name"]: r for r in again} == records
    # other settings, other results
    changed = PrepareSettings(min_sync=-1.0, allow_silent=True)
    later = {r["name"]: r for r in prepare(PrepareConfig([videos], tmp_path, settings=changed))}
    assert len(later["silent"]["clips"]) == 1
    assert not FilmedClip.load(tmp_path / "clips" / "silent-000.npz").audible


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_reported_and_leaves_nothing_half(videos: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # workers inherit the limit: clips do not fit, records and the report do
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    settings = PrepareSettings(min_sync=-1.0)
    try:
        with pytest.raises(MooeError, match=r"No clip could be kept.*too large"):
            prepare(PrepareConfig([videos / "face.mp4"], tmp_path, settings=settings))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "clips").iterdir())
    # with room again, the same command does what is missing
    (record,) = prepare(PrepareConfig([videos / "face.mp4"], tmp_path, settings=settings))
    assert len(record["clips"]) == 1


@pytest.mark.slow
def test_a_video_whose_worker_is_killed_is_named_and_done_the_next_time(videos: Path, tmp_path: Path) -> None:
    def kill() -> None:
        while not (workers := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(workers[0].pid or 0, signal.SIGKILL)

    config = PrepareConfig([videos / "face.mp4"], tmp_path, settings=PrepareSettings(min_sync=-1.0))
    killer = Thread(target=kill)
    killer.start()
    with pytest.raises(MooeError, match=r"No clip could be kept.*SIGKILL"):
        prepare(config)
    killer.join()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>face" in page and "SIGKILL" in page
    (record,) = prepare(config)
    assert len(record["clips"]) == 1 and not record["error"]
