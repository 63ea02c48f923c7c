"""LoRA: a speaker's way of speaking, learnt from a minute or two of video; everything else is frozen.

    accelerate launch training/train_lora.py --config configs/lora_speaker.yaml --data MY_VIDEO

``--data`` takes videos, folders of videos, or a folder that ``training/prepare.py`` wrote. Videos are prepared first,
into the output folder. What comes out is ``OUTPUT/weights/pytorch_lora_weights.safetensors``, a few megabytes, for
``mooe generate --lora`` and ``pipe.load_lora_weights``. Run the same command again to resume.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mooe.config import load_config
from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.latents import EmotionToLatents
from mooe.motion.codec import MotionCodec
from mooe.motion.lora import SPEAKER_TARGETS, add_speaker_lora, save_unet_lora
from mooe.motion.unet import MotionUNet
from mooe.pipeline import MoEEPipeline
from training.common import LoopConfig, TrainingLoop, arguments, run_command, setup_unet, take_streams
from training.corpus.filmed import CLIPS_FOLDER, Corpus, FilmedCorpus, filmed_clips
from training.extras import make_preview, preview_pipeline
from training.motion_batch import Batch, draw_batch, mouth_mask, noise_latents
from training.train_motion import latent_loss

logger = logging.getLogger(__name__)


@dataclass
class LoraTrainingConfig:
    """Settings of the training."""

    loop: LoopConfig
    model: Path | None = None
    """Pipeline folder to adapt; none adapts the built-in weights."""
    rank: int = 8
    """Inner width of the matrices."""
    alpha: float = 8.0
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
    """Share of takes that are nothing but noise, where a style is decided."""


class LoraStage:
    """The loss of the training: denoise the speaker's motion, shown the emotion that a clip is labelled with."""

    def __init__(
        self,
        config: LoraTrainingConfig,
        corpus: Corpus,
        codec: MotionCodec,
        unet: MotionUNet,
        adapters: MoEEAdapters,
        encoder: EmotionToLatents,
    ) -> None:
        self.config, self.corpus, self.codec = config, corpus, codec
        self.unet, self.adapters, self.encoder = unet, adapters, encoder
        self.mouth = torch.from_numpy(mouth_mask(codec.latent_size))
        # the experts' context has to outlive a call where activations are computed again in the backward pass
        self._condition: Any = None

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        if self._condition is not None:
            self._condition.__exit__(None, None, None)
        config = self.config
        streams = take_streams(config.loop.seed, step, config.batch_size)
        batch = draw_batch([self.corpus.sample(stream) for stream in streams], self.codec, streams)
        kept = torch.tensor([stream.random() >= config.drop_audio for stream in streams])
        noised, timestep = noise_latents(batch, streams, pure_share=config.pure_share)
        with torch.no_grad():
            latents = self.encoder(batch.emotion) if bool(batch.emotion.any()) else None
        self._condition = self.adapters.condition(latents)
        self._condition.__enter__()
        present = batch.audible & kept.to(batch.audible.device)
        conditioning = self.unet.condition(batch.features, batch.controls, present)
        predicted = self.unet(noised, timestep, conditioning, batch.known)
        loss = latent_loss(predicted, batch, self._weight(batch))
        return loss, {"latent": float(loss.detach())}

    def _weight(self, batch: Batch) -> Tensor:
        """What counts: all that was not given, and no mouth where there is no sound to move it."""
        silent = (~batch.audible).float()[:, None, None, None, None]
        return (1 - batch.known) * (1 - silent * self.mouth.to(silent.device))


def open_speaker(data: list[Path], output: Path, window: int) -> FilmedCorpus:
    """The speaker's clips; videos are prepared into ``output`` first.

    Raises:
        MooeError: nothing in ``data`` can be used.
    """
    if len(data) == 1 and (data[0] / CLIPS_FOLDER).is_dir():
        return FilmedCorpus(filmed_clips(data[0]), window)
    from training.prepare import PrepareConfig, prepare

    folder = output / "corpus"
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        torch.distributed.barrier()
    else:
        prepare(PrepareConfig(sources=tuple(data), output=folder))
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
    return FilmedCorpus(filmed_clips(folder), window)


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

    def export(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_unet_lora(unet, folder)

    preview = make_preview(config.loop.preview, lambda: preview_pipeline(codec, unet, adapters, encoder))
    # the loop starts the processes' group, which the preparing of videos waits on
    loop = TrainingLoop(config.loop, {"unet": unet}, lambda step: stage(step), export, preview)
    stage = LoraStage(
        config, open_speaker(options.data, config.loop.output, config.window), codec, unet, adapters, encoder
    )
    device = loop.prepare()
    for module in (codec, adapters, encoder):
        module.to(device)
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
