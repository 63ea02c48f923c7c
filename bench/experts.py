"""What emotion experts pass on of the expressions they were taught, of several sets of experts side by side.

    python bench/experts.py --features corpus/held_out shipped=mooe/assets/pipeline no_bank=runs/no_bank/weights

Each set is a folder with ``adapters`` and ``emotion_encoder``. The clips of ``--features`` should be speech that none
was trained on. Every take is acted and sampled twice, with the emotion and without, by the same style, noise and
sound; the difference, as a mean over the take's frames, is the held expression. Printed for single emotions and for
mixtures of two at half each:

error      of the held expression over its size, all points: 0 is exact, 1 as if nothing was shown
passed     size along the acted expression, by region: 1 is exact
own gate   share of the global gates on the experts that were asked for
lips r     correlation of the lips' opening with the acted take's, 0 where lips stay shut
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.tables import show  # noqa: E402
from mooe.emotion.adapters import MoEEAdapters  # noqa: E402
from mooe.emotion.latents import EmotionToLatents  # noqa: E402
from mooe.emotion.taxonomy import EMOTIONS  # noqa: E402
from mooe.face.regions import (  # noqa: E402
    LEFT_BROW,
    LEFT_EYE,
    LIP_PAIRS,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_BROW,
    RIGHT_EYE,
)
from mooe.media import write_json  # noqa: E402
from mooe.motion.codec import MotionCodec  # noqa: E402
from mooe.motion.lips import lip_gap  # noqa: E402
from mooe.motion.sampling import Guidance, WindowInputs, WindowSampler  # noqa: E402
from mooe.motion.unet import MotionUNet  # noqa: E402
from training.corpus.motion import MotionCorpus, Take, load_clips  # noqa: E402

Array = NDArray[np.float32]
REGIONS = {
    "brows": RIGHT_BROW + LEFT_BROW,
    "lids": RIGHT_EYE + LEFT_EYE,
    "lips": LIPS_INNER + LIPS_OUTER,
}
_MIDDLE = LIP_PAIRS.index((13, 14))
_HELD = 0.6  # least weight in every frame of a take that is measured


@dataclass
class Models:
    """What samples a take."""

    codec: MotionCodec
    unet: MotionUNet
    adapters: MoEEAdapters
    encoder: EmotionToLatents
    steps: int


@torch.no_grad()
def sample_take(models: Models, take: Take, seed: int) -> tuple[Array, Array | None]:
    """Points ``[F, 478, 3]`` and gates ``[F, expert]`` of a take's sound, controls and emotion."""
    emotion = torch.from_numpy(take.emotion)[None]
    latents = models.encoder(emotion) if emotion.any() else None
    sampler = WindowSampler(
        models.unet, models.adapters, FlowMatchEulerDiscreteScheduler(shift=2.0),
        torch.Generator().manual_seed(seed), models.steps, Guidance(),
    )  # fmt: skip
    features, controls = torch.from_numpy(take.features)[None], torch.from_numpy(take.controls.stack())[None]
    clean, gates = sampler.window(WindowInputs(features, controls.float(), latents))
    return models.codec.decode(clean)[0].numpy(), None if gates is None else gates.numpy()


def act_take(corpus: MotionCorpus, weights: Array, seed: int) -> Take:
    """The take of a seed: the same speech and style whatever the emotion ``weights`` ``[6]``."""
    return corpus.act(corpus.clips[seed % len(corpus.clips)], weights, np.random.default_rng(seed))


def held_seeds(corpus: MotionCorpus, count: int) -> list[int]:
    """Seeds of takes that hold their emotion; in others it has hardly begun or is over."""
    seeds: list[int] = []
    seed = 0
    while len(seeds) < count:
        if act_take(corpus, np.eye(len(EMOTIONS), dtype=np.float32)[0], seed).emotion.sum(1).min() > _HELD:
            seeds.append(seed)
        seed += 1
    return seeds


