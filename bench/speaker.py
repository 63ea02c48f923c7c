"""How far a LoRA takes the model towards a made-up speaker with a marked style, on speech it has not learnt from.

    python bench/speaker.py make --features corpus/features --out runs/marked
    accelerate launch training/train_lora.py --config configs/lora_speaker.yaml --data runs/marked
    python bench/speaker.py measure --features corpus/features --lora runs/lora_speaker/weights --out speaker.json

``make`` writes 90 s of the speaker (``training/corpus/speaker.py``); ``measure`` lets the base model, the adapted model
and the speaker say the same other sentences.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mooe.emotion.taxonomy import EMOTIONS
from mooe.media import write_json
from mooe.motion.behavior import BlinkSchedule
from mooe.motion.driving import HeadTrack
from mooe.motion.lips import lip_gap
from mooe.pipeline import MoEEPipeline
from training.corpus.filmed import CLIPS_FOLDER
from training.corpus.filming import lid_opening
from training.corpus.motion import SpeechClip, load_clips, loudness_track
from training.corpus.speaker import MARKED, speak
from training.manner import free_motion

Array = NDArray[np.float32]
Spoken = dict[str, list[tuple[Array, Array]]]
SECONDS, BLINK_RATE = 90.0, 20.0
STEPS = 2  # denoising steps, as the pipeline has them by default
_RIGHT_CORNER, _LEFT_CORNER = 61, 291
BROWS = (105, 66, 334, 296)


def choose_clips(features: Path, seed: int, held_out: int = 3) -> tuple[list[SpeechClip], list[SpeechClip]]:
    """Clips with speech: 90 s to learn from, and others to measure on."""
    clips = [clip for clip in load_clips(features) if any(phone.symbol != "sil" for phone in clip.phones)]
    order = np.random.default_rng(seed).permutation(len(clips))
    learnt, frames = [], 0
    for number, index in enumerate(order):
        if frames + clips[index].num_frames <= SECONDS * 25:
            learnt.append(clips[index])
            frames += clips[index].num_frames
        elif frames > 0.97 * SECONDS * 25:
            return learnt, [clips[i] for i in order[number : number + held_out]]
    return learnt[:-held_out], learnt[-held_out:]


def make(features: Path, out: Path, seed: int) -> None:
    """Write the speaker's clips."""
    rng = np.random.default_rng(seed)
    for clip in choose_clips(features, seed)[0]:
        speak(clip, MARKED, rng, "marked", BLINK_RATE).save(out / CLIPS_FOLDER / f"{clip.name}.npz")


def generate(
    pipeline: MoEEPipeline, clip: SpeechClip, emotion: str, seed: int = 0, head: HeadTrack | None = None
) -> tuple[Array, Array]:
    """Sampled displacements ``[F, 478, 3]`` of a clip of speech, and the blink control ``[F]`` that drove them.

    The head turns as in ``head``, or as the predictor has it.
    """
    displacement = free_motion(pipeline, clip.features[0], emotion, seed, head, STEPS, BLINK_RATE)
    seeds = torch.randint(0, 2**31 - 1, (3,), generator=torch.Generator().manual_seed(seed)).tolist()
    schedule = BlinkSchedule(np.random.default_rng(seeds[1]), BLINK_RATE, pipeline.blink_length)
    return displacement, schedule.take(clip.num_frames)


def style_measures(displacement: Array, clip: SpeechClip, blink: Array) -> dict[str, float]:
    """The style in numbers; lengths in eye distances."""
    talking = loudness_track(clip) > 0.5
    shut, count = shut_frames(displacement, blink)
    corners = displacement[:, _LEFT_CORNER, 1] - displacement[:, _RIGHT_CORNER, 1]
    return {
        "crooked smile": float(corners.mean()),
        "mouth opening while talking": float(lip_gap(displacement)[talking, 4].mean()),
        "brows while talking": float(displacement[talking][:, list(BROWS), 1].mean()),
        "blink length in frames": shut / max(count, 1),
    }


def shut_frames(displacement: Array, blink: Array) -> tuple[int, int]:
    """Frames in which the lids are more than half shut, and how many blinks ``blink`` ``[F]`` has."""
    opening = lid_opening(displacement)
    begun = (blink > 0) & (np.concatenate([[0], blink[:-1]]) == 0)
    return int((opening < 0.5 * np.median(opening)).sum()), int(begun.sum())


