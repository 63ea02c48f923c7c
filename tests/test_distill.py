"""Laws of the few-step and guidance distillation, at toy size."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from mooe.emotion.adapters import MoEEAdapters
from mooe.errors import ConfigError
from mooe.motion.sampling import Guidance, WindowInputs, WindowSampler
from mooe.motion.unet import MotionUNet
from mooe.pipeline import MoEEPipeline
from training import pack_pipeline, train_distill
from training.common import LoopConfig, TrainingLoop
from training.corpus.clips import save_npz
from training.corpus.motion import MotionCorpus, SpeechClip
from training.corpus.visemes import Phone
from training.motion_batch import Batch, draw_batch, euler_step
from training.train_distill import DistillConfig, DistillStage, implied_clean, step_levels

FRAMES, WINDOW = 60, 12
SYMBOLS = ["sil", *"mɑbisupoʃ", "sil"]
ENDS = np.cumsum([0.4, *[0.16] * 9, FRAMES / 25 - 0.4 - 9 * 0.16]).astype(np.float32)
STARTS = np.concatenate([[0], ENDS[:-1]]).astype(np.float32)


@pytest.fixture(scope="module")
def corpus() -> MotionCorpus:
    sound = np.random.default_rng(0).random((FRAMES, 390), np.float32)
    phones = [Phone(*phone) for phone in zip(SYMBOLS, STARTS.tolist(), ENDS.tolist(), strict=True)]
    return MotionCorpus([SpeechClip("clip", (sound,), tuple(phones))], WINDOW)


def shipped_scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=2.0)


def make_stage(corpus: MotionCorpus, folder: Path, steps: int = 4, **settings: object) -> DistillStage:
    loop = LoopConfig(
        folder, steps, 3e-4, warmup_steps=1, decay_share=0.0, weight_decay=0.0, mixed_precision="no", report_to="none"
    )
    config = DistillConfig(loop, folder, folder, folder, folder, batch_size=2, **settings)  # type: ignore[arg-type]
    pipeline = MoEEPipeline.from_pretrained("debug")
    return DistillStage(
        config, corpus, pipeline.codec, pipeline.unet, pipeline.adapters, pipeline.emotion_encoder, shipped_scheduler()
    )


def make_loop(
    stage: DistillStage, loss: Callable[[int], tuple[Tensor, dict[str, float]]] | None = None
) -> TrainingLoop:
    modules: dict[str, torch.nn.Module] = {"unet": stage.unet, "adapters": stage.adapters}
    loop = TrainingLoop(stage.config.loop, modules, loss or stage, lambda folder: None)
    loop.prepare()
    return loop


def weights(stage: DistillStage) -> list[Tensor]:
    return [p.detach().clone() for module in (stage.unet, stage.adapters) for p in module.parameters()]


@pytest.mark.parametrize("steps", [1, 2, 4, 6])
@pytest.mark.parametrize("substeps", [1, 2, 3])
def test_the_student_learns_the_levels_that_sampling_visits(steps: int, substeps: int) -> None:
    pipeline = MoEEPipeline.from_pretrained("debug")
    visited: list[float] = []

    def note(number: int, timestep: Tensor, latents: Tensor) -> None:
        visited.append(float(timestep))

    sampler = WindowSampler(
        pipeline.unet, pipeline.adapters, shipped_scheduler(), torch.Generator(), steps, Guidance(), note
    )
    sampler.window(WindowInputs(torch.zeros(1, WINDOW + 32, 390), torch.zeros(1, WINDOW, 10), None))
    levels = step_levels(shipped_scheduler(), steps, substeps)
    assert (levels[:, 0] * 1000).tolist() == visited
    assert torch.equal(levels[1:, 0], levels[:-1, -1]) and levels[-1, -1] == 0
    assert (levels.diff(dim=1) < 0).all()


def test_the_target_is_where_a_single_step_ends() -> None:
    sample, result = torch.randn(2, 3, 2, 4, 5, 5)
    level, reached = torch.tensor([1.0, 0.8, 0.3]), torch.tensor([0.7, 0.2, 0.0])
    there = euler_step(sample, implied_clean(sample, result, level, reached), level, reached)
    assert torch.allclose(there, result, atol=1e-5)


def take(stage: DistillStage, neutral: float = 0.0) -> Batch:
    """A batch of one take of which nothing is known."""
    rng = np.random.default_rng(0)
    batch = draw_batch([stage.corpus.sample(rng, neutral=neutral)], stage.codec, rng)
    return replace(batch, known=torch.zeros_like(batch.known))


@pytest.mark.parametrize(("audio", "emotion"), [(1.0, 1.0), (1.6, 1.0), (1.4, 1.8)])
def test_the_teacher_is_the_sampler_with_its_guidance(
    corpus: MotionCorpus, tmp_path: Path, audio: float, emotion: float
) -> None:
    stage = make_stage(
        corpus, tmp_path, num_inference_steps=3, teacher_steps_per_step=1, audio_scale=audio, emotion_scale=emotion
    )
    batch = take(stage)
    with torch.no_grad():
        latents = stage.encoder(batch.emotion)
    generator = torch.Generator().manual_seed(5)
    sample = torch.randn(batch.latents.shape, generator=generator)
    sampler = WindowSampler(
        stage.unet, stage.adapters, shipped_scheduler(), generator.manual_seed(5), 3, Guidance(audio, emotion)
    )
    sampled, _ = sampler.window(WindowInputs(batch.features, batch.controls, latents))
    for levels in stage.levels:
        sample = stage.teach(batch, sample, levels[None], batch.audible, latents)
    assert torch.allclose(sample, sampled, atol=1e-4)


def test_without_fewer_steps_or_guidance_there_is_nothing_to_learn(corpus: MotionCorpus, tmp_path: Path) -> None:
    same = make_stage(corpus, tmp_path, teacher_steps_per_step=1)
    for step in range(4):
        assert float(same(step)[0].detach()) < 1e-8
    for settings in ({"teacher_steps_per_step": 3}, {"audio_scale": 2.0}, {"emotion_scale": 2.0}):
        stage = make_stage(corpus, tmp_path, neutral_share=0.0, **{"teacher_steps_per_step": 1} | settings)
        assert max(float(stage(step)[0].detach()) for step in range(4)) > 1e-6


def test_what_is_known_is_neither_moved_nor_learnt(corpus: MotionCorpus, tmp_path: Path) -> None:
    stage = make_stage(corpus, tmp_path, teacher_steps_per_step=2)
    batch = take(stage)
    known = torch.zeros_like(batch.known)
    known[:, :8] = 1
    batch = replace(batch, known=known)
    sample = torch.where(known > 0, batch.latents, torch.randn_like(batch.latents))
    with torch.no_grad():
        latents = stage.encoder(batch.emotion)
    result = stage.teach(batch, sample, stage.levels[:1], batch.audible, latents)
    assert torch.equal(result[:, :8], batch.latents[:, :8])
    assert not torch.equal(result[:, 8:], sample[:, 8:])


@pytest.mark.parametrize("train_adapters", [True, False])
def test_one_step_comes_nearer_to_the_teachers_steps(
    corpus: MotionCorpus, tmp_path: Path, train_adapters: bool
) -> None:
    stage = make_stage(
        corpus, tmp_path, 10, num_inference_steps=2, audio_scale=1.5, emotion_scale=2.0, neutral_share=0.0,
        drop_audio=0.0, train_adapters=train_adapters,
    )  # fmt: skip
    teacher = [p.clone() for module in (stage.teacher, stage.teacher_adapters) for p in module.parameters()]
    experts = [p.clone() for p in stage.adapters.parameters()]

    before, missed = stage(0)
    make_loop(stage, lambda step: stage(0)).run()
    after, left = stage(0)
    assert float(after.detach()) < 0.5 * float(before.detach()) and left["result"] < 0.5 * missed["result"]
    kept = [p for module in (stage.teacher, stage.teacher_adapters) for p in module.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(teacher, kept, strict=True))
    moved = [not torch.equal(a, b) for a, b in zip(experts, stage.adapters.parameters(), strict=True)]
    assert all(moved) if train_adapters else not any(moved)


def test_resumes_as_if_unbroken(corpus: MotionCorpus, tmp_path: Path) -> None:
    unbroken = make_stage(corpus, tmp_path / "unbroken", 4, emotion_scale=1.5)
    make_loop(unbroken).run()
    make_loop(make_stage(corpus, tmp_path / "broken", 2, emotion_scale=1.5)).run()
    resumed = make_stage(corpus, tmp_path / "broken", 4, emotion_scale=1.5)
    make_loop(resumed).run()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(unbroken), weights(resumed), strict=True))


@pytest.mark.parametrize("name", ["num_inference_steps", "teacher_steps_per_step"])
def test_no_steps_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0: give 1 or more"):
        DistillConfig(LoopConfig(tmp_path, 1, 1e-3), *[tmp_path] * 4, **{name: 0})  # type: ignore[arg-type]


def test_the_command_makes_weights_that_can_be_packed(
    corpus: MotionCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = MoEEPipeline.from_pretrained("debug")
    runs, student = tmp_path / "runs", tmp_path / "distill"
    teacher.codec.save_pretrained(runs / "codec")
    teacher.unet.save_pretrained(runs / "motion/weights")
    teacher.adapters.save_pretrained(runs / "emotion/weights/adapters")
    teacher.emotion_encoder.save_pretrained(runs / "emotion/weights/emotion_encoder")
    teacher.pose_predictor.save_pretrained(runs / "pose/weights")
    save_npz(
        tmp_path / "features/000/00000.npz", features=corpus.clips[0].features[0],
        augmented=np.zeros((0, FRAMES, 390), np.float32), phones=np.array(SYMBOLS), starts=STARTS, ends=ENDS,
    )  # fmt: skip
    configs = Path(train_distill.__file__).parents[1] / "configs"
    monkeypatch.setattr(sys, "argv", [
        "train_distill.py", "--config", str(configs / "distill.yaml"), "--set", f"features={tmp_path / 'features'}",
        f"codec={runs / 'codec'}", f"motion={runs / 'motion/weights'}", f"emotion={runs / 'emotion/weights'}",
        f"window={WINDOW}", "batch_size=2", f"loop.output={student}", "loop.steps=2", "loop.report_to=none",
    ])  # fmt: skip
    train_distill.main()
    monkeypatch.setattr(sys, "argv", [
        "pack_pipeline.py", "--runs", str(runs), "--distilled", str(student / "weights"), "--out",
        str(tmp_path / "packed"),
    ])  # fmt: skip
    pack_pipeline.main()
    packed = MoEEPipeline.from_pretrained(tmp_path / "packed", torch_dtype=torch.float32)
    pairs = (
        (packed.unet, MotionUNet.from_pretrained(student / "weights/motion/weights")),
        (packed.adapters, MoEEAdapters.from_pretrained(student / "weights/emotion/weights/adapters")),
    )
    for part, own in pairs:
        assert all(torch.equal(a, b.half().float()) for a, b in zip(part.parameters(), own.parameters(), strict=True))
    changed = zip(packed.unet.parameters(), teacher.unet.parameters(), strict=True)
    assert any(not torch.equal(a, b.half().float()) for a, b in changed)