def measure_take(models: Models, corpus: MotionCorpus, weights: Array, seed: int) -> dict[str, float]:
    """The figures of one take with the emotion ``weights`` ``[6]``."""
    acted, plain = (act_take(corpus, w, seed) for w in (weights, np.zeros_like(weights)))
    shown, gates = sample_take(models, acted, seed)
    neutral, _ = sample_take(models, plain, seed)
    truth = (acted.displacement - plain.displacement).mean(0)
    held = (shown - neutral).mean(0)
    row = {"error": float(np.linalg.norm(held - truth) / np.linalg.norm(truth))}
    for name, region in REGIONS.items():
        part = truth[list(region)]
        row[f"{name} passed"] = float((held[list(region)] * part).sum() / (part * part).sum())
    if gates is not None and gates.shape[1] == len(EMOTIONS):
        row["own gate"] = float(gates[:, weights > 0].sum(1).mean())
    opening, wanted = (lip_gap(points)[:, _MIDDLE] for points in (shown, acted.displacement))
    moves = opening.std() > 0 and wanted.std() > 0
    row["lips r"] = float(np.corrcoef(opening, wanted)[0, 1]) if moves else 0.0
    return row


def wishes() -> dict[str, list[tuple[str, Array]]]:
    """Emotion weights ``[6]`` to ask for, by kind."""
    one = np.eye(len(EMOTIONS), dtype=np.float32)
    pairs = combinations(range(len(EMOTIONS)), 2)
    return {
        "single": [(name, one[i]) for i, name in enumerate(EMOTIONS)],
        "mixture": [(f"{EMOTIONS[i]} {EMOTIONS[j]}", (one[i] + one[j]) / 2) for i, j in pairs],
    }


def measure(models: Models, corpus: MotionCorpus, takes: int) -> dict[str, dict[str, dict[str, float]]]:
    """Mean figures by kind and emotion, and of the kind as a whole under ``all``."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    seeds = held_seeds(corpus, takes)
    for kind, asked in wishes().items():
        count = takes if kind == "single" else max(1, takes // 3)  # there are more mixtures than emotions
        rows: dict[str, list[dict[str, float]]] = {}
        for name, weights in asked:
            rows[name] = [measure_take(models, corpus, weights, seed) for seed in seeds[:count]]
        every = [row for group in rows.values() for row in group]
        result[kind] = {
            name: {key: float(np.mean([row[key] for row in group])) for key in group[0]}
            for name, group in (rows | {"all": every}).items()
        }
    return result


def show_result(result: dict[str, Any]) -> None:
    """Print the sets side by side, then each emotion."""
    for kind in ("single", "mixture"):
        keys = list(next(iter(result.values()))[kind]["all"])
        rows = [[name, *(one[kind]["all"].get(key, "-") for key in keys)] for name, one in result.items()]
        show(f"{kind}, all emotions", ["experts", *keys], rows)
    for name, one in result.items():
        keys = list(one["single"]["all"])
        show(f"{name}, by emotion", ["", *keys], [[e, *one["single"][e].values()] for e in one["single"]])


def main() -> None:
    """Measure the sets that the command line names."""
    parser = argparse.ArgumentParser(description="What emotion experts pass on.")
    parser.add_argument("--features", type=Path, required=True, help="folder of training/corpus/features.py")
    parser.add_argument("--pipeline", type=Path, default=ROOT / "mooe/assets/pipeline", help="codec and unet")
    parser.add_argument("--takes", type=int, default=12, help="takes of each emotion")
    parser.add_argument("--steps", type=int, default=2, help="denoising steps")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    parser.add_argument("experts", nargs="+", metavar="NAME=FOLDER")
    given = parser.parse_args()
    corpus = MotionCorpus(load_clips(given.features), window=40)
    codec = MotionCodec.from_pretrained(given.pipeline / "codec").eval()
    unet = MotionUNet.from_pretrained(given.pipeline / "unet").eval()
    result = {}
    for entry in given.experts:
        name, _, folder = entry.rpartition("=")
        adapters = MoEEAdapters.from_pretrained(Path(folder) / "adapters").eval()
        encoder = EmotionToLatents.from_pretrained(Path(folder) / "emotion_encoder").eval()
        adapters.attach(unet.unet)
        result[name or Path(folder).name] = measure(
            Models(codec, unet, adapters, encoder, given.steps), corpus, given.takes
        )
        adapters.detach(unet.unet)
    show_result(result)
    if given.out is not None:
        write_json(given.out, result)


if __name__ == "__main__":
    main()
