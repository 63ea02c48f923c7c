"""MouthToSpeech: from the motion of a mouth to the speech features that go with it."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from mooe.motion.unet import MOUTH_POINTS

# The regressor reads the mouth in tenths of an eye distance
MOUTH_SCALE = 10.0
_SMOOTHED = 5  # frames: the recogniser's peaks are shorter than a mouth's motion can place them
_FLOOR = 0.02  # smallest deviation of a feature, or rare phones would be blown up


class MouthToSpeech(ModelMixin, ConfigMixin):
    """Dilated convolutions over the mouth's points; a frame sees 9 frames on either side.

    Args:
        feature_dim: width of the speech features.
        channels: width of the layers.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, feature_dim: int = 390, channels: int = 96) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))
        self.project = nn.Conv1d(3 * len(MOUTH_POINTS), channels, 1)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=d, dilation=d) for d in (1, 2, 4, 2))
        self.out = nn.Conv1d(channels, feature_dim, 1)

    def forward(self, mouth: Tensor) -> Tensor:
        """Mouths ``[B, F, 123]`` in eye distances -> standardised features ``[B, F, D]``."""
        hidden = functional.silu(self.project(mouth.transpose(1, 2) * MOUTH_SCALE))
        for layer in self.layers:
            hidden = hidden + functional.silu(layer(hidden))
        read: Tensor = self.out(hidden).transpose(1, 2)
        return read

    def standardise(self, features: Tensor) -> Tensor:
        """Features ``[B, F, D]`` as the regressor is to read them: smoothed in time, of zero mean and unit variance."""
        return (smooth(features) - self.mean) / self.std

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take the statistics from features ``[B, F, D]``."""
        flat = smooth(features).flatten(0, 1)
        self.mean.copy_(flat.mean(0))
        self.std.copy_(flat.std(0).clamp(min=_FLOOR))


def smooth(features: Tensor) -> Tensor:
    """Moving mean over 5 frames, ``[B, F, D]``; at the ends over those that are there."""
    padded = functional.avg_pool1d(
        features.transpose(1, 2), _SMOOTHED, stride=1, padding=_SMOOTHED // 2, count_include_pad=False
    )
    return padded.transpose(1, 2)
