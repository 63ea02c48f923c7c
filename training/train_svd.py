"""The GPU size: emotion experts, speech, identity and codebooks beside a frozen Stable Video Diffusion.

    python training/prepare.py VIDEOS --out corpus/filmed --set crop_size=512
    accelerate launch training/train_svd.py --config configs/svd.yaml

``part: speech`` trains the tokens of speech and reference and their attentions, ``part: emotion`` the experts and
Emotion-to-Latents with all else frozen, as in MoEE's two stages, ``part: decoder`` the codebook compensation of the
latent decoder. Run the same command again to resume.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mooe.config import load_config
from mooe.svd import SVDBase, SVDTalker
from mooe.svd.talker import PUBLISHED, SVDCondition
from training.codebook_care import revive_codes, share_counts
from training.common import LoopConfig, TrainingLoop, arguments, run_command, setup_unet, take_streams
from training.corpus.crop_frames import CropCorpus
from training.decoder_losses import gradients

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class SVDConfig:
    """Settings of the stage."""

    loop: LoopConfig
    filmed: Path
    """Folder that ``training/prepare.py`` wrote with ``crop_size``."""
    svd: str = PUBLISHED
    """Stable Video Diffusion's weights, a folder or a name on the hub."""
    part: Literal["speech", "emotion", "decoder"] = "speech"
    """What is trained."""
    init: Path | None = None
    """Folder of parts trained before; ``emotion`` goes on from those of ``speech``, ``decoder`` from both."""
    batch_size: int = 1
    """Windows a step and process."""
    window: int = 14
    """Frames in a window."""
    drop_audio: float = 0.1
    """Share of windows whose sound is withheld, for guidance."""
    sigma_mean: float = 0.7
    """Mean of the noise level's logarithm."""
    sigma_deviation: float = 1.6
    """Standard deviation of the noise level's logarithm."""
    decoder_sigma: float = 0.5
    """Highest noise level from which the talker makes the latents that ``decoder`` learns to decode."""
    gradient_weight: float = 1.0
    """Weight of the gradients' error beside that of the colours, for ``decoder``."""
    code_weight: float = 0.05
    """Weight of the codes' loss, for ``decoder``."""
    token_dim: int = 256
    audio_dim: int = 390


@dataclass
class _Draw:
    """A batch of windows with noise: clean and noised latents ``[B, F, C, h, w]``, levels ``[B]``, what is told."""

    frames: Tensor
    clean: Tensor
    noised: Tensor
    sigma: Tensor
    condition: SVDCondition


class SVDStage:
    """The loss of ``speech`` and ``emotion``: squared error of the clean latents, weighted by (s^2 + 1) / s^2 (EDM)."""

    def __init__(self, config: SVDConfig, corpus: CropCorpus, talker: SVDTalker) -> None:
        self.config, self.corpus, self.talker = config, corpus, talker
        # the attentions' contexts have to outlive a call where activations are computed again in the backward pass
        self._contexts = ExitStack()

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        self._contexts.close()
        drawn = self.draw(step)
        self._contexts.enter_context(self.talker.attending(drawn.condition))
        error = self.talker.denoise(drawn.noised, drawn.sigma, drawn.condition) - drawn.clean
        level = drawn.sigma[:, None, None, None, None]
        loss = (error.square() * (level**2 + 1) / level**2).mean()
        return loss, {"latent": float(error.detach().square().mean())}

    def draw(self, step: int) -> _Draw:
        """This process's windows of a step."""
        config, talker = self.config, self.talker
        streams = take_streams(config.loop.seed, step, config.batch_size)
        batch = self.corpus.draw(streams).to(talker.base.unet.device)
        clean = talker.base.encode_frames(batch.frames)
        levels = [self.noise_level(stream) for stream in streams]
        sigma = torch.tensor(levels, dtype=torch.float32, device=clean.device)
        noise = np.stack([stream.standard_normal(clean.shape[1:], dtype=np.float32) for stream in streams])
        noised = clean + sigma[:, None, None, None, None] * torch.from_numpy(noise).to(clean.device)
        kept = torch.tensor([stream.random() >= config.drop_audio for stream in streams], device=clean.device)
        emotion = None if config.part == "speech" else batch.emotion
        condition = talker.condition(batch.reference, batch.features, emotion=emotion, audible=batch.audible & kept)
        return _Draw(batch.frames, clean, noised, sigma, condition)

    def noise_level(self, rng: np.random.Generator) -> float:
        """Draw the level of a window's noise."""
        return float(np.exp(self.config.sigma_mean + self.config.sigma_deviation * rng.standard_normal()))


class SVDDecoderStage(SVDStage):
    """The loss of ``decoder``: colours and gradients of frames made from latents that err as the talker's do."""

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        drawn, talker, config = self.draw(step), self.talker, self.config
        with torch.no_grad(), talker.attending(drawn.condition):
            latents = talker.denoise(drawn.noised, drawn.sigma, drawn.condition)

        def decode() -> Tensor:
            return talker.decode(latents, drawn.condition, chunk=config.window)

        books = [talker.compensator.book]
        revive_codes(books, step, config.loop.steps, decode)
        with talker.compensator.collect_losses() as code_losses:
            frames = decode()
        share_counts(books)
        colors = (frames - drawn.frames).abs().mean()
        edges = (gradients(frames.flatten(0, 1)) - gradients(drawn.frames.flatten(0, 1))).abs().mean()
        # a clip and scale each
        codes = torch.stack(code_losses).sum() / config.batch_size
        loss = colors + config.gradient_weight * edges + config.code_weight * codes
        figures = {"colors": float(colors.detach()), "edges": float(edges.detach()), "usage": books[0].usage()}
        return loss, figures

    def noise_level(self, rng: np.random.Generator) -> float:
        """Draw a low level, as of the last steps of sampling."""
        return float(rng.uniform(0.02, self.config.decoder_sigma))


STAGES: dict[str, type[SVDStage]] = {"speech": SVDStage, "emotion": SVDStage, "decoder": SVDDecoderStage}


def trained_parts(talker: SVDTalker, part: str) -> dict[str, nn.Module]:
    """The modules that a part of the training changes; all others are frozen."""
    talker.requires_grad_(False)
    names = {
        "speech": ("conditioner", "audio_adapters", "reference_adapters"),
        "emotion": ("experts", "emotion_encoder"),
        "decoder": ("compensator",),
    }[part]
    parts: dict[str, nn.Module] = {name: getattr(talker, name) for name in names}
    for module in parts.values():
        module.requires_grad_(True).train()
    return parts


def main() -> None:
    """Train a part by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, SVDConfig, options.set)
    torch.manual_seed(config.loop.seed)
    corpus = CropCorpus(config.filmed, config.window)
    base = SVDBase.from_pretrained(config.svd, torch_dtype=DTYPES[config.loop.mixed_precision])
    setup_unet(base.unet, config.loop)
    if config.loop.gradient_checkpointing:
        # activations are computed again in training mode only; there is no dropout
        base.unet.train()
    talker = (
        SVDTalker.from_pretrained(config.init, base)
        if config.init is not None
        else SVDTalker.from_base(base, config.token_dim, config.audio_dim)
    )
    stage = STAGES[config.part](config, corpus, talker)
    loop = TrainingLoop(config.loop, trained_parts(talker, config.part), stage, talker.save_pretrained)
    device = loop.prepare()
    base.to(device)
    talker.to(device)
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