def lip_measures(displacement: Array, target: Array, clip: SpeechClip) -> dict[str, float]:
    """Lip timing: lag and correlation with the speaker's own opening, and shut lips on p, b, m."""
    gap, true = lip_gap(displacement)[:, 4], lip_gap(target)[:, 4]
    lags = {lag: _correlation(gap, true, lag) for lag in range(-5, 6)}
    best = max(lags, key=lambda lag: lags[lag])
    middles = [int((p.start + p.end) / 2 * 25) for p in clip.phones if p.symbol[:1] in "pbm"]
    shut = [gap[max(m - 1, 0) : m + 2].min() < 0.02 for m in middles if m < len(gap)]
    return {"lag": float(best), "correlation": lags[best], "shut": float(sum(shut)), "bilabials": float(len(shut))}


def _correlation(one: Array, other: Array, lag: int) -> float:
    a = one[max(lag, 0) : len(one) + min(lag, 0)]
    b = other[max(-lag, 0) : len(other) + min(-lag, 0)]
    return float(np.corrcoef(a, b)[0, 1])


def measure(features: Path, lora: Path, out: Path, seed: int, model: Path | None) -> None:
    """Compare base, adapted and speaker; writes ``out``."""
    clips = choose_clips(features, seed)[1]
    pipeline = MoEEPipeline.from_pretrained(model)
    made = {"base": speak_all(pipeline, clips)}
    pipeline.load_lora_weights(lora, adapter_name="speaker")
    made["lora"] = speak_all(pipeline, clips)
    pipeline.set_adapters(["speaker"], [0.0])
    zero = generate(pipeline, clips[0], "neutral")[0]
    rng = np.random.default_rng(seed + 1)
    truth = [speak(clip, MARKED, rng, "marked", BLINK_RATE) for clip in clips]
    style = {
        name: _mean([style_measures(d, c, b) for (d, b), c in zip(result["neutral"], clips, strict=True)])
        for name, result in made.items()
    }
    style["speaker"] = _mean([style_measures(t.displacement, c, t.blink) for t, c in zip(truth, clips, strict=True)])
    lips = {
        name: total_of([lip_measures(d, t.displacement, c)
                      for (d, _), t, c in zip(result["neutral"], truth, clips, strict=True)])
        for name, result in made.items()
    }  # fmt: skip
    report = {
        "style": style,
        "moved": {
            key: (style["lora"][key] - style["base"][key]) / (style["speaker"][key] - style["base"][key])
            for key in style["base"]
        },
        "lips": lips,
        "emotion": {emotion: emotion_kept(made, emotion) for emotion in EMOTIONS},
        "weight_0_is_base": bool(np.array_equal(zero, made["base"]["neutral"][0][0])),
    }
    write_json(out, report)
    for key, share in report["moved"].items():  # type: ignore[attr-defined]
        print(f"{key:30} base {style['base'][key]:.4f}  lora {style['lora'][key]:.4f}  "
              f"speaker {style['speaker'][key]:.4f}  moved {100 * share:.0f} %")  # fmt: skip
    print("lips", lips, "\nemotion", report["emotion"], "\nweight 0 is base:", report["weight_0_is_base"])


def speak_all(pipeline: MoEEPipeline, clips: list[SpeechClip]) -> Spoken:
    """The clips said without emotion, and the first one with each; displacements and blinks of :func:`generate`."""
    result = {"neutral": [generate(pipeline, clip, "neutral") for clip in clips]}
    for emotion in EMOTIONS:
        result[emotion] = [generate(pipeline, clips[0], emotion)]
    return result


def emotion_kept(made: dict[str, Spoken], emotion: str) -> dict[str, float]:
    """What asking for an emotion changes, adapted against base: size and direction of the mean change."""
    changes = {name: (result[emotion][0][0] - result["neutral"][0][0]).mean(0).ravel() for name, result in made.items()}
    base, lora = changes["base"], changes["lora"]
    cosine = float(base @ lora / (np.linalg.norm(base) * np.linalg.norm(lora)))
    return {"size": float(np.linalg.norm(lora) / np.linalg.norm(base)), "cosine": cosine}


def _fold(rows: list[dict[str, float]], join: Callable[[list[float]], float]) -> dict[str, float]:
    return {key: join([row[key] for row in rows]) for key in rows[0]}


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return _fold(rows, lambda values: float(np.mean(values)))


def total_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Lip measures of several clips together."""
    mean, total = _mean(rows), _fold(rows, sum)
    return {**mean, "shut": total["shut"], "bilabials": total["bilabials"]}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["make", "measure"])
    parser.add_argument("--features", type=Path, required=True, help="folder that training/corpus/features.py wrote")
    parser.add_argument("--lora", type=Path, help="the adapter to measure")
    parser.add_argument("--model", type=Path, help="pipeline folder; built in if not given")
    parser.add_argument("--out", type=Path, required=True, help="folder of clips, or the .json of measures")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.verb == "make":
        make(options.features, options.out, options.seed)
    elif options.lora is None:
        parser.error("measure needs --lora")
    else:
        measure(options.features, options.lora, options.out, options.seed, options.model)


if __name__ == "__main__":
    main()
