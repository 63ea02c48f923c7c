"""Training of the text and voice heads: their data, and both parts end to end at toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.emotion.text import NOTHING, TEXT_CLASSES, TextEmotionHead
from mooe.emotion.voice import STATISTICS, VOICE_CLASSES, VoiceEmotionHead
from mooe.errors import ConfigError
from training.common import LoopConfig, TrainingLoop
from training.corpus.phrases import PhraseMaker
from training.corpus.voices import SHIFTS, emotional_statistics, neutral_statistics
from training.train_controls import ControlsConfig, TextStage, VoiceStage


class LetterEmbedder:
    """Counts letters: enough to tell phrases apart."""

    name, dim = "letters", 26

    def embed(self, texts: list[str]) -> np.ndarray:
        rows = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1)


def train(folder: Path, module: torch.nn.Module, stage: TextStage | VoiceStage) -> None:
    config = LoopConfig(folder, 60, 3e-3, warmup_steps=2, mixed_precision="no", report_to="none")
    loop = TrainingLoop(config, {"module": module}, stage, lambda out: module.save_pretrained(out))  # type: ignore[operator]
    loop.prepare()
    loop.run()


def test_phrases_are_sentences_with_shares_that_add_up() -> None:
    maker = PhraseMaker(np.random.default_rng(0))
    phrases = [maker.draw() for _ in range(600)]
    for phrase in phrases:
        assert phrase.text.strip() and "{" not in phrase.text
        assert sum(phrase.shares) == pytest.approx(1)
        emotional = sum(phrase.shares[:6])
        assert (phrase.strength > 0) == (emotional > 0)
    named = np.array([phrase.shares for phrase in phrases]).sum(0)
    assert (named > 20).all()
    assert [p.text for p in phrases[:9]] == [p.text for p in _draw(9)]


def _draw(count: int) -> list[object]:
    maker = PhraseMaker(np.random.default_rng(0))
    return [maker.draw() for _ in range(count)]


def test_held_out_prompts_are_no_training_phrases() -> None:
    import yaml

    prompts = yaml.safe_load((Path(__file__).parent / "data/prompts.yaml").read_text(encoding="utf-8"))
    maker = PhraseMaker(np.random.default_rng(0))
    drawn = {maker.draw().text.lower() for _ in range(16000)}
    assert not drawn & {row["prompt"].lower() for row in prompts}


def test_text_part_learns_and_saves(tmp_path: Path) -> None:
    maker = PhraseMaker(np.random.default_rng(0))
    phrases = [maker.draw() for _ in range(80)]
    head = TextEmotionHead("letters", 26, hidden_dim=16)
    stage = TextStage(head, LetterEmbedder(), phrases, 32, 0)
    before = float(stage(0)[0].detach())
    train(tmp_path, head, stage)
    assert float(stage(0)[0].detach()) < before
    again = TextEmotionHead.from_pretrained(tmp_path / "weights")
    assert again.config["embedder"] == "letters"
    assert again(stage.vectors[:2])[0].shape == (2, len(TEXT_CLASSES)) and NOTHING in TEXT_CLASSES


def test_voice_part_learns_and_saves(tmp_path: Path) -> None:
    neutral = np.random.default_rng(0).standard_normal((50, len(STATISTICS))).astype(np.float32)
    head = VoiceEmotionHead(hidden_dim=8)
    stage = VoiceStage(head, neutral, 64, 0)
    before = float(stage(0)[0].detach())
    train(tmp_path, head, stage)
    assert float(stage(0)[0].detach()) < before
    again = VoiceEmotionHead.from_pretrained(tmp_path / "weights")
    assert torch.allclose(again.mean, torch.from_numpy(neutral.mean(0)))


def test_voices_move_as_the_rules_say() -> None:
    neutral = np.random.default_rng(0).standard_normal((200, len(STATISTICS))).astype(np.float32)
    rows, classes = emotional_statistics(neutral, 4000, np.random.default_rng(1))
    for index, name in enumerate(VOICE_CLASSES):
        mean = rows[classes == index].mean(0)
        for statistic, shift in SHIFTS[name].items():
            if abs(shift) >= 0.5:
                assert np.sign(mean[STATISTICS.index(statistic)]) == np.sign(shift)


def test_missing_speech_and_unknown_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"features\.py"):
        neutral_statistics(tmp_path)
    loop = LoopConfig(tmp_path, 1, 1e-3)
    with pytest.raises(ConfigError, match="no part 'face'"):
        ControlsConfig(loop, loop, parts=["face"])
