"""Laws of the face's topology and tracker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mooe.errors import EmotionError, NoFaceError, PortraitError
from mooe.face import FaceTracker
from mooe.face.regions import ARKIT_NAMES, FACE_OVAL, LEFT_EYE, LIP_PAIRS, LIPS_INNER, RIGHT_EYE
from mooe.face.topology import (
    arkit_shapes,
    arkit_to_displacement,
    arkit_vector,
    canonical_points,
    face_triangles,
    mirror_index,
    region_weight,
)
from mooe.media.images import read_image


def test_head_frame_has_the_eye_distance_as_unit() -> None:
    points = canonical_points()
    assert points.shape == (478, 3)
    assert np.linalg.norm(points[33] - points[263]) == pytest.approx(1, abs=1e-3)
    assert points[33, 0] < 0 < points[263, 0]  # the person's right eye is on the viewer's left
    assert points[10, 1] > points[152, 1]  # forehead above chin
    assert points[1, 2] > points[234, 2]  # the nose is nearer than the cheek


def test_shapes_do_what_their_names_say() -> None:
    shape = dict(zip(ARKIT_NAMES, arkit_shapes(), strict=True))
    assert shape["jawOpen"][152, 1] < -0.2
    assert shape["eyeBlinkLeft"][386, 1] < -0.05 and abs(shape["eyeBlinkLeft"][159, 1]) < 0.02
    assert shape["mouthSmileLeft"][291, 1] > 0.03 and shape["mouthSmileLeft"][291, 0] > 0
    assert shape["browInnerUp"][107, 1] > 0.03
    assert shape["eyeLookInLeft"][473, 0] < 0 and shape["eyeLookUpLeft"][473, 1] > 0
    assert not shape["tongueOut"].any()


def test_an_open_jaw_parts_every_pair_of_the_inner_lips() -> None:
    opened = arkit_to_displacement(arkit_vector({"jawOpen": 1}))
    for upper, lower in LIP_PAIRS:
        assert opened[upper, 1] - opened[lower, 1] > 0.1


def test_left_and_right_shapes_mirror_each_other() -> None:
    points = canonical_points()
    cheeks = [(234, 454), (33, 263), (61, 291), (159, 386)]
    shapes = arkit_shapes()
    mirrored = shapes[mirror_index()]
    for right, left in cheeks:
        assert np.allclose(points[right] * (-1, 1, 1), points[left], atol=0.02)
        assert np.allclose(shapes[:, right] * (-1, 1, 1), mirrored[:, left], atol=0.02)


def test_triangles_leave_mouth_and_eyes_open() -> None:
    triangles = {frozenset(map(int, t)) for t in face_triangles()}
    assert len(triangles) == len(face_triangles())
    for ring in (LIPS_INNER, LEFT_EYE, RIGHT_EYE):
        assert not any(t <= set(ring) for t in triangles)
    assert {i for t in triangles for i in t} == set(range(468))
    assert set(FACE_OVAL) < set(range(468))


def test_arkit_names_without_side_set_both_sides() -> None:
    vector = arkit_vector({"eyeBlink": 0.5})
    assert vector.sum() == 1
    with pytest.raises(EmotionError, match="not an ARKit blendshape"):
        arkit_vector({"eyeBlnk": 0.5})


def test_region_weights_fall_from_one_to_zero() -> None:
    weight = region_weight("lips", 0.3)
    assert weight[13] == 1 and weight[10] == 0 and 0 < weight[164] < 1


def test_tracker_finds_the_examples_face_and_says_when_there_is_none(portrait_path: Path) -> None:
    image = read_image(portrait_path)
    with FaceTracker() as tracker:
        face = tracker.detect_one(image)
        assert face.landmarks.shape == (478, 3) and len(face.blendshapes) == 51
        left, top, right, bottom = face.box
        assert 0 < left < right < image.shape[1] and 0 < top < bottom < image.shape[0]
        with pytest.raises(NoFaceError, match="number 1"):
            tracker.detect_one(image, 1)
        with pytest.raises(NoFaceError, match="No face"):
            tracker.detect_one(np.full((128, 128, 3), 90, np.uint8))
        with pytest.raises(PortraitError):
            tracker.detect(np.zeros((64, 64), np.uint8))


def test_several_faces_come_largest_first(portrait_path: Path) -> None:
    image = read_image(portrait_path)
    half = image[::2, ::2]
    canvas = np.full((image.shape[0], image.shape[1] + half.shape[1], 3), 127, np.uint8)
    canvas[: half.shape[0], : half.shape[1]] = half
    canvas[:, half.shape[1] :] = image
    with FaceTracker() as tracker:
        faces = tracker.detect(canvas)
    assert len(faces) == 2 and faces[0].size > 1.5 * faces[1].size
    assert faces[0].center[0] > faces[1].center[0]
