"""Emotion controls besides labels: heads that read a text and that hear a voice.

    accelerate launch training/train_controls.py --config configs/controls.yaml

text    a head on a sentence embedder reads phrases of ``training/corpus/phrases.py``; four minutes on one core
voice   a head on statistics of speech hears emotions (see ``training/corpus/voices.py`` for what it learns from)

Both give mixtures of the basic emotions, which reach the experts as labels do; so they need no new training when the
experts are trained anew. Run the same command again to resume; choose another output folder to begin anew. With
``--push_to_hub NAME`` they become NAME-text and NAME-voice.
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
from mooe.emotion.embedders import SentenceEmbedder, TransformersEmbedder, minilm
from mooe.emotion.text import TextEmotionHead
from mooe.emotion.voice import VoiceEmotionHead
from mooe.errors import ConfigError
from training.common import LoopConfig, TrainingLoop, arguments, run_command
from training.corpus.phrases import Phrase, PhraseMaker
from training.corpus.voices import emotional_statistics, neutral_statistics

logger = logging.getLogger(__name__)

PARTS = ("text", "voice")


@dataclass
class ControlsConfig:
    """Settings of the parts."""

    text: LoopConfig
    voice: LoopConfig
    parts: list[str] = field(default_factory=lambda: list(PARTS))
    """What to train, of text and voice."""
    features: Path = Path("corpus/features")
    """Folder that ``training/corpus/features.py`` wrote."""
    embedder: str = "minilm"
    """``minilm``, or a folder or hub name for `TransformersEmbedder`."""
    phrases: int = 16000
    """Phrases drawn."""
    batch_size: int = 256
    """Phrases or windows a step."""

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


def _train_text(config: ControlsConfig, max_minutes: float, hub_name: str | None) -> None:
    embedder = minilm() if config.embedder == "minilm" else TransformersEmbedder(config.embedder)
    maker = PhraseMaker(np.random.default_rng(config.text.seed))
    phrases = list({phrase.text: phrase for phrase in (maker.draw() for _ in range(config.phrases))}.values())
    logger.info("%d phrases", len(phrases))
    head = TextEmotionHead(embedder.name, embedder.dim)
    stage = TextStage(head, embedder, phrases, config.batch_size, config.text.seed)
    _run(config.text, head, stage, max_minutes, hub_name)


def _train_voice(config: ControlsConfig, max_minutes: float, hub_name: str | None) -> None:
    head = VoiceEmotionHead()
    stage = VoiceStage(head, neutral_statistics(config.features), config.batch_size, config.voice.seed)
    _run(config.voice, head, stage, max_minutes, hub_name)


def _run(
    config: LoopConfig,
    module: TextEmotionHead | VoiceEmotionHead,
    stage: TextStage | VoiceStage,
    max_minutes: float,
    hub_name: str | None,
) -> None:
    loop = TrainingLoop(config, {"module": module.train()}, stage, module.save_pretrained)
    loop.prepare()
    loop.run(max_minutes, hub_name)


def main() -> None:
    """Train the parts of a configuration file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__)
    config = load_config(options.config, ControlsConfig, options.set)
    parts = {"text": _train_text, "voice": _train_voice}
    for name in config.parts:
        torch.manual_seed(0)
        parts[name](config, options.max_minutes, options.push_to_hub and f"{options.push_to_hub}-{name}")


if __name__ == "__main__":
    run_command(main)
