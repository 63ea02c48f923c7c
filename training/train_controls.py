"""Emotion controls besides labels: text, the voice, and how both and action units reach the emotion latents.

    accelerate launch training/train_controls.py --config configs/controls.yaml

Three parts, each a few minutes on one core:

text    a head on a sentence embedder reads phrases of ``training/corpus/phrases.py``
voice   a head on statistics of speech hears emotions (see ``training/corpus/voices.py`` for what it learns from)
fusion  Emotion-to-Latents learns to take any subset of the controls: what text, voice and action units ask for gives the
        latents that the same mixture gives as a label. The label path is the teacher and stays as it is, bit for bit, so
        a new emotion stage needs this part alone: ``--set parts=[fusion]``

Run the same command again to resume; choose a new output folder to begin anew.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mooe.config import load_config
from mooe.emotion.controls import action_unit_intensities, merge_mixtures
from mooe.emotion.embedders import SentenceEmbedder, TransformersEmbedder, minilm
from mooe.emotion.latents import MODALITIES, EmotionToLatents
from mooe.emotion.taxonomy import EMOTIONS
from mooe.emotion.text import TextEmotionHead
from mooe.emotion.voice import VoiceEmotionHead
from mooe.errors import ConfigError
from training.common import LoopConfig, TrainingLoop, arguments
from training.corpus.phrases import Phrase, PhraseMaker
from training.corpus.voices import emotional_statistics, neutral_statistics

logger = logging.getLogger(__name__)

PARTS = ("text", "voice", "fusion")
_GROUPS = 8  # subsets of controls a step
_SILENT_SHARE = 0.15  # of controls that are there and ask for nothing
_AGREEING_SHARE = 0.5  # of wishes in which all controls ask for the same


@dataclass
class ControlsConfig:
    """Settings of the three parts."""

    text: LoopConfig
    voice: LoopConfig
    fusion: LoopConfig
    parts: list[str] = field(default_factory=lambda: list(PARTS))
    """What to train, of text, voice and fusion."""
    features: Path = Path("corpus/features")
    """Folder that ``training/corpus/features.py`` wrote."""
    emotion_encoder: Path = Path("mooe/assets/pipeline/emotion_encoder")
    """Whose label path the other controls learn."""
    embedder: str = "minilm"
    """``minilm``, or a folder or hub name for `TransformersEmbedder`."""
    phrases: int = 16000
    """Phrases drawn."""
    batch_size: int = 256
    """Phrases, windows or wishes a step."""

    def __post_init__(self) -> None:
        unknown = set(self.parts) - set(PARTS)
        if unknown:
            raise ConfigError(f"There is no part {unknown.pop()!r}: choose from {', '.join(PARTS)}.")


class TextStage:
    """Loss of the text head: cross-entropy of the shares, and the strength where there is an emotion."""

    def __init__(
        self, head: TextEmotionHead, embedder: SentenceEmbedder, phrases: list[Phrase], batch: int, seed: int
    ) -> None:
        self.head, self.batch, self.seed = head, batch, seed
        self.vectors = torch.from_numpy(embedder.embed([phrase.text for phrase in phrases]))
        self.shares = torch.tensor([phrase.shares for phrase in phrases])
        self.strength = torch.tensor([phrase.strength for phrase in phrases])

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([self.seed, step])
        rows = torch.from_numpy(rng.integers(len(self.vectors), size=self.batch))
        noise = torch.from_numpy(rng.standard_normal((self.batch, self.vectors.shape[1]), np.float32))
        # half the length of the vectors in noise: phrases stand for what is near them
        vectors = self.vectors[rows] + 0.5 * noise * self.vectors.shape[1] ** -0.5
        logits, strength = self.head(functional.normalize(vectors, dim=-1))
        choice = functional.cross_entropy(logits, self.shares[rows])
        emotional = self.strength[rows] > 0
        level = ((strength - self.strength[rows]).square() * emotional).sum() / emotional.sum().clamp(min=1)
        right = (logits.argmax(-1) == self.shares[rows].argmax(-1)).float().mean()
        return choice + 2 * level, {"right": float(right), "level": float(level.detach())}


class VoiceStage:
    """Loss of the voice head: cross-entropy of the classes."""

    def __init__(self, head: VoiceEmotionHead, neutral: NDArray[np.float32], batch: int, seed: int) -> None:
        self.head, self.neutral, self.batch, self.seed = head, neutral, batch, seed
        head.mean.copy_(torch.from_numpy(neutral.mean(0)))
        head.std.copy_(torch.from_numpy(neutral.std(0)))

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rows, classes = emotional_statistics(self.neutral, self.batch, np.random.default_rng([self.seed, step]))
        logits, target = self.head(torch.from_numpy(rows)), torch.from_numpy(classes)
        right = (logits.argmax(-1) == target).float().mean()
        return functional.cross_entropy(logits, target, label_smoothing=0.1), {"right": float(right)}


class FusionStage:
    """Loss of the fusion: distance of the latents of any subset of the controls from the label path's."""

    def __init__(self, encoder: EmotionToLatents, teacher: EmotionToLatents, batch: int, seed: int) -> None:
        self.encoder, self.teacher = encoder, teacher
        self.group, self.seed = max(batch // _GROUPS, 1), seed

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([self.seed, step])
        losses = [self._error(rng) for _ in range(_GROUPS)]
        loss = torch.stack(losses).mean()
        return loss, {"error": float(loss.detach().sqrt())}

    def _error(self, rng: np.random.Generator) -> Tensor:
        subset = rng.choice(len(MODALITIES), int(rng.integers(1, len(MODALITIES) + 1)), replace=False)
        wishes = draw_wishes(len(subset), self.group, rng)
        controls = {MODALITIES[index]: wish for index, wish in zip(subset, wishes, strict=True)}
        total = torch.from_numpy(merge_mixtures(wishes))
        if "action_units" in controls:
            controls["action_units"] = action_unit_intensities(controls["action_units"])
        with torch.no_grad():
            target = self.teacher(total[:, None])
        latents = self.encoder(**{name: torch.from_numpy(wish)[:, None] for name, wish in controls.items()})
        return (latents - target).square().mean()


def draw_wishes(controls: int, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """What several controls ask for: mixtures [controls, count, 6] of one to three emotions, some of them nothing."""
    wishes = np.zeros((controls, count, len(EMOTIONS)), np.float32)
    for row in range(count):
        agree = rng.random() < _AGREEING_SHARE
        for control in range(controls):
            if agree and control:
                wishes[control, row] = wishes[0, row]
                continue
            chosen = rng.choice(len(EMOTIONS), int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])), replace=False)
            wishes[control, row, chosen] = rng.dirichlet(np.full(len(chosen), 3.0)) * rng.uniform(0.05, 1.0)
    silent = rng.random((controls, count)) < _SILENT_SHARE
    silent[rng.integers(controls, size=count), np.arange(count)] = False
    wishes[silent] = 0
    return wishes


