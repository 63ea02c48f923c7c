"""Decoder: the motion and appearance codebooks learn what geometry leaves open.

    accelerate launch training/train_decoder.py --config configs/decoder.yaml

Learns from the frames that ``python -m training.corpus.frames`` made: geometry's rendering beside how the face really
looks. Run the same command again to resume; the frames must then be the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mooe.config import load_config
from mooe.decoder.compensator import FLOW_UNIT, PortraitCompensator
from mooe.decoder.refinement import (
    PLACES,
    appearance_inputs,
    cut_square,
    motion_inputs,
    outside_face,
    photo_squares,
    region_shares,
    warp,
)
from training.codebook_care import revive_codes, share_counts
from training.common import LoopConfig, TrainingLoop, arguments, run_command, take_streams
from training.corpus.frames import FrameSample, load_shard, shard_files
from training.decoder_losses import gradient_pyramid, gradients, local_contrast, visible, weighted_mean
from training.patch_discriminator import PatchDiscriminator

_CONDITION_CHANNELS = 8  # the discriminator's: the photograph's face, the regions' shares, where the fill may act
_PLACE_SHARES = (0.7, 0.15, 0.15)  # of the samples: mouths, right eyes, left eyes
_PICTURE = 128  # side at which warped pictures are compared


@dataclass
class CompensatorConfig:
    """Sizes and switches of the model; see :class:`~mooe.decoder.compensator.PortraitCompensator`."""

    use_motion_book: bool = True
    use_appearance_book: bool = True
    scales: tuple[int, ...] = (16, 32, 64)
    share_codes: bool = True
    motion_codes: int = 192
    appearance_codes: int = 256


@dataclass
class LossWeights:
    """Weights of the losses."""

    mouth: float = 3.0
    """How much more the mouth counts than the lids."""
    gradient: float = 1.0
    contrast: float = 0.5
    fill: float = 0.005
    """Penalty on the fill's weight, so that warped pixels stay where they do as well."""
    exact_flow: float = 0.2
    smooth_flow: float = 0.02
    visibility: float = 0.05
    codes: float = 0.05
    adversarial: float = 0.0
    """Of the patch discriminator; 0 is none."""


@dataclass
class DecoderConfig:
    """Settings of the stage."""

    loop: LoopConfig
    frames: Path
    """Folder that ``training/corpus/frames.py`` wrote."""
    model: CompensatorConfig = field(default_factory=CompensatorConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    batch_size: int = 4
    """Frames a step and process."""
    film_share: float = 0.4
    """Share of frames from films, if there are any."""
    adversarial_from: float = 0.5
    """Share of the steps after which the patch discriminator, which learns from the first step, also teaches."""


@dataclass
class FrameBatch:
    """Samples as tensors; see :class:`~training.corpus.frames.FrameSample`. Lengths are shares of the frame's side.

    ``place`` says which of :data:`~mooe.decoder.refinement.PLACES` is filled in, int64 ``[B]``.
    """

    source: Tensor
    render: Tensor
    target: Tensor
    regions: Tensor
    shift: Tensor
    residual: Tensor
    known: Tensor
    points: Tensor
    source_points: Tensor
    place: Tensor

    def to(self, device: torch.device) -> FrameBatch:
        """All of it on another device."""
        return FrameBatch(*(tensor.to(device) for tensor in vars(self).values()))


def stack(samples: Sequence[FrameSample], streams: Sequence[np.random.Generator]) -> FrameBatch:
    """A batch of samples, half of them mirrored, all in slightly other light; a source of randomness for each."""

    def pictures(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(s, name) for s in samples])).permute(0, 3, 1, 2).float() / 255

    def maps(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(s, name) for s in samples])).permute(0, 3, 1, 2).float() / size

    size = samples[0].source.shape[0]
    source, render, target = (pictures(n) for n in ("source", "render", "target"))
    regions = region_shares(torch.from_numpy(np.stack([s.region for s in samples])))
    shift, residual = maps("flow"), maps("residual")
    known = torch.from_numpy(np.stack([s.known for s in samples]))[:, None].float()
    places = [
        torch.from_numpy(np.stack([getattr(s, n) for s in samples])).float() / size for n in ("points", "source_points")
    ]
    mirrored = torch.tensor([stream.random() < 0.5 for stream in streams])[:, None, None, None]
    source, render, target, regions, shift, residual, known = (
        torch.where(mirrored, x.flip(-1), x) for x in (source, render, target, regions, shift, residual, known)
    )
    sign = torch.where(mirrored, torch.tensor([-1.0, 1.0])[None, :, None, None], torch.ones(1))
    flipped = [torch.where(mirrored[:, 0], torch.stack([1 - p[..., 0], p[..., 1]], -1), p) for p in places]
    gain = torch.tensor([stream.normal(1, 0.08) for stream in streams]).clamp(0.7, 1.2)[:, None, None, None]
    light = [(x * gain).clamp(0, 1) for x in (source, render, target)]
    place = torch.tensor([int(stream.choice(len(PLACES), p=_PLACE_SHARES)) for stream in streams])
    points, source_points = flipped
    return FrameBatch(
        light[0], light[1], light[2], regions, shift * sign, residual * sign, known, points, source_points, place
    )


