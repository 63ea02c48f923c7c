"""Features of speech whose phone times are known, in the form the embedded encoder gives them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from mooe.audio.constants import SAMPLES_PER_FRAME, SILENCE
from mooe.audio.encoder import (
    PHONE_TOKENS,
    STEPS_PER_FRAME,
    HamaSpeechEncoder,
    PhoneProsodyEncoder,
    SpeechEncoder,
    whole_frames,
)
from mooe.audio.prosody import prosody
from mooe.audio.synthesis import TimedPhone

STEP = 0.02  # seconds
# How long after its start hama emits a phone: medians over 25,000 phones of 400 clips of Kokoro's. It hears the lips'
# own sounds (and h) last, at their release.
_DELAY = 0.075
_LATE_DELAY = 0.092
_LATE = frozenset("pbfhwθɛɜɔɑ")
_SURE = 0.99  # probability at the peak; hama's median is .995
# Two phones that hama hears as one, and letters it writes otherwise
_PAIRS = {
    "eɪ": "eɪ", "aɪ": "aɪ", "aʊ": "aʊ", "oʊ": "oʊ", "ɔɪ": "ɔɪ", "əʊ": "oʊ", "tʃ": "t͡ʃ", "dʒ": "d͡ʒ",
    "ɜɹ": "ɝ", "əɹ": "ɝ",
}  # fmt: skip
_SPELLED = {"ɡ": "g", "ɜ": "ɝ", "ɒ": "ɔ", "ɾ": "t", "ʁ": "ɹ", "ɚ": "ɝ", "ᵻ": "ɪ", "ʔ": "t"}


class PhoneTimedEncoder(PhoneProsodyEncoder):
    """The embedded encoder's features with phones as they are known to be, where it would have to recognise them.

    Args:
        phones: (IPA symbol, start, end) in seconds, in order of time.
        tokens: the recogniser's vocabulary.
    """

    def __init__(self, phones: Sequence[TimedPhone], tokens: Sequence[str]) -> None:
        self._blank = tokens.index("<blank>")
        self._steps, self._tokens = _peaks(phones, tokens)

    def _encode_window(self, waveform: np.ndarray, first: int) -> np.ndarray:
        padded = whole_frames(waveform)
        frames = len(padded) // SAMPLES_PER_FRAME
        begin, count = first * STEPS_PER_FRAME, frames * STEPS_PER_FRAME
        posteriors = np.zeros((count, PHONE_TOKENS), np.float32)
        posteriors[:, self._blank] = 1.0
        inside = (self._steps >= begin) & (self._steps < begin + count)
        rows, columns = self._steps[inside] - begin, self._tokens[inside]
        posteriors[rows, self._blank] = 1.0 - _SURE
        posteriors[rows, columns] = _SURE
        return np.concatenate([posteriors.reshape(frames, -1), prosody(padded)], axis=1, dtype=np.float32)


def phone_timed(encoder: SpeechEncoder, phones: Sequence[TimedPhone]) -> SpeechEncoder:
    """An encoder that knows the phones of the speech, or the same one where it has no use for them."""
    return PhoneTimedEncoder(phones, encoder.phone_tokens) if isinstance(encoder, HamaSpeechEncoder) else encoder


def _peaks(phones: Sequence[TimedPhone], tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which phones are emitted and their tokens, int [P] each; a step has one phone at most."""
    index = {token: number for number, token in enumerate(tokens)}
    steps: list[int] = []
    found: list[int] = []
    for symbol, start in _hearable(phones, index):
        delay = _LATE_DELAY if symbol[0] in _LATE else _DELAY
        step = int((start + delay) / STEP)
        if steps and step <= steps[-1]:
            step = steps[-1] + 1
        steps.append(step)
        found.append(index[symbol])
    return np.array(steps, int), np.array(found, int)


def _hearable(phones: Sequence[TimedPhone], index: dict[str, int]) -> list[tuple[str, float]]:
    """The recogniser's tokens of the phones and their starts in seconds."""
    heard: list[tuple[str, float]] = []
    joined = -1
    for number, (symbol, start, end) in enumerate(phones):
        if symbol == SILENCE or number == joined:
            continue
        following = phones[number + 1][0] if number + 1 < len(phones) else ""
        pair = _PAIRS.get(symbol + following)
        if pair is not None:
            heard.append((pair, start))
            joined = number + 1
            continue
        letters = [symbol] if symbol in index else _letters(symbol)
        share = (end - start) / max(len(letters), 1)
        heard += [
            (token, start + place * share)
            for place, token in enumerate(_SPELLED.get(letter, letter) for letter in letters)
            if token in index
        ]
    return heard


def _letters(symbol: str) -> list[str]:
    """The letters of an IPA symbol without length, tone and other marks."""
    return [letter for letter in unicodedata.normalize("NFD", symbol) if unicodedata.category(letter) == "Ll"]
