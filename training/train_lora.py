"""LoRA: a speaker's way of speaking, learnt from a minute or two of video; everything else is frozen.

    accelerate launch training/train_lora.py --config configs/lora_speaker.yaml --data MY_VIDEO

``--data`` takes videos, folders of videos, or a folder that ``training/prepare.py`` wrote. Videos are prepared first,
into the output folder. With ``decoder.frames``, a folder that ``python -m training.corpus.frames --videos`` made of the
speaker, the transformers of the decoder's codebooks learn as well. What comes out is
``OUTPUT/weights/pytorch_lora_weights.safetensors``, a few megabytes, for ``mooe generate --lora`` and
``pipe.load_lora_weights``. Run the same command again to resume.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mooe.audio import HamaSpeechEncoder, load_audio
from mooe.config import load_config
from mooe.decoder.compensator import PortraitCompensator
from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.latents import EmotionToLatents
from mooe.emotion.taxonomy import EMOTIONS
from mooe.errors import ConfigError
from mooe.motion.atlas import lower_face_mask
from mooe.motion.codec import MotionCodec
from mooe.motion.lora import DECODER_TARGETS, SPEAKER_TARGETS, add_speaker_lora, save_unet_lora
from mooe.motion.sampling import set_steps
from mooe.motion.unet import MotionUNet
from mooe.pipeline import MoEEPipeline
from training.common import LoopConfig, TrainingLoop, arguments, run_command, setup_unet, take_streams
from training.corpus.filmed import FilmedCorpus
from training.corpus.filming import blink_length
from training.corpus.frames import shard_files
from training.corpus.motion import Take
from training.extras import make_preview, preview_pipeline
from training.lip_losses import lip_gaps
from training.lora_data import draw_take, open_speaker
from training.lora_losses import energy_score, film_weights, part_score
from training.manner import brow_manner
from training.motion_batch import CARRIED_FRAMES, Batch, draw_batch, euler_step, noise_latents, twice
from training.train_decoder import DecoderConfig, DecoderStage, load_samples
from training.train_motion import MOUTH_SCALE, latent_loss

logger = logging.getLogger(__name__)
# Brings the points' mean places to about unit variance among a person's takes
LEVEL_SCALE = 100.0


@dataclass
class DecoderLoraConfig:
    """The part that learns how the speaker's mouth and lids look, for a model whose decoder has learned stages."""

    frames: Path
    """Folder that ``training/corpus/frames.py`` wrote."""
    share: float = 0.3
    """Share of the steps that train the decoder."""
    batch_size: int = 4
    """Frames a step and process."""


@dataclass
class LoraTrainingConfig:
    """Settings of the training."""

    loop: LoopConfig
    model: Path | None = None
    """Pipeline folder to adapt; none adapts the built-in weights."""
    rank: int = 8
    """Inner width of the matrices."""
    alpha: int = 8
    """The matrices' product is scaled by alpha / rank."""
    targets: tuple[str, ...] = SPEAKER_TARGETS
    """Ends of the names of the UNet's layers to adapt."""
    batch_size: int = 4
    """Takes a step and process."""
    window: int = 40
    """Frames in a take."""
    drop_audio: float = 0.05
    """Share of takes whose sound is withheld, for guidance."""
    pure_share: float = 0.3
    """Share of takes that are nothing but noise; whole samples begin there all, what emotions change does not."""
    emotion_share: float = 0.25
    """Share of the steps that keep what emotions change as it was; the video shows but one or none."""
    emotion_weight: float = 2.0
    """Weight of the loss in these steps."""
    lip_weight: float = 0.5
    """Weight of the lips' opening, of which the latents' error sees little: a few points of 478."""
    level_weight: float = 0.0
    """Weight of where the face stands on the whole, beside what the samples' score says of it."""
    part_weight: float = 0.5
    """Weight of where brows, eyes, lips and the oval are as wholes and how fast, where whole samples are scored."""
    context_error: float = 2.0
    """How far frames carried on from may stand off, in times of what the adapter's own are off; 0 gives the film's."""
    turned_share: float = 0.0
    """Share of takes that are shown with the head's turns of other takes, which the face does not depend on."""
    num_inference_steps: int = 2
    """Denoising steps of sampling: whole samples are scored, two of each take; 0 scores steps at all noise levels."""
    sound: Path | None = None
    """A recording of anybody's speech that silent film is shown with, as the adapter will be used; none is silence."""
    decoder: DecoderLoraConfig | None = None
    """Adapt the decoder's learned stages as well; none adapts the motion alone."""


