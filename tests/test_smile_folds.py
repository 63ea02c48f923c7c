"""Laws of a photographed smile that goes: the folds it leaves, the lips it stretched, the eyes it narrowed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mooe.decoder import PortraitDecoder, SourcePortrait, encode_portrait
from mooe.decoder.smile_folds import SmileFolds
from mooe.face.regions import ARKIT_NAMES, LIP_PAIRS
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import Face, FaceTracker
from mooe.media.images import read_image

ASTRONAUT = Path(__file__).parent.parent / "examples" / "portraits" / "astronaut.png"
UPPER, LOWER = (list(side) for side in zip(*LIP_PAIRS, strict=True))
SIZE = 300
SKIN = np.array([190, 150, 130], np.uint8)


@pytest.fixture(scope="module")
def smiling() -> np.ndarray:
    return read_image(ASTRONAUT)


@pytest.fixture(scope="module")
def face(smiling: np.ndarray) -> Face:
    with FaceTracker() as tracker:
        return tracker.detect_one(smiling)


@pytest.fixture(scope="module")
def portrait(smiling: np.ndarray, face: Face) -> SourcePortrait:
    return encode_portrait(smiling, face, 256)


@pytest.fixture(scope="module")
def plain(portrait: SourcePortrait) -> tuple[np.ndarray, np.ndarray, float]:
    """A face of one colour, its landmarks and eye distance."""
    scale = SIZE / portrait.size
    return np.tile(SKIN, (SIZE, SIZE, 1)), portrait.landmarks * scale, portrait.alignment.scale * scale


def flattened(photo: np.ndarray, landmarks: np.ndarray, unit: float, smile: float = 0.9, share: float = 1.0):
    frame = photo.copy()
    rest = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1).astype(np.float32)
    SmileFolds(photo, landmarks, smile, unit).flatten(frame, rest, share)
    return frame


def beside_the_mouth(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two ends of a line where smiles fold."""
    return landmarks[206, :2], landmarks[57, :2] + (landmarks[57, :2] - landmarks[206, :2]) * 0.2


def luma(image: np.ndarray) -> np.ndarray:
    return image.astype(float) @ [0.299, 0.587, 0.114]


