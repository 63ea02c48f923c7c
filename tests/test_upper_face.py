"""What is left of a tracked face above the mouth when only ARKit's shapes may explain it."""

from __future__ import annotations

import numpy as np

from mooe.decoder.neutral import LID_PAIRS
from mooe.face.regions import ARKIT_NAMES, LIPS_INNER
from mooe.face.topology import arkit_to_displacement, canonical_points
from training.corpus.upper_face import shown_by_shapes, upper_face


def expressions(frames: int = 75) -> np.ndarray:
    """Random mixtures of a few shapes that come and go within three seconds."""
    rng = np.random.default_rng(0)
    shape = (1, len(ARKIT_NAMES))
    strength, phase = rng.uniform(0, 1, shape) * (rng.random(shape) < 0.3), rng.uniform(0, 2 * np.pi, shape)
    weights = strength * (1 + np.sin(2 * np.pi * np.arange(frames)[:, None] / 75 + phase)) / 2
    return arkit_to_displacement(weights.astype(np.float32))


def test_what_shapes_can_show_stays() -> None:
    moved = expressions()
    error = np.linalg.norm(shown_by_shapes(moved) - moved, axis=-1)
    assert error.max() < 0.03 * np.linalg.norm(moved, axis=-1).max()


def test_points_that_slide_are_held_and_lids_and_mouth_are_as_tracked() -> None:
    moved, points = expressions(), canonical_points()
    # skin that slides with a turn of the head: farther the nearer to the temples
    slid = moved + 0.05 * np.array([1, 0, 0], np.float32) * np.sign(points[:, :1]) * points[:, :1] ** 2
    slid[:, list(LIPS_INNER)] = np.random.default_rng(1).normal(0, 0.05, (len(moved), len(LIPS_INNER), 3))
    shown = shown_by_shapes(slid)
    before, after = (np.linalg.norm((x - moved)[:, upper_face()], axis=-1).mean() for x in (slid, shown))
    assert after < 0.7 * before
    kept = [*LIPS_INNER, *LID_PAIRS.ravel()]
    assert np.array_equal(shown[:, kept], slid[:, kept])


def test_what_trembles_is_calmed_and_blinks_are_not() -> None:
    calm = np.zeros((75, len(ARKIT_NAMES)), np.float32)
    calm[:, ARKIT_NAMES.index("browInnerUp")] = 0.5
    calm[30:33, [i for i, name in enumerate(ARKIT_NAMES) if name.startswith("eyeBlink")]] = 1.0
    trembling = calm.copy()
    trembling[:, ARKIT_NAMES.index("browInnerUp")] += np.random.default_rng(0).normal(0, 0.05, 75)
    still, shown = (shown_by_shapes(arkit_to_displacement(weights)) for weights in (calm, trembling))
    difference = np.abs(shown - still)[:, upper_face()].mean()
    before = np.abs(arkit_to_displacement(trembling) - arkit_to_displacement(calm))[:, upper_face()].mean()
    assert difference < 0.6 * before
    assert np.abs(still - arkit_to_displacement(calm))[:, upper_face()].max() < 0.02
