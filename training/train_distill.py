"""Motion, stage 3: few-step and guidance distillation; a student makes in one step what its teacher makes in several.

    accelerate launch training/train_distill.py --config configs/distill.yaml

Progressive distillation (Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", ICLR 2022)
together with guidance distillation (Meng et al., "On Distillation of Guided Diffusion Models", CVPR 2023). The student
is the video UNet with its experts and starts as its teacher. At a noise level s where sampling with
``num_inference_steps`` steps begins a step, z_s = (1 - s) x + s e is a take x with noise e (rectified flow; Liu et al.,
ICLR 2023). The teacher, with guidance, goes from z_s to z_u, the level where that step ends, by Euler steps

    z_next = x' + (next / level) (z - x')    with x' the clean latents that it predicts; dz / d level = (z - x') / level

and the student is taught the clean latents from which a single such step ends in z_u as well:

    x* = (s z_u - u z_s) / (s - u)

which is Salimans and Ho's target (their algorithm 2) with alpha = 1 - s and sigma = s. The scales of guidance are baked
into the student, which needs one pass a step: sample it with scales 1 and ``num_inference_steps``. To halve the steps
again, name the weights that came out as ``motion`` and ``emotion``, and another output folder. Run the same command
again to resume.
"""

from __future__ import annotations

import copy
import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from mooe.config import load_config
from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.latents import EmotionToLatents
from mooe.errors import ConfigError
from mooe.motion.codec import MotionCodec
from mooe.motion.sampling import Guidance, guided_latents, set_steps
from mooe.motion.unet import MotionUNet
from training.common import LoopConfig, TrainingLoop, arguments, run_command, setup_unet, take_streams
from training.corpus.filmed import Corpus, open_corpus
from training.extras import make_preview, preview_pipeline
from training.motion_batch import Batch, draw_batch, euler_step, mix_noise
from training.train_motion import latent_loss


@dataclass
class DistillConfig:
    """Settings of the stage."""

    loop: LoopConfig
    features: Path
    """Folder that ``training/corpus/features.py`` wrote."""
    codec: Path
    """Folder of the fitted codec."""
    motion: Path
    """Folder of the teacher's UNet."""
    emotion: Path
    """Folder with the teacher's ``adapters`` and ``emotion_encoder``."""
    filmed: Path | None = None
    """Folder that ``training/prepare.py`` wrote; none trains on the acted corpus alone."""
    filmed_share: float = 0.5
    """Share of the takes that are filmed."""
    batch_size: int = 4
    """Takes a step and process."""
    window: int = 40
    """Frames in a take."""
    num_inference_steps: int = 4
    """Denoising steps the student is made for."""
    teacher_steps_per_step: int = 2
    """Steps of the teacher that one of the student's replaces; 1 distils guidance alone."""
    audio_scale: float = 1.0
    """Guidance scale of the sound that the student takes over."""
    emotion_scale: float = 1.0
    """Guidance scale of the emotion that the student takes over."""
    train_adapters: bool = True
    """Whether the experts learn too; otherwise the UNet alone does."""
    neutral_share: float = 0.3
    """Share of takes without emotion."""
    compound_share: float = 0.35
    """Share of the emotional takes that mix two emotions."""
    drop_audio: float = 0.1
    """Share of takes whose sound is withheld, so that the student learns its teacher's motion without sound too."""

    def __post_init__(self) -> None:
        for name in ("num_inference_steps", "teacher_steps_per_step"):
            if (count := getattr(self, name)) < 1:
                raise ConfigError(f"{name} is {count}: give 1 or more.")


def step_levels(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, substeps: int) -> Tensor:
    """Noise levels that the teacher passes in each of the student's steps.

    Each step of the scheduler's own schedule is cut evenly in the time that the scheduler has not yet shifted, as
    Salimans and Ho cut the steps of theirs.

    Args:
        scheduler: with a constant shift; its time steps are set.
        steps: the student's denoising steps.
        substeps: the teacher's steps in each of these.

    Returns:
        Float32 ``[steps, substeps + 1]``, falling; each row begins where the one before ends, the last ends at 0.
    """
    set_steps(scheduler, steps)
    levels, shift = scheduler.sigmas, scheduler.shift
    time = levels / (shift - (shift - 1) * levels)
    part = torch.linspace(0, 1, substeps + 1)
    between = time[:-1, None] + (time[1:] - time[:-1])[:, None] * part
    passed = shift * between / (1 + (shift - 1) * between)
    # rounding aside these are the same, and the student's own levels shall be those of sampling to the bit
    passed[:, 0], passed[:, -1] = levels[:-1], levels[1:]
    return passed


def implied_clean(sample: Tensor, result: Tensor, level: Tensor, reached: Tensor) -> Tensor:
    """The clean latents from which :func:`euler_step` leads from ``sample`` to ``result``; arguments as there."""
    level, reached = (value[:, None, None, None, None] for value in (level, reached))
    return (level * result - reached * sample) / (level - reached)


