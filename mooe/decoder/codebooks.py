"""Codebooks shared by several scales, and their retrieval by a small transformer.

After "Synergizing Motion and Appearance: Multi-Scale Compensatory Codebooks for Talking Head Video Generation" (CVPR
2025): coarse scales use the first codes of a book, finer ones these and more (nested shares). Codes lie on a sphere,
as in ViT-VQGAN (Yu et al., 2022); they are means of the queries they serve (Razavi et al., 2019), and queries are
centred and scaled before they are looked up (as Huh et al., 2023, do with the codes). Without these three, queries
gather at a few codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F

_COMMITMENT = 0.25  # beta of van den Oord et al., 2017
_VARIETY = 1.0  # weight of the loss against queries that vary in one direction alone
_USAGE_DECAY = 0.99  # of the hits and of the means that the codes are
_CENTRING = 0.02  # how much the last batch counts for the queries' mean and deviation
_DEAD = 0.03  # of the hits that a code would have if all had as many


class Retrieved(NamedTuple):
    """What a book gives for a map of queries.

    Attributes:
        features: ``[B, C, h, w]``.
        indices: int64 ``[B, h * w]``, the codes' numbers.
        loss: of the queries, a scalar.
    """

    features: Tensor
    indices: Tensor
    loss: Tensor


class Codebook(nn.Module):
    """Code vectors and how often each is used.

    Args:
        num_codes: how many.
        code_dim: their length.
        num_scales: scales that share the book.
        share_codes: nested shares: scale k of K uses the first k/K of the codes. Otherwise each scale has its own
            K-th part.
    """

    def __init__(self, num_codes: int, code_dim: int, num_scales: int, share_codes: bool = True) -> None:
        super().__init__()
        self.num_scales, self.share_codes = num_scales, share_codes
        self.codes: Tensor
        self.hits: Tensor
        self.register_buffer("codes", F.normalize(torch.randn(num_codes, code_dim), dim=-1))
        self.register_buffer("hits", torch.ones(num_codes))
        # of the last batch, by scale, [B, N, code_dim]
        self._queries: dict[int, Tensor] = {}

    def share(self, scale: int) -> slice:
        """The codes that the scale (0 is the coarsest) may use."""
        count = len(self.codes)
        first = 0 if self.share_codes else scale * count // self.num_scales
        return slice(first, (scale + 1) * count // self.num_scales)

    def vectors(self, scale: int) -> Tensor:
        """The scale's codes, of unit length, ``[n, code_dim]``."""
        return F.normalize(self.codes[self.share(scale)], dim=-1)

    def quantize(self, queries: Tensor, scale: int) -> tuple[Tensor, Tensor, Tensor]:
        """Replace each query by the nearest code of the scale's share; gradients pass straight through.

        Args:
            queries: ``[B, N, code_dim]``.
            scale: 0 is the coarsest.

        Returns:
            Codes ``[B, N, code_dim]``, their numbers ``[B, N]``, and the loss (a scalar; 0 where nothing learns).
        """
        unit = F.normalize(queries, dim=-1)
        vectors = self.vectors(scale)
        nearest = (unit @ vectors.T).max(-1).indices  # argmax takes thrice the time in bfloat16
        chosen = vectors[nearest]
        if not torch.is_grad_enabled() and not self.training:
            return chosen, nearest + self.share(scale).start, queries.new_zeros(())
        loss = _COMMITMENT * (chosen - unit).square().sum(-1).mean()
        indices = nearest + self.share(scale).start
        if self.training:
            self._queries[scale] = unit.detach()
            if torch.is_grad_enabled():
                self._follow(indices, unit.detach(), scale)
        # exactly the codes, as where nothing learns
        return chosen + (unit - unit.detach()), indices, loss

    @torch.no_grad()
    def _follow(self, indices: Tensor, unit: Tensor, scale: int) -> None:
        """Let the codes follow the means of their queries, each code as fast as it is used."""
        part = self.share(scale)
        count = part.stop - part.start
        chosen = F.one_hot(indices.flatten() - part.start, count).to(self.codes.dtype)
        relative = chosen.sum(0) * (count / len(chosen))
        gathered = chosen.T @ unit.flatten(0, 1).to(self.codes.dtype) * (count / len(chosen))
        hits = _USAGE_DECAY * self.hits[part] + (1 - _USAGE_DECAY) * relative
        mean = _USAGE_DECAY * self.hits[part, None] * self.codes[part] + (1 - _USAGE_DECAY) * gathered
        self.codes[part] = F.normalize(mean, dim=-1)
        self.hits[part] = hits

    @torch.no_grad()
    def revive(self, seed: int, gather: Callable[[Tensor], Tensor] | None = None) -> int:
        """Move codes that nothing uses to queries of the last batch; returns how many.

        Args:
            seed: of the draw, so that a resumed training equals the unbroken one.
            gather: makes one batch ``[P B, ...]`` of those of P processes ``[B, ...]``; None for one process.
        """
        dead = torch.nonzero(self.hits < _DEAD).flatten()
        if not self._queries or not len(dead):
            return 0
        batches = [self._queries[scale] for scale in sorted(self._queries)]
        queries = torch.cat([(batch if gather is None else gather(batch)).flatten(0, 1) for batch in batches])
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(queries), (len(dead),), generator=generator).to(dead.device)
        self.codes[dead] = queries[drawn].to(self.codes.dtype)
        self.hits[dead] = 1.0
        return len(dead)

    def usage(self) -> float:
        """Share of the codes in use, 0 to 1, as counted while it was trained."""
        return float((self.hits >= _DEAD).float().mean())


