"""Head pose: the recurrent predictor learns head motion from prosody.

    accelerate launch training/train_pose.py --config configs/pose.yaml

Maximum likelihood of the next pose given the sound, the emotion and the true poses before, with a little noise on
the latter so that the network learns to find back from its own mistakes. Run the same command again to resume.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mooe.audio.prosody import PROSODY_DIM
from mooe.config import load_config
from mooe.motion.pose import FRAMES_PER_KNOT, HeadPosePredictor, knot_features, scale_pose
from mooe.motion.unet import AUDIO_CONTEXT
from training.common import LoopConfig, TrainingLoop, arguments, run_command, setup_unet, take_streams
from training.corpus.filmed import Corpus, open_corpus
from training.corpus.motion import Take


@dataclass
class PoseConfig:
    """Settings of the stage."""

    loop: LoopConfig
    features: Path
    """Folder that ``training/corpus/features.py`` wrote."""
    filmed: Path | None = None
    """Folder that ``training/prepare.py`` wrote; none trains on the acted corpus alone."""
    filmed_share: float = 0.5
    """Share of the takes that are filmed."""
    batch_size: int = 16
    """Takes a step and process."""
    window: int = 200
    """Frames in a take."""
    hidden_dim: int = 64
    history_noise: float = 0.15
    """Deviation of the noise on the poses fed back."""


def knots(take: Take) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pooled prosody ``[K + 1, 2 P]``, emotion ``[K, 6]`` and scaled poses ``[K, 6]`` of a take."""
    frames = len(take.emotion) // FRAMES_PER_KNOT * FRAMES_PER_KNOT
    sound = take.features[AUDIO_CONTEXT : AUDIO_CONTEXT + frames + FRAMES_PER_KNOT, -PROSODY_DIM:]
    pose = np.concatenate([take.controls.rotation, take.controls.translation], 1)[:frames:FRAMES_PER_KNOT]
    return knot_features(sound), take.emotion[:frames:FRAMES_PER_KNOT], scale_pose(pose)


class PoseStage:
    """The loss of the stage."""

    def __init__(self, config: PoseConfig, corpus: Corpus, predictor: HeadPosePredictor) -> None:
        self.config, self.corpus, self.predictor = config, corpus, predictor

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        streams = take_streams(self.config.loop.seed, step, self.config.batch_size)
        drawn = [self.corpus.sample(stream) for stream in streams]
        device = self.predictor.device
        sound, emotion, pose = (
            torch.from_numpy(np.stack(x)).float().to(device) for x in zip(*map(knots, drawn), strict=True)
        )
        noise = np.stack([stream.standard_normal(pose.shape[1:], dtype=np.float32) for stream in streams])
        heard = pose + self.config.history_noise * torch.from_numpy(noise).to(device)
        # a head that moves to a sound nobody has is nothing to learn from
        audible = torch.tensor([take.audible for take in drawn], device=device)[:, None, None]
        before, previous, target = heard[:, :-2], heard[:, 1:-1], pose[:, 2:]
        mean, spread, _ = self.predictor(self.predictor.inputs(sound[:, 2:], emotion[:, 2:], previous, before))
        error = (target - previous - mean.float()) / spread.float().exp()
        loss = ((0.5 * error.square() + spread.float()) * audible).mean()
        return loss, {"deviation": float(spread.detach().float().exp().mean())}


def main() -> None:
    """Train the predictor by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, PoseConfig, options.set)
    torch.manual_seed(config.loop.seed)
    corpus = open_corpus(config.features, config.filmed, config.filmed_share, config.window)
    predictor = HeadPosePredictor(PROSODY_DIM, hidden_dim=config.hidden_dim)
    sound = np.concatenate([knot_features(f[:, -PROSODY_DIM:].astype(np.float32)) for f in corpus.sounds()])
    predictor.prosody_mean.copy_(torch.from_numpy(sound.mean(0)))
    predictor.prosody_std.copy_(torch.from_numpy(sound.std(0) + 1e-3))
    setup_unet(None, config.loop)
    stage = PoseStage(config, corpus, predictor)
    loop = TrainingLoop(config.loop, {"predictor": predictor}, stage, predictor.save_pretrained)
    loop.prepare()
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
