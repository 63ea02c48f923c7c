"""Encoders from one kind of emotion control to tokens.

An encoder gives the direction of an emotion (which one) and, apart from it, the strength (how much), so that
the latents made from its tokens can be exactly zero at strength zero (see `EmotionToLatents`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mooe.emotion.action_units import ACTION_UNITS
from mooe.emotion.taxonomy import EMOTIONS


class EncodedControl(NamedTuple):
    """What an encoder makes of a control.

    Attributes:
        tokens: [batch, frame or 1, token, channel].
        strength: [batch, frame or 1] in [0, 1], exactly 0 where no emotion is asked for.
    """

    tokens: Tensor
    strength: Tensor


class EmotionEncoder(nn.Module, ABC):
    """Encodes one kind of emotion control.

    Attributes:
        dim: channels of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @abstractmethod
    def forward(self, control: Any) -> EncodedControl:
        """Tokens and strength of the control."""


class TextEmotionEncoder(EmotionEncoder):
    """Interface of encoders of free text, one sentence a clip; tokens are [batch, 1, token, dim]."""

    @abstractmethod
    def forward(self, control: Sequence[str]) -> EncodedControl: ...


class AudioEmotionEncoder(EmotionEncoder):
    """Interface of encoders of the voice: waveforms [batch, sample], 16 kHz, float32 in [-1, 1]."""

    @abstractmethod
    def forward(self, control: Tensor) -> EncodedControl: ...


class PatternEncoder(EmotionEncoder):
    """Encodes a vector of intensities per frame, [batch, frame, num_inputs].

    All tokens but the last are an MLP of the direction (the vector over its strength); the last is an MLP of
    the strength.
    """

    def __init__(self, num_inputs: int, dim: int, num_tokens: int, hidden_dim: int) -> None:
        super().__init__(dim)
        self.num_tokens = num_tokens
        self.direction = _mlp(num_inputs, hidden_dim, (num_tokens - 1) * dim)
        self.level = _mlp(1, hidden_dim, dim)

    @abstractmethod
    def strength(self, control: Tensor) -> Tensor:
        """Strength [batch, frame] of intensities [batch, frame, num_inputs]."""

    def forward(self, control: Tensor) -> EncodedControl:
        strength = self.strength(control)
        level = strength.unsqueeze(-1)
        direction = self.direction(control / level.clamp(min=torch.finfo(control.dtype).tiny))
        direction = direction.unflatten(-1, (self.num_tokens - 1, self.dim))
        return EncodedControl(torch.cat([direction, self.level(level).unsqueeze(-2)], dim=-2), strength)


class LabelEncoder(PatternEncoder):
    """Encodes mixtures of the six basic emotions in the order of `EMOTIONS`, whose sum is the strength."""

    def __init__(self, dim: int = 128, num_tokens: int = 4, hidden_dim: int = 128) -> None:
        super().__init__(len(EMOTIONS), dim, num_tokens, hidden_dim)

    def strength(self, control: Tensor) -> Tensor:
        return control.sum(dim=-1).clamp(max=1)


class ActionUnitEncoder(PatternEncoder):
    """Encodes action units in the order of `ACTION_UNITS`; the strongest unit's intensity is the strength."""

    def __init__(self, dim: int = 128, num_tokens: int = 4, hidden_dim: int = 128) -> None:
        super().__init__(len(ACTION_UNITS), dim, num_tokens, hidden_dim)

    def strength(self, control: Tensor) -> Tensor:
        return control.amax(dim=-1).clamp(max=1)


def _mlp(in_features: int, hidden_features: int, out_features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_features, hidden_features), nn.SiLU(), nn.Linear(hidden_features, out_features)
    )
