"""Speech features at the rate of the video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import hama
import numpy as np

from mooe.audio.constants import FRAME_RATE, SAMPLES_PER_FRAME, frame_count
from mooe.audio.level import speech_gain
from mooe.audio.prosody import PROSODY_DIM, prosody

PHONE_TOKENS = 191  # hama's vocabulary: IPA phones, word boundary, blank
_STEPS_PER_FRAME = 2  # hama gives a row every 20 ms
_STEP = SAMPLES_PER_FRAME // _STEPS_PER_FRAME

# hama looks at 30 s at most and silently drops the rest, and it normalises what it is given as a whole.
# Windows lie on a fixed grid, so that a frame sees the same surroundings whatever comes in whatever pieces.
_CORE = 20 * FRAME_RATE  # frames a window stands for
_CONTEXT = 4 * FRAME_RATE  # frames before and after that it only looks at
_FADE = FRAME_RATE // 2  # frames on either side of a seam in which two windows are mixed


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


class HamaSpeechEncoder:
    """Phone probabilities of hama's recogniser and prosody. The embedded encoder; it runs on the CPU.

    A row holds the 191 probabilities of the first 20 ms of the frame, those of the second 20 ms, and the 8
    numbers of :func:`mooe.audio.prosody.prosody`. hama was trained with the CTC loss: a phone is emitted as a
    short
        peak, about 100 ms after the lips have begun to form it. The rows are left where hama puts them: a
        model that reads them has to look at least 6 frames ahead.
    """

    def __init__(self) -> None:
        model = hama.ASRModel()
        self._session = model.session
        self.phone_tokens: tuple[str, ...] = tuple(model.decoder_tokens)

    @property
    def name(self) -> str:
        return "hama-posteriors-prosody"

    @property
    def feature_dim(self) -> int:
        return _STEPS_PER_FRAME * PHONE_TOKENS + PROSODY_DIM

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        """See :meth:`SpeechEncoder.encode`. The loudness is normalised first, silence stays silence."""
        parts = list(self.stream([waveform], speech_gain([waveform])))
        if not parts:
            return np.zeros((0, self.feature_dim), dtype=np.float32)
        return np.concatenate(parts)

    def stream(self, waveforms: Iterable[np.ndarray], gain: float) -> Iterator[np.ndarray]:
        """Features of a clip that comes in pieces, in constant memory.

        Args:
            waveforms: the pieces, float32 [n] each, of any lengths.
            gain: factor on the samples, from :func:`mooe.audio.level.speech_gain` of the whole clip.

        Yields:
            float32 [f, D]; joined, they are what :meth:`encode` gives.
        """
        tail: np.ndarray | None = (
            None  # rows of the last window beyond its core, to be mixed with the next one's
        )
        for window, first, core, last in _windows(waveforms):
            rows = self._encode_window(window * np.float32(gain))
            if tail is not None:
                mixed = slice(first - _FADE, min(first + _FADE, len(rows)))
                rows[mixed] = _cross_fade(tail, rows[mixed])
            end = len(rows) if last else first + core
            keep = end if last else end - _FADE
            tail = None if last else rows[keep : end + _FADE].copy()
            yield rows[(first - _FADE if first else 0) : keep]

    def _encode_window(self, waveform: np.ndarray) -> np.ndarray:
        """float32 [n] of at most 28 s -> float32 [ceil(n / 640), D]"""
        frames = frame_count(len(waveform))
        padded = np.zeros(frames * SAMPLES_PER_FRAME, dtype=np.float32)
        padded[: len(waveform)] = waveform
        inputs = {"waveform": padded[None], "waveform_lengths": np.array([len(padded)], dtype=np.int64)}
        (log_probabilities,) = self._session.run(["log_probs"], inputs)
        steps = np.exp(log_probabilities[0, : frames * _STEPS_PER_FRAME])
        return np.concatenate([steps.reshape(frames, -1), prosody(padded)], axis=1, dtype=np.float32)


def _cross_fade(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """From one to the other. Both [f, D]; `before` may be longer."""
    weight = ((np.arange(len(after)) + 0.5) / (2 * _FADE))[:, None].astype(np.float32)
    return before[: len(after)] * (1.0 - weight) + after * weight


def _windows(waveforms: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int, int, bool]]:
    """Cut a stream into overlapping windows.

    Yields:
        (samples of the window, its frames before the core, frames of the core, whether it is the last one)
    """
    held = np.zeros(0, dtype=np.float32)
    first = 0  # frames of context in front of the core
    for waveform in waveforms:
        held = np.concatenate([held, waveform])
        # Strictly longer: what is left over is at least one frame, so the last window is never empty.
        while len(held) > (first + _CORE + _CONTEXT) * SAMPLES_PER_FRAME:
            yield held[: (first + _CORE + _CONTEXT) * SAMPLES_PER_FRAME], first, _CORE, False
            held = held[(first + _CORE - _CONTEXT) * SAMPLES_PER_FRAME :]
            first = _CONTEXT
    if len(held):
        yield held, first, frame_count(len(held)) - first, True
