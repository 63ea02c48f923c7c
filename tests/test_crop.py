"""Laws of the head crop and of the alignment between image and head frame."""

from __future__ import annotations

import numpy as np
import pytest

from mooe.errors import NoFaceError, PortraitError
from mooe.face.alignment import HeadAlignment, rotation_matrix, rotation_vector
from mooe.face.crop import PortraitCrop
from mooe.face.topology import canonical_points
from mooe.face.tracker import Face


def face_at(x: float, y: float, scale: float) -> Face:
    points = canonical_points() * scale * (1, -1, -1) + (x, y, 0)
    return Face(points.astype(np.float32), {}, np.eye(4), 1.0)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


def test_cutting_and_pasting_back_changes_nothing(picture: np.ndarray) -> None:
    crop = PortraitCrop.from_face(face_at(200, 150, 40), 64, picture.shape[:2]).native()
    assert np.array_equal(crop.paste(crop.cut(picture), picture), picture)


def test_pixels_outside_the_crop_stay_untouched(picture: np.ndarray) -> None:
    crop = PortraitCrop(100, 60, 128, 64)
    pasted = crop.paste(np.zeros((64, 64, 3), np.uint8), picture)
    outside = np.ones(picture.shape[:2], bool)
    outside[60:188, 100:228] = False
    assert np.array_equal(pasted[outside], picture[outside])
    assert pasted[120, 160].max() == 0


def test_the_seam_is_soft(picture: np.ndarray) -> None:
    crop = PortraitCrop(100, 60, 128, 128)
    mask = crop.paste_mask(*picture.shape[:2])
    assert mask[0].max() == 0 and mask[64, 64] == 1
    assert np.abs(np.diff(mask, axis=0)).max() < 0.25


def test_the_crop_stays_in_the_picture_while_the_face_does(picture: np.ndarray) -> None:
    for x, y, scale in ((60, 60, 25), (350, 250, 25), (200, 150, 80), (200, 150, 140)):
        crop = PortraitCrop.from_face(face_at(x, y, scale), 128, picture.shape[:2])
        if crop.side <= 300:
            assert 0 <= crop.left <= 400 - crop.side and 0 <= crop.top <= 300 - crop.side
        points = crop.to_crop(face_at(x, y, scale).landmarks)
        assert points[:, :2].mean() == pytest.approx(64, abs=30)


def test_beyond_the_picture_its_border_is_repeated(picture: np.ndarray) -> None:
    square = PortraitCrop(-10, -10, 40, 40).cut(picture)
    assert np.array_equal(square[:10, 10:], np.broadcast_to(picture[0, :30], (10, 30, 3)))
    assert np.array_equal(square[10:, 10:], picture[:30, :30])


def test_a_tiny_frame_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(PortraitError, match="at least 16"):
        PortraitCrop.from_face(face_at(200, 150, 40), 8, picture.shape[:2])


def test_alignment_there_and_back() -> None:
    rotation = rotation_matrix(np.array([0.1, -0.3, 0.2]))
    placed = HeadAlignment(rotation, 80.0, np.array([120, 130, 5], np.float32)).to_image(canonical_points())
    alignment = HeadAlignment.from_landmarks(placed)
    assert alignment.scale == pytest.approx(80.0, rel=1e-3)
    assert np.allclose(alignment.rotation, rotation, atol=1e-3)
    assert np.allclose(alignment.to_image(alignment.to_head(placed)), placed, atol=1e-2)
    assert np.linalg.norm(alignment.to_head(placed)[263] - alignment.to_head(placed)[33]) == pytest.approx(
        1.0, abs=1e-3
    )


def test_rotation_vectors_and_matrices_agree() -> None:
    for vector in ((0.0, 0.0, 0.0), (0.2, -0.1, 0.4), (1.5, 0.3, -0.2)):
        assert np.allclose(rotation_vector(rotation_matrix(np.array(vector))), vector, atol=1e-5)


def test_landmarks_in_one_point_are_refused() -> None:
    with pytest.raises(NoFaceError):
        HeadAlignment.from_landmarks(np.zeros((478, 3), np.float32))


@pytest.mark.parametrize("crop", [PortraitCrop(100, 60, 128, 128), PortraitCrop(-20, 200, 160, 160)])
def test_what_square_and_picture_share_is_the_same_in_both(picture: np.ndarray, crop: PortraitCrop) -> None:
    inner, outer = crop.overlap(*picture.shape[:2])
    assert picture[outer].size and np.array_equal(crop.cut(picture)[inner], picture[outer])
    away = PortraitCrop(900, 900, 64, 64).overlap(*picture.shape[:2])
    assert not picture[away[1]].size
