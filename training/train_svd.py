"""The GPU size: emotion experts, speech and identity beside Stable Video Diffusion's frozen UNet, on image latents.

    python training/prepare.py VIDEOS --out corpus/filmed --set crop_size=512
    accelerate launch training/train_svd.py --config configs/svd.yaml

``part: speech`` trains the tokens of speech and reference and their attentions, ``part: emotion`` the experts and
Emotion-to-Latents with all else frozen, as in MoEE's two stages. Run the same command again to resume.
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
from mooe.svd.talker import PUBLISHED
from training.common import LoopConfig, TrainingLoop, arguments, run_command, setup_unet, take_streams
from training.corpus.crop_frames import CropCorpus

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class SVDConfig:
    """Settings of the stage."""

    loop: LoopConfig
    filmed: Path
    """Folder that ``training/prepare.py`` wrote with ``crop_size``."""
    svd: str = PUBLISHED
    """Stable Video Diffusion's weights, a folder or a name on the hub."""
    part: Literal["speech", "emotion"] = "speech"
    """What is trained."""
    init: Path | None = None
    """Folder of parts trained before; ``emotion`` goes on from those of ``speech``."""
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
    token_dim: int = 256
    audio_dim: int = 390


class SVDStage:
    """The loss: squared error of the clean latents, weighted by (s^2 + 1) / s^2 as in EDM."""

    def __init__(self, config: SVDConfig, corpus: CropCorpus, talker: SVDTalker) -> None:
        self.config, self.corpus, self.talker = config, corpus, talker
        # the attentions' contexts have to outlive a call where activations are computed again in the backward pass
        self._contexts = ExitStack()

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        self._contexts.close()
        config, talker = self.config, self.talker
        streams = take_streams(config.loop.seed, step, config.batch_size)
        batch = self.corpus.draw(streams).to(talker.base.unet.device)
        clean = talker.base.encode_frames(batch.frames)
        logs = [config.sigma_mean + config.sigma_deviation * stream.standard_normal() for stream in streams]
        sigma = torch.tensor(np.exp(logs), dtype=torch.float32, device=clean.device)
        noise = np.stack([stream.standard_normal(clean.shape[1:], dtype=np.float32) for stream in streams])
        level = sigma[:, None, None, None, None]
        noised = clean + level * torch.from_numpy(noise).to(clean.device)
        kept = torch.tensor([stream.random() >= config.drop_audio for stream in streams], device=clean.device)
        emotion = batch.emotion if config.part == "emotion" else None
        condition = talker.condition(batch.reference, batch.features, emotion=emotion, audible=batch.audible & kept)
        self._contexts.enter_context(talker.attending(condition))
        error = talker.denoise(noised, sigma, condition) - clean
        loss = (error.square() * (level**2 + 1) / level**2).mean()
        return loss, {"latent": float(error.detach().square().mean())}


def trained_parts(talker: SVDTalker, part: str) -> dict[str, nn.Module]:
    """The modules that a part of the training changes; all others are frozen."""
    talker.requires_grad_(False)
    names = {
        "speech": ("conditioner", "audio_adapters", "reference_adapters"),
        "emotion": ("experts", "emotion_encoder"),
    }[part]
    parts: dict[str, nn.Module] = {name: getattr(talker, name) for name in names}
    for module in parts.values():
        module.requires_grad_(True)
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
    stage = SVDStage(config, corpus, talker)
    loop = TrainingLoop(config.loop, trained_parts(talker, config.part), stage, talker.save_pretrained)
    device = loop.prepare()
    base.to(device)
    talker.to(device)
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