def with_all_controls(source: EmotionToLatents) -> EmotionToLatents:
    """A copy of `source` that takes all controls, its label path untouched and frozen.

    The encoders of text and voice begin as the label's, and the null token of an absent label as the mean of the other
    null tokens: so each control alone begins near the label path.
    """
    if source.config["reads_mixtures"]:
        encoder = EmotionToLatents.from_config(source.config)
        encoder.load_state_dict(source.state_dict())
    else:
        width = source.config["encoder_dim"]
        settings = {"text_dim": width, "audio_dim": width, "reads_mixtures": True}
        encoder = EmotionToLatents.from_config({**source.config, **settings})
        missing, unexpected = encoder.load_state_dict(source.state_dict(), strict=False)
        if unexpected or any(not key.startswith(("mixture_encoders", "projections")) for key in missing):
            raise ConfigError("The emotion encoder cannot take more controls: it is of another version.")
        for name in encoder.mixture_encoders:
            encoder.mixture_encoders[name].load_state_dict(source.label_encoder.state_dict())
            encoder.projections[name].load_state_dict(source.projections["label"].state_dict())
        with torch.no_grad():
            encoder.null_tokens[0] = encoder.null_tokens[1:].mean(0)
    encoder.requires_grad_(False)
    encoder.mixture_encoders.requires_grad_(True)
    encoder.action_unit_encoder.requires_grad_(True)
    for name in MODALITIES[1:]:
        encoder.projections[name].requires_grad_(True)
    return encoder


def _train_text(config: ControlsConfig, max_minutes: float) -> None:
    embedder = minilm() if config.embedder == "minilm" else TransformersEmbedder(config.embedder)
    maker = PhraseMaker(np.random.default_rng(config.text.seed))
    phrases = list({phrase.text: phrase for phrase in (maker.draw() for _ in range(config.phrases))}.values())
    logger.info("%d phrases", len(phrases))
    head = TextEmotionHead(embedder.name, embedder.dim)
    stage = TextStage(head, embedder, phrases, config.batch_size, config.text.seed)
    _run(config.text, head, stage, max_minutes)


def _train_voice(config: ControlsConfig, max_minutes: float) -> None:
    head = VoiceEmotionHead()
    stage = VoiceStage(head, neutral_statistics(config.features), config.batch_size, config.voice.seed)
    _run(config.voice, head, stage, max_minutes)


def _train_fusion(config: ControlsConfig, max_minutes: float) -> None:
    teacher = EmotionToLatents.from_pretrained(config.emotion_encoder).float().requires_grad_(False)
    encoder = with_all_controls(teacher)
    stage = FusionStage(encoder, teacher, config.batch_size, config.fusion.seed)
    _run(config.fusion, encoder, stage, max_minutes)


def _run(
    config: LoopConfig,
    module: TextEmotionHead | VoiceEmotionHead | EmotionToLatents,
    stage: TextStage | VoiceStage | FusionStage,
    max_minutes: float,
) -> None:
    loop = TrainingLoop(config, {"module": module.train()}, stage, module.save_pretrained)
    loop.prepare()
    loop.run(max_minutes)


def main() -> None:
    """Train the parts of a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, ControlsConfig, options.set)
    parts = {"text": _train_text, "voice": _train_voice, "fusion": _train_fusion}
    for name in config.parts:
        torch.manual_seed(config.fusion.seed)
        parts[name](config, options.max_minutes)


if __name__ == "__main__":
    main()
