"""MotionUNet: a small video UNet of diffusers blocks that denoises motion latents given sound and controls."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from torch import Tensor, nn
from torch.nn import functional

from mooe.face.regions import LIPS_INNER, LIPS_OUTER

# What the audio encoder's own head estimates: the lips and the chin, ``[41, 3]``
MOUTH_POINTS: tuple[int, ...] = LIPS_INNER + LIPS_OUTER + (152,)
# Frames of sound that the audio encoder looks at on either side of a frame
AUDIO_CONTEXT = 16


class TemporalAudioEncoder(nn.Module):
    """Dilated convolutions over speech features, with a head that regresses the mouth.

    The head gives a loss of its own: a video UNet fed by cross-attention alone learns lips slowly, and features that
    already know the mouth shorten that.

    Args:
        input_dim: width of the speech features.
        channels: width of the encoding.
    """

    def __init__(self, input_dim: int, channels: int) -> None:
        super().__init__()
        self.feature_mean: Tensor
        self.feature_std: Tensor
        self.register_buffer("feature_mean", torch.zeros(input_dim))
        self.register_buffer("feature_std", torch.ones(input_dim))
        self.project = nn.Conv1d(input_dim, channels, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation) for dilation in (1, 2, 4, 1)
        )
        self.mouth = nn.Linear(channels, 3 * len(MOUTH_POINTS))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Speech features ``[B, F, D]`` -> encoding ``[B, F, C]``, mouth ``[B, F, 123]`` (tenths of eye distances)."""
        normalised = ((features - self.feature_mean) / self.feature_std).to(self.project.weight.dtype)
        hidden = functional.silu(self.project(normalised.transpose(1, 2)))
        for layer in self.layers:
            hidden = hidden + functional.silu(layer(hidden))
        encoding = hidden.transpose(1, 2)
        return encoding, self.mouth(encoding)


