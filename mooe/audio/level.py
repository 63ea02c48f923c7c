"""One loudness for all recordings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mooe.audio.constants import SAMPLE_RATE

TARGET = -23.0  # dB, RMS of the loud parts after the gain
LARGEST_GAIN = 40.0  # dB
SILENT_BELOW = -70.0  # dB, a clip whose loudest parts are below is silence and stays so
_SPEECH_RANGE = 30.0  # dB under the loudest parts in which speech is expected
_PIECE = SAMPLE_RATE // 50
_BIN = 0.25  # dB, of the histogram
_LOWEST = -120.0


class LevelMeter:
    """Loudness of a sound that comes in pieces, in constant memory; see :func:`speech_gain`."""

    def __init__(self) -> None:
        self._counts = np.zeros(int(-_LOWEST / _BIN) + 2, dtype=np.int64)
        self._rest = np.zeros(0, dtype=np.float32)

    def add(self, waveform: np.ndarray) -> None:
        """Hear the next piece, float32 [n], 16 kHz."""
        joined = np.concatenate([self._rest, waveform])
        whole = len(joined) // _PIECE * _PIECE
        self._rest = joined[whole:]
        self._counts += _histogram(joined[:whole].reshape(-1, _PIECE), len(self._counts))

    def gain(self) -> float:
        """The factor for what was heard so far."""
        counts = self._counts
        if len(self._rest):
            counts = counts + _histogram(self._rest[None], len(counts))
        if not counts.sum():
            return 1.0
        levels = _LOWEST + _BIN * np.arange(len(counts))
        loud = float(levels[np.searchsorted(np.cumsum(counts), 0.95 * counts.sum())])
        if loud < SILENT_BELOW:
            return 1.0
        speech = levels >= loud - _SPEECH_RANGE
        power = np.sum(counts[speech] * 10.0 ** (levels[speech] / 10.0)) / counts[speech].sum()
        return float(10.0 ** (min(TARGET - 10.0 * np.log10(power), LARGEST_GAIN) / 20.0))


def speech_gain(waveforms: Iterable[np.ndarray]) -> float:
    """The factor that brings the speech of a clip to -23 dB.

    The level is the mean power of the 20-ms pieces within 30 dB of the clip's 95th percentile, so pauses do
    not count. Silence (below -70 dB) keeps factor 1.

    Args:
        waveforms: the clip in one or more pieces of float32 [n], 16 kHz; they are read once, in constant
            memory.
    """
    meter = LevelMeter()
    for waveform in waveforms:
        meter.add(waveform)
    return meter.gain()


def _histogram(pieces: np.ndarray, bins: int) -> np.ndarray:
    """Counts of the pieces' levels. float32 [p, n] -> int64 [bins]"""
    power = np.mean(pieces.astype(np.float64) ** 2, axis=1)
    levels = 10.0 * np.log10(power + 10.0 ** (_LOWEST / 10.0))
    places = np.clip(np.round((levels - _LOWEST) / _BIN), 0, bins - 1).astype(np.int64)
    return np.bincount(places, minlength=bins)
