"""The learned stages of the decoder: motion and appearance compensation with codebooks.

Both refine what geometry drew and start out as nothing: as long as they have not learnt, the frame is geometry's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from mooe.decoder.codebooks import Codebook, CodebookRetrieval
from mooe.errors import ConfigError

MOTION_SIZE = 64  # side of the whole frame that motion compensation sees
APPEARANCE_SIZE = 64  # side of the squares at mouth and eyes that appearance compensation sees
MOTION_CHANNELS, APPEARANCE_CHANNELS = 14, 13
FLOW_UNIT = 1 / 32  # of the frame's side: the unit of flows inside the networks
_SCALES = (16, 32, 64)
_TOKENS = {16: 4, 32: 8, 64: 16}  # in each direction, by scale
_MOST_FLOW = 1.0  # flow units that one scale adds at most
_COLORFUL = 0.05  # deviation of red and blue from green, 0..1, at which a picture counts as fully coloured


class MotionResidual(NamedTuple):
    """What motion compensation adds.

    Attributes:
        flow: ``[B, 2, 64, 64]``, shares of the frame's side.
        visibility: ``[B, 1, 64, 64]`` in 0..1.
        loss: of the codes, a scalar.
    """

    flow: Tensor
    visibility: Tensor
    loss: Tensor


class AppearanceResidual(NamedTuple):
    """What appearance compensation adds.

    Attributes:
        change: to the colours, ``[B, 3, 64, 64]``, white is 1.
        weight: before it is confined, ``[B, 1, 64, 64]`` in 0..1.
        loss: of the codes, a scalar.
    """

    change: Tensor
    weight: Tensor
    loss: Tensor


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(channels, channels), _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))  # type: ignore[no-any-return]


def _zero(module: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


class _Encoder(nn.Module):
    """Feature maps of the inputs' size, half and a quarter of it."""

    def __init__(self, inputs: int, channels: Sequence[int]) -> None:
        super().__init__()
        first, second, third = channels
        self.stem = _convolution(inputs, first)
        self.fine = _Residual(first)
        self.down_middle = _convolution(first, second, 2)
        self.middle = _Residual(second)
        self.down_coarse = _convolution(second, third, 2)
        self.coarse = _Residual(third)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.fine(self.stem(x))
        middle = self.middle(self.down_middle(F.silu(fine)))
        coarse = self.coarse(self.down_coarse(F.silu(middle)))
        return fine, middle, coarse


def _retrievals(
    book: Codebook, channels: Sequence[int], scales: Sequence[int], dim: int, num_heads: int, shrunk: int = 1
) -> nn.ModuleDict:
    """One retrieval a scale, on maps of a ``shrunk``-th of its side."""
    by_size = dict(zip(_SCALES, reversed(channels), strict=True))
    return nn.ModuleDict(
        {
            str(size): CodebookRetrieval(
                book, number, by_size[size], size // shrunk // _TOKENS[size], dim, _TOKENS[size], num_heads
            )
            for number, size in enumerate(scales)
        }
    )


