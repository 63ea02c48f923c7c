"""Speak a text into a WAV file, with its phone times beside it as JSON. This made ``examples/speech.wav``:

    python training/corpus/say.py --text examples/speech.txt --out examples/speech.wav --speed 1.1

The JSON holds ``text``, ``voice``, ``seconds`` and ``phones``: [IPA, start, end] in seconds.
"""

from __future__ import annotations

import argparse
import json
import wave
from pathlib import Path

import numpy as np
import soxr

from mooe.audio.kokoro import SAMPLE_RATE as KOKORO_RATE
from mooe.audio.kokoro import Kokoro
from mooe.audio.phonemes import phonemize, timed_phones
from mooe.audio.silences import settle_silences
from training.corpus.clips import SAMPLE_RATE

PEAK = 0.8


def write_wav(path: Path, audio: np.ndarray, rate: int) -> None:
    """16-bit mono WAV of float [n] in [-1, 1]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(np.clip(audio, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Speak a text, with phone times.")
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text, at most about 400 letters")
    parser.add_argument("--out", type=Path, required=True, help="WAV file; the phone times go beside it")
    parser.add_argument("--voice", default="af_heart")
    parser.add_argument("--language", default="en-us", help="espeak-ng voice")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--packages", type=Path, help="see speech.py")
    parser.add_argument("--voices", type=Path, help="see speech.py")
    arguments = parser.parse_args()

    text = " ".join(arguments.text.read_text(encoding="utf-8").split())
    kokoro = Kokoro(arguments.packages, arguments.voices)
    said = kokoro.say(phonemize(text, arguments.language), (arguments.voice,), arguments.speed)
    audio = said.audio * (PEAK / max(float(np.abs(said.audio).max()), 1e-6))
    phones = settle_silences(
        timed_phones(said.tokens, said.ends, said.start), soxr.resample(audio, KOKORO_RATE, SAMPLE_RATE)
    )
    write_wav(arguments.out, audio, KOKORO_RATE)
    times = {
        "text": text,
        "voice": arguments.voice,
        "seconds": round(len(audio) / KOKORO_RATE, 3),
        "phones": [[phone, round(start, 3), round(end, 3)] for phone, start, end in phones],
    }
    arguments.out.with_suffix(".json").write_text(json.dumps(times, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
