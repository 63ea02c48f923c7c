"""Laws of the lips that the decoder draws: round when they open, and no teeth dragged along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mooe.decoder import SourcePortrait, encode_portrait
from mooe.decoder.mesh import FACE_POINTS
from mooe.decoder.neutral import LOWER_LIP, UPPER_LIP
from mooe.face.regions import LIPS_BETWEEN, LIPS_INNER, LIPS_OUTER
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import FaceTracker

STILL = np.zeros((478, 3), np.float32)


def shape(**weights: float) -> np.ndarray:
    return arkit_to_displacement(arkit_vector(weights))


def encoded(name: str) -> SourcePortrait:
    photo = np.asarray(Image.open(Path(__file__).parent.parent / "examples" / "portraits" / name).convert("RGB"))
    with FaceTracker() as tracker:
        return encode_portrait(photo, tracker.detect_one(photo), 256)


@pytest.fixture(scope="module")
def portrait() -> SourcePortrait:
    return encoded("grace_hopper.jpg")


@pytest.fixture(scope="module")
def smiling() -> SourcePortrait:
    return encoded("astronaut.png")


def test_shut_lips_of_a_photograph_are_taken_as_they_are(portrait: SourcePortrait) -> None:
    assert np.allclose(portrait.mesh.source[:FACE_POINTS], portrait.landmarks[:FACE_POINTS, :2], atol=1e-4)


def test_lips_over_bared_teeth_give_way_row_by_row(smiling: SourcePortrait) -> None:
    """Where the inner edge is found further out, the rows before it stay between it and the outer edge, in order."""
    photographed, taken = smiling.landmarks[:FACE_POINTS, :2], smiling.mesh.source[:FACE_POINTS]
    rows = [list(LIPS_OUTER), *(list(row) for row in LIPS_BETWEEN), list(LIPS_INNER)]
    before, after = (
        np.array([np.linalg.norm(points[row] - points[rows[0]], axis=1) for row in rows])
        for points in (photographed, taken)
    )
    assert np.allclose(after[0], 0) and np.array_equal(taken[rows[0]], photographed[rows[0]])
    moved = after[3] < before[3] - 0.1
    assert moved.any()
    assert np.allclose(after[1:3][:, moved] / after[3][moved], before[1:3][:, moved] / before[3][moved], rtol=0.02)


class TestLowerLip:
    """Open mouths are round below; shut ones and narrow ones are left alone."""

    @staticmethod
    def driven(portrait: SourcePortrait, displacement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = portrait.driver(displacement)
        right, left = points[78], points[308]
        along = (points[LOWER_LIP, 0] - right[0]) / (left[0] - right[0])
        return points, right[1] + along * (left[1] - right[1]) - points[LOWER_LIP, 1]

    @pytest.mark.parametrize("weights", [{"jawOpen": 0.3}, {"jawOpen": 0.5, "mouthFunnel": 0.3}])
    def test_an_open_jaw_draws_no_lip_to_a_point(self, portrait: SourcePortrait, weights: dict[str, float]) -> None:
        _, depth = self.driven(portrait, shape(**weights))
        assert depth.argmax() == 4
        assert depth[[3, 5]].min() > 0.92 * depth[4]
        assert depth[[2, 6]].min() > 0.74 * depth[4]

    def test_shut_lips_stay_as_they_are(self, portrait: SourcePortrait) -> None:
        for displacement in (STILL, shape(mouthPress=0.7), shape(jawOpen=0.3, mouthClose=0.3)):
            points, _ = self.driven(portrait, displacement)
            gap = points[UPPER_LIP, 1] - points[LOWER_LIP, 1]
            assert gap.max() < 0.01

    def test_it_sets_in_smoothly(self, portrait: SourcePortrait) -> None:
        heights = [self.driven(portrait, shape(jawOpen=x))[0][87, 1] for x in np.linspace(0, 0.5, 51)]
        steps = np.abs(np.diff(heights))
        assert steps.max() < 4 * np.median(steps)
