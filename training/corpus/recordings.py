"""Clips with phone times from any recordings, for which nobody wrote down what is said when.

The phones are those hama's recogniser hears. Trained with the CTC loss it emits each as a short peak, on 60
synthesised clips 40 ms (median) after the middle of the phone; boundaries are put half-way between two peaks.
That is coarser than the times of synthesised speech.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from mooe.audio import SAMPLE_RATE, HamaSpeechEncoder, iter_audio
from mooe.audio.silences import energy_db, settle_silences
from mooe.errors import AudioError
from mooe.metrics.phones import MIDDLE_DELAY
from training.corpus.clips import SILENCE, SpeechClip

STEP = 0.02  # seconds between two rows of posteriors
SHORTEST_CLIP, LONGEST_CLIP = 6.0, 12.0  # seconds; cut at the quietest place in between
LONGEST_PHONE = 0.3  # seconds; what lasts longer ends in a pause
_SPELLED = {"g": "ɡ", "r": "ɹ", "ɫ": "l", "ɝ": "ɜ"}


def recorded_clips(folder: Path) -> Iterator[Callable[[], SpeechClip]]:
    """Clips of all files under a folder, in the order of their names.

    Yields:
        functions that recognise the phones of the next clip; files without sound are left out.
    """
    encoder = HamaSpeechEncoder()
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        try:
            for audio in _cut(iter_audio(path)):
                yield partial(_recognise, audio, path.stem, encoder)
        except AudioError:
            continue


def _cut(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Pieces of 6 to 12 s that end where it is quiet. The last one may be shorter, not below 1 s."""
    held = np.zeros(0, dtype=np.float32)
    for chunk in chunks:
        held = np.concatenate([held, chunk])
        while len(held) > LONGEST_CLIP * SAMPLE_RATE:
            first = int(SHORTEST_CLIP * SAMPLE_RATE)
            energy = energy_db(held[first : int(LONGEST_CLIP * SAMPLE_RATE)])
            smooth = np.convolve(energy, np.ones(15) / 15.0, mode="same")
            end = first + int(np.argmin(smooth[8:-8]) + 8) * SAMPLE_RATE // 100
            yield held[:end]
            held = held[end:]
    if len(held) >= SAMPLE_RATE:
        yield held


def _recognise(audio: np.ndarray, name: str, encoder: HamaSpeechEncoder) -> SpeechClip:
    """Decode the best path and turn peaks into spans."""
    tokens = encoder.phone_tokens
    posteriors = encoder.encode(audio)[:, : 2 * len(tokens)].reshape(-1, len(tokens))
    best = posteriors.argmax(axis=1)
    changes = np.flatnonzero(np.diff(best, prepend=-1))
    peaks: list[tuple[str, float]] = []
    for start, end in zip(changes, np.append(changes[1:], len(best)), strict=True):
        symbols = _spell(tokens[best[start]])
        if symbols:
            peak = start + int(posteriors[start:end, best[start]].argmax())
            peaks.append((symbols, (peak + 0.5) * STEP - MIDDLE_DELAY))
    phones = settle_silences(_spans(peaks, len(audio) / SAMPLE_RATE), audio)
    return SpeechClip(audio, phones, voice=name)


def _spell(token: str) -> str:
    """The IPA letters of a token without diacritics; "" for the blank, boundaries and tones."""
    if token.startswith("<"):
        return ""
    letters = [letter for letter in unicodedata.normalize("NFD", token) if unicodedata.category(letter) == "Ll"]
    return "".join(_SPELLED.get(letter, letter) for letter in letters)


def _spans(peaks: list[tuple[str, float]], seconds: float) -> list[tuple[str, float, float]]:
    """Phones around their peaks: from half-way to the one before to half-way to the next."""
    phones: list[tuple[str, float, float]] = []
    times = [-np.inf, *(time for _, time in peaks), np.inf]
    for number, (symbols, time) in enumerate(peaks, start=1):
        start = max(0.0, time - LONGEST_PHONE / 2.0, (times[number - 1] + time) / 2.0)
        end = min(seconds, time + LONGEST_PHONE / 2.0, (time + times[number + 1]) / 2.0)
        if end <= start:
            continue
        if phones and start > phones[-1][2]:
            phones.append((SILENCE, phones[-1][2], start))
        edges = np.linspace(start, end, len(symbols) + 1)
        phones += [(letter, float(edges[i]), float(edges[i + 1])) for i, letter in enumerate(symbols)]
    return phones
