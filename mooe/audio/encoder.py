"""Speech features at the rate of the video."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import hama
import numpy as np

from mooe.audio.constants import SAMPLES_PER_FRAME, frame_count
from mooe.audio.prosody import PROSODY_DIM, prosody
from mooe.audio.windows import WindowedSpeechEncoder

PHONE_TOKENS = 191  # hama's vocabulary: IPA phones, word boundary, blank
STEPS_PER_FRAME = 2  # hama gives a row every 20 ms


@runtime_checkable
class SpeechEncoder(Protocol):
    """What the motion model needs of a speech encoder.

    Attributes:
        name: names the features; weights trained with one encoder say which.
        feature_dim: D, numbers a frame.
    """

    @property
    def name(self) -> str: ...

    @property
    def feature_dim(self) -> int: ...

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        """Features of a whole clip.

        Args:
            waveform: float32 [n] in [-1, 1], 16 kHz.

        Returns:
            float32 [ceil(n / 640), D]; row f describes the sound around (f + .5) / 25 s.
        """
        ...


class PhoneProsodyEncoder(WindowedSpeechEncoder):
    """Gives a frame two rows of probabilities over hama's phones, 20 ms each, and its prosody."""

    @property
    def name(self) -> str:
        return "hama-posteriors-prosody"

    @property
    def feature_dim(self) -> int:
        return STEPS_PER_FRAME * PHONE_TOKENS + PROSODY_DIM


class HamaSpeechEncoder(PhoneProsodyEncoder):
    """Phone probabilities of hama's recogniser and prosody. The embedded encoder; it runs on the CPU.

    A row holds the 191 probabilities of the first 20 ms of the frame, those of the second 20 ms, and the 8
    numbers of :func:`mooe.audio.prosody.prosody`. hama was trained with the CTC loss: a phone is emitted as a
    short peak, about 100 ms after the lips have begun to form it. The rows are left where hama puts them: a model
    that reads them has to look at least 6 frames ahead.
    """

    def __init__(self) -> None:
        model = hama.ASRModel()
        self._session = model.session
        self.phone_tokens: tuple[str, ...] = tuple(model.decoder_tokens)

    def _encode_window(self, waveform: np.ndarray, first: int) -> np.ndarray:
        padded = whole_frames(waveform)
        inputs = {"waveform": padded[None], "waveform_lengths": np.array([len(padded)], dtype=np.int64)}
        (log_probabilities,) = self._session.run(["log_probs"], inputs)
        frames = len(padded) // SAMPLES_PER_FRAME
        steps = np.exp(log_probabilities[0, : frames * STEPS_PER_FRAME])
        return np.concatenate([steps.reshape(frames, -1), prosody(padded)], axis=1, dtype=np.float32)


def whole_frames(waveform: np.ndarray) -> np.ndarray:
    """A waveform [n] filled up with silence to whole video frames."""
    padded = np.zeros(frame_count(len(waveform)) * SAMPLES_PER_FRAME, dtype=np.float32)
    padded[: len(waveform)] = waveform
    return padded
