"""Motion, stage 2: the Mixture of Emotion Experts and Emotion-to-Latents learn; the video UNet is frozen.

    accelerate launch training/train_emotion.py --config configs/emotion.yaml

Two phases, as in MoEE: first takes with a single emotion, the global gate set to that emotion's expert, so that each
expert learns its own; then mixtures too, with gates of their own. Masked noisy emotion sampling throughout: in a
share of the takes the noised input comes from another emotion's take of the same speech, with the mouth left out of
the loss, so that experts listen to the wish and not to what the input already shows, and leave the lips alone.
Run the same command again to resume.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mooe.config import load_config
from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.discriminator import LatentEmotionDiscriminator
from mooe.emotion.gates import gate_loss
from mooe.emotion.latents import EmotionToLatents
from mooe.errors import ConfigError
from mooe.face.regions import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE
from mooe.motion.atlas import mouth_mask
from mooe.motion.codec import MotionCodec
from mooe.motion.unet import MotionUNet
from training.common import LoopConfig, TrainingLoop, arguments, run_command, setup_unet, take_streams
from training.corpus.filmed import Corpus, open_corpus
from training.extras import make_preview, preview_pipeline
from training.motion_batch import Batch, draw_batch, noise_latents
from training.train_motion import latent_loss

_Model = TypeVar("_Model", EmotionToLatents, MoEEAdapters)


@dataclass
class EmotionConfig:
    """Settings of the stage."""

    loop: LoopConfig
    features: Path
    """Folder that ``training/corpus/features.py`` wrote."""
    codec: Path
    """Folder of the fitted codec."""
    motion: Path
    """Folder of stage 1's weights."""
    filmed: Path | None = None
    """Folder that ``training/prepare.py`` wrote; none trains on the acted corpus alone."""
    filmed_share: float = 0.5
    """Share of the takes that are filmed."""
    init: Path | None = None
    """Folder with ``adapters`` and ``emotion_encoder`` to start from, such as a pipeline's; none starts from chance."""
    batch_size: int = 4
    """Takes a step and process."""
    window: int = 40
    """Frames in a take."""
    single_share: float = 0.5
    """Share of the steps in the single-emotion phase."""
    compound_share: float = 0.35
    """Share of mixtures in the second phase."""
    noisy_share: float = 0.35
    """Share of takes whose noised input shows another emotion, the mouth masked."""
    pure_share: float = 0.3
    """Share of takes that are nothing but noise: there the wish alone decides."""
    gate_weight: float = 0.1
    """Weight of the gates' cross-entropy with the wish."""
    point_weight: float = 2.0
    """Weight of the decoded points' error, annealed with the noise level."""
    held_weight: float = 1.0
    """Weight of the error of the expression that a take holds: of the points' mean over its frames."""
    inner_dim: int = 64
    """Width of each expert."""
    use_global_gate: bool = True
    use_local_gate: bool = True
    num_experts: int = 6
    use_prior: bool = True
    """Whether the emotion also moves the prediction of clean latents directly; false is the ablation."""
    use_bank: bool = False
    """Whether emotion latents retrieve from a bank of prototypes; false is the ablation."""
    bank_weight: float = 0.1
    """Weight of the bank's loss."""
    discriminator_weight: float = 0.0
    """Weight of the latent emotion discriminator; 0 is none."""


