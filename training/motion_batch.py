"""From acted takes to batches of latents, with known frames and regions marked, and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mooe.face.topology import region_weight
from mooe.motion.atlas import region_map
from mooe.motion.codec import MotionCodec
from training.corpus.motion import Take

# Frames that a window carries over from the one before it
CARRIED_FRAMES = 8


@dataclass
class Batch:
    """A batch of takes.

    Attributes:
        features: speech with context ``[B, F + 32, D]``.
        displacement: ``[B, F, 478, 3]``.
        latents: clean ``[B, F, C, h, w]``.
        controls: ``[B, F, num_controls]``.
        emotion: emotion weights ``[B, F, 6]``.
        speech: displacements of the same speech without emotion ``[B, F, 478, 3]``.
        known: mask of given latents ``[B, F, 1, h, w]``.
        alternative: latents of the same speech with another emotion, or None.
    """

    features: Tensor
    displacement: Tensor
    latents: Tensor
    controls: Tensor
    emotion: Tensor
    speech: Tensor
    known: Tensor
    alternative: Tensor | None


def mouth_mask(latent_size: int) -> NDArray[np.float32]:
    """Places of the latent that hold the mouth and jaw, float32 ``[h, w]`` of 0 and 1."""
    return (region_map(region_weight("lips", 0.35), latent_size) > 0.15).astype(np.float32)


def known_mask(num_frames: int, latent_size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw which latents are given: often the first frames, sometimes the mouth or all but the mouth."""
    known = np.zeros((num_frames, 1, latent_size, latent_size), np.float32)
    if rng.random() < 0.5:
        known[:CARRIED_FRAMES] = 1
    kind = rng.random()
    if kind < 0.05:
        known[:, 0] = np.maximum(known[:, 0], mouth_mask(latent_size))
    elif kind < 0.1:
        known[:, 0] = np.maximum(known[:, 0], 1 - mouth_mask(latent_size))
    return known


def draw_batch(takes: list[Take], codec: MotionCodec, rng: np.random.Generator) -> Batch:
    """Stack takes and encode them."""

    def stack(arrays: list[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.float32))

    displacement = stack([t.displacement for t in takes])
    alternatives = [t.alternative for t in takes if t.alternative is not None]
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        latents = codec.encode(displacement)
        alternative = codec.encode(stack(alternatives)) if alternatives else None
    frames, size = displacement.shape[1], latents.shape[-1]
    return Batch(
        stack([t.features for t in takes]),
        displacement,
        latents,
        stack([t.controls.stack() for t in takes]),
        stack([t.emotion for t in takes]),
        stack([t.speech for t in takes]),
        stack([known_mask(frames, size, rng) for _ in takes]),
        alternative,
    )


def noise_latents(
    batch: Batch,
    rng: np.random.Generator,
    start: Tensor | None = None,
    most: Tensor | None = None,
    pure_share: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Noise the latents on the straight path to Gaussian noise (flow matching), keeping what is known clean.

    Args:
        batch: the batch.
        rng: source of randomness.
        start: latents to noise instead of the batch's own.
        most: highest noise level of each take, ``[B]``; 1 if None.
        pure_share: share of takes that are nothing but noise, where sampling begins and most is decided.

    Returns:
        Noised latents ``[B, F, C, h, w]`` and timesteps (level times 1000) ``[B]``; levels are logit-normal.
    """
    clean = batch.latents if start is None else start
    level = 1 / (1 + np.exp(-(rng.standard_normal(len(clean)) * 1.3 + 0.4)))
    level[rng.random(len(clean)) < pure_share] = 1.0
    sigma = torch.from_numpy(level.astype(np.float32))
    if most is not None:
        sigma = sigma * most
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
    spread = sigma[:, None, None, None, None]
    noised = (1 - spread) * clean + spread * noise
    return torch.where(batch.known > 0, batch.latents, noised), sigma * 1000
