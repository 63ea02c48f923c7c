"""Sounds nobody speaks in: silence, noise, breathing and tones. The mouth must keep still in them."""

from __future__ import annotations

import numpy as np
from scipy import signal

from training.corpus.clips import SAMPLE_RATE

KINDS = ("silence", "noise", "breath", "tones")


def make_background(kind: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Sound of one of :data:`KINDS`: float32 [seconds * 16000] in [-1, 1]."""
    samples = int(seconds * SAMPLE_RATE)
    if kind == "silence":
        sound = noise_floor(samples, rng) if rng.random() < 0.7 else np.zeros(samples)
    elif kind == "noise":
        sound = 10.0 ** rng.uniform(-3.0, -1.0) * coloured_noise(samples, rng.uniform(0.0, 2.0), rng)
    elif kind == "breath":
        sound = _breathing(samples, rng)
    else:
        sound = _tones(samples, rng)
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def coloured_noise(samples: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit RMS, power ~ frequency ** -exponent: 0 white, 1 pink, 2 brown. float64 [samples]"""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies = np.maximum(np.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE), 30.0)
    sound = np.fft.irfft(spectrum * frequencies ** (-exponent / 2.0), samples)
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-12)


def noise_floor(samples: int, rng: np.random.Generator) -> np.ndarray:
    """The hardly audible noise of a recording, -85 to -55 dB. float64 [samples]"""
    return 10.0 ** rng.uniform(-4.25, -2.75) * coloured_noise(samples, rng.uniform(0.0, 1.5), rng)


def _breathing(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Breaths in and out: noise through vocal-tract-like resonances under smooth envelopes."""
    envelope = np.zeros(samples)
    position = int(rng.uniform(0.0, 0.8) * SAMPLE_RATE)
    while position < samples:
        length = int(rng.uniform(0.4, 1.4) * SAMPLE_RATE)
        hump = np.hanning(length) ** rng.uniform(0.5, 1.5) * rng.uniform(0.4, 1.0)
        end = min(samples, position + length)
        envelope[position:end] = hump[: end - position]
        position += length + int(rng.uniform(0.2, 1.5) * SAMPLE_RATE)
    breath = np.zeros(samples)
    for centre in (rng.uniform(400, 900), rng.uniform(1200, 2000), rng.uniform(2500, 5000)):
        band = signal.butter(2, (0.7 * centre, 1.3 * centre), "band", fs=SAMPLE_RATE, output="sos")
        breath += rng.uniform(0.2, 1.0) * signal.sosfilt(band, rng.standard_normal(samples))
    return 10.0 ** rng.uniform(-2.2, -1.0) * envelope * breath + noise_floor(samples, rng)


def _tones(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Chords of decaying or sustained harmonics, one after another, like an instrument far from any voice."""
    sound = np.zeros(samples)
    position = 0
    while position < samples:
        length = min(int(rng.uniform(0.2, 1.5) * SAMPLE_RATE), samples - position)
        time = np.arange(length) / SAMPLE_RATE
        root = 55.0 * 2.0 ** (rng.integers(0, 48) / 12.0)
        chord = np.zeros(length)
        for step in rng.choice((0, 3, 4, 7, 12), size=rng.integers(1, 4), replace=False):
            pitch = root * 2.0 ** (step / 12.0)
            for harmonic in range(1, int(rng.integers(2, 7))):
                if harmonic * pitch < SAMPLE_RATE / 2:
                    phase = 2.0 * np.pi * (harmonic * pitch * time + rng.random())
                    chord += np.sin(phase) / harmonic ** rng.uniform(1.0, 2.0)
        decay = np.exp(-rng.uniform(0.0, 5.0) * time) * np.minimum(1.0, time / 0.01)
        fade = np.minimum(1.0, (length - np.arange(length)) / (0.02 * SAMPLE_RATE))
        sound[position : position + length] = chord * decay * fade
        position += length
    return 10.0 ** rng.uniform(-2.0, -0.6) * sound / max(float(np.abs(sound).max()), 1e-12)


def make_music(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A bed of music of unit RMS: chords that change with the bar, and a drum on the beat. float64 [samples]"""
    beat = int(60.0 / rng.uniform(70.0, 140.0) * SAMPLE_RATE)
    root = 55.0 * 2.0 ** (rng.integers(0, 24) / 12.0)
    drums, step = rng.uniform(0.0, 4.0), 0
    sound = np.zeros(samples)
    for number, start in enumerate(range(0, samples, beat)):
        time = np.arange(min(beat, samples - start)) / SAMPLE_RATE
        if number % 4 == 0:
            step = int(rng.choice((0, 5, 7, 9)))
        chord = np.zeros(len(time))
        for interval in (-12, 0, 4, 7):
            pitch = root * 2.0 ** ((step + interval) / 12.0)
            for harmonic in (1, 2, 3):
                chord += np.sin(2.0 * np.pi * harmonic * pitch * time) / harmonic**1.5
        if number % 2:
            hit = rng.standard_normal(len(time)) * np.exp(-40.0 * time)  # a snare
        else:
            hit = np.sin(2.0 * np.pi * 60.0 * time) * np.exp(-12.0 * time)  # a bass drum
        sound[start : start + len(time)] = chord * np.exp(-2.0 * time) * np.minimum(1.0, time / 0.01) + drums * hit
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-12)
