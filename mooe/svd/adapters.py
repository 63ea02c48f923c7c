"""What Stable Video Diffusion has to be told of speech and of the person: tokens, and cross-attention to them.

SVD's own cross-attention sees one CLIP embedding a clip. Speech and reference features get attentions of their own
beside it, as IP-Adapter does for pictures (Ye et al., 2023), so that the published weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from mooe.emotion.adapters import spatial_cross_attentions
from mooe.errors import WeightsError
from mooe.motion.unet import AUDIO_CONTEXT, TemporalAudioEncoder


class TokenAttention(nn.Module):
    """Cross-attention from a layer's tokens to further tokens; its output starts at zero.

    Args:
        channels: of the layer.
        token_dim: of the further tokens.
        heads: attention heads.
        inner_dim: width of all heads together.
    """

    def __init__(self, channels: int, token_dim: int, heads: int, inner_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, inner_dim, bias=False)
        self.to_kv = nn.Linear(token_dim, 2 * inner_dim, bias=False)
        self.to_out = nn.Linear(inner_dim, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """``[N, n, channels]`` and ``[N, m, token_dim]`` -> what to add, ``[N, n, channels]``."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(hidden), *self.to_kv(tokens).chunk(2, dim=-1))
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return out


class TokenAdapters(ModelMixin, ConfigMixin):
    """Attention to one kind of tokens behind every spatial cross-attention of a UNet, owned and saved apart from it.

    Args:
        layers: channels of each layer by its path (see :meth:`from_unet`).
        token_dim: channels of the tokens.
        heads: attention heads.
        inner_dim: width of each attention.
    """

    @register_to_config
    def __init__(self, layers: Mapping[str, int], token_dim: int = 256, heads: int = 4, inner_dim: int = 128) -> None:
        super().__init__()
        self.attentions = nn.ModuleDict(
            {_key(path): TokenAttention(channels, token_dim, heads, inner_dim) for path, channels in layers.items()}
        )
        self._tokens: Tensor | None = None

    @classmethod
    def from_unet(cls, unet: nn.Module, **config: Any) -> Self:
        """New adapters for ``unet``, not yet attached."""
        return cls(layers={path: layer.query_dim for path, layer in spatial_cross_attentions(unet).items()}, **config)

    def attach(self, unet: nn.Module) -> None:
        """Put the attentions behind those of ``unet`` (raises WeightsError if they were made for another UNet)."""
        found = spatial_cross_attentions(unet)
        if {path: layer.query_dim for path, layer in found.items()} != dict(self.config["layers"]):
            raise WeightsError("These attentions were made for another UNet: give the one that they were trained with.")
        for path, layer in found.items():
            layer.set_processor(cast(Any, _TokenProcessor(self, path, layer.processor)))

    @contextmanager
    def condition(self, tokens: Tensor | None) -> Iterator[None]:
        """Calls of the UNet inside the context attend to ``tokens`` ``[batch * frame, m, token_dim]``."""
        previous, self._tokens = self._tokens, tokens
        try:
            yield
        finally:
            self._tokens = previous

    def attend(self, path: str, hidden: Tensor) -> Tensor | None:
        """What to add to the tokens ``[batch * frame, n, channels]`` of the layer at ``path``; None for nothing."""
        if self._tokens is None:
            return None
        out: Tensor = self.attentions[_key(path)](hidden, self._tokens.to(hidden.dtype))
        return out


class _TokenProcessor:
    """Runs the processor that it wraps and adds the attention to further tokens."""

    def __init__(self, adapters: TokenAdapters, path: str, original: Any) -> None:
        self.adapters, self.path, self.original = adapters, path, original

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        attended: Tensor = self.original(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        delta = self.adapters.attend(self.path, hidden_states)
        return attended if delta is None else attended + delta


class SVDConditioner(ModelMixin, ConfigMixin):
    """Speech and the reference picture as tokens.

    Args:
        audio_dim: width of the speech features.
        audio_channels: width of the audio encoding.
        token_dim: width of all tokens.
        token_radius: frames of sound on either side of a frame that it attends to.
        latent_channels: channels of the reference picture's latents.
        reference_size: the reference becomes ``reference_size ** 2`` tokens.
    """

    @register_to_config
    def __init__(
        self,
        audio_dim: int = 390,
        audio_channels: int = 192,
        token_dim: int = 256,
        token_radius: int = 3,
        latent_channels: int = 4,
        reference_size: int = 16,
    ) -> None:
        super().__init__()
        self.audio_encoder = TemporalAudioEncoder(audio_dim, audio_channels)
        self.audio_project = nn.Linear(audio_channels, token_dim)
        self.audio_positions = nn.Parameter(torch.randn(2 * token_radius + 1, token_dim) * 0.02)
        self.null_audio = nn.Parameter(torch.zeros(token_dim))
        self.reference_convolutions = nn.Sequential(
            nn.Conv2d(latent_channels, token_dim, 3, padding=1), nn.SiLU(),
            nn.Conv2d(token_dim, token_dim, 3, padding=1),
        )  # fmt: skip
        self.reference_positions = nn.Parameter(torch.randn(reference_size**2, token_dim) * 0.02)
        self.reference_norm = nn.LayerNorm(token_dim)

    def audio_tokens(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Speech features with context ``[B, F + 32, D]`` -> tokens ``[B * F, 2 r + 1, token_dim]``.

        ``present`` is bool ``[B]``; where it is False the sound is replaced by a learned "no sound".
        """
        encoding, _ = self.audio_encoder(features)
        audio = self.audio_project(encoding)
        if present is not None:
            audio = torch.where(present[:, None, None], audio, self.null_audio.to(audio.dtype))
        radius, stop = self.config["token_radius"], features.shape[1] - AUDIO_CONTEXT
        around = [audio[:, AUDIO_CONTEXT + k : stop + k] for k in range(-radius, radius + 1)]
        return (torch.stack(around, dim=2) + self.audio_positions).flatten(0, 1)

    def reference_tokens(self, latents: Tensor, num_frames: int) -> Tensor:
        """Latents of the reference picture ``[B, C, h, w]`` -> tokens ``[B * F, n, token_dim]``."""
        size = self.config["reference_size"]
        maps = functional.adaptive_avg_pool2d(self.reference_convolutions(latents), size)
        tokens = self.reference_norm(maps.flatten(2).transpose(1, 2) + self.reference_positions)
        return tokens.repeat_interleave(num_frames, 0)


def _key(path: str) -> str:
    return path.replace(".", "/")
