"""Laws of brows that wander: drawn as a film's, however cut, and nothing else moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.checkpoint import load_state, save_state
from mooe.errors import WeightsError
from mooe.face.regions import LIPS_INNER, LIPS_OUTER
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.media import read_image
from mooe.motion.manner import BrowManner, MannerSchedule, brow_weights
from mooe.motion.pose import FRAMES_PER_KNOT
from mooe.pipeline import MoEEPipeline
from tests.test_prepare import clip
from training.corpus.filmed import FilmedCorpus
from training.manner import brow_manner, elsewhere, fit_manner

SLOW = BrowManner(np.stack([1.2 * np.eye(5), -0.3 * np.eye(5)]), 0.15 * np.eye(5))
STILL = np.zeros((1500, 478, 3), np.float32)


def drawn(manner: BrowManner, frames: int, seed: int = 0, weight: float = 1.0) -> np.ndarray:
    return MannerSchedule(np.random.default_rng(seed), manner, weight).take(frames)


def movement(displacement: np.ndarray) -> tuple[float, float]:
    """How far brows move, and how fast in a frame."""
    weights = brow_weights(displacement)
    return float(weights.std(0).mean()), float(np.diff(weights, axis=0).std(0).mean())


@pytest.mark.parametrize("cut", [1, 7, 32, 61])
def test_however_cut_a_seed_gives_the_same(cut: int) -> None:
    schedule = MannerSchedule(np.random.default_rng(3), SLOW)
    parts = [schedule.take(min(cut, 130 - first)) for first in range(0, 130, cut)]
    assert np.allclose(np.concatenate(parts), drawn(SLOW, 130, 3), atol=1e-6)


def test_goes_on_from_its_state(tmp_path: Path) -> None:
    whole = drawn(SLOW, 90, 5)
    schedule = MannerSchedule(np.random.default_rng(5), SLOW)
    schedule.take(37)
    save_state(tmp_path / "state.npz", schedule.state())
    other = MannerSchedule(np.random.default_rng(8), SLOW)
    other.restore(load_state(tmp_path / "state.npz"))
    assert np.array_equal(other.take(53), whole[37:])


def test_weight_scales_and_lips_stay() -> None:
    moved = drawn(SLOW, 200)
    assert np.allclose(drawn(SLOW, 200, weight=0.5), 0.5 * moved, atol=1e-6)
    lips = [*LIPS_INNER, *LIPS_OUTER]
    assert np.abs(moved[:, lips]).max() < 0.02 * np.abs(moved).max()


def test_weights_are_read_as_they_were_laid_on() -> None:
    laid = arkit_to_displacement(arkit_vector({"browInnerUp": 0.4, "browDownLeft": 0.2}))
    assert np.allclose(brow_weights(laid[None])[0], [0.2, 0, 0.4, 0, 0], atol=1e-5)


def test_what_is_fitted_moves_as_far_and_as_fast_as_the_film() -> None:
    film = [drawn(SLOW, 1000, seed) for seed in range(6)]
    fitted = fit_manner(film, [STILL])
    assert fitted is not None and fitted.growth < 1
    goal, got = movement(np.concatenate(film)), movement(drawn(fitted, 6000, 99))
    assert 0.75 < got[0] / goal[0] < 1.3
    assert 0.6 < got[1] / goal[1] < 1.3


def test_what_the_model_does_already_is_not_drawn_again() -> None:
    film = [drawn(SLOW, 1000, seed) for seed in range(6)]
    half = [drawn(SLOW, 1000, seed, 0.7) for seed in range(10, 16)]
    assert fit_manner(film, [drawn(SLOW, 1000, seed) for seed in range(20, 26)]) is None
    rest = fit_manner(film, half)
    assert rest is not None
    together = drawn(rest, 1000, 50) + half[0]
    assert 0.7 < movement(together)[0] / movement(np.concatenate(film))[0] < 1.35


def test_a_short_film_has_no_manner() -> None:
    assert fit_manner([drawn(SLOW, 50 * FRAMES_PER_KNOT)], [STILL]) is None


def test_a_brow_that_is_held_is_no_movement() -> None:
    raised = arkit_to_displacement(arkit_vector({"browInnerUp": 0.8}))
    assert fit_manner([STILL + raised, STILL - raised], [STILL]) is None


def test_a_speakers_film_gives_a_manner_and_the_model_stays_as_it_is(tmp_path: Path) -> None:
    pipe = MoEEPipeline.from_pretrained("debug")
    width = pipe.unet.config["audio_dim"]
    paths = [tmp_path / f"{number}.npz" for number in range(2)]
    for number, path in enumerate(paths):
        moving = replace(clip(frames=300, width=width), displacement=drawn(SLOW, 300, number))
        moving.save(path)
    pipe.unet.train()
    manner = brow_manner(pipe, FilmedCorpus(paths, 40), None)
    assert manner is not None and pipe.unet.training
    short = tmp_path / "short.npz"
    clip(frames=300, width=width).save(short)
    assert brow_manner(pipe, FilmedCorpus([short], 40), None) is None


def test_a_head_elsewhere_turns_as_much_and_not_alike() -> None:
    turns = 0.05 * np.sin(np.arange(100)[:, None] * np.array([0.02, 0.05, 0.07])).astype(np.float32)
    there = elsewhere(turns, turns).poses(0, 100)[:, :3]
    assert np.allclose(there.std(0), turns.std(0), rtol=0.2)
    assert (np.abs(there - turns).max(0) > 0.03).all()


@pytest.mark.parametrize(
    "stored",
    [{}, {"transition": [[1.0]], "noise": [[1.0]]}, {"transition": SLOW.transition.tolist(), "noise": "none"},
     {"transition": (SLOW.transition * np.nan).tolist(), "noise": SLOW.noise.tolist()}],
)  # fmt: skip
def test_damaged_manners_are_refused(stored: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="manner"):
        BrowManner.from_lists(stored)


def test_film_has_the_brows_of_its_speaker(tmp_path: Path) -> None:
    from tests.test_lora import adapter

    adapter(tmp_path / "plain", 1)
    adapter(tmp_path / "lively", 1, brows=SLOW)
    pipe = MoEEPipeline.from_pretrained("debug")
    speech = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    picture = Path(__file__).parent.parent / "examples" / "portraits" / "astronaut.png"
    portrait = pipe.encode_portrait(read_image(picture), size=64)

    def film() -> np.ndarray:
        motion: np.ndarray = pipe(portrait, speech, generator=torch.Generator().manual_seed(0)).motion.displacement
        return motion

    base = film()
    pipe.load_lora_weights(tmp_path / "plain", adapter_name="plain")
    plain = film()
    pipe.load_lora_weights(tmp_path / "lively", adapter_name="lively")
    lively = film()
    pipe.set_adapters(["lively"], [0.0])
    assert np.array_equal(film(), base)
    assert movement(lively - plain)[0] > 0.05
