"""When which sound is spoken: from labels beside synthesised speech, or from a recogniser for real speech."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mooe.audio import HamaSpeechEncoder
from mooe.errors import AudioError

SILENCE = "sil"
BILABIALS = frozenset("pbm")
# hama's recogniser emits a phone about this long after the lips have formed it, in seconds (measured on real
# clips).
RECOGNISER_DELAY = 0.1
# ... and about this long after the sound's middle (median over synthesised clips).
MIDDLE_DELAY = 0.04
_RECOGNISER_STEP = 0.02  # seconds between the recogniser's frames
_LONGEST_HALF = 0.12  # seconds from a recognised phone's middle to its end at most
_FRAMES_SMOOTHED = 1.0  # standard deviation of the expected opening's smoothing, in frames

# How far lips part for a sound, from shut (0) to an open vowel (1): jaw height of the vowels in the IPA
# chart.
_OPENING = {
    **dict.fromkeys("ɑaæʌɐɒäɶ", 1.0),
    **dict.fromkeys("ɛeɔɜɝœE", 0.75),
    **dict.fromkeys("oəɚøɵɤO", 0.55),
    **dict.fromkeys("iɪuʊyɨʏɯʉIU", 0.35),
    **dict.fromkeys("pbm", 0.0),
    **dict.fromkeys("wɥʍfvβɸ", 0.1),
    **dict.fromkeys("szʃʒtdnʦʣʧʤθðj", 0.2),
}
_OTHER_OPENING = 0.3


@dataclass(frozen=True)
class PhoneTime:
    """One sound: IPA symbol (``sil`` for silence), start and end in seconds."""

    symbol: str
    start: float
    end: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    @property
    def is_bilabial(self) -> bool:
        """Whether the lips must touch: p, b, m and their variants."""
        return self.symbol[:1] in BILABIALS


def load_phone_times(path: Path) -> list[PhoneTime]:
    """Read phone times from labels.

    Args:
        path: a JSON file with ``phones``, a list of ``[symbol, start, end]`` in seconds; or a corpus clip
            (``.npz`` with ``phones``, ``starts`` and ``ends``).

    Raises:
        AudioError: the file is missing or has another layout.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path) as data:
                rows = list(zip(data["phones"], data["starts"], data["ends"], strict=True))
        else:
            rows = json.loads(path.read_text(encoding="utf-8"))["phones"]
        return [PhoneTime(str(symbol), float(start), float(end)) for symbol, start, end in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AudioError(
            f"{path} does not hold phone times ({error}): give a JSON file with a list 'phones' of "
            "[symbol, start, end]."
        ) from error


def recognise_phone_times(waveform: NDArray[np.float32], *, delay: float = RECOGNISER_DELAY) -> list[PhoneTime]:
    """Phone times of real speech from the emissions of hama's CTC recogniser.

    An emission is a peak, not a span: each phone lasts 20 ms around its peak less the delay, where the lips
    are expected to have formed it, give or take a video frame.

    Args:
        waveform: float32 [n] in [-1, 1], 16 kHz, of any length.
        delay: seconds from the lips to the peak.
    """
    encoder = HamaSpeechEncoder()
    tokens = encoder.phone_tokens
    steps = encoder.encode(waveform)[:, : 2 * len(tokens)].reshape(-1, len(tokens))
    best = steps.argmax(axis=1)
    phones = []
    for first in np.flatnonzero(np.diff(best, prepend=-1)):
        token = tokens[best[first]]
        if not token.startswith("<"):
            start = float(first) * _RECOGNISER_STEP - delay
            phones.append(PhoneTime(token, start, start + _RECOGNISER_STEP))
    return phones


def phone_spans(phones: Sequence[PhoneTime], seconds: float) -> list[PhoneTime]:
    """Spans without gaps from phones of which only the middles are known, as :func:`recognise_phone_times` gives them.

    A phone reaches half-way to its neighbours, but no further than 120 ms; what is left over is silence.
    """
    middles = [phone.middle for phone in phones]
    spans: list[PhoneTime] = []
    end = 0.0
    for number, phone in enumerate(phones):
        before = middles[number - 1] if number else -np.inf
        after = middles[number + 1] if number + 1 < len(phones) else np.inf
        start = max((before + phone.middle) / 2, phone.middle - _LONGEST_HALF, end)
        stop = min((phone.middle + after) / 2, phone.middle + _LONGEST_HALF, seconds)
        if stop <= start:
            continue
        if start > end:
            spans.append(PhoneTime(SILENCE, end, start))
        spans.append(PhoneTime(phone.symbol, start, stop))
        end = stop
    return [*spans, PhoneTime(SILENCE, end, seconds)] if seconds > end else spans


def expected_opening(phones: Sequence[PhoneTime], frames: int, fps: float = 25.0) -> NDArray[np.float64]:
    """How far the lips should be apart, from labelled speech.

    Args:
        phones: spans without gaps, silence included.
        frames: number of video frames F; frame i is looked at in its middle, at (i + 1/2) / fps seconds.
        fps: frames a second.

    Returns:
        [F], 0 (shut) to 1 (open vowel), smoothed over a frame.
    """
    from scipy.ndimage import gaussian_filter1d

    fine = 8  # samples a frame
    track = np.zeros(frames * fine)
    for phone in phones:
        span = slice(max(round(phone.start * fps * fine), 0), max(round(phone.end * fps * fine), 0))
        opening = 0.0 if phone.symbol == SILENCE else _OPENING.get(phone.symbol[:1], _OTHER_OPENING)
        track[span] = opening
    smooth = gaussian_filter1d(track, _FRAMES_SMOOTHED * fine, mode="nearest")
    return np.asarray(smooth.reshape(frames, fine)[:, fine // 2 - 1 : fine // 2 + 1].mean(axis=1))


def silent_frames(
    phones: Sequence[PhoneTime],
    frames: int,
    fps: float = 25.0,
    *,
    shortest: float = 0.3,
    margin: float = 0.12,
) -> NDArray[np.bool_]:
    """Frames [F] that lie in a silence of at least ``shortest`` seconds, ``margin`` seconds off its ends.

    Lips open before the sound and shut after it, so the ends of a silence are not still.
    """
    times = (np.arange(frames) + 0.5) / fps
    inside = np.zeros(frames, bool)
    for phone in phones:
        if phone.symbol == SILENCE and phone.end - phone.start >= shortest:
            inside |= (times >= phone.start + margin) & (times < phone.end - margin)
    return inside
