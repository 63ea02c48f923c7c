"""Codebook compensation inside Stable Video Diffusion's latent decoder.

Sampled latents err, and the decoder makes of them what any face could look like. Its features at several scales are
therefore refined by what a trained book of codes knows of such places and of the person: the multi-scale books of
:mod:`mooe.decoder.codebooks`, asked with the decoder's own features beside the reference picture's latents, and fused
by spatial feature transform (Wang et al., 2018). The published decoder stays as it is; new parts change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, cast

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from mooe.decoder.codebooks import Codebook, CodebookRetrieval
from mooe.errors import WeightsError

_MOST_SCALES = 3


class FeatureCompensation(nn.Module):
    """One scale: what a book adds to a map of the decoder's features; it starts as nothing.

    Args:
        book: the codes, shared by all scales.
        scale: which of the book's scales this is, 0 the coarsest.
        channels: of the decoder's features.
        dim: width of the tokens.
        tokens: tokens in each direction.
        num_heads: of the attention.
    """

    def __init__(self, book: Codebook, scale: int, channels: int, dim: int, tokens: int, num_heads: int) -> None:
        super().__init__()
        self.grid = tokens * 2**scale
        self.norm = nn.GroupNorm(math.gcd(32, channels), channels)
        self.project = nn.Conv2d(channels, dim, 1)
        self.retrieval = CodebookRetrieval(book, scale, dim, 2**scale, dim, tokens, num_heads)
        self.transform = nn.Conv2d(dim, 2 * channels, 1)
        nn.init.zeros_(self.transform.weight)
        nn.init.zeros_(self.transform.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, person: Tensor, book: Codebook) -> tuple[Tensor, Tensor]:
        """Features ``[N, C, h, w]`` and the person ``[N, dim, grid, grid]`` -> refined features, loss of the codes."""
        query = functional.adaptive_avg_pool2d(self.project(self.norm(features)), self.grid)
        found = self.retrieval(query + person, book)
        scale, shift = self.transform(found.features).chunk(2, 1)
        size = features.shape[-2:]
        scale, shift = (functional.interpolate(x, size, mode="bilinear", align_corners=False) for x in (scale, shift))
        return features * (1 + scale) + shift, found.loss


class LatentCompensator(ModelMixin, ConfigMixin):
    """Codebook compensation of a latent decoder, owned and saved apart from it.

    Args:
        layers: channels of each refined map by its path in the decoder, coarsest first (see :meth:`from_vae`).
        latent_channels: channels of the reference picture's latents.
        num_codes, code_dim: size of the book.
        dim: width of the tokens.
        tokens: tokens in each direction.
        num_heads: of the attention.
        share_codes: nested shares of the book, see :class:`~mooe.decoder.codebooks.Codebook`.
    """

    @register_to_config
    def __init__(
        self,
        layers: Mapping[str, int],
        latent_channels: int = 4,
        num_codes: int = 768,
        code_dim: int = 32,
        dim: int = 128,
        tokens: int = 16,
        num_heads: int = 4,
        share_codes: bool = True,
    ) -> None:
        super().__init__()
        self.book = Codebook(num_codes, code_dim, len(layers), share_codes)
        self.person = nn.Sequential(
            nn.Conv2d(latent_channels, dim, 3, padding=1), nn.SiLU(), nn.Conv2d(dim, dim, 3, padding=1)
        )
        self.scales = nn.ModuleList(
            FeatureCompensation(self.book, number, channels, dim, tokens, num_heads)
            for number, channels in enumerate(layers.values())
        )
        self._person: Tensor | None = None
        self._losses: list[Tensor] | None = None

    @classmethod
    def from_vae(cls, vae: Any, **config: Any) -> Self:
        """A new compensator of an ``AutoencoderKLTemporalDecoder``'s coarsest maps, not yet attached."""
        return cls(layers=_coarse_maps(vae), latent_channels=vae.config.latent_channels, **config)

    def attach(self, vae: Any) -> None:
        """Refine the maps of ``vae``'s decoder from now on (raises WeightsError if made for another one)."""
        layers = _coarse_maps(vae)
        if dict(self.config["layers"]) != layers:
            raise WeightsError(
                "This codebook compensation was made for another latent decoder: give the one that it was trained with."
            )
        for number, path in enumerate(layers):
            vae.decoder.get_submodule(path).register_forward_hook(self._hook(number))

    @contextmanager
    def condition(self, reference: Tensor) -> Iterator[None]:
        """Decoding inside the context is refined for the person of ``reference`` ``[1, C, h, w]``."""
        previous, self._person = self._person, self.person(reference)
        try:
            yield
        finally:
            self._person = previous

    @contextmanager
    def collect_losses(self) -> Iterator[list[Tensor]]:
        """The codes' losses of all decoding inside the context."""
        previous, self._losses = self._losses, []
        try:
            yield self._losses
        finally:
            self._losses = previous

    def _hook(self, number: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def refine(module: nn.Module, inputs: tuple[Any, ...], features: Tensor) -> Tensor | None:
            if self._person is None:
                return None
            scale = cast(FeatureCompensation, self.scales[number])
            person = functional.adaptive_avg_pool2d(self._person, scale.grid)
            refined, loss = scale(features.to(person.dtype), person, self.book)
            if self._losses is not None:
                self._losses.append(loss)
            return refined.to(features.dtype)

        return refine


def _coarse_maps(vae: Any) -> dict[str, int]:
    """Channels of the coarsest maps of the decoder, by their paths."""
    widths = list(reversed(vae.config.block_out_channels))
    # what the last block makes has the size of the picture
    paths = ["mid_block", *(f"up_blocks.{number}" for number in range(len(widths) - 1))]
    return dict(list(zip(paths, [widths[0], *widths], strict=False))[:_MOST_SCALES])
