"""How something is said: energy, pitch, voicing and noisiness, one row a video frame."""

from __future__ import annotations

import numpy as np

from mooe.audio.constants import SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count

PROSODY_DIM = 8
_WINDOW = 1024  # samples, 64 ms: four periods of the lowest pitch
_LOWEST_PITCH, _HIGHEST_PITCH = 65.0, 450.0  # Hz
_QUIET = -65.0  # dB, what is below is not told apart
_LOUD_SPAN = 30.0  # dB that make a step of 1 in the energies
_REFERENCE_PITCH = 160.0  # Hz, between men's and women's usual pitch


def prosody(waveform: np.ndarray) -> np.ndarray:
    """Prosody of a waveform at the usual loudness (see :func:`mooe.audio.level.speech_gain`).

    Row f describes the 64 ms around (f + .5) / 25 s. Columns: energy of 60-7600 Hz and of 300-3000 Hz (0 at
    -65 dB or below, +1 every 30 dB), pitch in octaves from 160 Hz times voicing, voicing (0-1), spectral
    flatness (0-1), zero crossings a sample (0-1), change of either energy over the two frames around.

    Args:
        waveform: float32 [n], 16 kHz.

    Returns:
        float32 [ceil(n / 640), 8]
    """
    frames = frame_count(len(waveform))
    if frames == 0:
        return np.zeros((0, PROSODY_DIM), dtype=np.float32)
    before = (_WINDOW - SAMPLES_PER_FRAME) // 2
    padded = np.zeros((frames - 1) * SAMPLES_PER_FRAME + _WINDOW, dtype=np.float64)
    padded[before : before + len(waveform)] = waveform
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::SAMPLES_PER_FRAME]

    window = np.hanning(_WINDOW + 1)[:-1]
    spectrum = np.fft.rfft(pieces * window, 2 * _WINDOW, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    broad, band = _energy(power, window, 60.0, 7600.0), _energy(power, window, 300.0, 3000.0)
    pitch, voicing = _pitch(power, window)
    voicing *= np.clip(broad / 0.5, 0.0, 1.0)
    crossings = np.mean(np.signbit(pieces[:, 1:]) != np.signbit(pieces[:, :-1]), axis=1) * (broad > 0.0)
    columns = (
        broad,
        band,
        voicing * np.log2(pitch / _REFERENCE_PITCH),
        voicing,
        _flatness(power) * (broad > 0.0),
        crossings,
        _change(broad),
        _change(band),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _bins(low: float, high: float) -> slice:
    scale = 2 * _WINDOW / SAMPLE_RATE
    return slice(round(low * scale), round(high * scale) + 1)


def _energy(power: np.ndarray, window: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scaled energy of a band. float64 [F, bins] -> [F]"""
    # Parseval: twice the one-sided sum over (transform length * the window's energy) is the mean square.
    mean_square = 2.0 * power[:, _bins(low, high)].sum(axis=1) / (2 * _WINDOW * np.sum(window**2))
    return np.maximum(10.0 * np.log10(mean_square + 1e-12) - _QUIET, 0.0) / _LOUD_SPAN


def _pitch(power: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch in Hz and voicing, 0 to 1: autocorrelation over the window's own (Boersma 1993). [F, bins]"""
    voiced = power.copy()
    voiced[:, _bins(1500.0, SAMPLE_RATE / 2)] = 0.0  # hiss of the higher bands hides the period
    voiced[:, _bins(0.0, 40.0)] = 0.0
    correlation = np.fft.irfft(voiced, axis=1)[:, :_WINDOW]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * _WINDOW)) ** 2)[:_WINDOW]
    lags = np.arange(int(SAMPLE_RATE / _HIGHEST_PITCH), int(SAMPLE_RATE / _LOWEST_PITCH) + 1)
    normal = correlation[:, lags] / (correlation[:, :1] + 1e-9) / (own[lags] / own[0])
    # Multiples of the period correlate as well: a small cost an octave keeps to the shortest.
    best = np.argmax(normal - 0.03 * np.log2(lags / lags[0]), axis=1)
    return SAMPLE_RATE / lags[best], np.clip(normal[np.arange(len(normal)), best], 0.0, 1.0)


def _flatness(power: np.ndarray) -> np.ndarray:
    """Geometric over arithmetic mean of the spectrum, 100-7600 Hz. [F, bins] -> [F]"""
    part = power[:, _bins(100.0, 7600.0)] + 1e-10
    return np.exp(np.mean(np.log(part), axis=1)) / np.mean(part, axis=1)


def _change(energy: np.ndarray) -> np.ndarray:
    """Half the difference of the frames after and before. [F] -> [F]"""
    padded = np.pad(energy, 1, mode="edge")
    return (padded[2:] - padded[:-2]) / 2.0
