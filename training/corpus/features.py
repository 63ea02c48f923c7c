"""Speech features of the clips that ``speech.py`` made.

    python training/corpus/features.py --speech DIR --out FEATURES [--variants 1] [--encoder NAME]

Run it again to go on; finished clips are kept and new ones added. ``--follow MINUTES`` waits for clips that
are still being made and gives up when none has come for that long.

Layout of FEATURES: one file a clip, ``000/00012.npz`` as in DIR, with the keys

==========  ================================================================================
features    float16 [F, D], :meth:`mooe.audio.SpeechEncoder.encode` of the clip as it is
augmented   float16 [V, F, D], of V worse recordings of it (``augment.py``)
phones      unicode [P], IPA, ``sil`` in silence
starts      float32 [P] seconds
ends        float32 [P] seconds
seconds     float32, duration of the clip; F = ceil(seconds * 25)
kind        ``speech``, ``silence``, ``noise``, ``breath`` or ``tones``
voice       speaker
language    espeak-ng code
encoder     name of the encoder
==========  ================================================================================
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np

from mooe.audio import SpeechEncoder
from mooe.audio.pretrained import EMBEDDED, load_speech_encoder
from training.corpus.augment import augment
from training.corpus.clips import clip_files, load_clip, save_npz

logger = logging.getLogger("features")


def write_features(
    source: Path, target: Path, encoder: SpeechEncoder, variants: int, music_share: float = 0.0
) -> float:
    """Encode one clip. Returns its seconds."""
    clip = load_clip(source)
    rng = np.random.default_rng(int(source.stem))
    clean = encoder.encode(clip.audio)
    worse = [encoder.encode(augment(clip.audio, rng, music_share)) for _ in range(variants)]
    save_npz(
        target,
        features=clean.astype(np.float16),
        augmented=np.array(worse, dtype=np.float16).reshape(variants, *clean.shape),
        phones=np.array([phone for phone, _, _ in clip.phones], dtype=np.str_),
        starts=np.array([start for _, start, _ in clip.phones], dtype=np.float32),
        ends=np.array([end for _, _, end in clip.phones], dtype=np.float32),
        seconds=np.array(clip.seconds, dtype=np.float32),
        kind=np.array(clip.kind),
        voice=np.array(clip.voice),
        language=np.array(clip.language),
        encoder=np.array(encoder.name),
    )
    return clip.seconds


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compute the speech features of a folder of clips.")
    parser.add_argument("--speech", type=Path, required=True, help="folder made by speech.py")
    parser.add_argument("--out", type=Path, required=True, help="folder of the features")
    parser.add_argument("--variants", type=int, default=1, help="worse recordings of each clip")
    parser.add_argument("--music-share", type=float, default=0.0, help="share of those with music under the speech")
    parser.add_argument("--encoder", default=EMBEDDED, help="'embedded', or a model of transformers by folder or name")
    parser.add_argument("--layer", type=int, default=-1, help="which of that model's hidden states")
    parser.add_argument("--follow", type=float, default=0.0, metavar="MINUTES", help="wait this long for new clips")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    encoder = load_speech_encoder(arguments.encoder, arguments.layer)
    seconds, written, last = 0.0, 0, time.monotonic()
    while True:
        for source in clip_files(arguments.speech):
            target = arguments.out / source.parent.name / source.name
            if target.exists():
                continue
            seconds += write_features(source, target, encoder, arguments.variants, arguments.music_share)
            written, last = written + 1, time.monotonic()
            if written % 25 == 0:
                logger.info("%d clips, %.1f minutes", written, seconds / 60.0)
        if time.monotonic() - last >= arguments.follow * 60.0:
            break
        time.sleep(5.0)
    logger.info("%d new clips, %.1f minutes, in %s", written, seconds / 60.0, arguments.out)


if __name__ == "__main__":
    main()
