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
from training.common import LoopConfig, TrainingLoop, arguments
from training.corpus.motion import MotionCorpus, Take, load_clips


@dataclass
class PoseConfig:
    """Settings of the stage."""

    loop: LoopConfig
    features: Path
    """Folder that ``training/corpus/features.py`` wrote."""
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

    def __init__(self, config: PoseConfig, corpus: MotionCorpus, predictor: HeadPosePredictor) -> None:
        self.config, self.corpus, self.predictor = config, corpus, predictor

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([self.config.loop.seed, step])
        takes = [knots(self.corpus.sample(rng)) for _ in range(self.config.batch_size)]
        sound, emotion, pose = (torch.from_numpy(np.stack(x)).float() for x in zip(*takes, strict=True))
        heard = pose + self.config.history_noise * torch.from_numpy(rng.standard_normal(pose.shape)).float()
        before, previous, target = heard[:, :-2], heard[:, 1:-1], pose[:, 2:]
        mean, spread, _ = self.predictor(self.predictor.inputs(sound[:, 2:], emotion[:, 2:], previous, before))
        error = (target - previous - mean.float()) / spread.float().exp()
        loss = (0.5 * error.square() + spread.float()).mean()
        return loss, {"deviation": float(spread.detach().float().exp().mean())}


def main() -> None:
    """Train the predictor by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, PoseConfig, options.set)
    torch.manual_seed(config.loop.seed)
    clips = load_clips(config.features)
    predictor = HeadPosePredictor(PROSODY_DIM, hidden_dim=config.hidden_dim)
    sound = np.concatenate([knot_features(c.features[0][:, -PROSODY_DIM:].astype(np.float32)) for c in clips])
    predictor.prosody_mean.copy_(torch.from_numpy(sound.mean(0)))
    predictor.prosody_std.copy_(torch.from_numpy(sound.std(0) + 1e-3))
    stage = PoseStage(config, MotionCorpus(clips, config.window), predictor)
    loop = TrainingLoop(config.loop, {"predictor": predictor}, stage, predictor.save_pretrained)
    loop.prepare()
    loop.run(options.max_minutes)


if __name__ == "__main__":
    main()
