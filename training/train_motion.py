"""Motion, stage 1: the audio encoder and the video UNet learn speech, head-led gaze, blinks and expression.

    accelerate launch training/train_motion.py --config configs/motion.yaml

Emotional takes are in the data; which emotion is not told, only how strong it is. So the network learns every
emotion's motion, and at intensity 0 it is neutral; stage 2 (``train_emotion.py``) adds the experts that choose.
Run the same command again to resume.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mooe.config import load_config
from mooe.errors import ConfigError
from mooe.motion.codec import MotionCodec
from mooe.motion.unet import MOUTH_POINTS, MotionUNet
from training.common import LoopConfig, TrainingLoop, arguments, run_command, setup_unet, take_streams
from training.corpus.filmed import Corpus, open_corpus
from training.extras import make_preview, preview_pipeline
from training.lip_losses import LipLossConfig, LipLosses
from training.motion_batch import Batch, draw_batch, noise_latents

logger = logging.getLogger(__name__)
# The audio encoder regresses the mouth in tenths of an eye distance
MOUTH_SCALE = 10.0


@dataclass
class UNetConfig:
    """Sizes of the video UNet; see :class:`mooe.motion.unet.MotionUNet`."""

    audio_dim: int = 390
    latent_channels: int = 108
    latent_size: int = 8
    block_out_channels: tuple[int, ...] = (64, 96)
    layers_per_block: int = 1


@dataclass
class MotionConfig:
    """Settings of the stage."""

    loop: LoopConfig
    features: Path
    """Folder that ``training/corpus/features.py`` wrote."""
    codec: Path
    """Folder of the fitted codec."""
    filmed: Path | None = None
    """Folder that ``training/prepare.py`` wrote; none trains on the acted corpus alone."""
    filmed_share: float = 0.5
    """Share of the takes that are filmed; at 1 ``features`` is read for the sound's statistics alone."""
    batch_size: int = 4
    """Takes a step and process."""
    window: int = 40
    """Frames in a take."""
    init: Path | None = None
    """Folder of weights to start from; none starts from chance."""
    audio_warmup_steps: int = 400
    """First steps, in which the audio encoder and the prior learn alone."""
    warmup_batch: int = 12
    """Takes a step and process in these."""
    emotional_noise: float = 0.8
    """Highest noise level of emotional takes: beyond it, which emotion it is cannot be known here."""
    neutral_share: float = 0.4
    """Share of takes without emotion."""
    drop_audio: float = 0.1
    """Share of takes whose sound is withheld, for guidance."""
    unet: UNetConfig = field(default_factory=UNetConfig)
    lips: LipLossConfig = field(default_factory=LipLossConfig)
    """Losses on decoded lips."""


def mouth_loss(estimate: Tensor, batch: Batch) -> Tensor:
    """Squared error of the audio encoder's mouth against plain speech's, and of its velocity, where that is known."""
    target = batch.speech[:, :, list(MOUTH_POINTS)].flatten(2) * MOUTH_SCALE
    error = (estimate.float() - target) * batch.speech_known[:, None, None]
    return error.square().mean() + error.diff(dim=1).square().mean()


def latent_loss(predicted: Tensor, batch: Batch, weight: Tensor | None = None) -> Tensor:
    """Squared error of the clean latents and half that of their velocity, a mean over takes.

    Args:
        predicted: clean latents ``[B, F, C, h, w]``.
        batch: the batch.
        weight: of each place, ``[B, F, 1, h, w]``; None counts what was not given.
    """
    counted = 1 - batch.known if weight is None else weight
    error = (predicted.float() - batch.latents) * counted
    # each take by its own share of what counts, so that a batch's loss is the mean of its takes'
    share = counted.mean((1, 2, 3, 4)).clamp(min=1e-3)
    squares = error.square().mean((1, 2, 3, 4)) + 0.5 * error.diff(dim=1).square().mean((1, 2, 3, 4))
    return (squares / share).mean()


