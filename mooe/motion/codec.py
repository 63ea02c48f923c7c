"""MotionCodec: displacements of the 478 points <-> motion latents, a small normalised image per frame."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch.nn import functional

from mooe.motion.atlas import sampling_matrix, writing_matrix

NUM_POINTS = 478


class MotionCodec(ModelMixin, ConfigMixin):
    """Fixed linear codec over the atlas, with latents of zero mean and unit variance per channel and place.

    A ``map_size`` x ``map_size`` displacement map is folded (space to depth) into ``3 * patch_size**2`` channels.
    The transform is exact enough to need no learning; only the statistics come from data (:meth:`fit`).

    Args:
        map_size: side of the atlas in texels.
        patch_size: side of the square of texels that becomes one latent place.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, map_size: int = 48, patch_size: int = 6) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.latent_channels = 3 * patch_size**2
        self.latent_size = map_size // patch_size
        shape = (self.latent_channels, self.latent_size, self.latent_size)
        self.mean: Tensor
        self.std: Tensor
        self.sampling: Tensor
        self.writing: Tensor
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        # rebuilt from the face table, so that files hold the statistics alone
        self.register_buffer("sampling", torch.from_numpy(sampling_matrix(map_size)).float(), persistent=False)
        self.register_buffer("writing", torch.from_numpy(writing_matrix(map_size)).float(), persistent=False)

    def to_map(self, displacement: Tensor) -> Tensor:
        """Displacements ``[..., 478, 3]`` -> maps ``[..., 3, map_size, map_size]``."""
        size = self.config["map_size"]
        return torch.einsum("sp,...pc->...cs", self.writing, displacement).unflatten(-1, (size, size))

    def from_map(self, maps: Tensor) -> Tensor:
        """Maps ``[..., 3, map_size, map_size]`` -> displacements ``[..., 478, 3]``."""
        return torch.einsum("ps,...cs->...pc", self.sampling, maps.flatten(-2))

    def encode_raw(self, displacement: Tensor) -> Tensor:
        """Displacements ``[..., 478, 3]`` -> latents before normalisation, ``[..., channels, size, size]``."""
        return functional.pixel_unshuffle(self.to_map(displacement), self.patch_size)

    def encode(self, displacement: Tensor) -> Tensor:
        """Displacements ``[..., 478, 3]`` (head frame, eye distances) -> latents ``[..., channels, size, size]``."""
        return (self.encode_raw(displacement) - self.mean) / self.std

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``[..., channels, size, size]`` -> displacements ``[..., 478, 3]`` (head frame, eye distances)."""
        return self.from_map(functional.pixel_shuffle(latents * self.std + self.mean, self.patch_size))

    @torch.no_grad()
    def fit(self, displacement: Tensor, floor: float = 0.08) -> None:
        """Take the statistics from data.

        Args:
            displacement: ``[N, 478, 3]``.
            floor: smallest standard deviation, as a share of the root mean square over all places; keeps places
                that hardly move from being blown up.
        """
        raw = self.encode_raw(displacement)
        self.mean.copy_(raw.mean(0))
        std = raw.std(0)
        self.std.copy_(std.clamp(min=floor * float(std.square().mean().sqrt())))
