"""The frozen reader of mouths for stage 1's loss ``lips.heard`` (after THUNDER, Daněček et al., 2025).

    accelerate launch training/train_regressor.py --config configs/regressor.yaml

It learns from the acted corpus which speech goes with which motion of the mouth. Run the same command again to resume.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mooe.config import load_config
from mooe.motion.unet import AUDIO_CONTEXT, MOUTH_POINTS
from training.common import LoopConfig, TrainingLoop, arguments, run_command, take_streams
from training.corpus.motion import MotionCorpus, load_clips
from training.speech_regressor import MouthToSpeech


@dataclass
class RegressorConfig:
    """Settings of the stage."""

    loop: LoopConfig
    features: Path
    """Folder that ``training/corpus/features.py`` wrote."""
    batch_size: int = 16
    """Takes a step and process."""
    window: int = 60
    """Frames in a take."""
    channels: int = 96
    """Width of the layers."""
    neutral_share: float = 0.6
    """Share of takes without emotion."""
    fit_takes: int = 256
    """Takes from which the features' statistics are taken."""


class RegressorStage:
    """The loss of the stage: squared error of the speech read from the mouth."""

    def __init__(self, config: RegressorConfig, corpus: MotionCorpus, regressor: MouthToSpeech) -> None:
        self.config, self.corpus, self.regressor = config, corpus, regressor

    def draw(self, streams: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor]:
        """Mouths ``[B, F, 123]`` and the speech features that go with them ``[B, F, D]``, a take a stream."""
        takes = [self.corpus.sample(stream, neutral=self.config.neutral_share) for stream in streams]
        mouths = np.stack([take.displacement[:, list(MOUTH_POINTS)].reshape(self.config.window, -1) for take in takes])
        heard = np.stack([take.features[AUDIO_CONTEXT:-AUDIO_CONTEXT] for take in takes])
        return torch.from_numpy(mouths.astype(np.float32)), torch.from_numpy(heard.astype(np.float32))

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        device = self.regressor.device
        streams = take_streams(self.config.loop.seed, step, self.config.batch_size)
        mouths, heard = (tensor.to(device) for tensor in self.draw(streams))
        wished = self.regressor.standardise(heard)
        loss = (self.regressor(mouths) - wished).square().mean()
        # 1 is what reading nothing would leave, of features that are not held up by the floor
        return loss, {"error": float(loss.detach()), "unread": float(wished.square().mean())}


def main() -> None:
    """Train by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, RegressorConfig, options.set)
    torch.manual_seed(config.loop.seed)
    clips = load_clips(config.features)
    regressor = MouthToSpeech(clips[0].features[0].shape[1], config.channels)
    stage = RegressorStage(config, MotionCorpus(clips, config.window), regressor)
    regressor.fit(stage.draw([np.random.default_rng(config.loop.seed)] * config.fit_takes)[1])
    loop = TrainingLoop(config.loop, {"regressor": regressor}, stage, regressor.save_pretrained)
    loop.prepare()
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
