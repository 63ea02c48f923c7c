"""Which emotion a face shows: the classifier of the package facex 1.1.0 (MIT), seven classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mooe.errors import DependencyError, NoFaceError
from mooe.metrics.packages import package_file
from mooe.metrics.squares import cut_square, eye_line

# The classifier's own order: anger, disgust, fear, happy, neutral, sadness, surprised.
JUDGED_EMOTIONS: tuple[str, ...] = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")

_INSTALL = "pip install --no-deps facex==1.1.0"
_RUNTIME_INSTALL = "pip install 'ai-edge-litert>=2.1,<3'"
_SHA256 = "181e9dc6b5b19b7a4a3ee661d8de9969249b72c317b2080d79ac12d2b7027da5"
_SIZE = 200
# The classifier was trained on squares of OpenCV's frontal-face cascade. On 179 portraits that square is 1.95
# (standard deviation .18) outer eye-corner distances wide with its centre .20 below the eye line.
_DROP = 0.20
_SIDES = (1.95, 2.15, 2.4)


@dataclass(frozen=True)
class EmotionVerdict:
    """What a clip shows as a whole.

    Attributes:
        emotion: the class with the highest mean probability.
        probabilities: mean probability by class.
    """

    emotion: str
    probabilities: dict[str, float]


class EmotionJudge:
    """Per-frame emotion probabilities.

    The verdict of the classifier depends on how wide the face is cut, so the probabilities are the mean over
    several squares. Nothing is calibrated: the classifier's own bias stays in.

    Args:
        sides: sides of the squares in outer eye-corner distances.
        threads: threads of the classifier.

    Raises:
        DependencyError: facex or ai-edge-litert is not installed.
    """

    def __init__(self, sides: Sequence[float] = _SIDES, *, threads: int = 1) -> None:
        model = package_file("facex", "assets/model_optimized.tflite", sha256=_SHA256, install=_INSTALL)
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise DependencyError(
                f'The emotion judge needs ai-edge-litert: install it with "{_RUNTIME_INSTALL}".'
            ) from error
        self._sides = tuple(sides)
        self._interpreter = Interpreter(str(model), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def probabilities(self, image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        """Probabilities of :data:`JUDGED_EMOTIONS` for one face.

        Args:
            image: uint8 RGB [height, width, 3].
            landmarks: [478, 3] of the face in pixels.

        Returns:
            float32 [7], sum 1.
        """
        center, eyes = eye_line(landmarks)
        place = (float(center[0]), float(center[1]) + _DROP * eyes)
        rows = [self._classify(cut_square(image, place, side * eyes, _SIZE)) for side in self._sides]
        return np.mean(rows, axis=0, dtype=np.float32)

    def _classify(self, square: NDArray[np.float32]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, square[None] / np.float32(255.0))
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._output)[0], np.float32)


def emotion_verdict(probabilities: NDArray[np.floating]) -> EmotionVerdict:
    """The verdict on a clip: the class whose probability is highest on average over the frames.

    Args:
        probabilities: [frames, 7] from :meth:`EmotionJudge.probabilities`.

    Raises:
        NoFaceError: there are no frames.
    """
    if len(probabilities) == 0:
        raise NoFaceError("There is no frame with a face to judge: give a clip that shows one.")
    mean = np.asarray(probabilities, np.float64).mean(axis=0)
    by_name = {name: float(value) for name, value in zip(JUDGED_EMOTIONS, mean, strict=True)}
    return EmotionVerdict(max(by_name, key=lambda name: by_name[name]), by_name)
