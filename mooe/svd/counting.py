"""Operations and memory of the GPU size, counted on models without weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.latents import EmotionToLatents
from mooe.motion.unet import AUDIO_CONTEXT
from mooe.svd.adapters import SVDConditioner, TokenAdapters
from mooe.svd.compensation import LatentCompensator


@dataclass(frozen=True)
class RealSizeParts:
    """The parts at the sizes of the published weights; see :mod:`mooe.svd.talker`."""

    unet: Any
    vae: Any
    image_encoder: Any
    conditioner: SVDConditioner
    audio_adapters: TokenAdapters
    reference_adapters: TokenAdapters
    experts: MoEEAdapters
    emotion_encoder: EmotionToLatents
    compensator: LatentCompensator


def real_size_parts() -> RealSizeParts:
    """All parts on the current default device; the sizes of Stable Video Diffusion are its classes' defaults."""
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    unet = UNetSpatioTemporalConditionModel(num_attention_heads=(5, 10, 20, 20))
    # its mixing factors ignore the default device
    unet.to(torch.get_default_device())
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2
    )
    # OpenCLIP ViT-H/14, as published
    vision = CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, patch_size=14,
        projection_dim=1024,
    )  # fmt: skip
    experts = MoEEAdapters.from_unet(unet)
    audio, reference = (TokenAdapters.from_unet(unet) for _ in range(2))
    reference.attach(unet)
    audio.attach(unet)
    return RealSizeParts(
        unet, vae, CLIPVisionModelWithProjection(vision), SVDConditioner(), audio, reference, experts,
        EmotionToLatents(), LatentCompensator.from_vae(vae),
    )  # fmt: skip


def count_cost(parts: RealSizeParts, side: int, frames: int) -> tuple[float, float, float]:
    """FLOPs of a denoising step, and bytes kept for its backward pass in bf16, without and with checkpointing."""
    with torch.device("meta"):
        sample = torch.empty(1, frames, 8, side // 8, side // 8)
        embedding, times = torch.empty(1, 1, parts.unet.config.cross_attention_dim), torch.empty(1, 3)
        features = torch.empty(1, frames + 2 * AUDIO_CONTEXT, parts.conditioner.config["audio_dim"])
        person = torch.empty(1, 4, side // 8, side // 8)
        level = torch.empty(1)
    parts.unet.requires_grad_(False)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            # views share their storage, which counts once; it stays alive with the graph, so its id is its own
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), FlopCounterMode(display=False) as counter:
        tokens = parts.conditioner.audio_tokens(features)
        seen = parts.conditioner.reference_tokens(person, frames)
        with parts.audio_adapters.condition(tokens), parts.reference_adapters.condition(seen):
            out = parts.unet(sample, level, embedding, times).sample
    activations = sum(kept.values()) / 2
    del out
    return float(counter.get_total_flops()), activations, _checkpoint_bytes(parts, side, frames)


def _checkpoint_bytes(parts: RealSizeParts, side: int, frames: int) -> float:
    """bf16 bytes with activations computed again: what enters each block, and the insides of the largest one."""
    widths = parts.unet.config.block_out_channels
    layers = parts.unet.config.layers_per_block
    total = largest = 0.0
    for depth, width in enumerate(widths):
        places = frames * math.ceil(side / 8 / 2 ** min(depth, len(widths) - 1)) ** 2
        # down and up pass, a resnet and a transformer a layer
        total += places * width * 2 * (2 * layers + 1) * 2
        # a transformer block keeps about forty tensors of its tokens' width: four times as wide feed-forward, gated
        largest = max(largest, places * width * 2 * 40)
    return total + largest
