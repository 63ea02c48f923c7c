"""What the measure of a filmed person's manner calls near, far, and no different."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.filmed_speaker import LEARNT_SHARE, compare, mean_face_distances, split
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement
from tests.test_prepare import clip
from training.corpus.filmed import FilmedClip, filmed_clips

FRAMES = 120


def clips(brows: float, seed: int, blink: int = 4) -> list[np.ndarray]:
    """Five clips of somebody whose brows stand and move so high, with two blinks of so many frames each."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(5):
        weights = np.zeros((FRAMES, len(ARKIT_NAMES)), np.float32)
        moving = brows * (1 + 0.5 * np.sin(np.arange(FRAMES) / 6 + rng.uniform(0, 6))) + rng.normal(0, 0.02)
        for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"):
            weights[:, ARKIT_NAMES.index(name)] = moving
        for start in (30, 80):
            for side in ("Left", "Right"):
                weights[start : start + blink, ARKIT_NAMES.index(f"eyeBlink{side}")] = 1.0
        made.append(arkit_to_displacement(weights))
    return made


def test_the_way_is_none_for_the_base_and_whole_for_the_person() -> None:
    base, person = clips(0.1, 0), clips(0.6, 1, blink=8)
    stayed, arrived = compare(base, base, person), compare(base, person, person)
    for name in ("brow height", "brow movement", "movement of the upper face", "blink length in frames"):
        assert stayed[name]["differs"] and stayed[name]["moved"] == pytest.approx(0, abs=1e-6), name
        assert arrived[name]["moved"] == pytest.approx(1), name
    near, far = mean_face_distances(base, person, person), mean_face_distances(base, base, person)
    assert near["lora"] == 0 and far["lora"] == far["base"] > far["error of the film"] > 0


def test_people_alike_leave_no_way_to_go() -> None:
    report = compare(clips(0.3, 0), clips(0.6, 2), clips(0.3, 1))
    assert not report["brow height"]["differs"] and not report["blink length in frames"]["differs"]


def test_eyes_that_never_shut_have_no_blink_length() -> None:
    still = [np.zeros((FRAMES, 478, 3), np.float32)] * 3
    report = compare(still, still, still)["blink length in frames"]
    assert report["clips"] == 0 and not report["differs"]


def test_later_film_is_held_out(tmp_path: Path) -> None:
    for number in range(10):
        clip(frames=20).save(tmp_path / "film" / "clips" / f"v-{number:03d}.npz")
    split(tmp_path / "film", tmp_path)
    learnt, held_out = (filmed_clips(tmp_path / name) for name in ("learnt", "held_out"))
    assert max(path.name for path in learnt) < min(path.name for path in held_out)
    seconds = [sum(FilmedClip.load(path).num_frames for path in paths) for paths in (learnt, held_out)]
    assert seconds[0] == pytest.approx(LEARNT_SHARE * sum(seconds))
