"""The GPU size: the same emotion experts on Stable Video Diffusion's UNet and image latents."""

from mooe.svd.adapters import SVDConditioner, TokenAdapters
from mooe.svd.talker import SVDBase, SVDTalker

__all__ = ["SVDBase", "SVDConditioner", "SVDTalker", "TokenAdapters"]
