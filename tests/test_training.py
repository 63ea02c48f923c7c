"""Every training stage end to end at toy size, and the laws of the motion corpus."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.emotion.taxonomy import EMOTIONS
from mooe.errors import OutputError
from mooe.face.regions import LEFT_EYE, RIGHT_EYE
from mooe.motion.codec import MotionCodec
from mooe.motion.lips import lip_gap
from mooe.motion.unet import MotionUNet
from training.checkpoints import checkpoints
from training.common import LoopConfig, TrainingLoop, step_size
from training.corpus.motion import MotionCorpus, SpeechClip, head_postures
from training.corpus.visemes import MouthStyle, Phone, mouth_track
from training.motion_batch import draw_batch, known_mask, noise_latents
from training.train_emotion import EmotionConfig, EmotionStage, held_error
from training.train_motion import MotionConfig, MotionStage
from training.train_pose import PoseConfig, PoseStage

FRAMES = 60


def clip(seed: int = 0) -> SpeechClip:
    rng = np.random.default_rng(seed)
    phones, time = [Phone("sil", 0.0, 0.4)], 0.4
    for symbol in "mɑbisupoʃ":
        phones.append(Phone(symbol, time, time + 0.16))
        time += 0.16
    phones.append(Phone("sil", time, FRAMES / 25))
    return SpeechClip(f"clip{seed}", (rng.random((FRAMES, 20), np.float32),), tuple(phones))


@pytest.fixture(scope="module")
def corpus() -> MotionCorpus:
    return MotionCorpus([clip(0), clip(1)], 12)


@pytest.fixture(scope="module")
def codec() -> MotionCodec:
    codec = MotionCodec(map_size=16, patch_size=4)
    whole = MotionCorpus([clip()], FRAMES)
    rng = np.random.default_rng(0)
    codec.fit(torch.from_numpy(np.concatenate([whole.sample(rng).displacement for _ in range(20)])))
    return codec


def unet() -> MotionUNet:
    torch.manual_seed(0)
    return MotionUNet(
        latent_channels=48, latent_size=4, audio_dim=20, audio_channels=8, condition_dim=16, map_channels=4,
        block_out_channels=(16, 16), num_attention_heads=2,
    )  # fmt: skip


def loop_config(folder: Path, steps: int) -> LoopConfig:
    return LoopConfig(folder, steps, 1e-3, warmup_steps=2, log_every=2, mixed_precision="no", report_to="none")


def test_lips_shut_on_bilabials_and_in_silence_and_open_on_vowels() -> None:
    phones = clip().phones
    whole = MotionCorpus([clip()], FRAMES)
    take = whole.act(clip(), np.zeros(6, np.float32), np.random.default_rng(0))
    gap = lip_gap(take.displacement)[:, 4]
    for phone in phones:
        middle = int((phone.start + phone.end) / 2 * 25)
        if phone.symbol in "mbp":
            assert gap[middle - 1 : middle + 2].min() < 0.01
        if phone.symbol == "ɑ":
            assert gap[middle - 1 : middle + 2].max() > 0.05
    assert gap[:6].max() < 0.01


def test_rounding_is_anticipated() -> None:
    track, _, _ = mouth_track([Phone("s", 0.2, 0.4), Phone("u", 0.4, 0.6)], 20, MouthStyle())
    from mooe.face.regions import ARKIT_NAMES

    pucker = track[:, ARKIT_NAMES.index("mouthPucker")]
    assert pucker[9] > pucker[5] and pucker[12] > 0.4


def test_an_emotion_moves_its_own_shapes() -> None:
    whole = MotionCorpus([clip()], FRAMES)
    neutral = whole.act(clip(), np.zeros(6, np.float32), np.random.default_rng(0)).displacement
    happy = np.eye(6, dtype=np.float32)[EMOTIONS.index("happy")]
    smiling = whole.act(clip(), happy, np.random.default_rng(0)).displacement
    assert (smiling - neutral)[:, 291, 1].mean() > 0.03


def test_who_speaks_changes_posture_more_often_and_never_at_once() -> None:
    speaking, silent = (
        np.concatenate([head_postures(np.full(500, level, np.float32), np.random.default_rng(s)) for s in range(20)])
        for level in (1.0, 0.0)
    )
    assert np.abs(np.diff(speaking, axis=0)).mean() > 2 * np.abs(np.diff(silent, axis=0)).mean()
    still = head_postures(np.full(500, 1.0, np.float32), np.random.default_rng(0))
    assert np.abs(np.diff(still, axis=0)).max() < 0.25 * np.ptp(still, axis=0).max()


def test_takes_depend_on_the_seed_alone(corpus: MotionCorpus) -> None:
    first, again = (corpus.sample(np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.displacement, again.displacement)
    assert not np.array_equal(first.displacement, corpus.sample(np.random.default_rng(8)).displacement)


def test_known_latents_stay_clean(corpus: MotionCorpus, codec: MotionCodec) -> None:
    rng = np.random.default_rng(0)
    batch = draw_batch([corpus.sample(rng) for _ in range(6)], codec, rng)
    assert batch.known.any()
    noised, timestep = noise_latents(batch, rng)
    given = batch.known.bool().expand_as(noised)
    assert torch.equal(noised[given], batch.latents[given])
    assert not torch.equal(noised[~given], batch.latents[~given])
    assert ((timestep > 0) & (timestep <= 1000)).all()
    assert set(np.unique(known_mask(12, 4, rng))) <= {0.0, 1.0}


def test_step_size_rises_holds_and_falls(tmp_path: Path) -> None:
    config = loop_config(tmp_path, 100)
    sizes = [step_size(s, config) for s in range(100)]
    assert sizes[0] < sizes[1] and max(sizes) == 1 and sizes[-1] < 0.1


def motion_loop(folder: Path, steps: int, corpus: MotionCorpus, codec: MotionCodec) -> tuple[TrainingLoop, MotionUNet]:
    config = MotionConfig(loop_config(folder, 6), folder, folder, batch_size=2, window=12, audio_warmup_steps=2)
    config.loop.steps = steps
    config.loop.decay_share = 0.0
    network = unet()
    stage = MotionStage(config, corpus, codec, network)
    loop = TrainingLoop(config.loop, {"unet": network}, stage, network.save_pretrained)
    loop.prepare()
    return loop, network


def test_motion_stage_resumes_as_if_unbroken(tmp_path: Path, corpus: MotionCorpus, codec: MotionCodec) -> None:
    unbroken, network = motion_loop(tmp_path / "unbroken", 6, corpus, codec)
    unbroken.run()
    first, _ = motion_loop(tmp_path / "broken", 3, corpus, codec)
    first.run()
    second, resumed = motion_loop(tmp_path / "broken", 6, corpus, codec)
    second.run()
    for a, b in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert MotionUNet.from_pretrained(tmp_path / "broken/weights").config["latent_channels"] == 48


@pytest.mark.parametrize("extra", [False, True])
def test_emotion_stage_leaves_the_unet_and_moves_every_expert(
    tmp_path: Path, corpus: MotionCorpus, codec: MotionCodec, extra: bool
) -> None:
    from mooe.emotion.adapters import MoEEAdapters
    from mooe.emotion.discriminator import LatentEmotionDiscriminator
    from mooe.emotion.latents import EmotionToLatents

    network = unet().requires_grad_(False)
    before = [p.clone() for p in network.parameters()]
    prior_shape = (codec.latent_channels, codec.latent_size, codec.latent_size) if extra else None
    adapters = MoEEAdapters.from_unet(
        network.unet, latent_dim=32, inner_dim=16, prior_shape=prior_shape, num_latents=4
    )
    adapters.attach(network.unet)
    encoder = EmotionToLatents(latent_dim=32, num_latents=4, encoder_dim=32, use_bank=extra)
    modules: dict[str, torch.nn.Module] = {"adapters": adapters, "encoder": encoder}
    discriminator = LatentEmotionDiscriminator(codec.latent_channels, 8) if extra else None
    if discriminator is not None:
        modules["discriminator"] = discriminator
    start = {f"{m}.{n}": p.clone() for m, module in modules.items() for n, p in module.named_parameters()}
    weight = 0.1 if extra else 0.0
    config = EmotionConfig(
        loop_config(tmp_path, 6), tmp_path, tmp_path, tmp_path, batch_size=3, window=12, discriminator_weight=weight
    )
    stage = EmotionStage(config, corpus, codec, network, adapters, encoder, discriminator)
    loop = TrainingLoop(config.loop, modules, stage, lambda folder: None)
    loop.prepare()
    loop.run()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    still = [
        f"{m}.{n}" for m, module in modules.items() for n, p in module.named_parameters()
        if torch.equal(start[f"{m}.{n}"], p)
    ]  # fmt: skip
    # a wish is a label here, so what reads action units has nothing to learn
    assert all("action_unit" in name for name in still)
    if extra:
        assert {"bank", "discriminator", "emotion_shown"} <= set(stage(0)[1])


def test_what_comes_and_goes_is_no_error_of_a_held_expression() -> None:
    passing = torch.randn(2, 8, 478, 3)
    passing -= passing.mean(1, keepdim=True)
    assert held_error(passing) < 1e-6
    lids = torch.zeros(478, 3)
    lids[list(LEFT_EYE + RIGHT_EYE)] = 0.2
    assert torch.isclose(held_error(passing + lids), torch.tensor(0.2 / 4), atol=1e-5)


def test_a_bank_can_be_added_to_given_weights_and_not_be_lost(tmp_path: Path) -> None:
    from mooe.emotion.latents import EmotionToLatents
    from mooe.errors import ConfigError
    from training.train_emotion import start_encoder

    plain = EmotionToLatents(latent_dim=32, num_latents=4, encoder_dim=32)
    plain.save_pretrained(tmp_path / "plain/emotion_encoder")
    banked = start_encoder(tmp_path / "plain", True)
    wish = torch.eye(6)[:, None]
    assert banked.bank is not None and torch.equal(banked(wish), plain(wish))
    assert start_encoder(tmp_path / "plain", False).bank is None
    banked.save_pretrained(tmp_path / "banked/emotion_encoder")
    with pytest.raises(ConfigError, match="has a bank"):
        start_encoder(tmp_path / "banked", False)


def test_a_prior_can_be_added_to_given_experts_and_not_be_lost(tmp_path: Path) -> None:
    from mooe.emotion.adapters import MoEEAdapters
    from mooe.errors import ConfigError
    from training.train_emotion import start_adapters

    network = unet()
    plain = MoEEAdapters.from_unet(network.unet, latent_dim=32, inner_dim=16)
    plain.save_pretrained(tmp_path / "plain/adapters")

    def config(init: str, use_prior: bool) -> EmotionConfig:
        return EmotionConfig(
            loop_config(tmp_path, 1), tmp_path, tmp_path, tmp_path, init=tmp_path / init, use_prior=use_prior
        )

    extended = start_adapters(config("plain", True), network)
    assert extended.prior is not None and not extended.prior.to_map.weight.any()
    kept = extended.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in plain.state_dict().items())
    assert start_adapters(config("plain", False), network).prior is None
    extended.save_pretrained(tmp_path / "extended/adapters")
    with pytest.raises(ConfigError, match="have a prior"):
        start_adapters(config("extended", False), network)


def test_discriminator_learns_true_latents_and_teaches_only_the_prediction(
    corpus: MotionCorpus, codec: MotionCodec
) -> None:
    from mooe.emotion.discriminator import LatentEmotionDiscriminator

    torch.manual_seed(0)
    discriminator = LatentEmotionDiscriminator(codec.latent_channels, 16)
    rng = np.random.default_rng(0)
    batch = draw_batch([corpus.sample(rng, neutral=0.0, compound=0.0) for _ in range(8)], codec, rng)
    predicted = torch.zeros_like(batch.latents, requires_grad=True)
    learning, teaching = discriminator.losses(batch.latents, predicted, batch.emotion, torch.ones(8))
    teaching.backward(retain_graph=True)
    assert predicted.grad is not None and predicted.grad.any()
    assert all(p.grad is None for p in discriminator.parameters())
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=0.01)
    before = float(learning.detach())
    for _ in range(40):
        optimizer.zero_grad()
        discriminator.losses(batch.latents, predicted, batch.emotion, torch.ones(8))[0].backward()
        optimizer.step()
    after, _ = discriminator.losses(batch.latents, predicted, batch.emotion, torch.ones(8))
    assert float(after.detach()) < 0.7 * before


def test_pose_stage_learns(tmp_path: Path) -> None:
    from mooe.motion.pose import HeadPosePredictor

    rng = np.random.default_rng(0)
    long = SpeechClip("long", (rng.random((120, 28), np.float32),), clip().phones)
    predictor = HeadPosePredictor(hidden_dim=8)
    config = PoseConfig(loop_config(tmp_path, 30), tmp_path, batch_size=4, window=100)
    stage = PoseStage(config, MotionCorpus([long], 100), predictor)
    before = float(stage(0)[0].detach())
    loop = TrainingLoop(config.loop, {"predictor": predictor}, stage, predictor.save_pretrained)
    loop.prepare()
    loop.run()
    assert float(stage(0)[0].detach()) < before


def test_a_full_disk_costs_a_checkpoint_and_not_the_training(
    corpus: MotionCorpus, codec: MotionCodec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def train(folder: Path, steps: int) -> MotionUNet:
        network = unet()
        config = MotionConfig(loop_config(folder, steps), folder, folder, batch_size=2, window=12, audio_warmup_steps=0)
        config.loop.checkpoint_minutes = 0
        stage = MotionStage(config, corpus, codec, network)
        loop = TrainingLoop(config.loop, {"unet": network}, stage, network.save_pretrained)
        loop.prepare()
        loop.run()
        return network

    unbroken = train(tmp_path / "unbroken", 4)
    train(tmp_path / "full", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OutputError, match=r"checkpoint-3 cannot be written .* free some space"):
            train(tmp_path / "full", 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "checkpoint-2 cannot be written" in caplog.text and "goes on" in caplog.text
    # what was written before is whole, and with room again the same command goes on from there
    assert [path.name for path in checkpoints(tmp_path / "full")] == ["checkpoint-1"]
    resumed = train(tmp_path / "full", 4)
    for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_figures_previews_and_the_last_checkpoints_are_kept(
    corpus: MotionCorpus, codec: MotionCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    pytest.importorskip(tracker)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    network = unet()
    config = MotionConfig(loop_config(tmp_path, 4), tmp_path, tmp_path, batch_size=2, window=12, audio_warmup_steps=0)
    config.loop.checkpoint_minutes = 0
    config.loop.report_to = tracker
    stage = MotionStage(config, corpus, codec, network)
    loop = TrainingLoop(config.loop, {"unet": network}, stage, network.save_pretrained, Path.touch)
    loop.prepare()
    loop.run()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-4"]
    assert {path.name for path in (tmp_path / "previews").iterdir()} == {f"step-{n}.mp4" for n in range(1, 5)}
    if tracker == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path / "mooe"))
        events.Reload()
        assert [scalar.step for scalar in events.Scalars("latent")] == [2, 4]
    else:
        assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
