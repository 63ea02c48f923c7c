"""How far a LoRA takes the model towards a filmed person's way of moving, measured on film that it has not learnt from.

    python training/prepare.py MY_VIDEO --out corpus/me --set allow_silent=true
    python bench/filmed_speaker.py split --data corpus/me --out runs/me
    accelerate launch training/train_lora.py --config configs/lora_speaker.yaml --data runs/me/learnt
    python bench/filmed_speaker.py measure --features corpus/features --held-out runs/me/held_out \
        --lora runs/lora_speaker/weights --out me.json

Brows, lids and the face above the mouth alone: they say how a person looks while talking without any sound. For every
clip of the person the models speak as long, their heads turned as in the clip: tracked points move when a head turns,
and how it turns is the pose predictor's part, not an adapter's. Lips and emotions are compared with the base model's.

A measure tells how far the adapter went only where person and base model differ by more than such clips differ among
themselves: where the difference, clip by clip, is beyond its 95 % interval (Student's t). Elsewhere there is no way to
go, and a share of it would be noise.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from bench.speaker import BROWS, choose_clips, emotion_kept, generate, lip_measures, speak_all, total_of
from bench.tables import storable
from mooe.emotion.taxonomy import EMOTIONS
from mooe.head_track import RecordedHead
from mooe.media import write_json
from mooe.pipeline import MoEEPipeline
from training.corpus.filmed import CLIPS_FOLDER, FilmedClip, filmed_clips
from training.corpus.filming import LONGEST_SHUT, closures, lid_opening
from training.corpus.motion import SpeechClip
from training.corpus.upper_face import upper_face

Array = NDArray[np.float32]
LEARNT_SHARE = 0.7


def split(data: Path, out: Path) -> None:
    """Copy the first clips to ``out/learnt`` and the later ones to ``out/held_out``, by their share of the time."""
    paths = filmed_clips(data)
    ends = np.cumsum([FilmedClip.load(path).num_frames for path in paths])
    for path, end in zip(paths, ends, strict=True):
        folder = out / ("learnt" if end <= LEARNT_SHARE * ends[-1] else "held_out") / CLIPS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)


def manner(displacement: Array) -> dict[str, float]:
    """A clip's manner in numbers, ``[F, 478, 3]``; lengths in eye distances, NaN for blinks where there are none."""
    brows = displacement[:, list(BROWS), 1]
    # closures that the clip cuts off have no length, and eyes that rest do not blink
    blinks = [b - a for a, b in closures(displacement) if a > 0 and b < len(displacement) and b - a <= LONGEST_SHUT]
    return {
        "brow height": float(brows.mean()),
        "brow movement": float(brows.mean(1).std()),
        # brows that tremble have moved as far as the person's, and much faster
        "brow speed a frame": float(np.diff(brows.mean(1)).std()),
        "movement of the upper face": float(displacement[:, upper_face()].std(0).mean()),
        "lid opening": float(np.median(lid_opening(displacement))),
        "blink length in frames": float(np.mean(blinks)) if blinks else np.nan,
    }


def compare(base: list[Array], adapted: list[Array], person: list[Array]) -> dict[str, dict[str, Any]]:
    """Each measure's means, whether base and person differ beyond chance, and the share of the way that was gone.

    Args:
        base, adapted, person: displacements ``[F, 478, 3]`` of the same clips in the same order.
    """
    rows = [[manner(displacement) for displacement in clips] for clips in (base, adapted, person)]
    report = {}
    for name in rows[0][0]:
        values = np.array([[row[name] for row in clips] for clips in rows])
        values = values[:, np.isfinite(values).all(0)]
        count = values.shape[1]
        difference = values[2] - values[0]
        spread = difference.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
        chance = float(student.ppf(0.975, max(count - 1, 1)) * spread)
        here, there, goal = values.mean(1).tolist() if count else [np.nan] * 3
        report[name] = {
            "base": here, "lora": there, "person": goal, "clips": count, "chance": chance,
            "differs": abs(goal - here) > chance, "moved": (there - here) / (goal - here) if goal != here else np.nan,
        }  # fmt: skip
    return report


