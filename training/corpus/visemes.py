"""Phones -> mouth shapes over time: targets in ARKit weights, blended by dominance (Cohen and Massaro, 1993).

Each phone has a target for each of four articulators and a dominance over it; an articulator on which a phone has
little say (the lips during /k/) takes its neighbours' shape. Shutting the lips for /p b m/ is a channel of its own,
carried out exactly on the lip landmarks, since no sum of blend shapes guarantees contact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_vector

Array = NDArray[np.float32]

JAW = ("jawOpen", "jawForward")
ROUNDING = ("mouthPucker", "mouthFunnel")
SPREAD = ("mouthStretch", "mouthSmile", "mouthDimple")
LIPS = ("mouthLowerDown", "mouthUpperUp", "mouthRollLower", "mouthRollUpper", "mouthShrugUpper", "mouthPress")
ARTICULATORS = (JAW, ROUNDING, SPREAD, LIPS)


@dataclass(frozen=True)
class Viseme:
    """A phone's target and its say over each articulator (jaw, rounding, spread, lips)."""

    weights: dict[str, float]
    dominance: tuple[float, float, float, float]
    closure: float = 0.0
    vector: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", arkit_vector(self.weights))


SILENCE = Viseme({}, (0.8, 0.5, 0.5, 0.8), closure=1.0)

_OPEN = Viseme({"jawOpen": 0.52, "mouthLowerDown": 0.30, "mouthUpperUp": 0.14}, (1.0, 0.35, 0.4, 0.8))
_MID = Viseme({"jawOpen": 0.30, "mouthStretch": 0.28, "mouthLowerDown": 0.28, "mouthUpperUp": 0.12, "mouthSmile": 0.06},
              (0.9, 0.5, 0.8, 0.8))  # fmt: skip
_SCHWA = Viseme({"jawOpen": 0.22, "mouthLowerDown": 0.2, "mouthUpperUp": 0.06}, (0.5, 0.25, 0.25, 0.5))
_SPREAD_VOWEL = Viseme({"jawOpen": 0.13, "mouthStretch": 0.45, "mouthSmile": 0.14, "mouthLowerDown": 0.24,
                        "mouthUpperUp": 0.10, "mouthDimple": 0.1}, (0.9, 0.8, 1.0, 0.8))  # fmt: skip
_NEAR_CLOSE = Viseme({"jawOpen": 0.17, "mouthStretch": 0.28, "mouthLowerDown": 0.22, "mouthUpperUp": 0.08},
                     (0.7, 0.5, 0.6, 0.7))  # fmt: skip
_OPEN_ROUND = Viseme({"jawOpen": 0.36, "mouthFunnel": 0.45, "mouthPucker": 0.15, "mouthLowerDown": 0.10},
                     (1.0, 1.0, 0.8, 0.8))  # fmt: skip
_ROUND = Viseme({"jawOpen": 0.13, "mouthPucker": 0.72, "mouthFunnel": 0.26}, (0.9, 1.1, 0.9, 0.8))
_FRONT_ROUND = Viseme({"jawOpen": 0.11, "mouthPucker": 0.75, "mouthFunnel": 0.15}, (0.9, 1.0, 0.9, 0.8))
_GLIDE = Viseme({"jawOpen": 0.06, "mouthPucker": 0.85, "mouthFunnel": 0.15}, (0.7, 1.2, 0.9, 0.7))
_BILABIAL = Viseme({"jawOpen": 0.05, "mouthPress": 0.30, "mouthRollLower": 0.12, "mouthRollUpper": 0.12},
                   (0.7, 0.15, 0.2, 1.2), closure=1.0)  # fmt: skip
_LABIODENTAL = Viseme({"jawOpen": 0.05, "mouthRollLower": 0.55, "mouthUpperUp": 0.28, "mouthShrugUpper": 0.1},
                      (0.9, 0.3, 0.3, 1.3), closure=0.55)  # fmt: skip
_SIBILANT = Viseme({"jawOpen": 0.04, "mouthStretch": 0.22, "mouthLowerDown": 0.26, "mouthUpperUp": 0.16},
                   (1.3, 0.3, 0.45, 0.8))  # fmt: skip
