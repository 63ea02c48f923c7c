"""Patch discriminator (Isola et al., 2017): which mouths and lids are photographed and which are filled in."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from training.decoder_losses import weighted_mean


class PatchDiscriminator(nn.Module):
    """One logit a patch of about 18 px.

    Args:
        condition_channels: of the maps that are given beside the picture.
        channels: widths of the three layers.
    """

    def __init__(self, condition_channels: int, channels: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        first, second, third = channels
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(3 + condition_channels, first, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(first, second, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(second, third, 3, 1, 1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(third, 1, 1),
        )

    def forward(self, picture: Tensor, condition: Tensor) -> Tensor:
        """Logits ``[B, 1, h / 4, w / 4]`` of pictures ``[B, 3, h, w]`` under conditions ``[B, C, h, w]``."""
        return self.layers(torch.cat([picture, condition], 1))  # type: ignore[no-any-return]

    def losses(self, true: Tensor, filled: Tensor, condition: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Hinge losses (Lim and Ye, 2017): what teaches the discriminator, and what it teaches.

        Args:
            true, filled: pictures ``[B, 3, h, w]``.
            condition: ``[B, C, h, w]``.
            weight: how much each place counts, ``[B, 1, h, w]``.

        Returns:
            Two scalars; the second one's gradient reaches ``filled`` alone, not the discriminator.
        """
        places = F.avg_pool2d(weight, 4)
        learning = weighted_mean(F.relu(1 - self(true, condition)), places)
        learning = learning + weighted_mean(F.relu(1 + self(filled.detach(), condition)), places)
        frozen = {name: parameter.detach() for name, parameter in self.named_parameters()}
        teaching = -weighted_mean(functional_call(self, frozen, (filled, condition)), places)
        return learning, teaching
