"""Laws of glasses: found where they are worn, rigid, and not there at rest beside what was photographed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mooe.decoder import PortraitDecoder, SourcePortrait, encode_portrait
from mooe.decoder.glasses import HEIGHT, WIDTH, eye_axes, eye_picture, mark_glasses
from mooe.decoder.images import enlarge_flow, enlarge_flow_part, places
from mooe.errors import ConfigError
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import FaceTracker
from training.corpus.glasses import draw_glasses, read_eyes, sample_eyes
from training.train_glasses import marking_loss

PORTRAITS = Path(__file__).parent.parent / "examples" / "portraits"
ZERO = np.zeros(3, np.float32)
RAISED = arkit_to_displacement(arkit_vector({"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.5}))


def photo(name: str) -> np.ndarray:
    return np.asarray(Image.open(PORTRAITS / name).convert("RGB"))


@pytest.fixture(scope="module")
def tracker():
    with FaceTracker() as tracker:
        yield tracker


@pytest.fixture(scope="module")
def wearer(tracker: FaceTracker) -> SourcePortrait:
    picture = photo("grace_hopper.jpg")
    return encode_portrait(picture, tracker.detect_one(picture), 256)


def test_glasses_are_found_on_who_wears_them_alone(tracker: FaceTracker) -> None:
    for name, worn in (("grace_hopper.jpg", True), ("astronaut.png", False)):
        picture = photo(name)
        marked = mark_glasses(picture, tracker.detect_one(picture).landmarks)
        assert (marked is not None) == worn
        if marked is not None:
            assert marked.shape == picture.shape[:2] and 0 <= marked.min() <= marked.max() <= 1


def test_drawn_glasses_are_marked_where_they_are(tracker: FaceTracker) -> None:
    picture = photo("astronaut.png")
    axes = eye_axes(tracker.detect_one(picture).landmarks)
    found = []
    for seed in range(8):
        eyes, mask = draw_glasses(eye_picture(picture, axes), np.random.default_rng(seed))
        worn = picture.copy()
        size = (picture.shape[1], picture.shape[0])
        cut = cv2.warpAffine(eyes, axes, size)
        inside = cv2.warpAffine(np.ones((HEIGHT, WIDTH), np.uint8), axes, size) > 0
        worn[inside] = cut[inside]
        marked = mark_glasses(worn, tracker.detect_one(picture).landmarks)
        if marked is not None:
            truth, seen = cv2.warpAffine(mask, axes, size) > 0.5, marked > 0.5
            found.append((truth & seen).sum() / (truth | seen).sum())
    assert len(found) >= 6 and np.median(found) > 0.4


def test_at_rest_glasses_look_as_photographed(wearer: SourcePortrait) -> None:
    assert wearer.glasses is not None
    shown = wearer.points - wearer.neutral
    frame = PortraitDecoder(wearer).render(shown, ZERO, ZERO).astype(int)
    worn = wearer.glasses.frame_weight > 0.99
    assert worn.sum() > 300
    assert np.abs(frame - wearer.frame)[worn].mean() < 2


def test_raised_brows_bend_no_glasses(wearer: SourcePortrait) -> None:
    assert wearer.glasses is not None
    decoder = PortraitDecoder(wearer)
    for full in (False, True):
        draw = decoder.render_full if full else decoder.render
        still, raised = (draw(d, ZERO, ZERO).astype(int) for d in (0 * RAISED, RAISED))
        if full:
            inner, outer = wearer.crop.overlap(*wearer.picture.shape[:2])
            still, raised, weight = still[outer], raised[outer], wearer.glasses.native_weight[inner]
        else:
            weight = wearer.glasses.frame_weight
        assert np.abs(raised - still)[weight > 0.99].mean() < 1
        assert np.abs(raised - still)[weight < 0.01].max() > 30  # the brows do move


def test_glasses_turn_with_the_head(wearer: SourcePortrait) -> None:
    assert wearer.glasses is not None
    decoder = PortraitDecoder(wearer)
    aside = np.array([0.06, 0.0, 0.0], np.float32)
    still, moved = (decoder.render(0 * RAISED, ZERO, t).astype(float) for t in (ZERO, aside))
    worn = wearer.glasses.frame_weight > 0.99
    steps = range(-9, 10)
    apart = [np.abs(np.roll(moved, -step, axis=1) - still)[worn].mean() for step in steps]
    assert abs(abs(steps[int(np.argmin(apart))]) - 0.06 * wearer.alignment.scale) <= 1


def test_part_of_an_enlarged_flow_is_what_the_whole_has_there() -> None:
    waves = np.random.default_rng(0).normal(0, 20, (64, 64, 2)).astype(np.float32)
    flow = places(64, 64) + cv2.GaussianBlur(waves, (0, 0), 4)
    for side in (64, 172):
        whole = enlarge_flow(flow, side / 64, (side, side))
        part = slice(side // 4, side // 2), slice(side // 5, side - 3)
        assert np.abs(whole[part] - enlarge_flow_part(flow, side / 64, *part)).max() < 0.1


def test_drawing_depends_on_its_seed_alone(tmp_path: Path) -> None:
    Image.open(PORTRAITS / "astronaut.png").save(tmp_path / "face.png")
    (tmp_path / "notes.txt").write_text("no picture")
    [eyes] = read_eyes(tmp_path)
    first, again, other = (sample_eyes(eyes, np.random.default_rng(seed), 1.0) for seed in (1, 1, 2))
    assert first[0].shape == (HEIGHT, WIDTH, 3) and first[1].shape == (HEIGHT, WIDTH)
    assert np.array_equal(first[0], again[0]) and not np.array_equal(first[1], other[1])
    assert not sample_eyes(eyes, np.random.default_rng(1), 0.0)[1].any()


def test_a_folder_without_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No face"):
        read_eyes(tmp_path)


def test_loss_is_least_where_the_marks_are_right() -> None:
    masks = (torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0)) > 0.8).float()
    guesses = (2 * masks - 1, -torch.ones_like(masks), 1 - 2 * masks)
    right, none, wrong = (float(sum(marking_loss(20 * guess, masks))) for guess in guesses)
    assert right < 0.01 < none < wrong
