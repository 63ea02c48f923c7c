"""Fit the motion codec: the statistics of motion latents over acted takes, and a report of its exactness.

    accelerate launch training/train_codec.py --config configs/codec.yaml

The transform itself is fixed and linear, so this takes a minute and needs no checkpoints.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mooe.config import load_config
from mooe.face.regions import LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE
from mooe.motion.codec import MotionCodec
from training.common import arguments, run_command
from training.corpus.filmed import open_corpus
from training.extras import push_to_hub

logger = logging.getLogger(__name__)


@dataclass
class CodecConfig:
    """Settings of the stage."""

    features: Path
    """Folder that ``training/corpus/features.py`` wrote."""
    output: Path
    """Folder for the fitted codec."""
    filmed: Path | None = None
    """Folder that ``training/prepare.py`` wrote; none takes the statistics from the acted corpus alone."""
    filmed_share: float = 0.5
    """Share of the takes that are filmed."""
    takes: int = 400
    """Takes from which the statistics come."""
    window: int = 40
    """Frames in a take."""
    map_size: int = 48
    patch_size: int = 6
    seed: int = 0


def main() -> None:
    """Fit the codec by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, CodecConfig, options.set)
    corpus = open_corpus(config.features, config.filmed, config.filmed_share, config.window)
    rng = np.random.default_rng(config.seed)
    takes = torch.from_numpy(np.concatenate([corpus.sample(rng).displacement for _ in range(config.takes)]))
    codec = MotionCodec(config.map_size, config.patch_size)
    codec.fit(takes)
    codec.save_pretrained(config.output)
    error = (codec.decode(codec.encode(takes)) - takes).norm(dim=-1)
    lips, lids = list(LIPS_INNER + LIPS_OUTER), list(RIGHT_EYE + LEFT_EYE)
    report = {
        "mean": float(error.mean()),
        "lips_mean": float(error[:, lips].mean()),
        "lips_worst": float(error[:, lips].max()),
        "lids_worst": float(error[:, lids].max()),
    }
    (config.output / "exactness.json").write_text(json.dumps(report, indent=2))
    logger.info("error in eye distances: %s", report)
    if options.push_to_hub:
        push_to_hub(config.output, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
