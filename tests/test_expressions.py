"""Laws of the corpus' expressions."""

from itertools import combinations

import numpy as np
import pytest

from mooe.emotion.taxonomy import EMOTIONS
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement, arkit_vector
from training.corpus.expressions import EXPRESSIONS, compound


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.stack([arkit_vector(EXPRESSIONS[name].core) for name in EMOTIONS])


def weights(**named: float) -> np.ndarray:
    return np.array([[named.get(name, 0.0) for name in EMOTIONS]], np.float32)


def size(face: np.ndarray) -> float:
    return float(np.linalg.norm(arkit_to_displacement(face)))


def test_one_emotion_is_its_own_face_and_none_is_neutral(faces: np.ndarray) -> None:
    for row, name in enumerate(EMOTIONS):
        for weight in (0.3, 1.0):
            assert np.allclose(compound(weights(**{name: weight}), faces)[0], weight * faces[row], atol=1e-6)
    assert not compound(np.zeros((2, 6), np.float32), faces).any()


def test_a_mixture_is_at_most_as_large_as_what_is_mixed_and_no_smaller_than_its_mean(faces: np.ndarray) -> None:
    for first, second in combinations(range(6), 2):
        emotion = np.zeros((1, 6), np.float32)
        emotion[0, [first, second]] = 0.5
        mixed = size(compound(emotion, faces)[0])
        assert mixed <= (size(faces[first]) + size(faces[second])) / 2 + 1e-4
        if faces[[first, second]][:, ARKIT_NAMES.index("mouthSmileLeft")].max() <= 0:
            assert mixed >= size((emotion @ faces)[0]) - 1e-4


def test_a_mixture_comes_from_one_emotion_to_the_other_without_a_jump(faces: np.ndarray) -> None:
    steps = np.linspace(0, 1, 101, dtype=np.float32)
    emotion = np.zeros((101, 6), np.float32)
    emotion[:, 0], emotion[:, 5] = 1 - steps, steps
    path = arkit_to_displacement(compound(emotion, faces))
    change = np.linalg.norm(np.diff(path, axis=0).reshape(100, -1), axis=1)
    assert change.max() < 0.05 * (size(faces[0]) + size(faces[5]))


def test_a_happy_surprise_smiles_and_lifts_its_brows(faces: np.ndarray) -> None:
    mixed = compound(weights(happy=0.5, surprised=0.5), faces)[0]
    for name, of, least in (("mouthSmileLeft", "happy", 0.5), ("browInnerUp", "surprised", 0.5)):
        column = ARKIT_NAMES.index(name)
        assert mixed[column] >= least * faces[EMOTIONS.index(of), column]
    funnel = ARKIT_NAMES.index("mouthFunnel")
    assert mixed[funnel] < 0.5 * faces[EMOTIONS.index("surprised"), funnel]