def mean_face_distances(base: list[Array], adapted: list[Array], person: list[Array]) -> dict[str, float]:
    """Distances of mean upper faces from the person's, in eye distances, and how well the clips tell the person's.

    The last is the mean over the points of the standard error of their places: nothing can be said to be nearer.
    """
    faces = [np.stack([clip[:, upper_face()].mean(0) for clip in clips]) for clips in (base, adapted, person)]
    means = [face.mean(0) for face in faces]
    error = np.sqrt((faces[2].var(0, ddof=1) / len(person)).sum(-1)).mean()
    return {
        "base": float(np.linalg.norm(means[0] - means[2], axis=1).mean()),
        "lora": float(np.linalg.norm(means[1] - means[2], axis=1).mean()),
        "error of the film": float(error),
    }


def follow(pipeline: MoEEPipeline, film: list[FilmedClip], sound: Array) -> list[Array]:
    """The model's displacements ``[F, 478, 3]`` for each clip: it speaks as long, with the head turned as there.

    Args:
        pipeline: the model.
        film: the person's clips.
        sound: speech features ``[N, D]``, taken up where the clip before left off, over and over.
    """
    made, first = [], 0
    for number, clip in enumerate(film):
        heard = np.take(sound, np.arange(first, first + clip.num_frames), axis=0, mode="wrap")
        head = RecordedHead(np.concatenate([clip.rotation, clip.translation], 1))
        made.append(generate(pipeline, SpeechClip("", (heard,), ()), "neutral", number, head)[0])
        first += clip.num_frames
    return made


def measure(features: Path, held_out: Path, lora: Path, out: Path, model: Path | None) -> None:
    """Compare base model, adapted model and the person on held-out film; writes ``out``."""
    spoken = choose_clips(features, 0)[1]
    sound = np.concatenate([clip.features[0] for clip in spoken])
    film = [FilmedClip.load(path) for path in filmed_clips(held_out)]
    pipeline = MoEEPipeline.from_pretrained(model)
    base = follow(pipeline, film, sound)
    said = {"base": speak_all(pipeline, spoken)}
    pipeline.load_lora_weights(lora, adapter_name="speaker")
    adapted = follow(pipeline, film, sound)
    said["lora"] = speak_all(pipeline, spoken)
    pipeline.set_adapters(["speaker"], [0.0])
    exact = bool(np.array_equal(generate(pipeline, spoken[0], "neutral")[0], said["base"]["neutral"][0][0]))
    kept = {
        # the base model's lips are the measure: the film has no sound to compare with
        "lips": {
            name: total_of([lip_measures(moved[0], plain[0], clip) for moved, plain, clip
                            in zip(clips["neutral"], said["base"]["neutral"], spoken, strict=True)])
            for name, clips in said.items()
        },
        "emotion": {emotion: emotion_kept(said, emotion) for emotion in EMOTIONS},
        "weight_0_is_base": exact,
    }  # fmt: skip
    person = [clip.displacement for clip in film]
    report, distances = compare(base, adapted, person), mean_face_distances(base, adapted, person)
    write_json(out, storable({"manner": report, "distance_of_mean_upper_face": distances, "kept": kept}))
    for name, row in report.items():
        told = f"moved {100 * row['moved']:.0f} %" if row["differs"] else "no more than chance between base and person"
        print(f"{name:28} base {row['base']:.4f}  lora {row['lora']:.4f}  person {row['person']:.4f}  "
              f"({row['clips']} clips, chance {row['chance']:.4f})  {told}")  # fmt: skip
    print("distance of the mean upper face:", distances, "\nkept:", kept)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    cut = verbs.add_parser("split", help="clips to learn from, and clips to measure on")
    cut.add_argument("--data", type=Path, required=True, help="folder that training/prepare.py wrote")
    cut.add_argument("--out", type=Path, required=True, help="folder for the two")
    compare_ = verbs.add_parser("measure", help="base model, adapter and person")
    compare_.add_argument("--features", type=Path, required=True, help="folder that training/corpus/features.py wrote")
    compare_.add_argument("--held-out", type=Path, required=True, help="folder of clips that were not learnt from")
    compare_.add_argument("--lora", type=Path, required=True, help="the adapter to measure")
    compare_.add_argument("--model", type=Path, help="pipeline folder; built in if not given")
    compare_.add_argument("--out", type=Path, required=True, help="the .json of measures")
    options = parser.parse_args()
    if options.verb == "split":
        split(options.data, options.out)
    else:
        measure(options.features, options.held_out, options.lora, options.out, options.model)


if __name__ == "__main__":
    main()
