"""Text to Kokoro's phoneme tokens through espeak-ng, and tokens to timed IPA phones."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mooe.audio import espeak
from mooe.audio.constants import SILENCE

PUNCTUATION = ";:,.!?—…“”()"
_OPENING = "“("
_CLAUSE = re.compile(r"([;:,.!?—…]+[”)]?|[“”()])(?!\d)")

# Kokoro was trained with one token for each English diphthong and affricate. espeak-ng ties them with "^".
_SHARED = (
    ("d^ʒ", "ʤ"),
    ("t^ʃ", "ʧ"),
    ("t^s", "ʦ"),
    ("d^z", "ʣ"),
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("e^ɪ", "A"),
    ("ɔ^ɪ", "Y"),
)
_ENGLISH = (
    ("ə^l", "ᵊl"),
    ("ʔn\u0329", "tᵊn"),
    ("n\u0329", "ᵊn"),
    ("l\u0329", "ᵊl"),
    ("ʔ", "t"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("ɬ", "l"),
    ("ɐ", "ə"),
)
_BY_LANGUAGE: dict[str, tuple[tuple[str, str], ...]] = {
    "en-us": (*_ENGLISH, ("o^ʊ", "O"), ("ɜː", "ɜɹ"), ("ɚ", "əɹ"), ("ɪə", "iə"), ("ː", "")),
    "en-gb": (*_ENGLISH, ("e^ə", "ɛː"), ("ə^ʊ", "Q"), ("iə", "ɪə")),
}

# What each of Kokoro's own letters stands for; two sounds share the time of one token.
_SPOKEN_AS: dict[str, tuple[str, ...]] = {
    "A": ("e", "ɪ"),
    "I": ("a", "ɪ"),
    "W": ("a", "ʊ"),
    "Y": ("ɔ", "ɪ"),
    "O": ("o", "ʊ"),
    "Q": ("ə", "ʊ"),
    "ʤ": ("d", "ʒ"),
    "ʧ": ("t", "ʃ"),
    "ʦ": ("t", "s"),
    "ʣ": ("d", "z"),
    "ᵊ": ("ə",),
    "ᵻ": ("ɪ",),
}
_FIRST_SHARE = 0.55  # of the time of a token that stands for two sounds
_BEFORE = "ˈˌ"  # stress: its time belongs to the phone that follows
_AFTER = "ː\u0303ʲʰ"  # length, nasality, palatalisation: their time belongs to the phone before


def phonemize(text: str, language: str) -> str:
    """IPA of `text` with its punctuation kept, spelled in Kokoro's letters.

    Args:
        text: one utterance.
        language: an espeak-ng voice such as ``en-us``, ``en-gb``, ``es``, ``it``, ``fr-fr`` or ``pt-br``.

    Raises:
        DependencyError: espeak-ng is not installed.
        ConfigError: espeak-ng does not know the language.
    """
    pieces = [piece.strip() for piece in _CLAUSE.split(text.replace("¿", "").replace("¡", ""))]
    spoken = [_spell(piece, language) if _has_letters(piece) else piece for piece in pieces if piece]
    result = ""
    for piece in spoken:
        joined = not result or result[-1] in _OPENING or (piece[0] in PUNCTUATION and piece[0] not in _OPENING)
        result += piece if joined else " " + piece
    return result


def _has_letters(piece: str) -> bool:
    return any(character.isalnum() for character in piece)


def _spell(text: str, language: str) -> str:
    phonemes = re.sub(r"\([^)]*\)", "", espeak.phonemes(text, language)).replace("_", "").replace("-", "")
    for written, token in _SHARED + _BY_LANGUAGE.get(language, ()):
        phonemes = phonemes.replace(written, token)
    return phonemes.replace("^", "")


def timed_phones(tokens: str, ends: Iterable[float], start: float = 0.0) -> list[tuple[str, float, float]]:
    """Timed IPA phones of timed tokens.

    Stress and length marks give their time to their phone, letters that stand for two sounds are split,
    spaces and punctuation become :data:`SILENCE` (whether anything is silent there has still to be heard).

    Args:
        tokens: Kokoro's letters, one character a token.
        ends: the end of each token in seconds, not falling.
        start: the start of the first token in seconds.
    """
    phones: list[tuple[str, float, float]] = []
    pending = start  # start of stress marks still without a phone
    for token, end in zip(tokens, ends, strict=True):
        if token in _BEFORE:
            continue
        if token in _AFTER and phones:
            symbol, begin, _ = phones[-1]
            phones[-1] = (symbol, begin, end)
        elif token == " " or token in PUNCTUATION:
            phones.append((SILENCE, pending, end))
        else:
            phones.extend(_split(token, pending, end))
        pending = end
    return [phone for phone in phones if phone[2] > phone[1]]


def _split(token: str, start: float, end: float) -> list[tuple[str, float, float]]:
    sounds = _SPOKEN_AS.get(token, (token,))
    if len(sounds) == 1:
        return [(sounds[0], start, end)]
    middle = start + _FIRST_SHARE * (end - start)
    return [(sounds[0], start, middle), (sounds[1], middle, end)]