class DistillStage:
    """The loss of the stage.

    Args:
        config: settings.
        corpus: takes to noise.
        codec: displacements to latents.
        unet: the student, as the teacher was; a copy of it is kept as the teacher.
        adapters: its experts, attached to it.
        encoder: emotion weights to latents; both have it, and it does not change.
        scheduler: the one that the student will be sampled with.
    """

    def __init__(
        self,
        config: DistillConfig,
        corpus: Corpus,
        codec: MotionCodec,
        unet: MotionUNet,
        adapters: MoEEAdapters,
        encoder: EmotionToLatents,
        scheduler: FlowMatchEulerDiscreteScheduler,
    ) -> None:
        self.config, self.corpus, self.codec, self.encoder = config, corpus, codec, encoder
        self.unet, self.adapters = unet, adapters
        # together, as the UNet's attentions hold the experts
        self.teacher, self.teacher_adapters = copy.deepcopy((unet, adapters))
        for module in (encoder, self.teacher, self.teacher_adapters):
            module.requires_grad_(False)
        adapters.requires_grad_(config.train_adapters)
        self.guidance = Guidance(config.audio_scale, config.emotion_scale)
        self.levels = step_levels(scheduler, config.num_inference_steps, config.teacher_steps_per_step)
        self._contexts = ExitStack()

    def to(self, device: torch.device) -> None:
        """Move what is not trained to a device."""
        for module in (self.codec, self.encoder, self.teacher, self.teacher_adapters):
            module.to(device)

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        # the experts' context has to outlive this call where activations are computed again in the backward pass
        self._contexts.close()
        streams = take_streams(config.loop.seed + 2, step, config.batch_size)
        takes = [
            self.corpus.sample(stream, neutral=config.neutral_share, compound=config.compound_share)
            for stream in streams
        ]
        batch = draw_batch(takes, self.codec, streams)
        heard = torch.tensor([stream.random() >= config.drop_audio for stream in streams])
        present = batch.audible & heard.to(batch.audible.device)
        chosen = torch.tensor([int(stream.integers(config.num_inference_steps)) for stream in streams])
        levels = self.levels[chosen].to(batch.latents.device)
        first, last = levels[:, 0], levels[:, -1]
        noised = mix_noise(batch, first, streams)
        with torch.no_grad():
            emotion_latents = self.encoder(batch.emotion)
        result = self.teach(batch, noised, levels, present, emotion_latents)
        conditioning = self.unet.condition(batch.features, batch.controls, present)
        self._contexts.enter_context(self.adapters.condition(emotion_latents))
        predicted = self.unet(noised, first * 1000, conditioning, batch.known).float()
        loss = latent_loss(predicted, replace(batch, latents=implied_clean(noised, result, first, last)))
        with torch.no_grad():
            missed = (euler_step(noised, predicted, first, last) - result) * (1 - batch.known)
        return loss, {"latent": float(loss.detach()), "result": float(missed.square().mean())}

    @torch.no_grad()
    def teach(self, batch: Batch, sample: Tensor, levels: Tensor, present: Tensor, emotion_latents: Tensor) -> Tensor:
        """Where the teacher's steps lead, with guidance.

        Args:
            batch: what is told and what is known.
            sample: noised latents, clean where they are known, ``[B, F, C, h, w]``.
            levels: noise levels to pass, of each take, ``[B, substeps + 1]``.
            present: whether there is sound, bool ``[B]``.
            emotion_latents: ``[B, F, n, d]``.

        Returns:
            Latents at the last levels, clean where they are known, ``[B, F, C, h, w]`` in float32.
        """
        conditioning = self.teacher.condition(batch.features, batch.controls, present)
        silent = None
        if self.guidance.audio != 1:
            silent = self.teacher.condition(batch.features, batch.controls, torch.zeros_like(present))
        with self.teacher_adapters.condition(emotion_latents):
            for level, reached in zip(levels.T[:-1], levels.T[1:], strict=True):
                clean = guided_latents(
                    self.teacher, self.teacher_adapters, self.guidance, sample, level * 1000, conditioning, silent,
                    bool(batch.emotion.any()), batch.known,
                )  # fmt: skip
                sample = torch.where(batch.known > 0, batch.latents, euler_step(sample, clean, level, reached))
        return sample


def main() -> None:
    """Distil by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, DistillConfig, options.set)
    torch.manual_seed(config.loop.seed)
    corpus = open_corpus(config.features, config.filmed, config.filmed_share, config.window)
    codec = MotionCodec.from_pretrained(config.codec)
    unet = MotionUNet.from_pretrained(config.motion)
    setup_unet(unet, config.loop)
    adapters = MoEEAdapters.from_pretrained(config.emotion / "adapters")
    adapters.attach(unet.unet)
    encoder = EmotionToLatents.from_pretrained(config.emotion / "emotion_encoder")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    stage = DistillStage(config, corpus, codec, unet, adapters, encoder, scheduler)

    def export(folder: Path) -> None:
        """Write the student in the folders of the stages it replaces."""
        unet.save_pretrained(folder / "motion/weights")
        adapters.save_pretrained(folder / "emotion/weights/adapters")
        encoder.save_pretrained(folder / "emotion/weights/emotion_encoder")

    preview = make_preview(
        config.loop.preview,
        lambda: preview_pipeline(codec, unet, adapters, encoder),
        num_inference_steps=config.num_inference_steps,
    )
    loop = TrainingLoop(config.loop, {"unet": unet, "adapters": adapters}, stage, export, preview)
    stage.to(loop.prepare())
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
