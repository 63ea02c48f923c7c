"""How far a LoRA takes the model towards a filmed person's way of moving, measured on film that it has not learnt from.

    python training/prepare.py MY_VIDEO --out corpus/me --set allow_silent=true
    python bench/filmed_speaker.py split --data corpus/me --out runs/me
    accelerate launch training/train_lora.py --config configs/lora_speaker.yaml --data runs/me/learnt
    python bench/filmed_speaker.py measure --features corpus/features --held-out runs/me/held_out \
        --lora runs/lora_speaker/weights --out me.json

Brows, lids and the face above the mouth alone: they say how a person looks while talking without any sound.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.speaker import BROWS, choose_clips, generate, lid_opening, shut_frames
from mooe.face.topology import canonical_points
from mooe.media import write_json
from mooe.pipeline import MoEEPipeline
from training.corpus.filmed import CLIPS_FOLDER, FilmedClip, filmed_clips

Array = NDArray[np.float32]
LEARNT_SHARE = 0.7
_EYE_CORNER = 33


def split(data: Path, out: Path) -> None:
    """Copy the first clips to ``out/learnt`` and the later ones to ``out/held_out``, by their share of the time."""
    paths = filmed_clips(data)
    ends = np.cumsum([FilmedClip.load(path).num_frames for path in paths])
    for path, end in zip(paths, ends, strict=True):
        folder = out / ("learnt" if end <= LEARNT_SHARE * ends[-1] else "held_out") / CLIPS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)


def manner(clips: list[tuple[Array, Array]]) -> tuple[dict[str, float], Array]:
    """A person's manner in numbers, lengths in eye distances, and their mean upper face ``[n, 3]``.

    Args:
        clips: displacements ``[F, 478, 3]`` and lid closing ``[F]`` of each clip.
    """
    points = canonical_points()
    upper = np.flatnonzero(points[:, 1] > points[_EYE_CORNER, 1] - 0.1)
    faces = [displacement[:, upper] for displacement, _ in clips]
    shut, count = (sum(numbers) for numbers in zip(*(shut_frames(*clip) for clip in clips), strict=True))
    figures = {
        "brow height": np.mean([d[:, list(BROWS), 1].mean() for d, _ in clips]),
        "brow movement": np.mean([d[:, list(BROWS), 1].mean(1).std() for d, _ in clips]),
        "lid opening": np.mean([np.median(lid_opening(d)) for d, _ in clips]),
        "movement of the upper face": np.mean([face.std(0).mean() for face in faces]),
        "blink length in frames": shut / max(count, 1),
    }
    return {name: float(value) for name, value in figures.items()}, np.concatenate(faces).mean(0)


def measure(features: Path, held_out: Path, lora: Path, out: Path, model: Path | None) -> None:
    """Compare base model, adapted model and the person on held-out film; writes ``out``."""
    speech = choose_clips(features, 0)[1]
    film = [FilmedClip.load(path) for path in filmed_clips(held_out)]
    pipeline = MoEEPipeline.from_pretrained(model)
    base, base_face = manner([generate(pipeline, clip, "neutral") for clip in speech])
    pipeline.load_lora_weights(lora, adapter_name="speaker")
    adapted, adapted_face = manner([generate(pipeline, clip, "neutral") for clip in speech])
    person, face = manner([(clip.displacement, clip.blink) for clip in film])
    moved = {name: (adapted[name] - base[name]) / (person[name] - base[name]) for name in base}
    distance = {
        "base": float(np.linalg.norm(base_face - face, axis=1).mean()),
        "lora": float(np.linalg.norm(adapted_face - face, axis=1).mean()),
    }
    manners = {"base": base, "lora": adapted, "person": person}
    write_json(out, {"manner": manners, "moved": moved, "distance_of_mean_upper_face": distance})
    for name, share in moved.items():
        print(f"{name:28} base {base[name]:.4f}  lora {adapted[name]:.4f}  person {person[name]:.4f}  "
              f"moved {100 * share:.0f} %")  # fmt: skip
    print("distance of the mean upper face:", distance)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    cut = verbs.add_parser("split", help="clips to learn from, and clips to measure on")
    cut.add_argument("--data", type=Path, required=True, help="folder that training/prepare.py wrote")
    cut.add_argument("--out", type=Path, required=True, help="folder for the two")
    compare = verbs.add_parser("measure", help="base, adapted and the person")
    compare.add_argument("--features", type=Path, required=True, help="folder that training/corpus/features.py wrote")
    compare.add_argument("--held-out", type=Path, required=True, help="clips that were not learnt from")
    compare.add_argument("--lora", type=Path, required=True, help="the adapter to measure")
    compare.add_argument("--model", type=Path, help="pipeline folder; built in if not given")
    compare.add_argument("--out", type=Path, required=True, help="the .json of measures")
    options = parser.parse_args()
    if options.verb == "split":
        split(options.data, options.out)
    else:
        measure(options.features, options.held_out, options.lora, options.out, options.model)


if __name__ == "__main__":
    main()