class LoraStage:
    """The loss of the training: denoise the speaker's motion, shown the emotion that a clip is labelled with."""

    def __init__(
        self,
        config: LoraTrainingConfig,
        corpus: FilmedCorpus,
        codec: MotionCodec,
        unet: MotionUNet,
        adapters: MoEEAdapters,
        encoder: EmotionToLatents,
        levels: Sequence[float] = (),
    ) -> None:
        self.config, self.corpus, self.codec, self.levels = config, corpus, codec, levels
        self.unet, self.adapters, self.encoder = unet, adapters, encoder
        self.lower_face = torch.from_numpy(lower_face_mask(codec.latent_size))
        self.weights = film_weights(corpus, codec)
        self.sound: NDArray[np.float32] | None = None
        if config.sound is not None and corpus.silent:
            self.sound = HamaSpeechEncoder().encode(load_audio(config.sound))
        self._contexts = ExitStack()

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        streams = take_streams(config.loop.seed, step, config.batch_size)
        takes = [draw_take(self.corpus, stream, config.turned_share) for stream in streams]
        batch, heard = self.lend_sound(draw_batch(takes, self.codec, streams), streams)
        batch = self.with_own_mouths(self.with_own_errors(batch, heard, streams), heard, streams)
        # the same on all processes
        keeps = np.random.default_rng([config.loop.seed, step]).random() < config.emotion_share
        if keeps:
            loss = config.emotion_weight * self._kept_emotion(takes, batch, heard, streams)
            return loss, {"emotion": float(loss.detach())}
        kept = torch.tensor([stream.random() >= config.drop_audio for stream in streams])
        present = heard & kept.to(heard.device)
        weight = (1 - batch.known) * self.weights.to(heard.device).sqrt()
        if self.levels:
            both = twice(batch)
            predicted = self._sample(both, present.repeat(2), [*streams, *streams])
            first, second = predicted.chunk(2)
            latent = energy_score(first, second, batch.latents, weight)
            if config.part_weight:
                points = self.codec.decode(torch.cat([predicted, batch.latents]))
                latent = latent + config.part_weight * part_score(*points.chunk(3))
            batch = both
        else:
            predicted = self._predict(batch, *self._noise(batch, streams), batch.controls, batch.emotion, present)
            latent = latent_loss(predicted, batch, weight)
        lips = self.lip_loss(predicted, batch)
        level = self.level_loss(predicted, batch)
        figures = {"latent": float(latent.detach()), "lips": float(lips.detach()), "level": float(level.detach())}
        return latent + config.lip_weight * lips + config.level_weight * level, figures

    def _noise(self, batch: Batch, streams: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor]:
        return noise_latents(batch, streams, pure_share=self.config.pure_share, levels=self.levels)

    def _sample(self, batch: Batch, present: Tensor, streams: Sequence[np.random.Generator]) -> Tensor:
        """Clean latents as sampling makes them; of the steps, the last one learns."""
        sample, _ = noise_latents(batch, streams, pure_share=1.0)
        count = len(sample)
        for level, reached in pairwise([*self.levels, 0.0]):
            levels, ends = sample.new_full((count,), level), sample.new_full((count,), reached)
            with torch.set_grad_enabled(reached == 0):
                clean = self._predict(batch, sample, 1000 * levels, batch.controls, batch.emotion, present)
            sample = torch.where(batch.known > 0, batch.latents, euler_step(sample, clean, levels, ends))
        return clean

    def with_own_errors(self, batch: Batch, heard: Tensor, streams: Sequence[np.random.Generator]) -> Batch:
        """The batch with given first frames that stand off as the model's own do, and frames that come back from there.

        In sampling a window carries on from the one before, and what each gets wrong of the face's level would add up,
        were the model only shown frames as they were filmed (exposure bias; Bengio et al., "Scheduled Sampling", 2015).
        The error is that of a window from nothing but noise, as large as ``context_error`` at most; it fades within
        the window. ``heard`` says where the model hears anything, ``[B]``.
        """
        if not self.config.context_error:
            return batch
        nothing = replace(batch, known=torch.zeros_like(batch.known))
        noised, timestep = noise_latents(nothing, streams, pure_share=1.0)
        with torch.no_grad():
            own = self._predict(nothing, noised, timestep, batch.controls, batch.emotion, heard)
            carried = batch.known[:, :1].amin((2, 3, 4), keepdim=True)
            share = torch.tensor([stream.uniform(0, self.config.context_error) for stream in streams])
            frames = torch.arange(batch.latents.shape[1]) - CARRIED_FRAMES + 1
            fade = torch.exp(-frames.clamp(min=0) / CARRIED_FRAMES).to(own.device)
            error = (own - batch.latents).mean(1, keepdim=True)
            error = carried * error * (share.to(own.device)[:, None] * fade)[:, :, None, None, None]
            points = self._points_moved(error)
        return replace(batch, latents=batch.latents + error, displacement=batch.displacement + points)

    def _points_moved(self, change: Tensor) -> Tensor:
        """What a change of latents decodes to beside no latents at all."""
        return self.codec.decode(change) - self.codec.decode(torch.zeros_like(change[:1, :1]))

    def level_loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Squared error of each point's mean place in a take, in hundredths of eye distances, a mean over takes.

        In sampling a window carries on from the one before: an error of a window's level, a small part of the latents'
        error, grows with every window.
        """
        error = self._points_moved(torch.where(batch.known > 0, batch.latents, predicted) - batch.latents)
        return (error.mean(1) * LEVEL_SCALE).square().mean()

    def lip_loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Squared error of the gap between the lips, in tenths of eye distances, a mean over takes with sound.

        Open and shut lips count the same: were only those that touch held together, all would open less.
        """
        points = self.codec.decode(torch.where(batch.known > 0, batch.latents, predicted))
        error = (lip_gaps(points) - lip_gaps(batch.displacement)) * MOUTH_SCALE
        return (error.square().mean((1, 2)) * batch.audible).mean()

    def _predict(
        self, batch: Batch, noised: Tensor, timestep: Tensor, controls: Tensor, emotion: Tensor | None, present: Tensor
    ) -> Tensor:
        """Clean latents; the experts' context stays open for a backward pass that computes activations again."""
        self._contexts.close()
        latents = None
        if emotion is not None and bool(emotion.any()):
            with torch.no_grad():
                latents = self.encoder(emotion)
        self._contexts.enter_context(self.adapters.condition(latents))
        conditioning = self.unet.condition(batch.features, controls, present)
        return self.unet(noised, timestep, conditioning, batch.known).float()

    def lend_sound(self, batch: Batch, streams: Sequence[np.random.Generator]) -> tuple[Batch, Tensor]:
        """The batch with somebody's speech where the film is silent, if there is any, and where is sound, ``[B]``.

        An adapter that had known silence alone would be used for what it never learnt: a face that speaks.
        """
        if self.sound is None:
            return batch, batch.audible
        features = batch.features.clone()
        for number in (~batch.audible).nonzero()[:, 0].tolist():
            first = int(streams[number].integers(len(self.sound)))
            frames = np.arange(first, first + features.shape[1])
            features[number] = torch.from_numpy(self.sound.take(frames, axis=0, mode="wrap"))
        return replace(batch, features=features), torch.ones_like(batch.audible)

    def _kept_emotion(
        self, takes: list[Take], batch: Batch, heard: Tensor, streams: Sequence[np.random.Generator]
    ) -> Tensor:
        """Squared error between what an emotion changes with the adapter and without it, a mean over takes.

        As in sampling, the face under way shows the emotion already: without, the adapter would learn to take back
        what its speaker never showed.
        """
        device, frames = batch.latents.device, batch.emotion.shape[1]
        weights = np.zeros((len(takes), frames, len(EMOTIONS)), np.float32)
        for number, stream in enumerate(streams):
            weights[number, :, int(stream.integers(len(EMOTIONS)))] = stream.uniform(0.3, 1.0)
        emotion = torch.from_numpy(weights).to(device)

        def controls(strength: NDArray[np.float32]) -> Tensor:
            told = [replace(t.controls, intensity=s).stack() for t, s in zip(takes, strength, strict=True)]
            return torch.from_numpy(np.stack(told)).to(device)

        calm, moved = controls(np.zeros((len(takes), frames), np.float32)), controls(weights.sum(-1))

        def show(given: Batch, noised: Tensor, timestep: Tensor) -> Tensor:
            return self._predict(given, noised, timestep, moved, emotion, heard)

        def rest(given: Batch, noised: Tensor, timestep: Tensor) -> Tensor:
            return self._predict(given, noised, timestep, calm, None, heard)

        noised, timestep = self._noise(batch, streams)
        nothing = replace(batch, known=torch.zeros_like(batch.known))
        noise = noise_latents(nothing, streams, pure_share=1.0)
        # given frames are clean, the others as clean as the noise leaves them
        clean = torch.where(batch.known > 0, 1.0, 1 - timestep[:, None, None, None, None] / 1000)
        with torch.no_grad():
            plain = rest(batch, noised, timestep)
            self.unet.disable_adapters()
            emotional = noised + clean * (show(nothing, *noise) - rest(nothing, *noise))
            change = show(batch, emotional, timestep) - rest(batch, noised, timestep)
            self.unet.enable_adapters()
        return (show(batch, emotional, timestep) - plain - change).square().mean()

    def with_own_mouths(self, batch: Batch, heard: Tensor, streams: Sequence[np.random.Generator]) -> Batch:
        """The batch with the mouths and jaws that the model makes without the adapter, where the film has no sound.

        Were they merely not looked at, the adapter would be free to pull them anywhere. The noised latents show them
        too, as in sampling. ``heard`` says where the model hears anything, ``[B]``.
        """
        silent = (~batch.audible).float()[:, None, None, None, None] * self.lower_face.to(heard.device)
        if not bool(silent.any()):
            return batch
        nothing = replace(batch, known=torch.zeros_like(batch.known))
        noised, timestep = noise_latents(nothing, streams, pure_share=1.0)
        with torch.no_grad():
            self.unet.disable_adapters()
            plain = self._predict(nothing, noised, timestep, batch.controls, batch.emotion, heard)
            self.unet.enable_adapters()
        return replace(batch, latents=torch.where(silent > 0, plain, batch.latents))


