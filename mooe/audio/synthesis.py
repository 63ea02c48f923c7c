"""Text in, speech and the times of its phones out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.signal import resample_poly

from mooe.audio import espeak
from mooe.audio.constants import SAMPLE_RATE, SILENCE
from mooe.audio.kokoro import MAX_TOKENS, Kokoro
from mooe.audio.kokoro import SAMPLE_RATE as KOKORO_RATE
from mooe.audio.phonemes import phonemize, timed_phones
from mooe.audio.silences import settle_silences
from mooe.audio.voices import LANGUAGES
from mooe.errors import AudioError, ConfigError

TimedPhone = tuple[str, float, float]

DEFAULT_LANGUAGE = "en-us"
ESPEAK_VOICE = "espeak"
_FAVOURITES = {
    "en-us": "af_heart", "en-gb": "bf_emma", "es": "ef_dora", "fr-fr": "ff_siwis", "hi": "hf_alpha", "it": "if_sara",
    "pt-br": "pf_dora",
}  # fmt: skip
_SPOKEN_AS = {"en": "en-us", "fr": "fr-fr", "pt": "pt-br"}
_PEAK = 0.8
# Sentences; within those that are too long, clauses, and at last words
_BREAKS = (re.compile(r"(?<=[.!?…。！？])\s+|\n+"), re.compile(r"(?<=[,;:—])\s+"), re.compile(r"\s+"))
_STRESS = "ˈˌ"


@dataclass(frozen=True)
class Speech:
    """What was said.

    Attributes:
        waveform: float32 [n] in [-1, 1], 16 kHz, what the models hear.
        phones: (IPA symbol, start, end) in seconds without gaps; ``sil`` where nobody speaks.
        sound: float32 [m] in [-1, 1] at ``sound_rate``, for listeners.
        sound_rate: samples a second of ``sound``.
    """

    waveform: np.ndarray
    phones: tuple[TimedPhone, ...]
    sound: np.ndarray
    sound_rate: int


@runtime_checkable
class TextToSpeech(Protocol):
    """Speaks texts. Anything with this method can be given to the pipeline."""

    def speak(self, text: str, voice: str | None = None, language: str | None = None) -> Speech:
        """Speak a text.

        Args:
            text: what to say.
            voice: name of a voice; None takes the language's first one.
            language: code such as ``en-us``; None takes the voice's own.

        Raises:
            MooeError: there is nothing to say, or no such voice or language.
        """
        ...


class KokoroTextToSpeech:
    """The default engine: natural voices in seven languages, about six times as fast as the speech on one core.

    Args:
        kokoro: the synthesiser; None loads the installed one.
        speed: factor on the rate of speech.

    Raises:
        DependencyError: the extra ``tts`` is not installed.
    """

    def __init__(self, kokoro: Kokoro | None = None, speed: float = 1.0) -> None:
        self._kokoro = kokoro or Kokoro()
        self._speed = speed

    @property
    def voices(self) -> list[str]:
        """Names of the voices."""
        return self._kokoro.voices

    def speak(self, text: str, voice: str | None = None, language: str | None = None) -> Speech:
        """See :meth:`TextToSpeech.speak`."""
        voice, language = self._choose(voice, language)
        pieces: list[np.ndarray] = []
        phones: list[TimedPhone] = []
        length = 0
        for utterance in self._utterances(_plain(text), language):
            said = self._kokoro.say(utterance, (voice,), self._speed)
            start = length / KOKORO_RATE
            phones += timed_phones(said.tokens, start + said.ends, start + said.start)
            pieces.append(said.audio)
            length += len(said.audio)
        if not phones:
            raise AudioError(f"There is nothing in '{text[:40]}' that can be spoken as {language}: give words.")
        return _finish(np.concatenate(pieces), KOKORO_RATE, phones)

    def _choose(self, voice: str | None, language: str | None) -> tuple[str, str]:
        """A voice and a language that are there."""
        language = _SPOKEN_AS.get(language, language) if language else None
        if voice is not None and voice not in self._kokoro.voices:
            raise ConfigError(f"There is no voice '{voice}': choose one of {', '.join(self._kokoro.voices)}.")
        if language is None:
            language = LANGUAGES[voice[0]] if voice else DEFAULT_LANGUAGE
        if language not in _FAVOURITES:
            raise ConfigError(
                f"The natural voices do not speak '{language}': choose {', '.join(_FAVOURITES)}, or --voice "
                f"{ESPEAK_VOICE} for espeak-ng's own voice."
            )
        return voice or _FAVOURITES[language], language

    def _utterances(self, text: str, language: str, level: int = 0) -> Iterator[str]:
        """Phonemes of sentences; sentences beyond the synthesiser's length are parted at clauses, then words."""
        for part in filter(None, (part.strip() for part in _BREAKS[level].split(text))):
            phonemes = phonemize(part, language)
            if len(phonemes) <= MAX_TOKENS or level + 1 == len(_BREAKS):
                if any(letter in self._kokoro.vocabulary for letter in phonemes):
                    yield phonemes
            elif level == 1:
                words = part.split()
                middle = len(words) // 2  # halves, not single words, keep the melody
                for half in (words[:middle], words[middle:]):
                    yield from self._utterances(" ".join(half), language, level if len(half) > 1 else 2)
            else:
                yield from self._utterances(part, language, level + 1)