class EmotionStage:
    """The loss of stage 2."""

    def __init__(
        self,
        config: EmotionConfig,
        corpus: Corpus,
        codec: MotionCodec,
        unet: MotionUNet,
        adapters: MoEEAdapters,
        encoder: EmotionToLatents,
        discriminator: LatentEmotionDiscriminator | None = None,
    ) -> None:
        self.config, self.corpus, self.codec = config, corpus, codec
        self.discriminator = discriminator
        self.unet, self.adapters, self.encoder = unet, adapters, encoder
        self.mouth = torch.from_numpy(mouth_mask(codec.latent_size))
        self._contexts = ExitStack()

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        # the experts' context has to outlive this call where activations are computed again in the backward pass
        self._contexts.close()
        streams = take_streams(config.loop.seed + 1, step, config.batch_size)
        single = step < config.single_share * config.loop.steps
        compound = 0.0 if single else config.compound_share
        takes = [self.corpus.sample(stream, neutral=0.0, compound=compound, alternative=True) for stream in streams]
        batch = draw_batch(takes, self.codec, streams)
        start, weight = self._noisy_emotion(batch, streams)
        noised, timestep = noise_latents(batch, streams, start, pure_share=config.pure_share)
        with torch.no_grad():
            conditioning = self.unet.condition(batch.features, batch.controls, batch.audible)
        override = self._own_expert(batch.emotion) if single else None
        with self.encoder.collect_bank_losses() as bank_losses:
            emotion_latents = self.encoder(batch.emotion)
        self._contexts.enter_context(self.adapters.condition(emotion_latents, override))
        gates = self._contexts.enter_context(self.adapters.collect_gates())
        predicted = self.unet(noised, timestep, conditioning, batch.known).float()
        latent = latent_loss(predicted, batch, weight)
        error = (predicted - batch.latents) * weight
        logits = list(gates.logits)
        point, held = self._point_errors(predicted, batch, timestep, weight)
        figures = {"latent": float(latent.detach()), "point": float(point.detach()), "held": float(held.detach())}
        high = (timestep > 700).nonzero()[:, 0]
        if len(high):
            figures["latent_high_noise"] = float(
                error[high].detach().square().mean() / weight[high].mean().clamp(min=1e-3)
            )
        loss = latent + config.point_weight * point + config.held_weight * held
        if self.adapters.config["use_global_gate"] and self.adapters.config["num_experts"] == 6:
            # by takes, so that a batch's loss is the mean of its takes'
            choice = torch.stack(
                [gate_loss([x[i : i + 1] for x in logits], batch.emotion[i : i + 1]) for i in range(len(takes))]
            ).mean()
            loss = loss + config.gate_weight * choice
            figures["gate"] = float(choice.detach())
        if bank_losses:
            figures["bank"] = float(bank_losses[0].detach())
            loss = loss + config.bank_weight * bank_losses[0]
        if self.discriminator is not None:
            loss = loss + self._discriminate(predicted, batch, timestep, weight, figures)
        return loss, figures

    def _discriminate(
        self, predicted: Tensor, batch: Batch, timestep: Tensor, weight: Tensor, figures: dict[str, float]
    ) -> Tensor:
        """Loss of the latent emotion discriminator and of what it teaches, annealed as the points' error."""
        if self.discriminator is None:
            raise RuntimeError("there is no discriminator")
        kept = torch.where(weight > 0, predicted, batch.latents)
        annealed = torch.cos(timestep / 1000 * math.pi / 2)
        learning, teaching = self.discriminator.losses(batch.latents, kept, batch.emotion, annealed)
        figures["discriminator"], figures["emotion_shown"] = float(learning.detach()), float(teaching.detach())
        return learning + self.config.discriminator_weight * teaching

    def _noisy_emotion(self, batch: Batch, streams: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor]:
        """Latents to noise, and the weight of each place in the loss."""
        drawn = torch.tensor([stream.random() < self.config.noisy_share for stream in streams])
        chosen = drawn.to(batch.latents.device)[:, None, None, None, None]
        if batch.alternative is None:
            raise RuntimeError("takes were drawn without an alternative")
        weight = 1 - batch.known
        mouth = self.mouth.to(weight.device)
        # no sound, no lips to learn
        weight = torch.where(batch.audible[:, None, None, None, None], weight, weight * (1 - mouth))
        masked = weight * (1 - mouth)
        return torch.where(chosen, batch.alternative, batch.latents), torch.where(chosen, masked, weight)

    def _own_expert(self, emotion: Tensor) -> Tensor | None:
        """The strongest emotion's expert in each frame, one-hot ``[B, F, 6]``."""
        if self.adapters.config["num_experts"] != emotion.shape[-1] or not self.adapters.config["use_global_gate"]:
            return None
        return nn.functional.one_hot(emotion.argmax(-1), emotion.shape[-1]).float()

    def _point_errors(
        self, predicted: Tensor, batch: Batch, timestep: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Errors of the decoded points in tenths of an eye distance: their L1, weighted by cos(t pi / 2 T) as in MoEE,
        and :func:`held_error` at every noise level."""
        kept = torch.where(weight > 0, predicted, batch.latents)
        with torch.autocast(predicted.device.type, enabled=False):
            error = (self.codec.decode(kept) - batch.displacement) * 10
        point = (torch.cos(timestep / 1000 * math.pi / 2) * error.abs().mean((1, 2, 3))).mean()
        return point, held_error(error)


def held_error(error: Tensor) -> Tensor:
    """Error of the expression that is held through a take: L1 of the points' mean error over its frames.

    Latents are scaled to unit variance, so that lids, which blinks move far, hardly count when an emotion widens them,
    nor the corners of a mouth that speaks. Blinks and speech fall out of the mean, the expression stays. Brows, lids,
    lips and all other points count a quarter each.

    Args:
        error: of the points, ``[B, F, 478, 3]``.

    Returns:
        The mean over the takes, in the unit of ``error``.
    """
    held = error.mean(1).abs().mean(-1)
    regions = [set(RIGHT_BROW + LEFT_BROW), set(RIGHT_EYE + LEFT_EYE), set(LIPS_INNER + LIPS_OUTER)]
    regions.append(set(range(error.shape[2])).difference(*regions))
    return torch.stack([held[:, sorted(region)].mean() for region in regions]).mean()


def extend(model: _Model, **settings: Any) -> _Model:
    """The model with what other settings add to it, which is new; all else as it was."""
    known = {key: value for key, value in model.config.items() if not key.startswith("_")}
    extended = type(model)(**known | settings)
    extended.load_state_dict(model.state_dict(), strict=False)
    return extended


def start_encoder(init: Path | None, use_bank: bool) -> EmotionToLatents:
    """The encoder to begin with: new, or the one in the folder `init`, with a new bank if it has none and shall.

    Raises:
        ConfigError: it has a bank and shall have none.
    """
    if init is None:
        return EmotionToLatents(use_bank=use_bank)
    encoder = EmotionToLatents.from_pretrained(init / "emotion_encoder")
    if encoder.config["use_bank"] == use_bank:
        return encoder
    if not use_bank:
        raise ConfigError(f"The emotion encoder in {init} has a bank: set use_bank to true, or begin without init.")
    return extend(encoder, use_bank=True)


def start_adapters(config: EmotionConfig, unet: MotionUNet) -> MoEEAdapters:
    """The experts to begin with: new, or those of the configured `init`, with a new prior if they have none and shall.

    Raises:
        ConfigError: they have a prior and shall have none.
    """
    size = unet.config["latent_size"]
    shape = (unet.config["latent_channels"], size, size) if config.use_prior else None
    if config.init is None:
        return MoEEAdapters.from_unet(
            unet.unet,
            inner_dim=config.inner_dim,
            num_experts=config.num_experts,
            use_global_gate=config.use_global_gate,
            use_local_gate=config.use_local_gate,
            prior_shape=shape,
        )
    adapters = MoEEAdapters.from_pretrained(config.init / "adapters")
    if (adapters.prior is not None) == config.use_prior:
        return adapters
    if not config.use_prior:
        raise ConfigError(f"The experts in {config.init} have a prior: set use_prior to true, or begin without init.")
    return extend(adapters, prior_shape=shape)


def main() -> None:
    """Train stage 2 by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, EmotionConfig, options.set)
    torch.manual_seed(config.loop.seed)
    corpus = open_corpus(config.features, config.filmed, config.filmed_share, config.window)
    codec = MotionCodec.from_pretrained(config.codec)
    unet = MotionUNet.from_pretrained(config.motion)
    unet.requires_grad_(False)
    setup_unet(unet, config.loop)
    encoder = start_encoder(config.init, config.use_bank)
    adapters = start_adapters(config, unet)
    adapters.attach(unet.unet)

    def export(folder: Path) -> None:
        adapters.save_pretrained(folder / "adapters")
        encoder.save_pretrained(folder / "emotion_encoder")

    modules: dict[str, nn.Module] = {"adapters": adapters, "encoder": encoder}
    discriminator = None
    if config.discriminator_weight > 0:
        discriminator = modules["discriminator"] = LatentEmotionDiscriminator(codec.latent_channels)
    stage = EmotionStage(config, corpus, codec, unet, adapters, encoder, discriminator)
    preview = make_preview(config.loop.preview, lambda: preview_pipeline(codec, unet, adapters, encoder))
    loop = TrainingLoop(config.loop, modules, stage, export, preview)
    device = loop.prepare()
    codec.to(device)
    unet.to(device)
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
