"""What stage 1 can be asked to learn of lips besides latents, the reader of mouths, and worse recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.config import from_dict
from mooe.errors import ConfigError
from mooe.motion.codec import MotionCodec
from mooe.motion.lips import shut_lips
from mooe.motion.unet import MotionUNet
from training.common import LoopConfig, TrainingLoop
from training.corpus.augment import augment
from training.corpus.background import make_music
from training.corpus.motion import MotionCorpus, SpeechClip
from training.corpus.visemes import Phone
from training.lip_losses import LipLossConfig, LipLosses, closure_loss, heard_loss, lip_gaps, lip_velocity_loss
from training.motion_batch import draw_batch
from training.speech_regressor import MouthToSpeech, smooth
from training.train_motion import MotionConfig, MotionStage
from training.train_regressor import RegressorConfig, RegressorStage

FRAMES, DIM = 60, 20


def make_clip(seed: int) -> SpeechClip:
    rng = np.random.default_rng(seed)
    phones, time = [Phone("sil", 0.0, 0.4)], 0.4
    for symbol in "mɑbisupoʃ":
        phones.append(Phone(symbol, time, time + 0.16))
        time += 0.16
    phones.append(Phone("sil", time, FRAMES / 25))
    features = 0.02 * rng.random((FRAMES, DIM), np.float32)
    for phone in phones:
        features[int(phone.start * 25) : int(phone.end * 25), ord(phone.symbol[0]) % DIM] += 1
    return SpeechClip(f"clip{seed}", (features,), tuple(phones))


@pytest.fixture(scope="module")
def corpus() -> MotionCorpus:
    return MotionCorpus([make_clip(0), make_clip(1)], 30)


@pytest.fixture(scope="module")
def codec() -> MotionCodec:
    codec = MotionCodec(map_size=16, patch_size=4)
    whole = MotionCorpus([make_clip(0)], FRAMES)
    rng = np.random.default_rng(0)
    codec.fit(torch.from_numpy(np.concatenate([whole.sample(rng).displacement for _ in range(10)])))
    return codec


def loop_config(folder: Path, steps: int) -> LoopConfig:
    return LoopConfig(folder, steps, 3e-3, warmup_steps=2, log_every=10, mixed_precision="no", report_to="none")


def test_closure_asks_only_for_lips_that_should_touch(corpus: MotionCorpus) -> None:
    take = corpus.act(make_clip(0), np.zeros(6, np.float32), np.random.default_rng(0))
    target = torch.from_numpy(take.displacement)[None]
    gap = lip_gaps(target)
    assert float(closure_loss(target, target)) == 0
    assert (gap < 0.01).any() and (gap > 0.05).any()
    opened = target.clone()
    opened[..., 14, 1] -= 0.1  # the lower lip hangs everywhere
    wide_only = torch.where((gap > 0.05).all(-1)[..., None, None], opened, target)
    assert float(closure_loss(opened, target)) > 0
    assert float(closure_loss(wide_only, target)) == 0
    shut = torch.from_numpy(shut_lips(target.numpy(), np.ones(target.shape[:2], np.float32)))
    assert float(closure_loss(shut, target)) < float(closure_loss(opened, target))


def test_velocity_does_not_see_what_stays(corpus: MotionCorpus) -> None:
    take = corpus.act(make_clip(0), np.zeros(6, np.float32), np.random.default_rng(0))
    target = torch.from_numpy(take.displacement)[None]
    lower = target.clone()
    lower[..., 14, 1] -= 0.1
    assert float(lip_velocity_loss(lower, target)) == pytest.approx(0, abs=1e-9)
    late = target.roll(1, dims=1)
    assert float(lip_velocity_loss(late, target)) > 1e-4


def test_the_reader_learns_and_tells_right_mouths_from_others(
    tmp_path: Path, corpus: MotionCorpus, codec: MotionCodec
) -> None:
    torch.manual_seed(0)
    regressor = MouthToSpeech(DIM, 24)
    config = RegressorConfig(loop_config(tmp_path, 60), tmp_path, batch_size=8, window=30)
    stage = RegressorStage(config, corpus, regressor)
    regressor.fit(stage.draw([np.random.default_rng(0)] * 16)[1])
    before = float(stage(0)[0].detach())
    loop = TrainingLoop(config.loop, {"regressor": regressor}, stage, regressor.save_pretrained)
    loop.prepare()
    loop.run()
    assert float(stage(0)[0].detach()) < before
    read = MouthToSpeech.from_pretrained(tmp_path / "weights")
    rng = np.random.default_rng(5)
    batch = draw_batch([corpus.sample(rng, neutral=1.0) for _ in range(6)], codec, rng)
    right = heard_loss(read, batch.displacement, batch.features).detach()
    wrong = heard_loss(read, batch.displacement.roll(9, dims=1), batch.features).detach()
    assert float(right) < float(wrong)
    assert not any(
        p.requires_grad
        for p in LipLosses(LipLossConfig(heard=1.0, regressor=tmp_path / "weights"), codec)._regressor.parameters()
    )

    # the loss moves the motion, not the reader
    weights = LipLossConfig(closure=0.5, velocity=0.2, heard=0.3, regressor=tmp_path / "weights")
    motion = MotionConfig(
        loop_config(tmp_path / "motion", 4), tmp_path, tmp_path, batch_size=2, window=30, audio_warmup_steps=0,
        lips=weights,
    )  # fmt: skip
    unet = MotionUNet(
        latent_channels=48, latent_size=4, audio_dim=DIM, audio_channels=8, condition_dim=16, map_channels=4,
        block_out_channels=(16, 16), num_attention_heads=2,
    )  # fmt: skip
    loss, figures = MotionStage(motion, corpus, codec, unet)(0)
    plain = MotionStage(MotionConfig(motion.loop, tmp_path, tmp_path, batch_size=2, window=30, audio_warmup_steps=0),
                        corpus, codec, unet)(0)  # fmt: skip
    added = sum(getattr(weights, name) * figures[name] for name in ("closure", "velocity", "heard"))
    assert float(loss.detach()) == pytest.approx(float(plain[0].detach()) + added, rel=1e-4)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in unet.parameters() if p.grad is not None)


def test_settings_that_cannot_work_are_refused() -> None:
    for wrong in ({"closure": -1.0}, {"heard": 1.0}):
        with pytest.raises(ConfigError):
            from_dict(wrong, LipLossConfig, source="a test")


def test_smoothing_keeps_what_does_not_change() -> None:
    constant = torch.full((1, 12, 3), 2.5)
    assert torch.allclose(smooth(constant), constant)


def test_music_lies_under_the_speech_and_only_when_asked_for() -> None:
    sound = (0.1 * np.random.default_rng(0).standard_normal(32000)).astype(np.float32)
    music = make_music(32000, np.random.default_rng(1))
    assert np.sqrt(np.mean(music**2)) == pytest.approx(1) and np.isfinite(music).all()
    plain, none = (augment(sound, np.random.default_rng(2), share) for share in (0.0, 0.0))
    under = augment(sound, np.random.default_rng(2), 1.0)
    assert np.array_equal(plain, none) and not np.array_equal(plain, under)
    assert under.dtype == np.float32 and np.abs(under).max() <= 1
