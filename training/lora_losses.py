"""What a speaker's film is compared by: how much each place counts, and how well samples stand for what was filmed."""

from __future__ import annotations

import torch
from torch import Tensor

from mooe.face.topology import REGIONS
from mooe.motion.codec import MotionCodec
from training.corpus.filmed import FilmedCorpus

# What is less is as good as still, in eye distances
SMALLEST_MOVEMENT = 2e-4


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

    def distance(one: Tensor, other: Tensor) -> Tensor:
        return (((one - other) * weight).square().mean((1, 2)) + 1e-6).sqrt().mean()

    return (distance(first, target) + distance(second, target) - distance(first, second)) / 2


def part_measures(points: Tensor) -> Tensor:
    """How the face's parts (brows, eyes, lips, oval) move as wholes: where each stands, how far it moves, how fast.

    A part that moves by as little as a brow in talk is lost among what trembles in the same latents, and its movement
    is lost beside its place: hence a measure for each. Ways are told by their logarithms, so that brows count as lips.

    Args:
        points: displacements ``[B, F, 478, 3]``.

    Returns:
        ``[B, 3, 18]``: of each part and axis the mean place in hundredths of eye distances, and the logarithms of the
        standard deviations of its place and of its steps from frame to frame.
    """
    tracks = torch.stack([points[:, :, list(members)].mean(2) for members in REGIONS.values()], 2).flatten(2)

    def width(values: Tensor) -> Tensor:
        return (values.var(1) + SMALLEST_MOVEMENT**2).sqrt().log()

    return torch.stack([100 * tracks.mean(1), width(tracks), width(tracks.diff(dim=1))], 1)


def part_score(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """The score of each of :func:`part_measures` by itself, a mean; displacements ``[B, F, 478, 3]``.

    In one dimension the energy score is the continuous ranked probability score.
    """
    one, other, filmed = (part_measures(points) for points in (first, second, target))
    return ((one - filmed).abs() + (other - filmed).abs() - (one - other).abs()).mean() / 2
