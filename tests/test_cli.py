"""The command line: good input gives a whole film, bad input one sentence, exit code 2 and nothing else."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import mooe
from mooe import __version__
from mooe.cli import run
from mooe.doctor import CHECKSUMS, EXTRAS, asset_checksums, diagnose
from mooe.media import read_video

WriteWav = Callable[..., Path]
SECONDS = 1.1


@pytest.fixture
def speech(write_wav: WriteWav) -> Path:
    noise = np.random.default_rng(0).standard_normal(round(SECONDS * 16_000)) * 0.05
    return write_wav(noise, "speech of today ü.wav")


@pytest.fixture
def arguments(portrait_path: Path, speech: Path, tmp_path: Path) -> dict[str, str]:
    """A good command line, to be changed by a test."""
    return {
        "--portrait": str(portrait_path),
        "--audio": str(speech),
        "--out": str(tmp_path / "clip.mp4"),
        "--model": "debug",
        "--steps": "1",
        "--size": "128",
    }


def command(arguments: dict[str, str], *more: str) -> list[str]:
    return ["generate", *[part for pair in arguments.items() for part in pair], *more]


def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path, arguments: dict[str, str], *more: str) -> str:
    """Run a command that must fail properly; gives its sentence."""
    before = sorted(tmp_path.rglob("*"))
    capfd.readouterr()
    assert run(command(arguments, *more)) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("mooe: ")
    assert lines[0].endswith((".", "?"))
    assert sorted(tmp_path.rglob("*")) == before
    return lines[0]


def test_a_film_with_all_its_frames_and_sound(
    arguments: dict[str, str], tmp_path: Path, portrait_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "how it went.json"
    emotions = ["--emotion", "happy:.6", "--emotion", "surprised:.3", "--intensity", "0.9", "--seed", "7"]
    assert run(command(arguments, *emotions, "--report", str(report))) == 0
    assert capfd.readouterr().err == ""
    with read_video(arguments["--out"]) as video:
        assert sum(1 for _ in video) == math.ceil(SECONDS * 25)
        assert (video.info.codec, video.info.pixel_format, video.info.fps) == ("h264", "yuv420p", 25)
        assert (video.info.width, video.info.height) == Image.open(portrait_path).size
    with av.open(arguments["--out"]) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(SECONDS, abs=1 / 25)
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["audio_seconds"] == pytest.approx(SECONDS)
    assert content["frames"] == math.ceil(SECONDS * 25)
    assert content["seed"] == 7
    assert content["versions"]["mooe"] == __version__
    assert content["real_time_factor"] > 0
    assert 100 < content["peak_rss_mb"] < 100_000
    assert {"loading", "portrait", "motion", "decoder", "video"} <= set(content["stages"])
    assert sum(content["stages"].values()) == pytest.approx(content["wall_seconds"], rel=0.2)
    assert sum(content["gate_means"].values()) == pytest.approx(1, abs=0.01)


def test_the_same_command_gives_the_same_bytes_and_force_replaces(
    arguments: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def film(*more: str) -> bytes:
        assert run(command(arguments, "--force", *more)) == 0
        return Path(arguments["--out"]).read_bytes()

    first = film("--emotion", "sad", "--no-paste-back")
    assert film("--emotion", "sad", "--no-paste-back") == first
    assert film("--emotion", "sad", "--no-paste-back", "--seed", "1") != first
    with read_video(arguments["--out"]) as video:
        assert (video.info.width, video.info.height) == (128, 128)
    assert film("--emotion", "happy:0", "--no-paste-back") == film("--no-paste-back")
    assert "exists already" in refused(capfd, tmp_path, arguments)


def test_portraits_of_any_kind(arguments: dict[str, str], tmp_path: Path, portrait_path: Path) -> None:
    picture = Image.open(portrait_path)
    odd = picture.crop((0, 0, 511, 599))
    kinds = {"grey.png": picture.convert("L"), "clear.png": picture.convert("RGBA"), "odd ü.webp": odd}
    for name, image in kinds.items():
        image.save(tmp_path / name)
        arguments["--portrait"] = str(tmp_path / name)
        assert run(command(arguments, "--force")) == 0
        with read_video(arguments["--out"]) as video:
            assert video.info.width in (510, 512)
            assert video.info.height in (598, 600)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--emotion", "hapy", "did you mean 'happy'"),
        ("--emotion", "happy:nan", "between 0 and 1"),
        ("--emotion", "happy:2", "between 0 and 1"),
        ("--emotion", "happy:-1", "between 0 and 1"),
        ("--emotion", "happy:much", "between 0 and 1"),
        ("--emotion", "", "Unknown emotion"),
        ("--intensity", "nan", "between 0 and 1"),
        ("--intensity", "1.5", "between 0 and 1"),
        ("--intensity", "loud", "--intensity"),
        ("--steps", "0", "give 1 to 1000"),
        ("--steps", "1001", "give 1 to 1000"),
        ("--steps", "1.5", "--steps"),
        ("--audio-scale", "nan", "from 0 to 10"),
        ("--audio-scale", "-1", "from 0 to 10"),
        ("--emotion-scale", "inf", "from 0 to 10"),
        ("--seed", "-1", "whole number"),
        ("--seed", "99999999999999999999", "whole number"),
        ("--size", "100", "multiple of 8"),
        ("--size", "130", "multiple of 8"),
        ("--size", "2048", "multiple of 8"),
        ("--face", "3", "the portrait has 1"),
        ("--face", "-1", "the portrait has 1"),
        ("--colour", "red", "No such option"),
        ("--model", "no such folder/anywhere", "cannot be loaded"),
    ],
)
def test_bad_values(
    arguments: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    option: str,
    value: str,
    message: str,
) -> None:
    assert message in refused(capfd, tmp_path, arguments | {option: value})


def test_bad_portraits(
    arguments: dict[str, str], tmp_path: Path, portrait_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (300, 300), (90, 120, 60)).save(tmp_path / "meadow.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "cut.jpg").write_bytes(portrait_path.read_bytes()[:20_000])
    for name, message in {
        "meadow.png": "No face was found",
        "text.jpg": "not a picture",
        "cut.jpg": "damaged or cut short",
        "missing ü.jpg": "does not exist",
        ".": "is a folder",
    }.items():
        assert message in refused(capfd, tmp_path, arguments | {"--portrait": str(tmp_path / name)})


def test_bad_speech(
    arguments: dict[str, str], tmp_path: Path, write_wav: WriteWav, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    write_wav(np.zeros(16), "millisecond.wav")
    write_wav(np.zeros(0), "nothing.wav")
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.png")
    for name in ("text.wav", "empty.wav", "millisecond.wav", "nothing.wav", "picture.png", "missing.wav", "."):
        refused(capfd, tmp_path, arguments | {"--audio": str(tmp_path / name)})


def test_bad_outputs(
    arguments: dict[str, str], tmp_path: Path, speech: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there.mp4").write_bytes(b"kept")
    (tmp_path / "folder.mp4").mkdir()
    shutil.copy(speech, tmp_path / "speech.mp4")
    for name, message in {
        "there.mp4": "exists already",
        "folder.mp4": "is a folder",
        "clip.avi": "must end in .mp4",
        "nowhere/clip.mp4": "does not exist",
    }.items():
        assert message in refused(capfd, tmp_path, arguments | {"--out": str(tmp_path / name)})
    both = arguments | {"--audio": str(tmp_path / "speech.mp4"), "--out": str(tmp_path / "speech.mp4")}
    assert "read and written at once" in refused(capfd, tmp_path, both, "--force")
    for report in ("report.txt", "nowhere/report.json"):
        refused(capfd, tmp_path, arguments | {"--report": str(tmp_path / report)})
    assert (tmp_path / "there.mp4").read_bytes() == b"kept"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that nobody may write to")
def test_an_unwritable_folder(arguments: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "cannot be written" in refused(capfd, tmp_path, arguments | {"--out": "/proc/clip.mp4"})


def test_missing_and_unknown_commands(capfd: pytest.CaptureFixture[str]) -> None:
    for line, message in ((["generate"], "Missing option"), (["dance"], "No such command")):
        assert run(line) == 2
        error = capfd.readouterr().err
        assert error.startswith("mooe: ")
        assert message in error
        assert error.count("\n") == 1


def test_wrong_weights(arguments: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from mooe import MoEEPipeline

    pipeline = MoEEPipeline.from_pretrained("debug")
    pipeline.save_pretrained(tmp_path / "model")
    assert run(command(arguments | {"--model": str(tmp_path / "model")})) == 0
    Path(arguments["--out"]).unlink()
    index = tmp_path / "model" / "model_index.json"
    weights = next((tmp_path / "model" / "unet").glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused(capfd, tmp_path, arguments | {"--model": str(tmp_path / "model")})
    shutil.copy(next((tmp_path / "model" / "pose_predictor").glob("*.safetensors")), weights)
    refused(capfd, tmp_path, arguments | {"--model": str(tmp_path / "model")})
    weights.write_bytes(whole)
    index.write_text("{", encoding="utf-8")
    refused(capfd, tmp_path, arguments | {"--model": str(tmp_path / "model")})


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_leaves_no_partial_file(
    arguments: dict[str, str], tmp_path: Path, write_wav: WriteWav, signal_number: signal.Signals, code: int
) -> None:
    noise = np.random.default_rng(0).standard_normal(60 * 16_000) * 0.05
    arguments |= {"--audio": str(write_wav(noise, "long.wav"))}
    process = subprocess.Popen(
        [sys.executable, "-c", "from mooe.cli import main; main()", *command(arguments)],
        stderr=subprocess.PIPE,
        text=True,
        # started in the background of a shell, tests pass an ignored Ctrl-C on to the program
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".mooe-*.part")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal_number)
    _, error = process.communicate(timeout=180)
    assert process.returncode == code
    assert "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.wav", "speech of today ü.wav"]


def test_help_and_version_come_without_the_heavy_libraries() -> None:
    code = "import sys; from mooe.cli import run; run(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    for line, expected in ((["--version"], f"mooe {__version__}"), (["generate", "--help"], "--no-paste-back")):
        done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
        assert expected in done.stdout
        assert done.stderr == ""


def test_doctor_finds_nothing_wrong_here(capfd: pytest.CaptureFixture[str]) -> None:
    assets = Path(mooe.__file__).parent / "assets"
    listed = json.loads((assets / CHECKSUMS).read_text(encoding="utf-8"))
    assert listed == asset_checksums(assets), "run: python -m training.assets.checksums"
    assert run(["doctor"]) == 0
    printed = capfd.readouterr().out
    assert "ready to use" in printed
    for extra in EXTRAS:
        assert f"{extra.name}: {extra.purpose}" in printed


def test_doctor_sees_damaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").mkdir()
    weights = tmp_path / "assets" / "a.safetensors"
    weights.write_bytes(b"weights")
    listed = asset_checksums(tmp_path / "assets")
    assert listed["a.safetensors"]["bytes"] == 7
    (tmp_path / "assets" / CHECKSUMS).write_text(json.dumps(listed), encoding="utf-8")
    monkeypatch.setattr("mooe.doctor.resources.files", lambda _: tmp_path)
    assert not any("a.safetensors" in problem for problem in diagnose().problems)
    weights.write_bytes(b"weighed")
    assert any("a.safetensors is damaged" in problem for problem in diagnose().problems)
    weights.unlink()
    assert any("a.safetensors is missing" in problem for problem in diagnose().problems)