_POSTALVEOLAR = Viseme({"jawOpen": 0.07, "mouthFunnel": 0.55, "mouthPucker": 0.15, "mouthLowerDown": 0.14,
                        "mouthUpperUp": 0.12}, (1.2, 0.9, 0.6, 0.9))  # fmt: skip
_DENTAL = Viseme({"jawOpen": 0.11, "mouthLowerDown": 0.24, "mouthUpperUp": 0.08}, (0.9, 0.2, 0.3, 0.7))
_ALVEOLAR = Viseme({"jawOpen": 0.10, "mouthLowerDown": 0.20, "mouthUpperUp": 0.06}, (0.75, 0.15, 0.2, 0.5))
_LATERAL = Viseme({"jawOpen": 0.17, "mouthLowerDown": 0.22, "mouthUpperUp": 0.06}, (0.6, 0.15, 0.25, 0.5))
_RHOTIC = Viseme({"jawOpen": 0.11, "mouthFunnel": 0.32, "mouthPucker": 0.12, "mouthLowerDown": 0.1},
                 (0.7, 0.6, 0.4, 0.5))  # fmt: skip
_VELAR = Viseme({"jawOpen": 0.18, "mouthLowerDown": 0.16}, (0.5, 0.12, 0.15, 0.4))
_GLOTTAL = Viseme({"jawOpen": 0.18, "mouthLowerDown": 0.12}, (0.2, 0.05, 0.05, 0.2))
_PALATAL = Viseme({"jawOpen": 0.10, "mouthStretch": 0.3, "mouthLowerDown": 0.18}, (0.8, 0.3, 0.6, 0.5))

_TABLE: dict[str, Viseme] = {}
for _symbols, _viseme in (
    ("ɑaæʌɐäɶA", _OPEN), ("ɛeEɜɝ", _MID), ("əɚɘɵ", _SCHWA), ("i", _SPREAD_VOWEL), ("ɪɨᵻIɯ", _NEAR_CLOSE),
    ("ɔɒoOɤ", _OPEN_ROUND), ("uʊUQ", _ROUND), ("yʏøœY", _FRONT_ROUND), ("wʍɥ", _GLIDE), ("pbmɓ", _BILABIAL),
    ("fvɱʋβɸ", _LABIODENTAL), ("sz", _SIBILANT), ("ʃʒʤʧɕʑʂʐʨʥ", _POSTALVEOLAR), ("θð", _DENTAL),
    ("tdnɾʦʣɗɳʈɖ", _ALVEOLAR), ("lɫɭɬ", _LATERAL), ("ɹrɻʁʀ", _RHOTIC), ("kɡgŋxɣqχɠ", _VELAR), ("hʔɦħ", _GLOTTAL),
    ("jʎɲçʝcɟ", _PALATAL), ("W", _OPEN), ("ɟ", _PALATAL),
):  # fmt: skip
    for _symbol in _symbols:
        _TABLE[_symbol] = _viseme

_PAUSES = frozenset(" .,;:!?—…^$-_\"'()¡¿") | {"", "sil", "sp"}


def viseme(symbol: str) -> Viseme | None:
    """The viseme of an IPA symbol, :data:`SILENCE` for pauses, None for marks (stress, length, tone)."""
    if symbol in _PAUSES:
        return SILENCE
    for character in symbol:
        if character in _TABLE:
            return _TABLE[character]
    return None


@dataclass(frozen=True)
class Phone:
    """An IPA symbol and its time in seconds."""

    symbol: str
    start: float
    end: float


@dataclass(frozen=True)
class MouthStyle:
    """How one speaker in one take articulates; gains around 1."""

    overall: float = 1.0
    articulators: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    anticipation: float = 0.04
    reduction: float = 0.06

    @staticmethod
    def sample(rng: np.random.Generator) -> MouthStyle:
        gains = tuple(float(g) for g in rng.uniform(0.85, 1.15, 4))
        return MouthStyle(
            float(rng.uniform(0.8, 1.2)),
            (gains[0], gains[1], gains[2], gains[3]),
            float(rng.uniform(0.03, 0.05)),
        )


