"""Motion in files: there and back, what other programs write, and films made from it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mooe.cli import run
from mooe.errors import MotionError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement
from mooe.media import read_video
from mooe.motion_files import LIVE_LINK_HEADER, LIVE_LINK_SHAPES, read_motion, write_motion
from mooe.pipeline_output import FaceMotion

FRAMES = 30


@pytest.fixture
def motion() -> FaceMotion:
    """A talking, smiling, nodding head."""
    time = np.linspace(0, 1, FRAMES, dtype=np.float32)
    weights = np.zeros((FRAMES, 52), np.float32)
    weights[:, ARKIT_NAMES.index("jawOpen")] = 0.3 + 0.2 * np.sin(12 * time)
    weights[:, ARKIT_NAMES.index("mouthSmileLeft")] = 0.7 * time
    weights[:, ARKIT_NAMES.index("eyeLookOutLeft")] = weights[:, ARKIT_NAMES.index("eyeLookInRight")] = 0.3
    rotation = np.stack([0.1 * time, -0.08 * time, 0.05 * np.sin(5 * time)], 1)
    return FaceMotion(arkit_to_displacement(weights), rotation, 0.01 * rotation)


def test_npz_comes_back_exactly(motion: FaceMotion, tmp_path: Path) -> None:
    write_motion(tmp_path / "a motion.npz", motion)
    again = read_motion(tmp_path / "a motion.npz")
    for name in ("displacement", "rotation", "translation"):
        assert np.array_equal(getattr(again, name), getattr(motion, name))


def test_csv_has_the_layout_of_live_link_face(motion: FaceMotion, tmp_path: Path) -> None:
    write_motion(tmp_path / "motion.csv", motion)
    header, *rows = csv.reader((tmp_path / "motion.csv").read_text().splitlines())
    assert tuple(header) == LIVE_LINK_HEADER
    assert len(header) == 63 and len(rows) == FRAMES
    assert sorted(LIVE_LINK_SHAPES) == sorted(ARKIT_NAMES)
    assert rows[0][:2] == ["00:00:00:00.000", "61"] and rows[26][0] == "00:00:01:01.000"
    written = np.array([[float(row[header.index(n[0].upper() + n[1:])]) for n in ARKIT_NAMES] for row in rows])
    assert np.allclose(written, motion.arkit_weights(), atol=1e-6)
    # eyes that look to the viewer's right have positive yaw, both of them
    assert float(rows[5][header.index("LeftEyeYaw")]) > 0 and float(rows[5][header.index("RightEyeYaw")]) > 0


def test_csv_comes_back_as_the_shapes_show_it(motion: FaceMotion, tmp_path: Path) -> None:
    write_motion(tmp_path / "motion.csv", motion)
    again = read_motion(tmp_path / "motion.csv")
    assert np.allclose(again.rotation, motion.rotation, atol=1e-5)
    assert not again.translation.any()
    assert np.abs(again.displacement - motion.displacement).max() < 0.02
    write_motion(tmp_path / "again.csv", again)
    assert np.abs(read_motion(tmp_path / "again.csv").displacement - again.displacement).max() < 0.01


def test_other_rates_orders_and_cases_are_read(motion: FaceMotion, tmp_path: Path) -> None:
    write_motion(tmp_path / "motion.csv", motion)
    header, *rows = csv.reader((tmp_path / "motion.csv").read_text().splitlines())
    order = sorted(range(len(header)), key=lambda i: header[i].lower())
    lines = [",".join(header[i][0].lower() + header[i][1:] for i in order)]
    for number, row in enumerate(rows * 3):
        row[0] = f"11:52:{number // 60:02d}:{number % 60:02d}.250"  # an hour of the day, 60 a second
        lines.append(",".join(row[i] for i in order))
    (tmp_path / "phone.csv").write_text("﻿" + "\n".join(lines) + "\n", encoding="utf-8")
    read = read_motion(tmp_path / "phone.csv")
    assert len(read) == int((3 * FRAMES - 1) / 60 * 25) + 1
    assert np.allclose(read.rotation[0], motion.rotation[0], atol=1e-5)
    assert np.allclose(read.rotation[5], motion.rotation[12], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("JawOpen", "Jaw"), "lacks the column jawOpen"),
        (lambda text: text.splitlines()[0], "no rows"),
        (lambda text: text + "1,2\n", "incomplete"),
        (lambda text: text.replace("00:00:00:03", "00:00:00:01"), "do not rise"),
        (lambda text: re.sub(",61,[^,]*", ",61,x", text), "no number"),
        (lambda text: re.sub(",61,[^,]*", ",61,inf", text), "finite"),
        (lambda _: "", "lacks the column"),
    ],
)
def test_bad_csvs_are_refused(motion: FaceMotion, tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "motion.csv"
    write_motion(path, motion)
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(MotionError, match=message):
        read_motion(path)


def test_bad_files_are_refused(motion: FaceMotion, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "bytes.csv").write_bytes(bytes(range(256)))
    for name in ("text.npz", "other.npz", "bytes.csv", "missing.csv", "motion.bvh"):
        with pytest.raises(MotionError, match=r"\.$"):
            read_motion(tmp_path / name)
    with pytest.raises(MotionError, match=r"as \.csv or \.npz"):
        write_motion(tmp_path / "motion.bvh", motion)
    motion.displacement[3, 5, 1] = np.nan
    write_motion(tmp_path / "nan.npz", motion)
    with pytest.raises(MotionError, match="finite"):
        read_motion(tmp_path / "nan.npz")


def test_an_exported_motion_drives_a_portrait_to_the_same_film(
    motion: FaceMotion, portrait_path: Path, examples: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_motion(tmp_path / "motion.npz", motion)
    write_motion(tmp_path / "motion.csv", motion)
    films = {}
    for kind in ("npz", "csv"):
        out = tmp_path / f"{kind}.mp4"
        command = ["reenact", "--portrait", str(portrait_path), "--driving", str(tmp_path / f"motion.{kind}")]
        command += ["--out", str(out), "--size", "128", "--no-paste-back"]
        assert run(command) == 0, capfd.readouterr().err
        with read_video(out) as video:
            films[kind] = np.stack(list(video)).astype(np.float32)
    assert films["npz"].shape == films["csv"].shape == (FRAMES, 128, 128, 3)
    assert np.abs(films["npz"] - films["npz"][:1]).mean() > 3 * np.abs(films["npz"] - films["csv"]).mean()
    picture = Image.open(portrait_path)
    command = [*command[:-3], "--audio", str(examples / "speech.wav"), "--force"]
    assert run(command) == 0
    with read_video(tmp_path / "csv.mp4") as video:
        assert (video.info.width, video.info.height) == picture.size


def test_books_can_be_left_out(
    motion: FaceMotion, portrait_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_motion(tmp_path / "motion.npz", motion)
    films = []
    for number, choice in enumerate(("--books", "--no-books", "--no-books")):
        out = tmp_path / f"{number}.mp4"
        command = ["reenact", "--portrait", str(portrait_path), "--driving", str(tmp_path / "motion.npz")]
        assert run([*command, "--out", str(out), "--size", "128", "--no-paste-back", choice]) == 0, capfd.readouterr()
        with read_video(out) as video:
            films.append(np.stack(list(video)))
    assert np.array_equal(films[1], films[2]) and not np.array_equal(films[0], films[1])


def test_reenact_refuses_in_a_sentence(
    portrait_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for driving, out in (("missing.csv", "a.mp4"), ("motion.bvh", "a.mp4"), ("missing.csv", "a.avi")):
        command = ["reenact", "--portrait", str(portrait_path), "--driving", str(tmp_path / driving)]
        assert run([*command, "--out", str(tmp_path / out)]) == 2
        error = capfd.readouterr().err
        assert error.startswith("mooe: ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
