"""Speech encoders that look at windows: whole clips, endless ones in constant memory, and live sound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import numpy as np

from mooe.audio.constants import FRAME_RATE, SAMPLES_PER_FRAME, frame_count
from mooe.audio.level import LevelMeter, speech_gain

# Recognisers look at 30 s at most, normalise what they are given as a whole, and take memory by its length. Windows
# lie on a fixed grid, so that a frame sees the same surroundings whatever comes in whatever pieces. Windows half or
# twice as long change the phones no more than another grid does.
_CORE = 10 * FRAME_RATE  # frames a window stands for
_CONTEXT = 2 * FRAME_RATE  # frames before and after that it only looks at
_FADE = FRAME_RATE // 2  # frames on either side of a seam in which two windows are mixed

# Live sound: a window a step, as soon as it is heard
LIVE_FIRST = 18  # frames of the first step, so that the first picture comes within a second
LIVE_STEP = 16
_LIVE_CONTEXT = 32  # frames before a step that its window looks back at
_LIVE_AHEAD = 6  # frames after it, which it waits for: 240 ms


class WindowedSpeechEncoder(ABC):
    """Base of speech encoders; a subclass encodes one window of at most 14 s."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Names the features; weights trained with one encoder say which."""

    @property
    @abstractmethod
    def feature_dim(self) -> int:
        """D, numbers a frame."""

    @abstractmethod
    def _encode_window(self, waveform: np.ndarray, first: int) -> np.ndarray:
        """Features of a window.

        Args:
            waveform: float32 [n] at the usual loudness, 16 kHz, at most 14 s.
            first: number of the window's first frame in the clip.

        Returns:
            float32 [ceil(n / 640), D]
        """

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        """See :meth:`SpeechEncoder.encode`. The loudness is normalised first, silence stays silence."""
        parts = list(self.stream([waveform], speech_gain([waveform])))
        if not parts:
            return np.zeros((0, self.feature_dim), dtype=np.float32)
        return np.concatenate(parts)

    def stream(self, waveforms: Iterable[np.ndarray], gain: float, first_frame: int = 0) -> Iterator[np.ndarray]:
        """Features of a clip that comes in pieces, in constant memory.

        Args:
            waveforms: the pieces, float32 [n] each, of any lengths.
            gain: factor on the samples, from :func:`mooe.audio.level.speech_gain` of the whole clip.
            first_frame: rows before it are left out; windows that only they need are not encoded.

        Yields:
            float32 [f, D]; joined, they are what :meth:`encode` gives.
        """
        # rows of the last window beyond its core, to be mixed with the next one's
        tail: np.ndarray | None = None
        number = 0  # of the first row that the window gives
        for window, first, core, last in _windows(waveforms):
            begin = first - _FADE if first else 0
            end = frame_count(len(window)) if last else first + core
            keep = end if last else end - _FADE
            following = number + keep - begin
            if not last and following + 2 * _FADE <= first_frame:
                tail, number = None, following
                continue
            rows = self._encode_window(window * np.float32(gain), number - begin)
            if tail is not None:
                mixed = slice(begin, min(first + _FADE, len(rows)))
                rows[mixed] = _cross_fade(tail, rows[mixed])
            tail = None if last else rows[keep : end + _FADE].copy()
            if following > first_frame:
                yield rows[begin + max(first_frame - number, 0) : keep]
            number = following

    def listen(self, waveforms: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Features of live sound, each step as soon as 240 ms more have been heard, in constant memory.

        They differ from :meth:`stream`'s: the loudness is that of what was heard so far, and a window sees 1.3 s of the
        past and 240 ms of the future. Steps lie on a fixed grid, so the pieces' lengths do not matter.

        Args:
            waveforms: the pieces, float32 [n] each, of any lengths.

        Yields:
            float32 [f, D].
        """
        meter = LevelMeter()
        start, given, target = 0, 0, LIVE_FIRST  # first frame held, rows given, rows to give next
        held = np.zeros(0, np.float32)
        for waveform in waveforms:
            held = np.concatenate([held, waveform])
            while len(held) >= (heard := (target + _LIVE_AHEAD - start) * SAMPLES_PER_FRAME):
                meter.add(held[(given + _LIVE_AHEAD * (given > 0) - start) * SAMPLES_PER_FRAME : heard])
                rows = self._encode_window(held[:heard] * np.float32(meter.gain()), start)
                yield rows[given - start : target - start]
                given, target = target, target + LIVE_STEP
                oldest = max(given - _LIVE_CONTEXT, start)
                held, start = held[(oldest - start) * SAMPLES_PER_FRAME :], oldest
        if start + frame_count(len(held)) > given:
            meter.add(held[(given + _LIVE_AHEAD * (given > 0) - start) * SAMPLES_PER_FRAME :])
            yield self._encode_window(held * np.float32(meter.gain()), start)[given - start :]


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
