"""Laws of the light on a face that turns."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mooe.decoder import PortraitDecoder, SourcePortrait, encode_portrait
from mooe.decoder.mesh import pose_points
from mooe.decoder.relighting import Relighting, face_normals, read_light, shade_colors
from mooe.decoder.shading import face_flow
from mooe.face.alignment import rotation_matrix
from mooe.face.tracker import FaceTracker

ZERO = np.zeros(3, np.float32)
ALL = np.ones(468, np.float32)


@pytest.fixture(scope="module")
def portrait() -> SourcePortrait:
    path = Path(__file__).parent.parent / "examples" / "portraits" / "grace_hopper.jpg"
    photo = np.asarray(Image.open(path).convert("RGB"))
    with FaceTracker() as tracker:
        return encode_portrait(photo, tracker.detect_one(photo), 128)


def turned(portrait: SourcePortrait, yaw: float) -> np.ndarray:
    """The photographed face with the head turned, in the frame."""
    matrix = rotation_matrix(np.array([0, yaw, 0], np.float32))
    return portrait.alignment.to_image(pose_points(portrait.points, matrix, ZERO))


def lit(portrait: SourcePortrait, light: tuple[float, float, float, float]) -> np.ndarray:
    """A plaster cast of the face in a light that is known."""
    luminance = light[0] + face_normals(portrait.landmarks) @ np.array(light[1:], np.float32)
    points = portrait.landmarks[:468]
    both = np.repeat(luminance[:, None], 2, 1).astype(np.float32)
    shape = portrait.frame.shape[:2]
    flow, covered = face_flow(np.ascontiguousarray(points[:, :2] - 0.5), both, -points[:, 2], shape)
    grey = np.where(covered > 0, flow[..., 0], light[0])
    return np.repeat(grey.clip(0, 255).round().astype(np.uint8)[..., None], 3, -1)


def relit(portrait: SourcePortrait, photo: np.ndarray) -> Relighting:
    return Relighting(photo, portrait.landmarks, portrait.alignment.scale)


def test_directions_are_of_length_one_and_turn_with_the_head(portrait: SourcePortrait) -> None:
    straight, aside = (face_normals(turned(portrait, yaw)) for yaw in (0.0, 0.3))
    assert np.allclose(np.linalg.norm(straight, axis=1), 1, atol=1e-5)
    axes = portrait.alignment.rotation
    matrix = axes @ rotation_matrix(np.array([0, 0.3, 0], np.float32)) @ axes.T
    assert np.allclose(straight @ matrix.T, aside, atol=1e-3)


def test_a_known_light_is_read(portrait: SourcePortrait) -> None:
    normals = face_normals(portrait.landmarks)
    true = np.array([120, -40, 20, 30], np.float32)
    found = read_light(true[0] + normals @ true[1:], normals, ALL)
    assert found[1:] @ true[1:] > 0.9 * np.linalg.norm(found[1:]) * np.linalg.norm(true[1:])


def test_a_photographed_face_is_left_as_it_is(portrait: SourcePortrait) -> None:
    assert not portrait.relighting.log_gain(portrait.landmarks).any()


@pytest.mark.parametrize("level", [0, 140, 255])
def test_a_light_from_nowhere_changes_nothing(portrait: SourcePortrait, level: int) -> None:
    flat = relit(portrait, np.full_like(portrait.frame, level))
    assert np.abs(flat.log_gain(turned(portrait, 0.3))).max() < 1e-3


@pytest.mark.parametrize("side", [-1, 1])
def test_a_face_that_turns_to_the_light_gets_lighter(portrait: SourcePortrait, side: int) -> None:
    cast = relit(portrait, lit(portrait, (120, side * 60, 0, 20)))
    means = [float(cast.log_gain(turned(portrait, side * yaw)).mean()) for yaw in (-0.3, -0.1, 0.1, 0.3)]
    assert all(a < b for a, b in pairwise(means))
    assert means[1] < 0 < means[2]


def test_a_cast_is_relit_much_as_it_would_look(portrait: SourcePortrait) -> None:
    light = (120.0, 45.0, 25.0, 10.0)
    gain = relit(portrait, lit(portrait, light)).log_gain(turned(portrait, 0.2))
    before, after = (
        light[0] + face_normals(points) @ np.array(light[1:], np.float32)
        for points in (portrait.landmarks, turned(portrait, 0.2))
    )
    x, y = portrait.landmarks[:468, :2].round().astype(int).clip(0, portrait.size - 1).T
    front = face_normals(portrait.landmarks)[:, 2] > 0.6
    wanted = np.log(after / before)[front]
    assert np.corrcoef(gain[y, x][front], wanted)[0, 1] > 0.7


def test_grey_faces_stay_grey_and_red_shades_are_red() -> None:
    light = np.linspace(0.4, 1, 468, dtype=np.float32)[:, None]
    assert np.allclose(shade_colors(np.repeat(200 * light, 3, 1), ALL), 1, atol=0.02)
    red, green, blue = shade_colors(np.concatenate([230 * light**0.8, 180 * light**1.1, 150 * light**1.2], 1), ALL)
    assert red < 1 < green < blue


def test_only_the_person_is_relit(portrait: SourcePortrait) -> None:
    """Beyond the person's edge a turned head leaves the picture's own light."""
    decoder = PortraitDecoder(portrait)
    away = portrait.points - portrait.neutral
    still, moved = (decoder.render(away, np.array([0, yaw, 0], np.float32), ZERO) for yaw in (0.0, 0.25))
    alpha = portrait.frame_layers.alpha
    far = np.ones(alpha.shape, bool)
    rows, columns = np.nonzero(alpha)
    far[rows.min() :, max(columns.min() - 8, 0) : columns.max() + 9] = False
    assert far.any() and np.array_equal(still[far], moved[far])
