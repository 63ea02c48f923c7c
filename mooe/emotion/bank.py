"""Emotion bank: vector-quantised prototypes of emotion latents and attention that retrieves from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BankOutput(NamedTuple):
    """What the bank gives.

    Attributes:
        latents: the latents with what they retrieved added, [row, latent, channel].
        codes: index of the prototype nearest to each latent, int64 [row, latent].
        loss: scalar that pulls prototypes to the latents, and by `commitment` latents to prototypes.
    """

    latents: Tensor
    codes: Tensor
    loss: Tensor


class EmotionBank(nn.Module):
    """Prototypes of emotion latents that all emotions share (emotion bank of DICE-Talk; Tan et al., ACM MM 2025).

    The prototypes are learnt by vector quantisation (van den Oord et al., 2017): each latent pulls the prototype
    nearest to it. Retrieval is cross-attention of the latents to all prototypes, so an emotion that was rarely seen
    borrows from those it resembles. The output projection starts at zero: a new bank changes nothing.

    Args:
        dim: channels of the latents.
        num_entries: prototypes.
        num_heads: attention heads.
        commitment: weight of the pull on the latents in the loss.
    """

    def __init__(self, dim: int, num_entries: int = 64, num_heads: int = 4, commitment: float = 0.25) -> None:
        super().__init__()
        self.num_heads, self.commitment = num_heads, commitment
        self.prototypes = nn.Parameter(torch.randn(num_entries, dim))
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.to_out.weight)

    def forward(self, latents: Tensor) -> BankOutput:
        """Latents [row, latent, dim] with what they retrieve from the bank."""
        distance = torch.cdist(latents.float(), self.prototypes.float()[None])
        codes = distance.argmin(dim=-1)
        nearest = self.prototypes[codes]
        loss = F.mse_loss(nearest, latents.detach()) + self.commitment * F.mse_loss(latents, nearest.detach())
        query = self.to_q(latents).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(0, 1).expand(len(latents), -1, -1, -1)
            for part in self.to_kv(self.prototypes).chunk(2, dim=-1)
        )
        retrieved = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return BankOutput(latents + self.to_out(retrieved), codes, loss)