def _merge_pauses(phones: list[Phone], duration: float) -> list[tuple[Viseme, float, float]]:
    """Visemes with times; marks dropped, brief word gaps (under 80 ms) ignored, silence before and after added."""
    spans: list[tuple[Viseme, float, float]] = []
    for phone in phones:
        found = viseme(phone.symbol)
        if found is None or (found is SILENCE and phone.end - phone.start < 0.08):
            continue
        if found is SILENCE and spans and spans[-1][0] is SILENCE:
            spans[-1] = (SILENCE, spans[-1][1], phone.end)
        else:
            spans.append((found, phone.start, phone.end))
    first = spans[0][1] if spans else duration
    last = spans[-1][2] if spans else 0.0
    if first > 0.04:
        spans.insert(0, (SILENCE, 0.0, first))
    if last < duration - 0.04 and spans:
        spans.append((SILENCE, last, duration))
    return spans


def mouth_track(
    phones: list[Phone], num_frames: int, style: MouthStyle, frame_rate: float = 25.0
) -> tuple[Array, Array, Array]:
    """Mouth shapes of speech.

    Args:
        phones: in order of time.
        num_frames: length of the track; frame f stands for the time (f + .5) / frame_rate.
        style: the speaker's articulation.

    Returns:
        ARKit weights ``[F, 52]``; lip closure by phones and lip closure at rest, ``[F]`` each in [0, 1].
    """
    spans = _merge_pauses(phones, num_frames / frame_rate)
    times: NDArray[np.float64] = ((np.arange(num_frames) + 0.5) / frame_rate)[:, None].astype(np.float64)
    starts = np.array([s for _, s, _ in spans])[None]
    ends = np.array([e for _, _, e in spans])[None]
    silent = np.array([v is SILENCE for v, _, _ in spans])[None]
    # exponential decay of dominance outside the phone's core; shapes begin before the sound
    core = np.minimum((ends - starts) * 0.25, 0.08)
    early, late = starts + core - style.anticipation, ends - core
    outside = np.maximum(np.maximum(early - times, times - late), 0)
    decay = np.where(silent, 0.045, np.clip((ends - starts) * 0.35, 0.028, 0.06))
    shape = np.exp(-outside / decay)
    # a short phone does not reach its target
    reach = np.clip((ends - starts) / style.reduction, 0.45, 1.0) ** 0.5
    track = np.zeros((num_frames, len(ARKIT_NAMES)), np.float32)
    targets = np.stack([v.vector for v, _, _ in spans])
    for number, names in enumerate(ARTICULATORS):
        dominance = np.array([v.dominance[number] for v, _, _ in spans])[None] * reach
        weight = shape * dominance + 1e-9
        columns = [i for i, n in enumerate(ARKIT_NAMES) if n.removesuffix("Left").removesuffix("Right") in names]
        blended = (weight @ targets[:, columns]) / weight.sum(1, keepdims=True)
        track[:, columns] = blended * style.overall * style.articulators[number]
    spoken = [span for span in spans if span[0] is not SILENCE]
    silent_spans = [span for span in spans if span[0] is SILENCE]
    return track, _closure(spoken, times[:, 0]), _closure(silent_spans, times[:, 0])


def _closure(spans: list[tuple[Viseme, float, float]], times: NDArray[np.float64]) -> Array:
    closure = np.zeros(len(times), np.float32)
    for found, start, end in spans:
        if not found.closure:
            continue
        if found is SILENCE:
            # lips part 80 ms before speech and come to rest 120 ms after it
            rise, fall, start, end = 0.12, 0.08, start + 0.08 * (start > 0), end - 0.05
        else:
            rise, fall = 0.055, 0.055
            # at 25 frames a second a closure must be held long enough for one frame to show it
            middle, half = (start + end) / 2 - 0.01, max((end - start) / 2 - 0.01, 0.024)
            start, end = middle - half, middle + half
        distance = np.maximum(np.maximum((start - times) / rise, (times - end) / fall), 0)
        bump = found.closure * (0.5 + 0.5 * np.cos(np.pi * np.clip(distance, 0, 1)))
        closure = np.maximum(closure, bump.astype(np.float32))
    return closure
