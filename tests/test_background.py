"""Laws of the two layers: the person moves, and what is behind stays as it was photographed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mooe.decoder import PortraitDecoder, SourcePortrait, encode_portrait
from mooe.decoder.background import separate
from mooe.decoder.images import places
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import FaceTracker

PORTRAITS = Path(__file__).parent.parent / "examples" / "portraits"
STILL, ZERO = np.zeros((478, 3), np.float32), np.zeros(3, np.float32)
TURNS = [np.array(turn, np.float32) for turn in ((0.1, 0, 0), (0, 0.2, 0), (0, 0, 0.2), (0, 0, -0.2))]


@pytest.fixture(scope="module")
def tracker():
    with FaceTracker() as tracker:
        yield tracker


@pytest.fixture(scope="module", params=["grace_hopper.jpg", "astronaut.png"])
def portrait(request: pytest.FixtureRequest, tracker: FaceTracker) -> SourcePortrait:
    photo = np.asarray(Image.open(PORTRAITS / request.param).convert("RGB"))
    return encode_portrait(photo, tracker.detect_one(photo), 256)


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0


def test_the_face_is_the_persons_and_the_corners_are_not(portrait: SourcePortrait) -> None:
    alpha = portrait.frame_layers.alpha
    rows, columns = portrait.landmarks[:468, 1].astype(int), portrait.landmarks[:468, 0].astype(int)
    assert (alpha[rows, columns] == 255).mean() > 0.98
    assert alpha[:12, :12].max() == alpha[:12, -12:].max() == 0


def test_at_rest_the_layers_are_the_photograph(portrait: SourcePortrait) -> None:
    layers = portrait.frame_layers
    drawn = np.zeros_like(portrait.frame)
    layers.draw(drawn, places(256, 256))
    assert np.array_equal(drawn, portrait.bare_frame)
    edge = grown((layers.alpha > 0) & (layers.alpha < 255), 3)
    assert edge.mean() < 0.2
    assert (np.abs(layers.lacking[~edge]) <= 1).mean() > 0.99


@pytest.mark.parametrize("full", [False, True])
def test_a_head_that_turns_leaves_its_background_alone(portrait: SourcePortrait, full: bool) -> None:
    """Where neither the photograph nor the moved frame shows the person, no pixel changes."""
    decoder = PortraitDecoder(portrait)
    draw = decoder.render_full if full else decoder.render
    photo = portrait.picture if full else portrait.frame
    speaking = arkit_to_displacement(arkit_vector({"jawOpen": 0.5, "browInnerUp": 0.5}))
    inner, outer = portrait.crop.overlap(*portrait.picture.shape[:2])
    alpha = portrait.native_layers.alpha if full else portrait.frame_layers.alpha
    far = ~grown(alpha > 0, alpha.shape[0] // 9)
    for turn in TURNS:
        frame = draw(speaking, turn, ZERO)
        now, before = (frame[outer], photo[outer]) if full else (frame, photo)
        kept = far[inner] if full else far
        assert kept.mean() > 0.02
        assert np.array_equal(now[kept], before[kept])
        assert not np.array_equal(now, before)


def test_what_was_hidden_is_filled_with_what_lies_beside_it(tracker: FaceTracker) -> None:
    """A person before stripes: behind it are stripes."""
    photo = np.asarray(Image.open(PORTRAITS / "grace_hopper.jpg").convert("RGB"))
    portrait = encode_portrait(photo, tracker.detect_one(photo), 256)
    alpha = portrait.frame_layers.alpha[..., None] / 255
    stripes = np.zeros((256, 256, 3))
    stripes[(np.arange(256) // 16 % 2) == 0] = (40, 90, 160)
    striped = np.rint(portrait.frame * alpha + stripes * (1 - alpha)).astype(np.uint8)
    layers = separate(striped, portrait.landmarks, np.ones((256, 256, 1), np.float32))
    uncovered = grown(layers.alpha == 0, 8) & (layers.alpha > 0)
    uncovered[200:] = False  # below, the shoulders reach the frame's border
    nearest = np.abs(layers.behind[uncovered][:, None].astype(float) - [[(0, 0, 0), (40, 90, 160)]]).max(-1).min(-1)
    assert np.median(nearest) < 30


def test_where_no_person_is_recognised_all_moves(portrait: SourcePortrait) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    layers = separate(noise, portrait.landmarks, np.ones((256, 256, 1), np.float32))
    assert layers.alpha.min() == 255
    assert np.array_equal(layers.person, noise)