class TestSmileFolds:
    def test_no_smile_no_change(self, plain) -> None:
        photo, landmarks, unit = plain
        photo = photo.copy()
        start, end = beside_the_mouth(landmarks)
        cv2.line(photo, start.astype(int).tolist(), end.astype(int).tolist(), (120, 80, 60), 2)
        assert np.array_equal(flattened(photo, landmarks, unit, smile=0.0), photo)
        assert np.array_equal(flattened(photo, landmarks, unit, share=0.0), photo)

    def test_a_fold_is_filled_and_a_mole_is_not(self, plain) -> None:
        photo, landmarks, unit = plain
        start, end = beside_the_mouth(landmarks)
        fold, mole = photo.copy(), photo.copy()
        cv2.line(fold, start.astype(int).tolist(), end.astype(int).tolist(), (130, 90, 70), 2)
        cv2.circle(mole, ((start + end) / 2).astype(int).tolist(), 2, (130, 90, 70), -1)
        left = []
        for marked in (fold, mole):
            spot = (marked != photo).any(-1)
            dark = luma(photo)[spot] - luma(marked)[spot]
            left.append((luma(flattened(photo, landmarks, unit))[spot] - luma(
                flattened(marked, landmarks, unit))[spot]).mean() / dark.mean())
        assert left[0] < 0.5 < left[1]

    def test_more_share_fills_more(self, plain) -> None:
        photo, landmarks, unit = plain
        photo = photo.copy()
        start, end = beside_the_mouth(landmarks)
        cv2.line(photo, start.astype(int).tolist(), end.astype(int).tolist(), (130, 90, 70), 2)
        changed = [np.abs(luma(flattened(photo, landmarks, unit, share=s)) - luma(photo)).sum() for s in (0.3, 0.6, 1)]
        assert changed[0] < changed[1] < changed[2]

    def test_filled_skin_is_no_brighter_than_what_is_around(self, plain) -> None:
        photo, landmarks, unit = plain
        photo = photo.copy()
        start, end = beside_the_mouth(landmarks)
        cv2.line(photo, start.astype(int).tolist(), end.astype(int).tolist(), (130, 60, 30), 3)
        assert (flattened(photo, landmarks, unit) <= SKIN + 2).all()

    def test_grey_stays_grey(self, portrait: SourcePortrait) -> None:
        grey = np.repeat(cv2.cvtColor(portrait.frame, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
        side = portrait.size
        rest = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).astype(np.float32)
        frame = grey.copy()
        SmileFolds(grey, portrait.landmarks, 0.9, portrait.alignment.scale).flatten(frame, rest, 1.0)
        assert not np.array_equal(frame, grey)
        assert np.ptp(frame.astype(int), axis=2).max() <= 1

    def test_the_photographs_own_smile_keeps_its_folds(self, portrait: SourcePortrait) -> None:
        assert portrait.shading.smile > 0.3
        assert portrait.shading.smile_gone(portrait.points - portrait.neutral) == 0.0
        assert portrait.shading.smile_gone(np.zeros((478, 3), np.float32)) > 0.9

    def test_resolution_changes_little(self, portrait: SourcePortrait) -> None:
        still, pose = np.zeros((478, 3), np.float32), np.zeros(3, np.float32)
        decoder = PortraitDecoder(portrait)
        small, full = decoder.render(still, pose, pose), decoder.render_full(still, pose, pose)
        inner, outer = portrait.crop.overlap(*full.shape[:2])
        head = np.zeros_like(portrait.native)
        head[inner] = full[outer]
        points = portrait.landmarks[[206, 426, 216, 436], :2]
        for x, y in points.astype(int):
            large = (np.array([x, y]) + 0.5) / portrait.crop.scale
            near = head[int(large[1]) - 3 : int(large[1]) + 4, int(large[0]) - 3 : int(large[0]) + 4]
            assert np.abs(near.mean((0, 1)) - small[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))).max() < 12


def at_rest(smiling: np.ndarray, face: Face, **weights: float) -> np.ndarray:
    """The neutral face of a photograph that is said to show these shapes on both sides."""
    expression = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, weight in weights.items():
        expression[[i for i, known in enumerate(ARKIT_NAMES) if known.startswith(name)]] = weight
    return encode_portrait(smiling, face, 256, expression).neutral


class TestEyes:
    def test_only_a_broad_smile_has_narrowed_them(self, smiling: np.ndarray, face: Face) -> None:
        def height(smile: float) -> float:
            rest = at_rest(smiling, face, mouthSmile=smile)
            return float((rest[[159, 386], 1] - rest[[145, 374], 1]).mean())

        none, slight, broad = height(0.0), height(0.25), height(1.0)
        assert none <= slight < broad
        assert broad - none > 6 * (slight - none)


class TestJaw:
    def test_an_open_jaw_shortens_the_whole_outline_again(self, smiling: np.ndarray, face: Face) -> None:
        chin = [at_rest(smiling, face, jawOpen=weight)[152, 1] for weight in (0.0, 0.5)]
        shape = arkit_to_displacement(arkit_vector({"jawOpen": 0.5}))[152, 1]
        assert chin[1] - chin[0] > -0.6 * shape > 0


class TestLips:
    def test_lips_drawn_out_by_an_open_smile_get_fuller(self, smiling: np.ndarray, face: Face) -> None:
        red = []
        for smile in (0.0, 0.8):
            neutral = at_rest(smiling, face, mouthSmile=smile)
            red.append((neutral[0, 1] - neutral[13, 1]) + (neutral[14, 1] - neutral[17, 1]))
            assert np.abs(neutral[UPPER, 1] - neutral[LOWER, 1]).max() < 0.02
        assert red[1] > red[0] + 0.01
