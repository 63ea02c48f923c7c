"""Which pixels of a photograph show the person: the rest is background, which stays where it is.

The network is MediaPipe's selfie segmentation (general model, Google, Apache-2.0), a MobileNetV3-like encoder (Howard
et al., "Searching for MobileNetV3", 2019) with a decoder whose skips are gated by squeeze and excitation (Hu et al.,
2018). Its weights are converted by ``training/assets/convert_person.py``.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mooe.decoder.images import Float, Image, resize, resize_bytes
from mooe.weights import asset_folder

SIDE = 256  # of the picture that the network sees
_WINDOW, _CALM = 9, 1e-3  # of the guided filter: pixels of that picture, variance of colours that counts as an edge
# (expanded width, output width, kernel, stride, width of the squeezed, smooth activation) of the encoder's blocks
_BLOCKS = (
    (16, 16, 3, 2, 8, False),
    (72, 24, 3, 2, 0, False),
    (88, 24, 3, 1, 0, False),
    (96, 32, 5, 2, 24, True),
    (128, 32, 5, 1, 32, True),
    (128, 32, 5, 1, 32, True),
    (96, 32, 5, 1, 24, True),
    (96, 32, 5, 1, 24, True),
)
_SKIPS = (2, 0)  # blocks after which the decoder looks back, coarse to fine; the stem is the finest
_STEM, _HEAD = 16, 128


def _pad(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros about ``x`` as TensorFlow's "SAME" has them: more of them below and to the right."""
    total = max(kernel - stride, 0)
    return F.pad(x, (total // 2, total - total // 2) * 2)


class _Gate(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


class _Block(nn.Module):
    """An inverted residual with a depthwise convolution."""

    def __init__(
        self, inputs: int, width: int, outputs: int, kernel: int, stride: int, squeezed: int, smooth: bool
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.smooth = kernel, stride, smooth
        self.expand = nn.Conv2d(inputs, width, 1)
        self.depthwise = nn.Conv2d(width, width, kernel, stride, groups=width)
        self.gate = _Gate(width, squeezed) if squeezed else None
        self.project = nn.Conv2d(width, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        active = F.hardswish if self.smooth else F.relu
        wide = active(self.depthwise(_pad(active(self.expand(x)), self.kernel, self.stride)))
        if self.gate is not None:
            wide = wide * self.gate(wide)
        found: Tensor = self.project(wide)
        return found + x if self.residual else found


class _Up(nn.Module):
    """Twice as fine, with what the encoder saw at that scale."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, channels, 1)
        self.gate = _Gate(channels, channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        coarse = self.enter(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
        mixed = torch.relu(self.mix(skip * self.gate(skip + coarse) + coarse))
        return mixed + torch.relu(self.depthwise(mixed))


class PersonNetwork(ModelMixin, ConfigMixin):
    """RGB pictures of a head and shoulders -> how sure it is that a pixel shows the person."""

    config_name = "config.json"

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, _STEM, 3, 2)
        widths = [_STEM, *(block[1] for block in _BLOCKS)]
        self.blocks = nn.ModuleList(_Block(inputs, *block) for inputs, block in zip(widths, _BLOCKS, strict=False))
        self.head = nn.Conv2d(widths[-1], _HEAD, 1)
        self.head_gate = nn.Conv2d(widths[-1], _HEAD, 1)
        skips = [*(_BLOCKS[i][1] for i in _SKIPS), _STEM]
        self.up = nn.ModuleList(_Up(*pair) for pair in zip([_HEAD, *skips], skips, strict=False))
        self.out = nn.ConvTranspose2d(skips[-1], 1, 2, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        """``[B, 3, 256, 256]``, 0 to 1 -> logits ``[B, 1, 256, 256]``."""
        x = F.hardswish(self.stem(_pad(pictures, 3, 2)))
        finest, seen = x, []
        for block in self.blocks:
            x = block(x)
            seen.append(x)
        gate = torch.sigmoid(self.head_gate(x.mean((2, 3), keepdim=True)))
        x = torch.relu(self.head(x)) * gate
        for up, skip in zip(self.up, [*(seen[i] for i in _SKIPS), finest], strict=True):
            x = up(x, skip)
        logits: Tensor = self.out(x)
        return logits


@lru_cache(maxsize=1)
def _network() -> PersonNetwork:
    network: PersonNetwork = PersonNetwork.from_pretrained(asset_folder("person"))
    return network.eval().float()


def mark_person(photo: Image) -> Float:
    """How sure it is that each pixel of a square head crop shows the person, float32 ``[side, side]`` in 0..1."""
    small = resize_bytes(photo, (SIDE, SIDE))
    seen = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        marked = torch.sigmoid(_network()(seen))[0, 0].numpy()
    return _follow_edges(marked, small, photo)


def _follow_edges(marked: Float, small: Image, photo: Image) -> Float:
    """What is marked on ``small``, drawn to the edges and strands of ``photo``, of which that is a smaller copy.

    A fast guided filter (He and Sun, 2015): within small windows the mark is a linear function of the colour.
    """
    guide = small.astype(np.float32) / 255
    mean, mean_mark = _window_mean(guide), _window_mean(marked)
    spread = _window_mean((guide[..., :, None] * guide[..., None, :]).reshape(SIDE, SIDE, 9)).reshape(SIDE, SIDE, 3, 3)
    spread = spread - mean[..., :, None] * mean[..., None, :] + _CALM * np.eye(3, dtype=np.float32)
    along = _window_mean(guide * marked[..., None]) - mean * mean_mark[..., None]
    slope = np.linalg.solve(spread, along[..., None])[..., 0].astype(np.float32)
    rest = _window_mean(mean_mark - (slope * mean).sum(-1))
    slope, rest = (resize(x, photo.shape[:2]) for x in (_window_mean(slope), rest))
    return np.asarray(np.clip((slope * photo).sum(-1) / 255 + rest, 0, 1), np.float32)


def _window_mean(x: NDArray[np.floating]) -> Float:
    """Mean over square windows of the rows and columns, each channel by itself."""
    return np.asarray(cv2.blur(x, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT), np.float32)