class _VideoUNet(UNetMotionModel):
    """diffusers' video UNet, which otherwise walks through all of its modules at each step to find its precision."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.conv_in.weight.dtype


@dataclass
class Conditioning:
    """What the UNet is told of a window; made once a window, used at every step.

    Attributes:
        tokens: for cross-attention, ``[B, F, n, d]``.
        maps: added to the input, ``[B, F, channels, h, w]``.
        mouth: the audio encoder's own estimate of the mouth, ``[B, F, 123]``.
        prior: what sound and controls alone say of the clean latents, ``[B, F, C, h, w]``.
    """

    tokens: Tensor
    maps: Tensor
    mouth: Tensor
    prior: Tensor


class MotionUNet(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """Denoises a window of motion latents; predicts the clean latents.

    Each frame's sound enters three ways: as maps added to the input (constant over each quarter of the latent), as
    tokens of the frames around it for cross-attention, and through a linear prior: the latents that sound, blink, gaze
    and pose make likely, to which the UNet adds what they do not settle. The prior is learnt in minutes, and without it
    lips and lids are learnt slowly. Known latents (frames carried over from the window before, or regions to keep) are
    given clean and marked by a mask.

    Args:
        latent_channels: channels of the motion latents.
        latent_size: side of the motion latents.
        audio_dim: width of the speech features.
        num_controls: width of the control vectors (see :class:`mooe.motion.controls.Controls`).
        audio_channels: width of the audio encoding.
        condition_dim: width of the tokens.
        map_channels: channels of the condition maps.
        block_out_channels: widths of the UNet's levels.
        layers_per_block: residual blocks a level.
        num_attention_heads: heads of all attentions.
        token_radius: frames of sound on either side of a frame that it can attend to.
        max_frames: longest window.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 108,
        latent_size: int = 8,
        audio_dim: int = 390,
        num_controls: int = 10,
        audio_channels: int = 96,
        condition_dim: int = 128,
        map_channels: int = 32,
        block_out_channels: tuple[int, ...] = (64, 96),
        layers_per_block: int = 1,
        num_attention_heads: int = 4,
        token_radius: int = 3,
        max_frames: int = 128,
    ) -> None:
        super().__init__()
        self.audio_encoder = TemporalAudioEncoder(audio_dim, audio_channels)
        mouth_dim = 3 * len(MOUTH_POINTS)
        self.audio_project = nn.Sequential(
            nn.Linear(audio_channels + mouth_dim, 256), nn.SiLU(), nn.Linear(256, condition_dim)
        )
        self.control_project = nn.Sequential(
            nn.Linear(num_controls, condition_dim), nn.SiLU(), nn.Linear(condition_dim, condition_dim)
        )
        self.null_audio = nn.Parameter(torch.zeros(condition_dim))
        self.to_maps = nn.Linear(condition_dim, map_channels * 4)
        self.prior = nn.Linear(audio_channels + mouth_dim + num_controls, latent_channels * latent_size**2)
        nn.init.zeros_(self.prior.weight)
        nn.init.zeros_(self.prior.bias)
        levels = len(block_out_channels)
        self.unet = _VideoUNet(
            sample_size=latent_size,
            in_channels=latent_channels + map_channels + 1,
            out_channels=latent_channels,
            block_out_channels=tuple(block_out_channels),
            down_block_types=("CrossAttnDownBlockMotion",) * levels,
            up_block_types=("CrossAttnUpBlockMotion",) * levels,
            cross_attention_dim=condition_dim,
            num_attention_heads=num_attention_heads,
            motion_num_attention_heads=num_attention_heads,
            layers_per_block=layers_per_block,
            motion_max_seq_length=max_frames,
            norm_num_groups=min(32, block_out_channels[0] // 2),
        )

    def condition(self, features: Tensor, controls: Tensor, audio_present: Tensor | None = None) -> Conditioning:
        """Encode sound and controls.

        Args:
            features: speech features with ``AUDIO_CONTEXT`` frames more on either side, ``[B, F + 32, D]``.
            controls: scaled control vectors ``[B, F, num_controls]``.
            audio_present: bool ``[B]``; where False the sound is replaced by a learned "no sound".
        """
        encoding, mouth = self.audio_encoder(features)
        inner = slice(AUDIO_CONTEXT, features.shape[1] - AUDIO_CONTEXT)
        heard = torch.cat([encoding, mouth], -1)
        audio = self.audio_project(heard)
        if audio_present is not None:
            audio = torch.where(audio_present[:, None, None], audio, self.null_audio.to(audio.dtype))
            heard = heard * audio_present[:, None, None]
        controls = controls.to(audio.dtype)
        control = self.control_project(controls)
        radius = self.config["token_radius"]
        around = torch.stack([audio[:, inner.start + k : inner.stop + k] for k in range(-radius, radius + 1)], dim=2)
        tokens = torch.cat([around, control[:, :, None]], dim=2)
        size = self.config["latent_size"]
        quarters = self.to_maps(audio[:, inner] + control).unflatten(-1, (-1, 2, 2))
        maps = quarters.repeat_interleave(size // 2, 3).repeat_interleave(size // 2, 4)
        prior = self.prior(torch.cat([heard[:, inner], controls], -1)).unflatten(-1, (-1, size, size))
        return Conditioning(tokens, maps, mouth[:, inner], prior)

    def forward(self, sample: Tensor, timestep: Tensor, conditioning: Conditioning, known: Tensor) -> Tensor:
        """Predict clean latents.

        Args:
            sample: noised latents, clean where ``known`` is 1, ``[B, F, C, h, w]``.
            timestep: noise level times 1000, ``[B]``.
            conditioning: from :meth:`condition`.
            known: mask ``[B, F, 1, h, w]``.

        Returns:
            Clean latents ``[B, F, C, h, w]``.
        """
        stacked = torch.cat([sample, conditioning.maps.to(sample.dtype), known.to(sample.dtype)], dim=2)
        tokens = conditioning.tokens.flatten(0, 1)
        out: Tensor = self.unet(stacked.transpose(1, 2), timestep, tokens, return_dict=False)[0]
        return out.transpose(1, 2) + conditioning.prior
