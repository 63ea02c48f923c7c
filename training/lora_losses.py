"""What a speaker's film is compared by: how much each place counts, and how well samples stand for what was filmed."""

from __future__ import annotations

import torch
from torch import Tensor

from mooe.face.topology import REGIONS
from mooe.motion.codec import MotionCodec
from training.corpus.filmed import FilmedCorpus

# Brings the parts' speeds a frame to the size of their ways
SPEED_SCALE = 5.0


def film_weights(corpus: FilmedCorpus, codec: MotionCodec) -> Tensor:
    """Weights of the latents' squared errors, ``[C, h, w]``: 1, and less where the film moves more than acted clips.

    Latents have unit variance on the acted corpus. Tracked points tremble and slide where a turned head hides them, up
    to forty times as much at temples and jaw; unweighted, that would be nearly all that is learnt.
    """
    total = square = torch.zeros(codec.mean.shape)
    count = 0
    for displacement in corpus.displacements():
        latents = codec.encode(torch.from_numpy(displacement).to(codec.device)).cpu()
        total, square, count = total + latents.sum(0), square + latents.square().sum(0), count + len(latents)
    return 1 / (square / count - (total / count).square()).clamp(min=1.0)


def energy_score(first: Tensor, second: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """How badly two samples stand for the distribution that a target comes from; least for samples of that one.

    A proper score (Gneiting and Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", 2007): nearness
    to the target is paid for with the samples' likeness to each other, so what varies in the target goes on varying.
    Squared errors would have the mean, in which nobody moves a brow. Distances are root mean squares over frames and
    channels at each place of the latent, and their mean is given.

    Args:
        first, second: sampled latents, ``[B, F, C, h, w]``.
        target: latents, likewise.
        weight: of the differences, broadcast to their shape.
    """
    return _score(first * weight, second * weight, target * weight)


def part_tracks(points: Tensor) -> Tensor:
    """Mean displacements of the face's parts (brows, eyes, lips, oval) in hundredths of eye distances.

    A part that moves as a whole by as little as a brow in talk is lost among what trembles in the same latents.

    Args:
        points: displacements ``[B, F, 478, 3]``.

    Returns:
        ``[B, F, 1, 6, 3]``, as latents of as many places.
    """
    parts = [points[:, :, list(members)].mean(2) for members in REGIONS.values()]
    return 100 * torch.stack(parts, 2)[:, :, None]


def part_score(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """:func:`energy_score` of the parts' tracks and of their speeds; displacements ``[B, F, 478, 3]``.

    Samples that tremble lie as wide apart as samples that move. Their speeds tell them from each other.
    """
    tracks = [part_tracks(points) for points in (first, second, target)]
    return _score(*tracks) + _score(*(SPEED_SCALE * track.diff(dim=1) for track in tracks))


def _score(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    def distance(one: Tensor, other: Tensor) -> Tensor:
        return ((one - other).square().mean((1, 2)) + 1e-6).sqrt().mean()

    return (distance(first, target) + distance(second, target) - distance(first, second)) / 2
