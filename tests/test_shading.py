"""Laws of the skin's shading under expression, and of the face at rest."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mooe.decoder import PortraitDecoder, SourcePortrait, encode_at_rest, encode_portrait
from mooe.decoder.neutral import expression_relief, mouth_expression, photographed_frown, photographed_smile
from mooe.decoder.shading import MOVEMENTS, ExpressionShading, movement_strengths
from mooe.emotion import EMOTIONS
from mooe.face.regions import ARKIT_NAMES, FACE_OVAL, LIPS_OUTER
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import FaceTracker

ZERO = np.zeros(3, np.float32)
STILL = np.zeros((478, 3), np.float32)
PORTRAITS = Path(__file__).parent.parent / "examples" / "portraits"


def shape(**weights: float) -> np.ndarray:
    return arkit_to_displacement(arkit_vector(weights))


def movement(name: str, weight: float) -> np.ndarray:
    """A movement of :data:`MOVEMENTS` with its shapes at a weight."""
    return shape(**{part: weight * float(np.sign(share)) for part, share in MOVEMENTS[name].items()})


@pytest.fixture(scope="module")
def tracker():
    with FaceTracker() as tracker:
        yield tracker


@pytest.fixture(scope="module")
def smiling() -> np.ndarray:
    return np.asarray(Image.open(PORTRAITS / "astronaut.png").convert("RGB"))


@pytest.fixture(scope="module")
def portrait(smiling: np.ndarray, tracker: FaceTracker) -> SourcePortrait:
    return encode_portrait(smiling, tracker.detect_one(smiling), 256)


class TestMovementStrengths:
    def test_still_face_moves_nothing(self) -> None:
        assert not movement_strengths(STILL).any()

    @pytest.mark.parametrize("name", MOVEMENTS)
    def test_each_movement_is_read_most_from_its_own_shapes(self, name: str) -> None:
        strengths = movement_strengths(movement(name, 1.0))
        assert list(MOVEMENTS)[int(strengths.argmax())] == name

    @pytest.mark.parametrize("name", MOVEMENTS)
    def test_more_movement_reads_more(self, name: str) -> None:
        row = list(MOVEMENTS).index(name)
        read = [movement_strengths(movement(name, w))[row] for w in (0, 0.3, 0.6, 0.9)]
        assert all(a < b for a, b in pairwise(read))

    def test_grief_is_neither_surprise_nor_anger(self) -> None:
        row = list(MOVEMENTS).index("grief")
        grieved = movement_strengths(shape(browInnerUp=1, browOuterUp=-0.3, browDown=0.3))[row]
        for other in (shape(browInnerUp=1, browOuterUp=1), shape(browDown=1)):
            assert movement_strengths(other)[row] < 0.3 * grieved

    def test_speech_alone_sneers_and_frowns_little(self) -> None:
        strengths = movement_strengths(shape(jawOpen=0.4, mouthLowerDown=0.2))
        assert strengths.max() < 0.3


class TestExpressionShading:
    def test_own_expression_keeps_the_photographs_shading(self, portrait: SourcePortrait) -> None:
        assert portrait.shading.log_gain(portrait.points - portrait.neutral) is None

    def test_only_the_face_changes(self, portrait: SourcePortrait) -> None:
        gain = portrait.shading.log_gain(shape(browInnerUp=1, browOuterUp=1, noseSneer=1))
        assert gain is not None and np.abs(gain).max() > 0.05
        low, high = portrait.landmarks[:468, :2].min(0), portrait.landmarks[:468, :2].max(0)
        rows, columns = np.nonzero(gain)
        assert rows.min() >= low[1] - 2 and rows.max() <= high[1] + 2
        assert columns.min() >= low[0] - 2 and columns.max() <= high[0] + 2

    def test_grief_folds_above_the_eyes_and_most_between_the_brows(self, portrait: SourcePortrait) -> None:
        gain = portrait.shading.log_gain(portrait.points - portrait.neutral + movement("grief", 1.0))
        assert gain is not None
        row, column = np.unravel_index(int(gain.argmin()), gain.shape)
        inner, outer = portrait.landmarks[[107, 336], 0], portrait.landmarks[[33, 263], 1]
        assert inner[0] - 2 < column < inner[1] + 2 and row < outer.min()

    def test_raised_brows_crease_the_forehead_alone(self, portrait: SourcePortrait) -> None:
        raised = shape(browInnerUp=1, browOuterUp=1)
        shown = portrait.points - portrait.neutral
        change = portrait.shading.log_gain(shown + raised)
        assert change is not None
        brow = int(portrait.landmarks[[105, 334], 1].mean())
        assert np.abs(change[:brow]).sum() > 5 * np.abs(change[brow + 10 :]).sum()

    def test_grey_photograph_stays_grey(self, smiling: np.ndarray, tracker: FaceTracker) -> None:
        grey = np.repeat(np.asarray(Image.fromarray(smiling).convert("L"))[..., None], 3, 2)
        decoder = PortraitDecoder(encode_portrait(grey, tracker.detect_one(grey), 256))
        frame = decoder.render(shape(browInnerUp=1, browOuterUp=1, noseSneer=1), ZERO, ZERO).astype(int)
        assert np.ptp(frame, axis=2).max() <= 4

    def test_stronger_reading_bends_light_more(self, portrait: SourcePortrait) -> None:
        shading = ExpressionShading(portrait.frame, portrait.landmarks, STILL, portrait.alignment.scale)
        weak, strong = (shading.log_gain(shape(browDown=w)) for w in (0.3, 0.9))
        assert weak is not None and strong is not None
        assert np.abs(weak).mean() < np.abs(strong).mean()


class TestPhotographedFrown:
    def test_relief_grows_with_the_frown_and_raises_the_brows(self) -> None:
        assert photographed_frown({"browDownLeft": 0.1, "browDownRight": 0.2}) == 0
        frowns = [photographed_frown({"browDownLeft": w, "browDownRight": w}) for w in (0.3, 0.6, 0.9)]
        raised = [float(expression_relief(frown, 0.0)[:, [105, 334], 1].mean()) for frown in frowns]
        assert 0 < raised[0] < raised[1] < raised[2]
        assert not expression_relief(0.0, 0.0).any()

    def test_a_frown_let_go_smooths_only_as_much_as_was_photographed(self, portrait: SourcePortrait) -> None:
        row = list(MOVEMENTS).index("brow_lower")
        raised = expression_relief(0.8, 0.0)[0]
        assert movement_strengths(raised)[row] == 0
        assert -0.3 <= movement_strengths(raised, frown=0.3)[row] < 0
        place = (portrait.frame, portrait.landmarks, STILL, portrait.alignment.scale)
        smoothed, kept = (ExpressionShading(*place, frown).log_gain(shape(browDown=-0.8)) for frown in (0.5, 0.0))
        assert smoothed is not None and smoothed.max() > 0.02
        assert kept is None or np.abs(kept).sum() < np.abs(smoothed).sum()


class TestPhotographedSmile:
    def test_corners_go_down_under_every_emotion_but_joy(self) -> None:
        assert photographed_smile({"mouthSmileLeft": 0.1, "mouthSmileRight": 0.05}) == 0
        smiles = [photographed_smile({"mouthSmileLeft": w, "mouthSmileRight": w}) for w in (0.3, 0.6, 0.9)]
        corners = [expression_relief(0.0, smile)[:, [61, 291], 1] for smile in smiles]
        unhappy = [name != "happy" for name in EMOTIONS]
        assert not any(found[EMOTIONS.index("happy")].any() for found in corners)
        assert (corners[0][unhappy] < 0).all()
        assert (corners[0] >= corners[1]).all() and (corners[1] >= corners[2]).all()
        assert np.allclose(corners[2][:, 0], corners[2][:, 1], atol=1e-3)


class TestRest:
    def test_doubtful_shapes_count_only_when_asked(self) -> None:
        reading = dict.fromkeys(ARKIT_NAMES, 0.9)
        plain, everything = mouth_expression(reading, doubtful=False), mouth_expression(reading)
        assert (plain <= everything).all() and plain.sum() < everything.sum()
        assert not everything[[i for i, n in enumerate(ARKIT_NAMES) if n.startswith(("brow", "eye"))]].any()

    def test_smile_is_taken_away(self, smiling: np.ndarray, tracker: FaceTracker, portrait: SourcePortrait) -> None:
        def smile(image: np.ndarray) -> float:
            blendshapes = tracker.detect_one(image).blendshapes
            return blendshapes["mouthSmileLeft"] + blendshapes["mouthSmileRight"]

        rest = encode_at_rest(smiling, tracker.detect_one(smiling), tracker, 256)
        once, fitted = (smile(PortraitDecoder(p).render(STILL, ZERO, ZERO)) for p in (portrait, rest))
        assert fitted < 0.5 * smile(smiling)
        assert fitted <= once + 0.02

    def test_bared_teeth_say_where_the_lips_rest(
        self, smiling: np.ndarray, tracker: FaceTracker, portrait: SourcePortrait
    ) -> None:
        without = encode_portrait(smiling, tracker.detect_one(smiling), 256, np.zeros(len(ARKIT_NAMES), np.float32))
        assert portrait.mouth.lips_too_low < 0.01
        # where the photograph's own lips already lie high enough, nothing is lifted
        assert without.mouth.lips_too_low < 0.01

    def test_the_faces_outline_keeps_its_place(self, portrait: SourcePortrait) -> None:
        moved = np.linalg.norm(portrait.points - portrait.neutral, axis=1)
        outline, lips = list(FACE_OVAL), list(LIPS_OUTER)
        assert moved[outline].mean() < 0.35 * moved[lips].mean()
