"""What happens to speech between a mouth and a file: rooms, noise, telephones, levels. Times do not move."""

from __future__ import annotations

import numpy as np
from scipy import signal

from training.corpus.background import coloured_noise, make_background, make_music
from training.corpus.clips import SAMPLE_RATE


def augment(waveform: np.ndarray, rng: np.random.Generator, music_share: float = 0.0) -> np.ndarray:
    """A worse recording of the same speech.

    Room, band, noise, distortion and level are each drawn with their own probability; the direct sound stays
    where it was, so phone times still hold.

    Args:
        waveform: float32 [n] in [-1, 1], 16 kHz.
        rng: source of all choices.
        music_share: probability of music under the speech.

    Returns:
        float32 [n] in [-1, 1]
    """
    sound = waveform.astype(np.float64)
    level = speech_level(sound)
    if music_share and rng.random() < music_share:
        # 6 to 25 dB below the speech, as under a broadcast
        sound = sound + make_music(len(sound), rng) * level * 10.0 ** (-rng.uniform(6.0, 25.0) / 20.0)
    if rng.random() < 0.4:
        sound = reverberate(sound, rng)
    if rng.random() < 0.5:
        sound = sound + _noise(len(sound), level, rng)
    if rng.random() < 0.35:
        sound = _limit_band(sound, rng)
    if rng.random() < 0.2:
        drive = rng.uniform(1.5, 6.0) / max(float(np.abs(sound).max()), 1e-6)
        sound = np.tanh(sound * drive) / drive
    if rng.random() < 0.3:
        sound = _tilt(sound, rng)
    gain = 10.0 ** (rng.uniform(-30.0, 3.0) / 20.0)
    peak = max(float(np.abs(sound).max()), 1e-6)
    return np.clip(sound * gain / max(peak, 0.3), -1.0, 1.0).astype(np.float32)


def speech_level(sound: np.ndarray) -> float:
    """RMS of the louder half of the 20-ms pieces of float [n]; small but not 0 for silence."""
    piece = SAMPLE_RATE // 50
    if len(sound) < piece:
        return 1e-4
    power = np.sort(np.mean(sound[: len(sound) // piece * piece].reshape(-1, piece) ** 2, axis=1))
    return max(float(np.sqrt(power[len(power) // 2 :].mean())), 1e-4)


def reverberate(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the diffuse tail of a room, 0.15 to 0.9 s long, to the direct sound. float [n] -> float64 [n]"""
    decay_time = rng.uniform(0.15, 0.9)
    length = int(decay_time * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    tail = rng.standard_normal(length) * 10.0 ** (-3.0 * time / decay_time)
    tail[: int(rng.uniform(0.002, 0.02) * SAMPLE_RATE)] = 0.0  # the way to the nearest wall and back
    tail *= 10.0 ** (-rng.uniform(0.0, 14.0) / 20.0) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
    return sound + signal.fftconvolve(sound, tail)[: len(sound)]


def _noise(samples: int, level: float, rng: np.random.Generator) -> np.ndarray:
    """Noise or tones 3 to 35 dB below the speech. float64 [samples]"""
    if rng.random() < 0.75:
        noise = coloured_noise(samples, rng.uniform(0.0, 2.0), rng)
    else:
        noise = make_background("tones", samples / SAMPLE_RATE + 0.1, rng)[:samples].astype(np.float64)
        noise /= max(float(np.sqrt(np.mean(noise**2))), 1e-6)
    return noise * level * 10.0 ** (-rng.uniform(3.0, 35.0) / 20.0)


def _limit_band(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A telephone (300-3400 Hz), or a dull microphone."""
    if rng.random() < 0.5:
        edges = (rng.uniform(200.0, 350.0), rng.uniform(3000.0, 3800.0))
        band = signal.butter(4, edges, "band", fs=SAMPLE_RATE, output="sos")
    else:
        band = signal.butter(4, rng.uniform(2500.0, 7000.0), "low", fs=SAMPLE_RATE, output="sos")
    return signal.sosfilt(band, sound)


def _tilt(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn treble up or down by up to 9 dB."""
    spectrum = np.fft.rfft(sound)
    frequencies = np.fft.rfftfreq(len(sound), 1.0 / SAMPLE_RATE)
    octaves = np.log2(np.clip(frequencies, 125.0, 8000.0) / 1000.0)
    return np.fft.irfft(spectrum * 10.0 ** (rng.uniform(-3.0, 3.0) * octaves / 20.0), len(sound))
