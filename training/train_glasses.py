"""The network that marks glasses' frames (see ``mooe/decoder/glasses.py``).

    accelerate launch training/train_glasses.py --config configs/glasses.yaml

It learns from glasses drawn over the eyes of a folder of portraits that wear none. Run the same command again to
resume. With ``--pack FOLDER`` the weights that it has learnt are written there instead, in half precision.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mooe.config import load_config
from mooe.decoder.glasses import GlassesNetwork
from training.common import LoopConfig, TrainingLoop, arguments, run_command, take_streams
from training.corpus.glasses import Eyes, read_eyes, sample_eyes


@dataclass
class GlassesConfig:
    """Settings of the stage."""

    loop: LoopConfig
    portraits: Path
    """Folder of portraits without glasses."""
    batch_size: int = 12
    """Pictures a step and process."""
    wearing: float = 0.6
    """Share of the pictures in which glasses are drawn."""


def marking_loss(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and the Dice loss (Milletari, Navab and Ahmadi, "V-Net", 2016), over a batch of pictures.

    Args:
        logits, masks: ``[B, 1, h, w]``, the masks 0 to 1.
    """
    found = torch.sigmoid(logits)
    overlap = 2 * (found * masks).sum() / (found.square().sum() + masks.square().sum() + 1.0)
    return functional.binary_cross_entropy_with_logits(logits, masks), 1 - overlap


class GlassesStage:
    """The loss of the stage."""

    def __init__(self, config: GlassesConfig, eyes: list[Eyes], network: GlassesNetwork) -> None:
        self.config, self.eyes, self.network = config, eyes, network

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        streams = take_streams(self.config.loop.seed, step, self.config.batch_size)
        drawn = [sample_eyes(self.eyes[int(rng.integers(len(self.eyes)))], rng, self.config.wearing) for rng in streams]
        device = self.network.device
        pictures = torch.from_numpy(np.stack([picture for picture, _ in drawn])).to(device)
        masks = torch.from_numpy(np.stack([mask for _, mask in drawn]))[:, None].to(device)
        entropy, dice = marking_loss(self.network(pictures.permute(0, 3, 1, 2).float() / 255).float(), masks)
        return entropy + 0.5 * dice, {"entropy": float(entropy.detach()), "dice": float(dice.detach())}


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="write the trained weights there")


def main() -> None:
    """Train the network of a configuration file, or pack it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__, _add_options)
    config = load_config(options.config, GlassesConfig, options.set)
    if options.pack is not None:
        GlassesNetwork.from_pretrained(config.loop.output / "weights").half().save_pretrained(options.pack)
        return
    torch.manual_seed(config.loop.seed)
    network = GlassesNetwork().train()
    stage = GlassesStage(config, read_eyes(config.portraits), network)
    loop = TrainingLoop(config.loop, {"network": network}, stage, network.save_pretrained)
    loop.prepare()
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
