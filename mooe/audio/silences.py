"""Which pauses between phones are silent, from the sound itself."""

from __future__ import annotations

import numpy as np

from mooe.audio.constants import SAMPLE_RATE, SILENCE

SILENT_BELOW = 45.0  # dB under the loud parts of a clip
HOP = SAMPLE_RATE // 100  # of the energy in which silence is looked for
STOPS = frozenset("pbtdkɡ")
LONGEST_STOP = 0.16  # seconds; before a pause the synthesiser gives a stop the time of the pause


def energy_db(audio: np.ndarray) -> np.ndarray:
    """Energy of 10-ms pieces in dB. float32 [n] -> float64 [n // 160]"""
    pieces = audio[: len(audio) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    return 10.0 * np.log10(np.mean(pieces**2, axis=1) + 1e-10)


def settle_silences(
    phones: list[tuple[str, float, float]], audio: np.ndarray, shortest: float = 0.06
) -> list[tuple[str, float, float]]:
    """Keep a silence only where nothing is heard, give the time of the others to the phones beside them.

    A word boundary is a token of its own in the synthesiser, though people do not pause there. Silences that
    are real grow backwards over the inaudible end of a lengthened phone. The result covers the clip without
    gaps.

    Args:
        phones: (IPA, start, end) in seconds, silences included.
        audio: float32 [n], the sound of the clip.
        shortest: silences below this many seconds are given away.
    """
    energy = energy_db(audio)
    loud, quiet = np.percentile(energy, 95), np.percentile(energy, 5)
    # A noisy room is silent as well when nobody speaks: up to 8 dB over its quietest parts.
    silent = energy < max(loud - SILENT_BELOW, min(quiet + 8.0, loud - 20.0), -75.0)
    spoken = [phone for phone in phones if phone[0] != SILENCE]
    if not spoken:
        return [(SILENCE, 0.0, len(audio) / SAMPLE_RATE)]
    result: list[tuple[str, float, float]] = []
    end_before = 0.0
    for symbol, start, end in spoken:
        gap_start = end_before
        if result and start - end_before > 1e-6:
            gap_start = _start_of_silence(silent, result[-1], start)
        if start - gap_start >= shortest and (not result or _mostly(silent, gap_start, start)):
            if result:
                result[-1] = (*result[-1][:2], gap_start)
            result.append((SILENCE, gap_start, start))
        elif result:
            middle = (result[-1][2] + start) / 2.0
            result[-1] = (*result[-1][:2], middle)
            start = middle
        else:
            start = 0.0
        result.append((symbol, start, end))
        end_before = end
    return _close(result, silent, len(audio) / SAMPLE_RATE, shortest)


def _start_of_silence(silent: np.ndarray, before: tuple[str, float, float], until: float) -> float:
    """Where the inaudible run that reaches into a gap begins; a third of the phone before stays."""
    symbol, start, end = before
    if symbol in STOPS:
        return min(end, start + LONGEST_STOP)
    piece = int((end + until) / 2.0 * 100)
    earliest = int((start + (end - start) / 3.0) * 100) + 1
    while piece > earliest and piece < len(silent) and silent[piece - 1]:
        piece -= 1
    return min(end, piece / 100.0)


def _mostly(silent: np.ndarray, start: float, end: float) -> bool:
    part = silent[int(start * 100) : max(int(start * 100) + 1, int(end * 100))]
    return len(part) == 0 or float(np.mean(part)) > 0.5


def _close(
    phones: list[tuple[str, float, float]], silent: np.ndarray, seconds: float, shortest: float
) -> list[tuple[str, float, float]]:
    """Add the silence after the last phone."""
    symbol, start, end = phones[-1]
    end = min(_start_of_silence(silent, phones[-1], seconds), seconds) if end < seconds else seconds
    if seconds - end < shortest:
        return [*phones[:-1], (symbol, start, seconds)]
    return [*phones[:-1], (symbol, start, end), (SILENCE, end, seconds)]