class LoraWithDecoderStage:
    """Some steps of the motion's loss, some of the decoder's."""

    def __init__(
        self, config: LoraTrainingConfig, decoder: DecoderLoraConfig, motion: LoraStage, model: PortraitCompensator
    ) -> None:
        train = decoder.frames / "train"
        shard_files(train)
        puppets, films = (load_samples(train, kind) for kind in ("puppets", "films"))
        # a codebook at rest: its codes stay as they are and are not counted
        settings = DecoderConfig(config.loop, decoder.frames, batch_size=decoder.batch_size)
        self.seed, self.share = config.loop.seed, decoder.share
        self.motion, self.decoder = motion, DecoderStage(settings, puppets, films, model.eval())

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        # the same on all processes
        drawn = np.random.default_rng([self.seed, step, 1]).random() < self.share
        return self.decoder(step) if drawn else self.motion(step)


def adapted_compensator(pipeline: MoEEPipeline, config: LoraTrainingConfig) -> PortraitCompensator | None:
    """The decoder's learned stages with a new adapter, if the configuration asks for it.

    Raises:
        ConfigError: the model's decoder has no learned stages.
    """
    if config.decoder is None:
        return None
    if pipeline.compensator is None:
        raise ConfigError(
            "The model's decoder has no learned stages to adapt: take 'decoder' out, or give a 'model' that has them."
        )
    add_speaker_lora(pipeline.compensator, config.rank, config.alpha, DECODER_TARGETS)
    return pipeline.compensator