class DecoderStage:
    """The loss of the stage.

    Args:
        config: settings.
        puppets, films: samples; one of them may be empty.
        model: what learns.
        discriminator: learns beside it; None for none.
    """

    def __init__(
        self,
        config: DecoderConfig,
        puppets: Sequence[FrameSample],
        films: Sequence[FrameSample],
        model: PortraitCompensator,
        discriminator: PatchDiscriminator | None = None,
    ) -> None:
        self.config, self.puppets, self.films, self.model = config, puppets, films, model
        self.discriminator = discriminator

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        streams = take_streams(self.config.loop.seed, step, self.config.batch_size)
        batch = stack([self._draw(stream) for stream in streams], streams).to(self.model.device)
        books = self.model.books()
        steps = self.config.loop.steps
        revive_codes(books.values(), step, steps, lambda: self._losses(batch, False))
        loss, figures = self._losses(batch, step >= self.config.adversarial_from * steps)
        share_counts(books.values())
        for name, book in books.items():
            figures[f"{name}_usage"] = book.usage()
        return loss, figures

    def _losses(self, batch: FrameBatch, adversarial: bool) -> tuple[Tensor, dict[str, float]]:
        loss = batch.render.new_zeros(())
        figures: dict[str, float] = {}
        visibility = torch.ones_like(batch.render[:, :1])
        if self.model.motion is not None:
            motion, visibility, seen = self.motion_loss(batch)
            loss, figures = loss + motion, {**figures, **seen}
        if self.model.appearance is not None:
            appearance, seen = self.appearance_loss(batch, visibility, adversarial)
            loss, figures = loss + appearance, {**figures, **seen}
        return loss, figures

    def _draw(self, rng: np.random.Generator) -> FrameSample:
        filmed = bool(self.films) and (not self.puppets or rng.random() < self.config.film_share)
        chosen = self.films if filmed else self.puppets
        return chosen[int(rng.integers(len(chosen)))]

    def motion_loss(self, batch: FrameBatch) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Loss of motion compensation, the visibility it sees at the frame's size, and figures."""
        weights = self.config.weights
        inputs = motion_inputs(batch.source, batch.shift, batch.regions, batch.points, batch.source_points)
        found = self.model.motion(inputs)  # type: ignore[misc]
        free = outside_face(inputs)
        small, target = (F.adaptive_avg_pool2d(x, _PICTURE) for x in (batch.source, batch.target))
        shift, open_places = (
            F.interpolate(x, _PICTURE, mode="bilinear") for x in (batch.shift + found.flow * free, free)
        )
        warped = warp(small, shift)
        error = (warped - target).abs()
        colors = weighted_mean(error, open_places)
        edges = weighted_mean((gradients(warped) - gradients(target)).abs(), open_places)
        exact = weighted_mean((found.flow - batch.residual).abs() / FLOW_UNIT, free * batch.known)
        smooth = gradients(found.flow / FLOW_UNIT).abs().mean()
        seen = visible(F.adaptive_avg_pool2d(error.detach(), found.visibility.shape[-1]))
        visibility = weighted_mean((found.visibility - seen).abs(), free)
        loss = colors + weights.gradient * edges + weights.exact_flow * exact + weights.smooth_flow * smooth
        loss = loss + weights.visibility * visibility + weights.codes * found.loss
        with torch.no_grad():
            plain = warp(small, F.interpolate(batch.shift, _PICTURE, mode="bilinear"))
            before = weighted_mean((plain - target).abs(), open_places)
            full = F.interpolate(1 - free * (1 - found.visibility), batch.source.shape[-1], mode="bilinear")
        figures = {"motion_l1": float(colors.detach()), "motion_l1_plain": float(before)}
        return loss, full, {**figures, "exact_flow": float(exact.detach())}

    def appearance_loss(
        self, batch: FrameBatch, visibility: Tensor, adversarial: bool = False
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of appearance compensation, and figures; ``adversarial``: the discriminator teaches as well."""
        weights = self.config.weights
        own = photo_squares(batch.source, batch.source_points, batch.place)
        inputs, free, square = appearance_inputs(
            batch.render, own, batch.shift, batch.regions, visibility, batch.points, batch.source_points,
            batch.place,
        )  # fmt: skip
        found = self.model.appearance(inputs)  # type: ignore[misc]
        target, drawn = cut_square(batch.target, *square), inputs[:, :3]
        fill = found.weight * free
        picture = drawn + found.change * fill
        counts = free * (1 + weights.mouth * inputs[:, 7:8])
        colors = weighted_mean((picture - target).abs(), counts)
        edges = gradient_pyramid(picture, target, counts)
        contrast = weighted_mean((local_contrast(picture) - local_contrast(target)).abs(), counts)
        loss = colors + weights.gradient * edges + weights.contrast * contrast
        loss = loss + weights.fill * weighted_mean(found.weight, free) + weights.codes * found.loss
        judged: dict[str, float] = {}
        if self.discriminator is not None:
            # the photograph's face and where the mouth and the lids are
            condition = torch.cat([inputs[:, 3:10], free], 1)
            learning, teaching = self.discriminator.losses(target, picture, condition, counts)
            loss = loss + learning + (weights.adversarial * teaching if adversarial else 0)
            judged = {"discriminator": float(learning.detach()), "adversarial": float(teaching.detach())}
        with torch.no_grad():
            before = weighted_mean((drawn - target).abs(), counts)
            edges_before = gradient_pyramid(drawn, target, counts)
        figures = {
            "fill_l1": float(colors.detach()), "fill_l1_plain": float(before), "fill_edges": float(edges.detach()),
            "fill_edges_plain": float(edges_before), **judged,
        }  # fmt: skip
        return loss, figures


def load_samples(folder: Path, kind: str) -> list[FrameSample]:
    """All samples of a kind that a split's folder holds; none if it has no such shards."""
    if not (folder / kind).is_dir():
        return []
    return [sample for path in shard_files(folder, [kind]) for sample in load_shard(path)]


def build_model(config: CompensatorConfig) -> PortraitCompensator:
    """The untrained model of a configuration."""
    return PortraitCompensator(
        use_motion_book=config.use_motion_book,
        use_appearance_book=config.use_appearance_book,
        scales=config.scales,
        share_codes=config.share_codes,
        motion_codes=config.motion_codes,
        appearance_codes=config.appearance_codes,
    )


def build_discriminator(config: DecoderConfig) -> PatchDiscriminator | None:
    """What teaches the fill to look photographed, if it is asked for and there is a fill."""
    wanted = config.weights.adversarial > 0 and config.model.use_appearance_book
    return PatchDiscriminator(_CONDITION_CHANNELS) if wanted else None


def main() -> None:
    """Train the compensator by a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, DecoderConfig, options.set)
    torch.manual_seed(config.loop.seed)
    shard_files(config.frames / "train")
    puppets, films = (load_samples(config.frames / "train", kind) for kind in ("puppets", "films"))
    logging.info("%d puppets, %d film frames", len(puppets), len(films))
    model = build_model(config.model)
    discriminator = build_discriminator(config)
    modules: dict[str, nn.Module] = {"compensator": model}
    if discriminator is not None:
        modules["discriminator"] = discriminator
    for module in modules.values():
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on CPUs
    stage = DecoderStage(config, puppets, films, model, discriminator)
    loop = TrainingLoop(config.loop, modules, stage, model.save_pretrained)
    loop.prepare()
    model.train()
    loop.run(options.max_minutes, options.push_to_hub)


if __name__ == "__main__":
    run_command(main)
