"""Latent emotion discriminator: which emotion motion latents show, as an additional objective of training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mooe.emotion.taxonomy import EMOTIONS


class LatentEmotionDiscriminator(nn.Module):
    """Motion latents -> emotion in each frame (emotion discrimination objective of DICE-Talk).

    It learns on true latents, and holds what the experts predict to the same emotion. It is no judge of results: it
    sees only what this project's own corpus calls an emotion.

    Args:
        latent_channels: channels of the motion latents.
        hidden_dim: width.
    """

    def __init__(self, latent_channels: int, hidden_dim: int = 48) -> None:
        super().__init__()
        self.places = nn.Sequential(
            nn.Conv2d(latent_channels, hidden_dim, 1),
            nn.SiLU(),
            nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1),
            nn.SiLU(),
        )
        # an emotion lasts longer than a syllable
        self.frames = nn.Sequential(
            nn.Conv1d(hidden_dim, hidden_dim, 9, padding=4), nn.SiLU(), nn.Conv1d(hidden_dim, len(EMOTIONS) + 1, 1)
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Logits of the emotions and neutral, [B, F, 7], of motion latents [B, F, C, h, w]."""
        places = self.places(latents.flatten(0, 1)).mean((2, 3)).unflatten(0, latents.shape[:2])
        return self.frames(places.transpose(1, 2)).transpose(1, 2)

    def losses(self, true: Tensor, predicted: Tensor, emotion: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropies of true latents, which teaches the discriminator, and of predicted ones, which it teaches.

        Args:
            true, predicted: motion latents [B, F, C, h, w].
            emotion: weights [B, F, 6] asked for.
            weight: of each take in the second one, [B].

        Returns:
            Two scalars; the second one's gradient reaches `predicted` alone, not the discriminator.
        """
        target = torch.cat([emotion, (1 - emotion.sum(-1, keepdim=True)).clamp(min=0)], -1)
        learning = -(target * self(true.detach()).log_softmax(-1)).sum(-1).mean()
        frozen = {name: parameter.detach() for name, parameter in self.named_parameters()}
        logits = functional_call(self, frozen, (predicted,))
        teaching = -(target * F.log_softmax(logits, -1)).sum(-1).mean(1)
        return learning, (teaching * weight).mean()