class CodebookRetrieval(nn.Module):
    """One transformer layer that turns a map into a query of a book and back.

    Self-attention, cross-attention to the scale's raw code vectors, convolutional feed-forward, nearest code.

    Args:
        book: the codes.
        scale: which of the book's scales this is, 0 the coarsest.
        channels: of the map.
        patch: places of the map, in each direction, that make a token.
        dim: width of the tokens.
        tokens: tokens in each direction.
        num_heads: of the attention.
    """

    def __init__(
        self, book: Codebook, scale: int, channels: int, patch: int, dim: int, tokens: int, num_heads: int
    ) -> None:
        super().__init__()
        # codes have length 1, so their numbers are that much smaller than those of other features
        self.width = code_dim = book.codes.shape[1]
        self.scale = scale
        self.patchify = nn.Conv2d(channels, dim, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens * tokens, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.self_attention = Attention(dim, heads=num_heads, dim_head=dim // num_heads)
        self.cross_attention = Attention(
            dim, cross_attention_dim=code_dim, heads=num_heads, dim_head=dim // num_heads
        )
        self.feed_forward = nn.Sequential(
            nn.Conv2d(dim, 2 * dim, 1), nn.Conv2d(2 * dim, 2 * dim, 3, padding=1, groups=2 * dim), nn.GELU(),
            nn.Conv2d(2 * dim, dim, 1),
        )  # fmt: skip
        self.to_code = nn.Linear(dim, code_dim)
        self.queries_mean: Tensor
        self.queries_var: Tensor
        self.register_buffer("queries_mean", torch.zeros(code_dim))
        self.register_buffer("queries_var", torch.ones(code_dim))
        self.from_code = nn.Linear(code_dim, dim)
        self.unpatchify = nn.ConvTranspose2d(dim, channels, patch, patch)

    def forward(self, features: Tensor, book: Codebook) -> Retrieved:
        """``[B, C, h, w]`` -> what the book knows of it, of the same shape."""
        grid = self.patchify(features)
        height, width = grid.shape[-2:]
        tokens = grid.flatten(2).transpose(1, 2) + self.positions
        tokens = tokens + self.self_attention(self.norms[0](tokens))
        codes = self.width**0.5 * book.vectors(self.scale).expand(len(tokens), -1, -1)
        tokens = tokens + self.cross_attention(self.norms[1](tokens), encoder_hidden_states=codes)
        folded = self.norms[2](tokens).transpose(1, 2).unflatten(2, (height, width))
        tokens = tokens + self.feed_forward(folded).flatten(2).transpose(1, 2)
        queries = self._centered(self.to_code(tokens))
        chosen, indices, loss = book.quantize(queries, self.scale)
        if self.training:
            # that queries vary in all directions is for the last layer to learn, and no aim of the features
            loss = loss + _VARIETY * redundancy(self.to_code(tokens.detach()))
        retrieved = self.from_code(self.width**0.5 * chosen).transpose(1, 2).unflatten(2, (height, width))
        return Retrieved(self.unpatchify(retrieved), indices, loss)

    def _centered(self, queries: Tensor) -> Tensor:
        """Queries ``[B, N, code_dim]`` less their mean, over their deviation; those of the batch where it learns."""
        learns = self.training and torch.is_grad_enabled()
        flat = queries.flatten(0, 1).float()
        centered = F.batch_norm(flat, self.queries_mean, self.queries_var, training=learns, momentum=_CENTRING)
        return centered.unflatten(0, queries.shape[:2])


def redundancy(queries: Tensor) -> Tensor:
    """Mean squared correlation between the dimensions of queries ``[B, N, code_dim]`` (Zbontar et al., 2021)."""
    flat = queries.flatten(0, 1).float()
    flat = flat - flat.mean(0)
    flat = flat / flat.square().mean(0).add(1e-6).sqrt()
    correlation = flat.T @ flat / len(flat)
    return (correlation - torch.diag(correlation.diagonal())).square().mean()