class EspeakTextToSpeech:
    """The last resort: espeak-ng's robotic voice, in more than a hundred languages."""

    def speak(self, text: str, voice: str | None = None, language: str | None = None) -> Speech:
        """See :meth:`TextToSpeech.speak`; there is one voice a language."""
        if voice not in (None, ESPEAK_VOICE):
            raise ConfigError(f"espeak-ng has no voice '{voice}': leave it out, and choose a language.")
        sound, rate, starts = espeak.synthesise(_plain(text), language or DEFAULT_LANGUAGE)
        phones: list[TimedPhone] = []
        ends = [start for _, start in starts[1:]] + [len(sound) / rate]
        for (symbol, start), end in zip(starts, ends, strict=True):
            letters = symbol.strip(_STRESS)
            if end > start:
                phones.append((letters or SILENCE, start, end))
        if not len(sound) or all(symbol == SILENCE for symbol, _, _ in phones):
            raise AudioError(f"There is nothing in '{text[:40]}' that can be spoken: give words.")
        return _finish(sound, rate, phones)


def speak(text: str, voice: str | None = None, language: str | None = None) -> Speech:
    """Speak a text with the engine its voice asks for: ``espeak`` or one of Kokoro's (the default).

    Args:
        text: what to say.
        voice: ``espeak`` or a name such as ``af_heart`` (language, sex, name); None takes the language's first one.
        language: code such as ``en-us``, ``fr-fr`` or ``es``; None takes the voice's own.

    Raises:
        DependencyError: the extra ``tts`` is not installed.
        MooeError: there is nothing to say, or no such voice or language.
    """
    engine: TextToSpeech = EspeakTextToSpeech() if voice == ESPEAK_VOICE else KokoroTextToSpeech()
    return engine.speak(text, voice, language)


def _plain(text: str) -> str:
    """The text without control characters and with single spaces; line ends stay."""
    lines = ["".join(c if c.isprintable() else " " for c in line).split() for line in text.splitlines()]
    plain = "\n".join(" ".join(words) for words in lines if words)
    if not any(character.isalnum() for character in plain):
        raise AudioError("The text to speak holds no words: write what shall be said.")
    return plain


def _finish(sound: np.ndarray, rate: int, phones: list[TimedPhone]) -> Speech:
    """Even the level, add what the models hear, and find out which pauses are silent."""
    sound = (sound * (_PEAK / max(float(np.abs(sound).max()), 1e-6))).astype(np.float32)
    divisor = int(np.gcd(SAMPLE_RATE, rate))
    heard = resample_poly(sound, SAMPLE_RATE // divisor, rate // divisor)
    waveform = np.clip(heard, -1.0, 1.0).astype(np.float32)
    settled = settle_silences(phones, waveform)
    times = tuple((symbol, float(start), float(end)) for symbol, start, end in settled)
    return Speech(waveform, times, sound, rate)