class MotionStage:
    """The loss of stage 1."""

    def __init__(self, config: MotionConfig, corpus: Corpus, codec: MotionCodec, unet: MotionUNet) -> None:
        self.config, self.corpus, self.codec, self.unet = config, corpus, codec, unet
        self.lips = LipLosses(config.lips, codec)

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        warming = step < self.config.audio_warmup_steps
        size = self.config.warmup_batch if warming else self.config.batch_size
        streams = take_streams(self.config.loop.seed, step, size)
        takes = [self.corpus.sample(stream, neutral=self.config.neutral_share) for stream in streams]
        batch = draw_batch(takes, self.codec, streams)
        kept = torch.tensor([stream.random() >= self.config.drop_audio for stream in streams])
        present = batch.audible & kept.to(batch.audible.device)
        conditioning = self.unet.condition(batch.features, batch.controls, present)
        mouth = mouth_loss(conditioning.mouth, batch)
        emotional = batch.emotion.amax((1, 2)) > 0
        neutral = (~emotional & batch.audible).float()[:, None, None, None, None]
        # the prior stands for neutral speech; emotion is the UNet's and the experts' part
        likely = ((conditioning.prior.float() - batch.latents).square() * neutral).mean()
        if warming:
            return mouth + likely, {"mouth": float(mouth.detach()), "prior": float(likely.detach())}
        most = torch.where(emotional, self.config.emotional_noise, 1.0)
        noised, timestep = noise_latents(batch, streams, most=most)
        predicted = self.unet(noised, timestep, conditioning, batch.known)
        diffusion = latent_loss(predicted, batch)
        lips, lip_figures = self.lips(predicted, batch)
        figures = {
            "latent": float(diffusion.detach()),
            "mouth": float(mouth.detach()),
            "prior": float(likely.detach()),
            **lip_figures,
        }
        high = (timestep > 700).nonzero()[:, 0]
        if len(high):
            # low noise says nothing about the speech; the error at high noise does
            figures["latent_high_noise"] = float(
                functional.mse_loss(predicted[high].float().detach(), batch.latents[high])
            )
        return diffusion + 0.5 * mouth + 0.5 * likely + lips, figures


def main() -> None:
    """Train stage 1 by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, MotionConfig, options.set)
    torch.manual_seed(config.loop.seed)
    corpus = open_corpus(config.features, config.filmed, config.filmed_share, config.window)
    codec = MotionCodec.from_pretrained(config.codec)
    unet = (
        MotionUNet.from_pretrained(config.init)
        if config.init
        else MotionUNet(
            latent_channels=config.unet.latent_channels,
            latent_size=config.unet.latent_size,
            audio_dim=config.unet.audio_dim,
            block_out_channels=config.unet.block_out_channels,
            layers_per_block=config.unet.layers_per_block,
        )
    )
    if (found := next(corpus.sounds()).shape[1]) != (read := unet.config["audio_dim"]):
        raise ConfigError(
            f"The features in {config.features} have {found} numbers a frame and the model reads {read}: set "
            f"unet.audio_dim={found}, and no 'init' of another width."
        )
    if config.init is None:
        sound = np.concatenate(list(islice(corpus.sounds(), 400))).astype(np.float32)
        # rare phones would be blown up without a floor
        unet.audio_encoder.feature_mean.copy_(torch.from_numpy(sound.mean(0)))
        unet.audio_encoder.feature_std.copy_(torch.from_numpy(np.maximum(sound.std(0), 0.05)))
    setup_unet(unet, config.loop)
    stage = MotionStage(config, corpus, codec, unet)
    preview = make_preview(config.loop.preview, lambda: preview_pipeline(codec, unet))
    loop = TrainingLoop(config.loop, {"unet": unet}, stage, unet.save_pretrained, preview)
    codec.to(loop.prepare())
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