def main() -> None:
    """Train an adapter by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--data", type=Path, nargs="+", required=True, help="videos, or prepared clips")

    options = arguments(__doc__, add)
    config = load_config(options.config, LoraTrainingConfig, options.set)
    torch.manual_seed(config.loop.seed)
    pipeline = MoEEPipeline.from_pretrained(config.model, torch_dtype=torch.float32)
    codec, unet = pipeline.codec, pipeline.unet
    adapters, encoder = pipeline.adapters.requires_grad_(False), pipeline.emotion_encoder.requires_grad_(False)
    adapters.detach(unet.unet)
    setup_unet(unet, config.loop)
    adapters.attach(unet.unet)
    add_speaker_lora(unet, config.rank, config.alpha, config.targets)
    modules: dict[str, nn.Module] = {"unet": unet}
    compensator = adapted_compensator(pipeline, config)
    if compensator is not None:
        modules["compensator"] = compensator

    preview = make_preview(config.loop.preview, lambda: preview_pipeline(codec, unet, adapters, encoder))
    # the loop starts the processes' group, which the preparing of videos waits on
    loop = TrainingLoop(config.loop, modules, lambda step: stage(step), lambda folder: export(folder), preview)
    corpus = open_speaker(options.data, config.loop.output, config.window)
    levels: list[float] = []
    if config.num_inference_steps:
        set_steps(pipeline.scheduler, config.num_inference_steps)
        levels = (pipeline.scheduler.timesteps / 1000).tolist()
    motion = LoraStage(config, corpus, codec, unet, adapters, encoder, levels)
    stage: Callable[[int], tuple[Tensor, dict[str, float]]] = motion
    if config.decoder is not None and compensator is not None:
        stage = LoraWithDecoderStage(config, config.decoder, motion, compensator)
    length = blink_length(corpus.blinks())

    def export(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        brows = brow_manner(pipeline, corpus, motion.sound)
        save_unet_lora(unet, folder, blink_length=length, compensator=compensator, brows=brows)

    device = loop.prepare()
    for module in (codec, adapters, encoder):
        module.to(device)
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
