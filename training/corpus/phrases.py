"""Phrases that ask for an emotion, to train the text head on: templates over word lists written for this project.

No lexicon is used: the free ones of emotion words (NRC) allow research only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mooe.emotion.taxonomy import COMPOUND_EMOTIONS, EMOTIONS, NEUTRAL
from mooe.emotion.text import NOTHING, TEXT_CLASSES
from training.corpus.phrase_words import (
    ADJECTIVES,
    COMPOUND_PHRASES,
    EXPRESSIONS,
    NEUTRAL_PHRASES,
    NOTHING_PHRASES,
    NOTHING_WORDS,
    NOUNS,
    SITUATIONS,
)

# How strongly a word before an adjective asks for it
DEGREES: dict[str, float] = {
    "": 0.85, "slightly ": 0.35, "a little ": 0.4, "a bit ": 0.4, "faintly ": 0.3, "somewhat ": 0.5, "mildly ": 0.35,
    "rather ": 0.7, "quite ": 0.75, "really ": 0.95, "very ": 1.0, "so ": 0.95, "extremely ": 1.0, "utterly ": 1.0,
    "deeply ": 1.0, "absolutely ": 1.0, "incredibly ": 1.0, "barely ": 0.25,
}  # fmt: skip
NOUN_DEGREES: dict[str, float] = {
    "": 0.85, "a hint of ": 0.3, "a trace of ": 0.3, "a touch of ": 0.35, "mild ": 0.4, "hidden ": 0.45, "quiet ": 0.5,
    "great ": 1.0, "pure ": 1.0, "intense ": 1.0, "overwhelming ": 1.0, "deep ": 1.0,
}  # fmt: skip
ADJECTIVE_TEMPLATES = (
    "{a}", "{a} face", "a {a} face", "a {a} person", "{who} looks {a}", "{who} is {a}", "{who} feels {a}",
    "looking {a}", "feeling {a}", "in a {a} mood", "a {a} expression", "a {a} look", "say it in a {a} way",
    "speaks in a {a} voice", "make {whom} look {a}", "{a} and it shows", "someone {a}", "I am {a}", "be {a}",
    "with a {a} face", "{who} seems {a}", "{a} {person}", "{who} becomes {a} when speaking", "{a} because {s}",
    "a {a} {person} talking",
)  # fmt: skip
NOUN_TEMPLATES = (
    "{n}", "with {n}", "full of {n}", "an expression of {n}", "a look of {n}", "show {n}", "{n} in {whose} eyes",
    "{who} is filled with {n}", "{who} speaks with {n}", "a face of {n}", "overcome by {n}",
    "{n} written on {whose} face", "feeling {n}", "{n} in the voice",
)  # fmt: skip
EXPRESSION_TEMPLATES = ("{e}", "{who} is {e}", "a {person} {e}", "{e} while talking", "{e} as {s}", "{e}, {a}")
SITUATION_TEMPLATES = (
    "{s}", "as if {s}", "like when {s}", "the moment when {s}", "the face you make when {s}", "imagine {s}",
    "because {s}",
)  # fmt: skip
COMPOUND_TEMPLATES = (
    "{a} and {b}", "both {a} and {b}", "{a} but also {b}", "{a} yet {b}", "a mix of {n} and {m}",
    "torn between {n} and {m}", "{n} mixed with {m}", "{who} looks {a} and {b}", "half {a}, half {b}",
    "{n} and {m}", "{e} and {b}", "{a}, {f}",
)  # fmt: skip
_WHO = (
    "she", "he", "the woman", "the man", "the girl", "the boy", "my boss", "this person", "the speaker", "grandma",
)  # fmt: skip
_WHOSE, _WHOM = ("her", "his", "their"), ("her", "him", "them", "the portrait")
_PERSON = ("woman", "man", "girl", "boy", "child", "person", "teacher", "lady", "speaker", "old man")
_GREETINGS = ("", "", "", "", "please, ", "portrait: ", "mood: ", "emotion: ", "I want ", "now ")


@dataclass(frozen=True)
class Phrase:
    """A text, the shares of `TEXT_CLASSES` that it asks for [8], and how strongly, in [0, 1]."""

    text: str
    shares: tuple[float, ...]
    strength: float


class PhraseMaker:
    """Draws phrases.

    Args:
        rng: source of all choices.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def draw(self) -> Phrase:
        """One phrase: most name one emotion, the others two, a neutral face, or nothing at all."""
        kind = self._rng.random()
        if kind < 0.52:
            return self._single()
        if kind < 0.68:
            return self._compound()
        return self._neutral() if kind < 0.8 else self._nothing()

    def _pick(self, options: tuple[str, ...] | list[str]) -> str:
        return options[int(self._rng.integers(len(options)))]

    def _degree(self, degrees: dict[str, float]) -> tuple[str, float]:
        word = self._pick(list(degrees)) if self._rng.random() < 0.4 else ""
        return word, degrees[word]

    def _fill(self, template: str, first: str, second: str, adverb: str = "", noun_adverb: str = "") -> str:
        text = template.format(
            a=adverb + self._pick(ADJECTIVES[first]), b=self._pick(ADJECTIVES[second]),
            n=noun_adverb + self._pick(NOUNS[first]), m=self._pick(NOUNS[second]),
            e=self._pick(EXPRESSIONS[first]), f=self._pick(EXPRESSIONS[second]), s=self._pick(SITUATIONS[first]),
            who=self._pick(_WHO), whose=self._pick(_WHOSE), whom=self._pick(_WHOM), person=self._pick(_PERSON),
        )  # fmt: skip
        return self._pick(_GREETINGS) + text

    def _single(self) -> Phrase:
        name = self._pick(EMOTIONS)
        shares = _shares({name: 1.0})
        kind = self._rng.random()
        if kind < 0.4:
            word, strength = self._degree(DEGREES)
            return Phrase(self._fill(self._pick(ADJECTIVE_TEMPLATES), name, name, adverb=word), shares, strength)
        if kind < 0.55:
            word, strength = self._degree(NOUN_DEGREES)
            return Phrase(self._fill(self._pick(NOUN_TEMPLATES), name, name, noun_adverb=word), shares, strength)
        templates = EXPRESSION_TEMPLATES if kind < 0.78 else SITUATION_TEMPLATES
        return Phrase(self._fill(self._pick(templates), name, name), shares, 0.8)

    def _compound(self) -> Phrase:
        name = self._pick(list(COMPOUND_EMOTIONS))
        parts = COMPOUND_EMOTIONS[name]
        if self._rng.random() < 0.4:
            return Phrase(self._pick(_GREETINGS) + self._pick(COMPOUND_PHRASES[name]), _shares(parts), 0.9)
        first, second = self._rng.permutation(list(parts))
        # named plainly, the two count alike
        even = {str(first): 0.5, str(second): 0.5}
        return Phrase(self._fill(self._pick(COMPOUND_TEMPLATES), str(first), str(second)), _shares(even), 0.85)

    def _neutral(self) -> Phrase:
        return Phrase(self._pick(_GREETINGS) + self._pick(NEUTRAL_PHRASES), _shares({NEUTRAL: 1.0}), 0.0)

    def _nothing(self) -> Phrase:
        kind = self._rng.random()
        if kind < 0.45:
            text = self._pick(NOTHING_PHRASES)
        elif kind < 0.75:
            text = " ".join(self._pick(NOTHING_WORDS) for _ in range(int(self._rng.integers(1, 7))))
        else:
            text = " ".join(self._gibberish() for _ in range(int(self._rng.integers(1, 6))))
        return Phrase(text, _shares({NOTHING: 1.0}), 0.0)

    def _gibberish(self) -> str:
        """Letters as a cat on the keyboard types them, or a made-up word."""
        if self._rng.random() < 0.5:
            return "".join(self._rng.choice(list("qwertyuiopasdfghjklzxcvbnm"), int(self._rng.integers(2, 9))))
        syllables = ("bla", "zor", "fli", "mup", "kre", "wix", "dro", "nuk", "pel", "vab", "gli", "tro", "sna", "quo")
        return "".join(self._pick(syllables) for _ in range(int(self._rng.integers(1, 4))))


def _shares(parts: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(float(parts.get(name, 0.0)) for name in TEXT_CLASSES)
