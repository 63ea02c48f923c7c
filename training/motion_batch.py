"""From acted takes to batches of latents, with known frames and regions marked, and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mooe.motion.atlas import mouth_mask
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
        audible: whether there is sound, bool ``[B]``.
        speech_known: whether ``speech`` is to be learnt from, bool ``[B]``.
    """

    features: Tensor
    displacement: Tensor
    latents: Tensor
    controls: Tensor
    emotion: Tensor
    speech: Tensor
    known: Tensor
    alternative: Tensor | None
    audible: Tensor
    speech_known: Tensor


def twice(batch: Batch) -> Batch:
    """The takes of a batch, and the same once more behind them."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: torch.cat([value] * 2) for name, value in values.items() if value is not None})


# One source of randomness for all takes, or one for each: then a take does not depend on its neighbours
Streams = np.random.Generator | Sequence[np.random.Generator]


def streams_of(rng: Streams, count: int) -> Sequence[np.random.Generator]:
    """A source of randomness for each of ``count`` takes."""
    return [rng] * count if isinstance(rng, np.random.Generator) else rng


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


def draw_batch(takes: list[Take], codec: MotionCodec, rng: Streams) -> Batch:
    """Stack takes and encode them, on the codec's device."""
    device = codec.device

    def stack(arrays: list[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.float32)).to(device)

    displacement = stack([t.displacement for t in takes])
    alternatives = [t.alternative for t in takes if t.alternative is not None]
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
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
        stack([known_mask(frames, size, stream) for stream in streams_of(rng, len(takes))]),
        alternative,
        torch.tensor([t.audible for t in takes], device=device),
        torch.tensor([t.speech_known for t in takes], device=device),
    )


def noise_latents(
    batch: Batch,
    rng: Streams,
    start: Tensor | None = None,
    most: Tensor | None = None,
    pure_share: float = 0.1,
    levels: Sequence[float] = (),
) -> tuple[Tensor, Tensor]:
    """Noise the latents on the straight path to Gaussian noise (flow matching), keeping what is known clean.

    Args:
        batch: the batch.
        rng: source of randomness, or one for each take.
        start: latents to noise instead of the batch's own.
        most: highest noise level of each take, ``[B]``; 1 if None.
        pure_share: share of takes that are nothing but noise, where sampling begins and most is decided.
        levels: noise levels of the other takes, each as likely; logit-normal ones if there are none.

    Returns:
        Noised latents ``[B, F, C, h, w]`` and timesteps (level times 1000) ``[B]``.
    """
    drawn = []
    streams = streams_of(rng, len(batch.latents))
    for stream in streams:
        level = 1 / (1 + np.exp(-(stream.standard_normal() * 1.3 + 0.4)))
        if levels:
            level = float(stream.choice(levels))
        drawn.append(1.0 if stream.random() < pure_share else level)
    sigma = torch.tensor(drawn, dtype=torch.float32, device=batch.latents.device)
    if most is not None:
        sigma = sigma * most
    return mix_noise(batch, sigma, streams, start), sigma * 1000


def euler_step(sample: Tensor, clean: Tensor, level: Tensor, reached: Tensor) -> Tensor:
    """A step along the straight path through the sample and the predicted clean latents.

    Args:
        sample: latents at ``level``, ``[B, F, C, h, w]``.
        clean: predicted clean latents, ``[B, F, C, h, w]``.
        level: noise levels, ``[B]``, above 0.
        reached: noise levels to go to, ``[B]``.
    """
    return clean + (reached / level)[:, None, None, None, None] * (sample - clean)


def mix_noise(batch: Batch, level: Tensor, rng: Streams, start: Tensor | None = None) -> Tensor:
    """The latents at given noise levels ``[B]`` on the straight path to noise, ``[B, F, C, h, w]``.

    What is known stays clean; ``start`` and ``rng`` are those of :func:`noise_latents`.
    """
    clean = batch.latents if start is None else start
    noises = [stream.standard_normal(clean.shape[1:], dtype=np.float32) for stream in streams_of(rng, len(clean))]
    noise = torch.from_numpy(np.stack(noises)).to(clean.device)
    spread = level[:, None, None, None, None]
    noised = (1 - spread) * clean + spread * noise
    return torch.where(batch.known > 0, batch.latents, noised)
