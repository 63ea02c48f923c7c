"""The GPU size: the same emotion experts and codebooks on Stable Video Diffusion's UNet and image latents."""

from mooe.svd.adapters import SVDConditioner, TokenAdapters
from mooe.svd.compensation import LatentCompensator
from mooe.svd.talker import SVDBase, SVDTalker

__all__ = ["LatentCompensator", "SVDBase", "SVDConditioner", "SVDTalker", "TokenAdapters"]
