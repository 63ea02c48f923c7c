"""Losses of the decoder's learned stages."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_WINDOW = 7  # pixels over which local contrast is taken
_LEVELS = 3  # of the gradient pyramid
_LEAST_AREA = 64.0  # pixels; smaller places weigh less
_VISIBLE_ERROR, _VISIBLE_SLOPE = 0.06, 10.0  # colour error that visibility forgives, and its fall beyond


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``[B, C, h, w]`` under a weight ``[B, 1, h, w]``, each sample by itself."""
    total = (values.mean(1, keepdim=True) * weight).sum((1, 2, 3))
    return (total / (weight.sum((1, 2, 3)) + _LEAST_AREA * weight.shape[-1] / 128)).mean()


def gradients(picture: Tensor) -> Tensor:
    """Differences to the right and downwards ``[B, 2 C, h, w]``, 0 at the far border."""
    right = F.pad(picture[..., :, 1:] - picture[..., :, :-1], (0, 1, 0, 0))
    down = F.pad(picture[..., 1:, :] - picture[..., :-1, :], (0, 0, 0, 1))
    return torch.cat([right, down], 1)


def gradient_pyramid(picture: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 between the gradients of two pictures at full, half and quarter size."""
    loss = picture.new_zeros(())
    for level in range(_LEVELS):
        if level:
            picture, target, weight = (F.avg_pool2d(x, 2) for x in (picture, target, weight))
        loss = loss + weighted_mean((gradients(picture) - gradients(target)).abs(), weight)
    return loss


def local_contrast(picture: Tensor) -> Tensor:
    """Deviation of the luminance around each pixel, ``[B, 1, h, w]``."""
    luma = picture.mean(1, keepdim=True)
    mean, square = (F.avg_pool2d(x, _WINDOW, 1, _WINDOW // 2) for x in (luma, luma * luma))
    return (square - mean * mean).clamp(min=0).add(1e-5).sqrt()


def visible(error: Tensor) -> Tensor:
    """How visible a place counts as that warping leaves with so much colour error ``[B, 3, h, w]``."""
    return torch.exp(-_VISIBLE_SLOPE * F.relu(error.mean(1, keepdim=True) - _VISIBLE_ERROR))
