"""Losses of stage 1 on decoded lips: contact, velocity, and what a frozen regressor hears in the mouth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mooe.face.regions import LIP_PAIRS
from mooe.motion.codec import MotionCodec
from mooe.motion.unet import AUDIO_CONTEXT, MOUTH_POINTS
from training.motion_batch import Batch
from training.speech_regressor import MOUTH_SCALE, MouthToSpeech

# Below this gap in eye distances lips count as touching; beyond it nothing is asked of them here
_TOUCHING = 0.012


@dataclass
class LipLossConfig:
    """Weights of the losses on decoded lips; 0 leaves one out."""

    closure: float = 0.0
    """Of the gap between lips that should touch."""
    velocity: float = 0.0
    """Of the speed at which lips part and meet."""
    heard: float = 0.0
    """Of the speech that the regressor reads from the mouth (THUNDER, Daněček et al., 2025)."""
    regressor: Path | None = None
    """Folder that ``training/train_regressor.py`` wrote; needed for ``heard``."""

    def __post_init__(self) -> None:
        if min(self.closure, self.velocity, self.heard) < 0:
            raise ValueError("weights of losses are 0 or more")
        if self.heard and self.regressor is None:
            raise ValueError("'heard' needs 'regressor', the folder that training/train_regressor.py wrote")


class LipLosses:
    """The losses that a configuration asks for.

    Args:
        config: their weights.
        codec: decodes latents to points.
    """

    def __init__(self, config: LipLossConfig, codec: MotionCodec) -> None:
        self._config, self._codec = config, codec
        self._regressor: MouthToSpeech | None = None
        if config.heard and config.regressor is not None:
            self._regressor = MouthToSpeech.from_pretrained(config.regressor).eval().requires_grad_(False)

    def __call__(self, predicted: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the losses, and each of them.

        Args:
            predicted: clean latents ``[B, F, C, h, w]``.
            batch: what they should be.
        """
        weights = {n: getattr(self._config, n) for n in ("closure", "velocity", "heard")}
        if not any(weights.values()):
            return predicted.new_zeros(()), {}
        points = self._codec.decode(predicted.float())
        losses: dict[str, Tensor] = {}
        if weights["closure"]:
            losses["closure"] = closure_loss(points, batch.displacement)
        if weights["velocity"]:
            losses["velocity"] = lip_velocity_loss(points, batch.displacement)
        if self._regressor is not None:
            losses["heard"] = heard_loss(self._regressor.to(points.device), points, batch.features)
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        return total, {name: float(loss.detach()) for name, loss in losses.items()}


def lip_gaps(points: Tensor) -> Tensor:
    """Opening between the paired inner-lip landmarks, ``[..., 478, 3]`` -> ``[..., 9]`` in eye distances."""
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    return points[..., upper, 1] - points[..., lower, 1]


def closure_loss(points: Tensor, target: Tensor) -> Tensor:
    """Squared gap in tenths of eye distances where the target's lips touch, a mean over those places; 0 if none do.

    Gaps below the target's count as well: lips that cross are as wrong as lips that part.
    """
    wished = lip_gaps(target)
    touching = (wished < _TOUCHING).float()
    error = (lip_gaps(points) - wished) * MOUTH_SCALE * touching
    return error.square().sum() / touching.sum().clamp(min=1.0)


def lip_velocity_loss(points: Tensor, target: Tensor) -> Tensor:
    """Squared error of the gaps' change from frame to frame, in tenths of eye distances."""
    return ((lip_gaps(points) - lip_gaps(target)) * MOUTH_SCALE).diff(dim=1).square().mean()


def heard_loss(regressor: MouthToSpeech, points: Tensor, features: Tensor) -> Tensor:
    """Squared error of the speech that the frozen regressor reads from the mouth against the speech that is heard.

    Args:
        regressor: reads speech from mouths.
        points: displacements ``[B, F, 478, 3]``.
        features: speech features with context, ``[B, F + 32, D]``.
    """
    heard = regressor.standardise(features[:, AUDIO_CONTEXT : features.shape[1] - AUDIO_CONTEXT])
    read = regressor(points[:, :, list(MOUTH_POINTS)].flatten(2))
    return (read - heard).square().mean()
