"""The training of speakers' adapters at toy size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.decoder.compensator import PortraitCompensator
from mooe.errors import ConfigError
from mooe.motion.controls import eye_in_head
from mooe.motion.sampling import Guidance, WindowInputs, WindowSampler, set_steps
from mooe.pipeline import MoEEPipeline
from tests.test_prepare import clip
from training.common import LoopConfig, TrainingLoop
from training.corpus.filmed import FilmedCorpus
from training.corpus.frames import FrameSample, save_shard
from training.lora_data import draw_take
from training.lora_losses import energy_score, film_weights, part_score
from training.motion_batch import CARRIED_FRAMES, Batch, draw_batch, noise_latents, twice
from training.train_lora import (
    DecoderLoraConfig,
    LoraStage,
    LoraTrainingConfig,
    LoraWithDecoderStage,
    adapted_compensator,
    add_speaker_lora,
)

WINDOW = 12


@pytest.fixture
def pipeline() -> MoEEPipeline:
    pipeline = MoEEPipeline.from_pretrained("debug")
    pipeline.adapters.requires_grad_(False)
    pipeline.emotion_encoder.requires_grad_(False)
    return pipeline


def settings(folder: Path, steps: int = 6, **others: object) -> LoraTrainingConfig:
    loop = LoopConfig(folder, steps, 1e-3, warmup_steps=1, log_every=2, mixed_precision="no", report_to="none")
    return LoraTrainingConfig(loop, rank=2, alpha=2, batch_size=2, window=WINDOW, **others)  # type: ignore[arg-type]


def motion_stage(pipeline: MoEEPipeline, config: LoraTrainingConfig, folder: Path, audible: bool = True) -> LoraStage:
    clip(frames=30, audible=audible, width=390).save(folder / "a.npz")
    corpus = FilmedCorpus([folder / "a.npz"], WINDOW)
    add_speaker_lora(pipeline.unet, config.rank, config.alpha, config.targets)
    return LoraStage(config, corpus, pipeline.codec, pipeline.unet, pipeline.adapters, pipeline.emotion_encoder)


def shake(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)


def test_emotions_are_kept_by_a_new_adapter_and_not_by_just_any(pipeline: MoEEPipeline, tmp_path: Path) -> None:
    # experts of chance weights start as nothing
    with torch.no_grad():
        for parameter in pipeline.adapters.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    stage = motion_stage(pipeline, settings(tmp_path, emotion_share=1.0), tmp_path)
    assert float(stage(0)[0].detach()) < 1e-9
    shake(pipeline.unet)
    loss, figures = stage(0)
    assert float(loss.detach()) > 1e-4 and set(figures) == {"emotion"}
    loss.backward()
    assert all(p.grad is None for p in pipeline.adapters.parameters())


def test_the_mouth_of_silent_film_stays_as_it_is_without_the_adapter(pipeline: MoEEPipeline, tmp_path: Path) -> None:
    stage = motion_stage(pipeline, settings(tmp_path), tmp_path, audible=False)
    streams = [np.random.default_rng(number) for number in range(2)]
    batch = draw_batch([stage.corpus.sample(stream) for stream in streams], pipeline.codec, streams)

    def mended() -> torch.Tensor:
        return stage.with_own_mouths(batch, batch.audible, [np.random.default_rng(n) for n in range(2)]).latents

    before = mended()
    shake(pipeline.unet)
    after = mended()
    assert torch.equal(before, after)
    mouth = stage.lower_face.bool().expand_as(after)
    assert not torch.equal(after[mouth], batch.latents[mouth])
    assert torch.equal(after[~mouth], batch.latents[~mouth])
    assert float(stage.lip_loss(torch.randn_like(batch.latents), batch)) == 0


def test_silent_film_is_lent_speech_and_other_film_keeps_its_own(
    pipeline: MoEEPipeline, tmp_path: Path, examples: Path
) -> None:
    config = settings(tmp_path, sound=examples / "speech.wav")
    stage = motion_stage(pipeline, config, tmp_path, audible=False)
    loud = clip(frames=31, width=390)
    loud.save(tmp_path / "b.npz")
    corpora = (stage.corpus, FilmedCorpus([tmp_path / "b.npz"], WINDOW))

    def lent() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        streams = [np.random.default_rng(number) for number in range(2)]
        takes = [corpus.sample(stream) for corpus, stream in zip(corpora, streams, strict=True)]
        batch = draw_batch(takes, pipeline.codec, streams)
        assert batch.audible.tolist() == [False, True]
        given, heard = stage.lend_sound(batch, streams)
        return batch.features, given.features, heard

    before, after, heard = lent()
    assert heard.all() and torch.equal(before[1], after[1]) and not torch.equal(before[0], after[0])
    assert stage.sound is not None
    # a stretch of the recording as it is, the same for the same seed
    unlike = (torch.from_numpy(stage.sound)[None] - after[0][:, None]).abs().amax(-1)
    assert (unlike.argmin(1).diff() % len(stage.sound) == 1).all() and float(unlike.amin(1).max()) < 1e-5
    assert torch.equal(lent()[1], after)


def test_other_turns_leave_the_face_and_the_eyes_in_their_sockets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    film = replace(
        clip(frames=60), rotation=rng.normal(0, 0.05, (60, 3)).astype(np.float32),
        gaze=rng.normal(0, 0.05, (60, 2)).astype(np.float32),
    )  # fmt: skip
    film.save(tmp_path / "a.npz")
    corpus = FilmedCorpus([tmp_path / "a.npz"], WINDOW)
    take, turned = (draw_take(corpus, np.random.default_rng(1), share) for share in (0.0, 1.0))
    assert not np.allclose(turned.controls.rotation, take.controls.rotation, atol=1e-3)
    eyes = [eye_in_head(each.controls.gaze, each.controls.rotation) for each in (take, turned)]
    assert np.allclose(*eyes, atol=1e-5)
    assert np.array_equal(turned.displacement, take.displacement)


def test_what_trembles_counts_less_and_what_moves_as_usual_counts_whole(pipeline: MoEEPipeline, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codec, still = pipeline.codec, clip(frames=200)
    wild = replace(still, displacement=rng.normal(0, 0.2, (200, 478, 3)).astype(np.float32))
    weights = []
    for number, film in enumerate((still, wild)):
        film.save(tmp_path / f"{number}.npz")
        weights.append(film_weights(FilmedCorpus([tmp_path / f"{number}.npz"], WINDOW), codec))
    assert (weights[0] == 1).all()
    spread = codec.encode(torch.from_numpy(wild.displacement)).var(0)
    assert (weights[1] < 1).any() and float((weights[1] * spread).max()) < 1.05


def test_a_face_that_stands_elsewhere_counts_and_one_that_moves_otherwise_does_not(
    pipeline: MoEEPipeline, tmp_path: Path
) -> None:
    stage = motion_stage(pipeline, settings(tmp_path), tmp_path)
    streams = [np.random.default_rng(number) for number in range(2)]
    batch = draw_batch([stage.corpus.sample(stream) for stream in streams], pipeline.codec, streams)
    batch = replace(batch, known=torch.zeros_like(batch.known))
    shift = torch.randn(batch.latents.shape[2:], generator=torch.Generator().manual_seed(0))
    swing = shift * torch.tensor([1.0, -1.0]).repeat(WINDOW // 2)[:, None, None, None]
    exact, standing, moving = (float(stage.level_loss(batch.latents + x, batch)) for x in (0.0, shift, swing))
    assert exact < 1e-6 and moving < 1e-6 < standing


def test_frames_carried_on_from_stand_off_as_the_models_own_and_the_film_is_come_back_to(
    pipeline: MoEEPipeline, tmp_path: Path
) -> None:
    stage = motion_stage(pipeline, settings(tmp_path), tmp_path)

    def given(error: float) -> tuple[Batch, Batch]:
        stage.config = replace(stage.config, context_error=error)
        streams = [np.random.default_rng(number) for number in range(2)]
        batch = draw_batch([stage.corpus.sample(stream) for stream in streams], pipeline.codec, streams)
        known = torch.zeros_like(batch.known)
        known[0, :CARRIED_FRAMES] = 1
        batch = replace(batch, known=known)
        return batch, stage.with_own_errors(batch, batch.audible, streams)

    batch, same = given(0.0)
    assert torch.equal(same.latents, batch.latents)
    batch, off = given(2.0)
    error = (off.latents - batch.latents).flatten(2).norm(dim=2)
    assert not error[1].any(), "nothing is carried on from in this take"
    assert torch.allclose(error[0, :CARRIED_FRAMES], error[0, 0]) and error[0, 0] > 0
    assert (error[0, CARRIED_FRAMES:].diff() < 0).all()
    moved = pipeline.codec.decode(off.latents) - pipeline.codec.decode(batch.latents)
    assert torch.allclose(off.displacement - batch.displacement, moved, atol=1e-4)


def test_the_adapter_learns_at_the_noise_levels_of_sampling(pipeline: MoEEPipeline, tmp_path: Path) -> None:
    corpus = motion_stage(pipeline, settings(tmp_path), tmp_path).corpus
    streams = [np.random.default_rng(number) for number in range(8)]
    batch = draw_batch([corpus.sample(stream) for stream in streams], pipeline.codec, streams)
    timesteps = noise_latents(batch, streams, pure_share=0.5, levels=(0.25, 0.75))[1]
    assert set(timesteps.tolist()) == {250.0, 750.0, 1000.0}


def test_the_score_is_best_where_samples_vary_as_the_film_does() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(spread: float, middle: float = 0.0) -> torch.Tensor:
        return middle + spread * torch.randn(400, 3, 4, 2, 2, generator=generator)

    film, weight = draw(1.0), torch.ones(1)
    scores = {s: float(energy_score(draw(s), draw(s), film, weight)) for s in (0.0, 0.5, 1.0, 1.5, 2.0)}
    assert min(scores, key=lambda spread: scores[spread]) == 1.0
    assert scores[1.0] < float(energy_score(draw(1.0, 0.5), draw(1.0, 0.5), film, weight))
    brows = {s: 0.01 * torch.randn(400, 3, 1, 1, generator=generator) * s * torch.ones(478, 3) for s in (0.0, 1.0, 1.1)}
    still, moving = (float(part_score(brows[s], brows[s].flip(0), brows[1.1])) for s in (0.0, 1.0))
    assert moving < still
    # what does not count changes nothing
    assert float(energy_score(draw(1.0), draw(1.0), film, 0 * weight)) < 1e-3


def test_sampling_in_training_is_the_pipelines(pipeline: MoEEPipeline, tmp_path: Path) -> None:
    stage = motion_stage(pipeline, settings(tmp_path), tmp_path)
    set_steps(pipeline.scheduler, 2)
    stage.levels = pipeline.scheduler.sigmas[:-1].tolist()
    streams = [np.random.default_rng(number) for number in range(2)]
    batch = draw_batch([stage.corpus.sample(stream) for stream in streams], pipeline.codec, streams)
    one = replace(batch, **{name: getattr(batch, name)[:1] for name in ("features", "controls", "latents", "known")},
                  emotion=torch.zeros_like(batch.emotion[:1]))  # fmt: skip
    one = replace(one, known=torch.zeros_like(one.known))
    noise = torch.randn(one.latents.shape, generator=torch.Generator().manual_seed(3))

    class Drawn:
        def random(self) -> float:
            return 0.0

        def standard_normal(self, shape: tuple[int, ...] = (), dtype: type = np.float32) -> np.ndarray:
            return noise[0].numpy() if shape else np.zeros(())

    ours = stage._sample(one, torch.ones(1, dtype=torch.bool), [Drawn()])  # type: ignore[list-item]
    sampler = WindowSampler(
        pipeline.unet, pipeline.adapters, pipeline.scheduler, torch.Generator().manual_seed(3), 2, Guidance()
    )
    theirs = sampler.window(WindowInputs(one.features, one.controls, None))[0]
    assert torch.allclose(ours.detach(), theirs, atol=1e-4)
    assert ours.requires_grad and twice(one).latents.shape[0] == 2


def frames(folder: Path) -> Path:
    """A shard of random frame samples."""
    rng = np.random.default_rng(0)

    def picture() -> np.ndarray:
        return rng.integers(0, 255, (256, 256, 3), np.uint8)

    still = np.zeros((64, 64, 2), np.float32)
    points = rng.uniform(60, 200, (478, 2)).astype(np.float32)
    region = np.zeros((256, 256), np.uint8)
    region[120:160, 100:160] = 2
    samples = [
        FrameSample(picture(), picture(), picture(), region, still, still, still[..., 0] > 0, points, points)
        for _ in range(2)
    ]
    save_shard(folder / "train" / "films" / "me-0.npz", samples)
    return folder


def test_the_decoders_codebooks_are_adapted_and_stay(pipeline: MoEEPipeline, tmp_path: Path) -> None:
    decoder = DecoderLoraConfig(frames(tmp_path / "frames"), share=0.5, batch_size=1)
    config = settings(tmp_path / "run", decoder=decoder)
    with pytest.raises(ConfigError, match="no learned stages"):
        adapted_compensator(pipeline, config)
    torch.manual_seed(0)
    pipeline.register_modules(compensator=PortraitCompensator(motion_codes=12, appearance_codes=12))
    # what starts at zero lets no gradient through
    shake(pipeline.compensator)
    compensator = adapted_compensator(pipeline, config)
    assert compensator is not None
    stage = LoraWithDecoderStage(config, decoder, motion_stage(pipeline, config, tmp_path), compensator)
    before = {name: value.clone() for name, value in compensator.state_dict().items()}
    loop = TrainingLoop(config.loop, {"unet": pipeline.unet, "compensator": compensator}, stage, lambda folder: None)
    loop.prepare()
    loop.run()
    changed = {name for name, value in compensator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all("lora_" in name for name in changed)
    assert {"fill_l1", "latent", "emotion"} <= {name for step in range(20) for name in stage(step)[1]}
