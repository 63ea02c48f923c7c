"""SVDTalker: Stable Video Diffusion that listens to speech and shows emotions, for those with a GPU and its weights.

The UNet denoises image latents of a window of frames (Blattmann et al., "Stable Video Diffusion", 2023) with the EDM
preconditioning that it was trained with (Karras et al., 2022). It is frozen; what is trained is beside it: audio and
reference tokens with their attentions, the Mixture of Emotion Experts, Emotion-to-Latents, and codebook compensation in
the latent decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.latents import EmotionToLatents
from mooe.errors import WeightsError
from mooe.motion.unet import AUDIO_CONTEXT
from mooe.svd.adapters import SVDConditioner, TokenAdapters
from mooe.svd.compensation import LatentCompensator
from mooe.weights import own_memory

PUBLISHED = "stabilityai/stable-video-diffusion-img2vid-xt"
FRAMES_PER_SECOND, MOTION_BUCKET, AUGMENTATION = 24, 127, 0.0
_PARTS: dict[str, Any] = {
    "conditioner": SVDConditioner,
    "audio_adapters": TokenAdapters,
    "reference_adapters": TokenAdapters,
    "experts": MoEEAdapters,
    "emotion_encoder": EmotionToLatents,
    "compensator": LatentCompensator,
}


@dataclass
class SVDBase:
    """The published parts of Stable Video Diffusion, frozen.

    Attributes:
        unet: ``UNetSpatioTemporalConditionModel``.
        vae: ``AutoencoderKLTemporalDecoder``.
        image_encoder: ``CLIPVisionModelWithProjection``.
        scheduler: ``EulerDiscreteScheduler``.
    """

    unet: Any
    vae: Any
    image_encoder: Any
    scheduler: Any

    @classmethod
    def from_pretrained(cls, name_or_folder: str | PathLike[str] = PUBLISHED, **kwargs: Any) -> Self:
        """Load from a folder that ``StableVideoDiffusionPipeline`` saved, or by name from a model hub.

        Raises:
            WeightsError: it cannot be loaded.
        """
        from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
        from transformers import CLIPVisionModelWithProjection

        classes: dict[str, Any] = {
            "unet": UNetSpatioTemporalConditionModel, "vae": AutoencoderKLTemporalDecoder,
            "image_encoder": CLIPVisionModelWithProjection, "scheduler": EulerDiscreteScheduler,
        }  # fmt: skip
        try:
            parts = {
                name: kind.from_pretrained(name_or_folder, subfolder=name, **({} if name == "scheduler" else kwargs))
                for name, kind in classes.items()
            }
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(
                f"Stable Video Diffusion cannot be loaded from '{name_or_folder}' ({reason}): give its folder or name."
            ) from error
        base = cls(**parts)
        for part in (base.unet, base.vae, base.image_encoder):
            own_memory(part.requires_grad_(False).eval())
        return base

    def to(self, device: torch.device | str) -> SVDBase:
        """Move all parts."""
        for part in (self.unet, self.vae, self.image_encoder):
            part.to(device)
        return self

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """Frames ``[B, F, 3, H, W]`` in [-1, 1] -> latents ``[B, F, C, H/8, W/8]``."""
        flat = self.vae.encode(frames.flatten(0, 1).to(self.vae.dtype)).latent_dist.mode()
        return (flat * self.vae.config.scaling_factor).unflatten(0, frames.shape[:2]).float()

    def decode(self, latents: Tensor, chunk: int = 8) -> Tensor:
        """Latents ``[B, F, C, h, w]`` -> frames ``[B, F, 3, 8 h, 8 w]``, [-1, 1] and a little beyond.

        The decoder sees ``chunk`` frames of a clip at a time.
        """
        # encoded latents come channels last, on which PyTorch 2's backward pass through the decoder crashes on CPUs
        scaled = latents.to(self.vae.dtype).contiguous() / self.vae.config.scaling_factor
        clips = [
            torch.cat([self.vae.decode(part, num_frames=len(part)).sample for part in clip.split(chunk)])
            for clip in scaled
        ]
        return torch.stack(clips).float()

    @torch.no_grad()
    def decode_frames(self, latents: Tensor, chunk: int = 8) -> Tensor:
        """Latents -> frames as :meth:`decode`, in [-1, 1] and without gradients."""
        return self.decode(latents, chunk).clamp(-1, 1)

    @torch.no_grad()
    def embed_picture(self, picture: Tensor) -> Tensor:
        """Picture ``[B, 3, H, W]`` in [-1, 1] -> CLIP embedding ``[B, 1, d]``."""
        side = self.image_encoder.config.image_size
        small = nn.functional.interpolate(picture, (side, side), mode="bilinear", antialias=True, align_corners=False)
        mean = small.new_tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
        std = small.new_tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
        pixels = ((small + 1) / 2 - mean) / std
        return self.image_encoder(pixels.to(self.image_encoder.dtype)).image_embeds[:, None].float()


@dataclass
class SVDCondition:
    """What a window of F frames is told.

    Attributes:
        image_latents: of the reference picture, ``[B, C, h, w]``, as the VAE's mode without its scaling.
        image_embedding: CLIP embedding of it, ``[B, 1, d]``.
        features: speech features with context, ``[B, F + 32, D]``.
        emotion: weights ``[B, F, 6]``, or None for neutral.
        audible: bool ``[B]``; where False the sound is withheld; None hears all.
    """

    image_latents: Tensor
    image_embedding: Tensor
    features: Tensor
    emotion: Tensor | None = None
    audible: Tensor | None = None

    @property
    def num_frames(self) -> int:
        return self.features.shape[1] - 2 * AUDIO_CONTEXT


class SVDTalker(nn.Module):
    """What is trained beside Stable Video Diffusion, attached to it.

    Args:
        base: the published parts; their UNet gets the attentions attached, their decoder the compensation.
        conditioner, audio_adapters, reference_adapters, experts, emotion_encoder, compensator: the trained parts.
    """

    def __init__(
        self,
        base: SVDBase,
        conditioner: SVDConditioner,
        audio_adapters: TokenAdapters,
        reference_adapters: TokenAdapters,
        experts: MoEEAdapters,
        emotion_encoder: EmotionToLatents,
        compensator: LatentCompensator,
    ) -> None:
        super().__init__()
        self.conditioner, self.audio_adapters, self.reference_adapters = conditioner, audio_adapters, reference_adapters
        self.experts, self.emotion_encoder, self.compensator = experts, emotion_encoder, compensator
        # not a module of this one: it is frozen and saved by others
        self._base = (base,)
        for adapters in (reference_adapters, audio_adapters, experts):
            adapters.attach(base.unet)
        compensator.attach(base.vae)

    @property
    def base(self) -> SVDBase:
        """The published parts."""
        return self._base[0]

    @classmethod
    def from_base(cls, base: SVDBase, token_dim: int = 256, audio_dim: int = 390, **emotion: Any) -> SVDTalker:
        """New parts of the right sizes; ``emotion`` are further arguments of the experts. It starts as SVD is."""
        encoder = EmotionToLatents()
        return cls(
            base,
            SVDConditioner(audio_dim, token_dim=token_dim, latent_channels=base.vae.config.latent_channels),
            TokenAdapters.from_unet(base.unet, token_dim=token_dim),
            TokenAdapters.from_unet(base.unet, token_dim=token_dim),
            MoEEAdapters.from_unet(base.unet, latent_dim=encoder.config["latent_dim"], **emotion),
            encoder,
            LatentCompensator.from_vae(base.vae),
        )

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the trained parts, a folder each; Stable Video Diffusion itself is not copied."""
        for name in _PARTS:
            getattr(self, name).save_pretrained(Path(folder) / name)

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str], base: SVDBase) -> SVDTalker:
        """Load the trained parts and attach them to ``base`` (raises WeightsError)."""
        try:
            parts: dict[str, Any] = {
                name: own_memory(kind.from_pretrained(Path(folder) / name)) for name, kind in _PARTS.items()
            }
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(f"'{folder}' holds no SVDTalker ({reason}): give a folder that it saved.") from error
        return cls(base, **parts)

    def condition(self, picture: Tensor, features: Tensor, **others: Any) -> SVDCondition:
        """Conditions from a reference picture ``[B, 3, H, W]`` in [-1, 1] and speech features with context."""
        latents = self.base.encode_frames(picture[:, None])[:, 0] / self.base.vae.config.scaling_factor
        return SVDCondition(latents, self.base.embed_picture(picture), features, **others)

    @contextmanager
    def attending(self, condition: SVDCondition) -> Iterator[None]:
        """Calls of the UNet inside the context hear, see and feel ``condition``."""
        frames = condition.num_frames
        emotion = None if condition.emotion is None else self.emotion_encoder(condition.emotion)
        with ExitStack() as stack:
            sound = self.conditioner.audio_tokens(condition.features, condition.audible)
            stack.enter_context(self.audio_adapters.condition(sound))
            person = self.conditioner.reference_tokens(condition.image_latents, frames)
            stack.enter_context(self.reference_adapters.condition(person))
            stack.enter_context(self.experts.condition(emotion))
            yield

    def denoise(self, noised: Tensor, sigma: Tensor, condition: SVDCondition) -> Tensor:
        """Clean latents ``[B, F, C, h, w]`` of noised ones at levels ``sigma`` ``[B]``, within :meth:`attending`.

        EDM preconditioning for SVD's v-prediction: c_skip = 1 / (s^2 + 1), c_out = -s / sqrt(s^2 + 1),
        c_in = 1 / sqrt(s^2 + 1), c_noise = ln(s) / 4.
        """
        unet = self.base.unet
        level = sigma[:, None, None, None, None]
        still = condition.image_latents[:, None].expand(-1, noised.shape[1], -1, -1, -1)
        inputs = torch.cat([noised / (level**2 + 1).sqrt(), still], dim=2).to(unet.dtype)
        told = [float(FRAMES_PER_SECOND - 1), float(MOTION_BUCKET), AUGMENTATION]
        times = torch.tensor([told], device=noised.device).expand(len(noised), -1).to(unet.dtype)
        out = unet(inputs, sigma.log() / 4, condition.image_embedding.to(unet.dtype), times, return_dict=False)[0]
        return noised / (level**2 + 1) - level / (level**2 + 1).sqrt() * out.float()

    def decode(self, latents: Tensor, condition: SVDCondition, chunk: int = 8) -> Tensor:
        """Latents ``[B, F, C, h, w]`` -> frames ``[B, F, 3, 8 h, 8 w]``, [-1, 1] and a little beyond.

        The codebooks refine them for the person of the reference picture; see :meth:`SVDBase.decode` for ``chunk``.
        """
        clips = []
        for clip, person in zip(latents, condition.image_latents, strict=True):
            with self.compensator.condition(person[None]):
                clips.append(self.base.decode(clip[None], chunk))
        return torch.cat(clips)

    @torch.no_grad()
    def decode_frames(self, latents: Tensor, condition: SVDCondition, chunk: int = 8) -> Tensor:
        """Latents -> frames as :meth:`decode`, in [-1, 1] and without gradients."""
        return self.decode(latents, condition, chunk).clamp(-1, 1)

    @torch.no_grad()
    def sample(
        self,
        condition: SVDCondition,
        generator: torch.Generator,
        num_inference_steps: int = 25,
        audio_guidance: float = 1.0,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Latents ``[B, F, C, h, w]`` of a window, by Euler steps over the scheduler's noise levels.

        Args:
            condition: what the window is told.
            generator: source of the noise, on the CPU.
            num_inference_steps: denoising steps.
            audio_guidance: how far to go from no sound towards the sound; other than 1 takes twice the time.
            on_step: called after each step with its number and the latents.
        """
        scheduler, still = self.base.scheduler, condition.image_latents
        scheduler.set_timesteps(num_inference_steps, device=still.device)
        shape = (len(still), condition.num_frames, *still.shape[1:])
        latents = torch.randn(shape, generator=generator).to(still.device) * scheduler.sigmas[0]
        silent = replace(condition, audible=torch.zeros(len(still), dtype=torch.bool, device=still.device))
        for number, (level, following) in enumerate(zip(scheduler.sigmas[:-1], scheduler.sigmas[1:], strict=True)):
            sigma = level.to(still.device).expand(len(still))
            with self.attending(condition):
                clean = self.denoise(latents, sigma, condition)
            if audio_guidance != 1:
                with self.attending(silent):
                    unheard = self.denoise(latents, sigma, condition)
                clean = unheard + audio_guidance * (clean - unheard)
            latents = clean + (latents - clean) * (following / level)
            if on_step is not None:
                on_step(number, latents)
        return latents