class MotionCompensator(nn.Module):
    """Flow and occlusion residuals, accumulated from the coarsest scale to the finest."""

    def __init__(
        self, channels: Sequence[int], scales: Sequence[int], book: Codebook, dim: int, num_heads: int
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.book = book
        self.encoder = _Encoder(MOTION_CHANNELS, channels)
        self.retrievals = _retrievals(book, channels, scales, dim, num_heads)
        self.up = nn.ModuleDict({"32": nn.Conv2d(coarse, middle, 1), "64": nn.Conv2d(middle, fine, 1)})
        self.embed = nn.ModuleDict({"32": nn.Conv2d(3, middle, 1), "64": nn.Conv2d(3, fine, 1)})
        self.mix = nn.ModuleDict(
            {str(s): _convolution(c, c) for s, c in zip(_SCALES, reversed(channels), strict=True)}
        )
        self.heads = nn.ModuleDict(
            {str(s): _zero(_convolution(c, 3)) for s, c in zip(_SCALES, reversed(channels), strict=True)}
        )

    def forward(self, inputs: Tensor) -> MotionResidual:
        """``inputs`` is ``[B, 14, 64, 64]`` from :func:`~mooe.decoder.refinement.motion_inputs`."""
        fine, middle, coarse = self.encoder(inputs)
        total = inputs.new_zeros(len(inputs), 3, _SCALES[0], _SCALES[0])
        hidden = coarse
        loss = inputs.new_zeros(())
        for size, features in zip(_SCALES, (coarse, middle, fine), strict=True):
            key = str(size)
            if key not in self.retrievals:
                features = torch.zeros_like(features)
            if key in self.up:
                total = F.interpolate(total, scale_factor=2, mode="bilinear")
                features = features + F.interpolate(self.up[key](hidden), scale_factor=2) + self.embed[key](total)
            if key in self.retrievals:
                # In bfloat16 a third of what the motion book gains is lost: it mistakes neighbouring codes
                with torch.autocast(features.device.type, enabled=False):
                    found = self.retrievals[key](features.to(self.book.codes.dtype), self.book)
                features, loss = features + found.features, loss + found.loss
            hidden = F.silu(self.mix[key](F.silu(features)))
            total = total + _MOST_FLOW * torch.tanh(self.heads[key](hidden))
        return MotionResidual(total[:, :2] * FLOW_UNIT, (1 - total[:, 2:]).clamp(0, 1), loss)


class AppearanceCompensator(nn.Module):
    """Colours of what the photograph does not show, fused by spatial feature transform (Wang et al., 2018)."""

    def __init__(
        self, channels: Sequence[int], scales: Sequence[int], book: Codebook, dim: int, num_heads: int
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.book = book
        self.encoder = _Encoder(4 * APPEARANCE_CHANNELS, channels)
        self.retrievals = _retrievals(book, channels, scales, dim, num_heads, shrunk=2)
        by_size = dict(zip(_SCALES, (coarse, middle, fine), strict=True))
        self.transforms = nn.ModuleDict({str(s): _zero(nn.Conv2d(by_size[s], 2 * by_size[s], 1)) for s in scales})
        self.up = nn.ModuleDict({"32": _convolution(coarse, middle), "64": _convolution(middle, fine)})
        self.mix = nn.ModuleDict({str(s): _Residual(c) for s, c in by_size.items()})
        self.head = _zero(_convolution(fine, 16))

    def forward(self, inputs: Tensor) -> AppearanceResidual:
        """``inputs`` is ``[B, 13, 64, 64]`` from :func:`~mooe.decoder.refinement.appearance_inputs`."""
        fine, middle, coarse = self.encoder(F.pixel_unshuffle(inputs, 2))
        hidden = coarse
        loss = inputs.new_zeros(())
        for size, features in zip(_SCALES, (coarse, middle, fine), strict=True):
            key = str(size)
            if key not in self.retrievals:
                features = torch.zeros_like(features)
            if key in self.up:
                features = features + F.interpolate(self.up[key](F.silu(hidden)), scale_factor=2)
            if key in self.retrievals:
                found = self.retrievals[key](features, self.book)
                scale, shift = self.transforms[key](found.features).chunk(2, 1)
                features, loss = features * (1 + scale) + shift, loss + found.loss
            hidden = self.mix[key](features)
        out = F.pixel_shuffle(self.head(F.silu(hidden)), 2)
        light, red, blue = out[:, :1], out[:, 1:2], out[:, 2:3]
        colorful = colorfulness(inputs[:, 3:6])
        change = torch.cat([light + colorful * red, light, light + colorful * blue], 1)
        return AppearanceResidual(change, torch.sigmoid(out[:, 3:]), loss)


def colorfulness(picture: Tensor) -> Tensor:
    """0 for grey pictures ``[B, 3, h, w]``, 1 for coloured ones, ``[B, 1, 1, 1]``."""
    chroma = torch.cat([picture[:, :1] - picture[:, 1:2], picture[:, 2:3] - picture[:, 1:2]], 1)
    spread = chroma.flatten(1).square().mean(1).sqrt()
    return (spread / _COLORFUL).clamp(0, 1)[:, None, None, None]


class PortraitCompensator(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """Motion and appearance compensation of the decoder.

    Args:
        use_motion_book: refine flow and visibility; without it they stay geometry's.
        use_appearance_book: fill what the photograph does not show.
        scales: sides of the maps at which is compensated, coarsest first; any of 16, 32 and 64. Those are the
            motion's maps; the appearance's are half as large. At the others neither the pictures nor the books are
            looked at: what the scales before them gave is enlarged.
        share_codes: nested shares of the books, see :class:`~mooe.decoder.codebooks.Codebook`.
        motion_codes, motion_code_dim, appearance_codes, appearance_code_dim: sizes of the books.
        motion_channels, appearance_channels: of the maps of 64, 32 and 16 px.
        motion_dim, appearance_dim: widths of the tokens.
        num_heads: of the attention.

    Raises:
        ConfigError: scales that cannot be used.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        use_motion_book: bool = True,
        use_appearance_book: bool = True,
        scales: tuple[int, ...] = _SCALES,
        share_codes: bool = True,
        motion_codes: int = 192,
        motion_code_dim: int = 16,
        appearance_codes: int = 256,
        appearance_code_dim: int = 32,
        motion_channels: tuple[int, int, int] = (24, 40, 64),
        appearance_channels: tuple[int, int, int] = (24, 48, 80),
        motion_dim: int = 64,
        appearance_dim: int = 64,
        num_heads: int = 2,
    ) -> None:
        super().__init__()
        if not scales or list(scales) != sorted(set(scales) & set(_SCALES)):
            raise ConfigError(f"The scales {list(scales)} cannot be used: give some of 16, 32, 64 in this order.")
        self.motion = self.appearance = None
        if use_motion_book:
            book = Codebook(motion_codes, motion_code_dim, len(scales), share_codes)
            self.motion = MotionCompensator(motion_channels, scales, book, motion_dim, num_heads)
        if use_appearance_book:
            book = Codebook(appearance_codes, appearance_code_dim, len(scales), share_codes)
            self.appearance = AppearanceCompensator(appearance_channels, scales, book, appearance_dim, num_heads)

    def books(self) -> dict[str, Codebook]:
        """The books in use, by name."""
        parts = {"motion": self.motion, "appearance": self.appearance}
        return {name: part.book for name, part in parts.items() if part is not None}
