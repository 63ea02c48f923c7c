"""Laws of the whole way, on the tiny model with random weights; the embedded weights' own at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
from diffusers.utils import logging as diffusers_logging
from PIL import Image

from mooe import MoEEPipeline, MooeError
from mooe.decoder import SourcePortrait
from mooe.decoder.neutral import expression_relief
from mooe.emotion import EMOTIONS, EmotionTimeline, parse_emotion
from mooe.errors import WeightsError
from mooe.pipeline import MoEEPipelineOutput
from mooe.weights import embedded_folder

SECONDS = 2.3


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(int(SECONDS * 16000)) * 0.05).astype(np.float32)


Run = Callable[..., MoEEPipelineOutput]


@pytest.fixture(scope="module")
def run(pipe: MoEEPipeline, portrait: SourcePortrait, speech: np.ndarray) -> Run:
    def call(
        pipe: MoEEPipeline = pipe, audio: np.ndarray = speech, seed: int = 1, **kwargs: object
    ) -> MoEEPipelineOutput:
        settings = {"num_inference_steps": 2, "paste_back": False, **kwargs}
        return pipe(portrait, audio, generator=torch.Generator().manual_seed(seed), **settings)

    return call


def test_every_started_frame_of_speech_is_there(run: Run) -> None:
    output = run()
    assert len(output.frames) == int(np.ceil(SECONDS * 25)) == len(output.motion) == len(output.gates)
    assert output.frames.shape[1:] == (128, 128, 3) and output.fps == 25
    assert len(output.audio) == int(SECONDS * 16000)
    assert output.motion.arkit_weights().shape == (len(output.frames), 52)


def test_same_seed_same_bytes_and_another_seed_another_clip(run: Run) -> None:
    first = run(emotion="happy")
    assert np.array_equal(first.frames, run(emotion="happy").frames)
    assert not np.array_equal(first.frames, run(emotion="happy", seed=2).frames)


def test_intensity_zero_is_neutral_exactly(run: Run) -> None:
    neutral = run().frames
    for wish in (
        {"emotion": "angry", "intensity": 0.0},
        {"emotion": "angry:0"},
        {"emotion": "neutral"},
        {"emotion": {}},
    ):
        assert np.array_equal(neutral, run(**wish).frames)
    assert not np.array_equal(neutral, run(emotion="angry").frames)


def test_a_photographed_expression_gives_way_as_far_as_emotions_are_asked_for(
    pipe: MoEEPipeline, portrait: SourcePortrait, speech: np.ndarray
) -> None:
    def moved(relief: np.ndarray, **wish: object) -> np.ndarray:
        person = replace(portrait, relief=relief)
        return pipe(person, speech, generator=torch.Generator().manual_seed(1), **wish).motion.displacement

    some = expression_relief(0.5, 0.6)
    none = np.zeros_like(some)
    happy, surprised, angry = (some[EMOTIONS.index(name)] for name in ("happy", "surprised", "angry"))
    assert np.array_equal(moved(some), moved(none))
    for emotion, expected in (
        ("angry", angry),
        ("surprised:.5", surprised / 2),
        (["happy:.8", "surprised:.8"], (happy + surprised) / 2),
    ):
        change = moved(some, emotion=emotion) - moved(none, emotion=emotion)
        assert np.allclose(change, expected, atol=1e-4)


def test_gates_sum_to_one_where_there_is_emotion_and_to_zero_where_not(run: Run) -> None:
    assert np.allclose(run(emotion=["happy:.5", "surprised:.5"]).gates.sum(1), 1, atol=1e-3)
    assert not run().gates.any()


def test_guidance_of_one_is_no_guidance(run: Run) -> None:
    plain = run(emotion="sad")
    assert np.array_equal(plain.frames, run(emotion="sad", audio_scale=1.0, emotion_scale=1.0).frames)
    for scale in ({"audio_scale": 2.0}, {"emotion_scale": 2.0}):
        assert not np.array_equal(plain.frames, run(emotion="sad", **scale).frames)


def test_a_saved_pipeline_gives_the_same_bytes(pipe: MoEEPipeline, run: Run, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "a folder")
    loaded = MoEEPipeline.from_pretrained(tmp_path / "a folder", torch_dtype=torch.float32)
    assert np.array_equal(run(emotion="fearful").frames, run(loaded, emotion="fearful").frames)


def test_speech_goes_on_past_windows_without_a_jump(run: Run) -> None:
    sound = (np.random.default_rng(1).standard_normal(6 * 16000) * 0.05).astype(np.float32)
    whole = run(audio=sound, emotion="happy").motion.displacement
    # carried frames tie windows together: the first window does not know what comes after its sound
    assert len(whole) == 150 and np.isfinite(whole).all()
    start = run(audio=sound[: 5 * 16000], emotion="happy").motion
    assert np.allclose(whole[:20], start.displacement[:20], atol=1e-3)


def test_streaming_equals_the_whole(pipe: MoEEPipeline, portrait: SourcePortrait, speech: np.ndarray, run: Run) -> None:
    stream = pipe.stream(
        portrait, speech, "happy", num_inference_steps=2, paste_back=False, generator=torch.Generator().manual_seed(1)
    )
    chunks = list(stream)
    assert stream.num_frames == sum(len(c.frames) for c in chunks)
    assert np.array_equal(np.concatenate([c.frames for c in chunks]), run(emotion="happy").frames)
    assert {"audio", "motion", "decoder"} <= set(stream.timings)


def test_pasting_back_leaves_the_rest_of_the_picture(pipe: MoEEPipeline, portrait: SourcePortrait, run: Run) -> None:
    frames = run(paste_back=True).frames
    assert frames.shape[1:] == portrait.picture.shape
    changed = (frames != portrait.picture[None]).any((0, 3))
    crop = portrait.crop
    outside = np.ones(changed.shape, bool)
    outside[
        max(int(crop.top), 0) : int(crop.top + crop.side) + 1, max(int(crop.left), 0) : int(crop.left + crop.side) + 1
    ] = False
    assert changed.any() and not (changed & outside).any()


def test_output_types(run: Run) -> None:
    pixels = run().frames
    assert np.array_equal(np.stack([np.asarray(f) for f in run(output_type="pil").frames]), pixels)
    tensor = run(output_type="pt").frames
    assert tensor.shape == (len(pixels), 3, 128, 128) and float(tensor.max()) <= 1
    assert run(output_type="latent").frames.ndim == 4
    frames, *_ = run(return_dict=False)
    assert np.array_equal(frames, pixels)


def test_callback_sees_every_step_and_may_change_latents(run: Run) -> None:
    steps = []

    def note(_: MoEEPipeline, step: int, __: torch.Tensor, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        steps.append(step)
        return {"latents": torch.zeros_like(tensors["latents"])}

    still = run(callback_on_step_end=note).motion.displacement
    assert set(steps) == {0, 1}
    assert np.ptp(still, axis=0).max() < 1e-6


def test_timeline_changes_only_what_follows(run: Run) -> None:
    late = EmotionTimeline(((0.0, parse_emotion(None)), (1.8, parse_emotion(None)), (2.2, parse_emotion("happy"))))
    gates = run(emotion=late).gates
    assert not gates[:44].any() and gates[-1].sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("scheduler", [FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler])
def test_schedulers_can_be_swapped(pipe: MoEEPipeline, run: Run, scheduler: type) -> None:
    kept = pipe.scheduler
    try:
        pipe.scheduler = scheduler.from_config(kept.config)
        assert np.isfinite(run().motion.displacement).all()
    finally:
        pipe.scheduler = kept


def test_images_are_taken_as_they_come(pipe: MoEEPipeline, portrait_path: Path, speech: np.ndarray) -> None:
    picture = Image.open(portrait_path)
    output = pipe(picture, speech[:3000], num_inference_steps=1, generator=torch.Generator().manual_seed(0))
    assert output.frames.shape[0] == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_inference_steps": 0}, {"audio_scale": -1.0}, {"emotion_scale": float("nan")}, {"intensity": 2.0},
        {"emotion": "hapy"}, {"output_type": "gif"}, {"audio": np.zeros((2, 16000), np.float32)},
        {"audio": np.zeros(0, np.float32)}, {"audio": np.full(16000, np.nan, np.float32)},
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_in_a_sentence(run: Run, wrong: dict[str, object]) -> None:
    with pytest.raises(MooeError, match=r"\.$"):
        run(**wrong)


def test_wrong_weights_are_refused(pipe: MoEEPipeline, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        MoEEPipeline.from_pretrained(tmp_path / "nothing here")
    pipe.save_pretrained(tmp_path / "damaged")
    file = next((tmp_path / "damaged/unet").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError):
        MoEEPipeline.from_pretrained(tmp_path / "damaged")
    broken = MoEEPipeline.from_pretrained("debug")
    with torch.no_grad():
        next(broken.unet.parameters()).fill_(float("nan"))
    broken.save_pretrained(tmp_path / "nan")
    with pytest.raises(WeightsError, match="finite"):
        MoEEPipeline.from_pretrained(tmp_path / "nan")


embedded = pytest.mark.skipif(not (embedded_folder() / "model_index.json").is_file(), reason="no embedded weights")


@embedded
def test_loading_the_embedded_weights_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    diffusers_logging.enable_propagation()
    try:
        MoEEPipeline.from_pretrained()
    finally:
        diffusers_logging.disable_propagation()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@embedded
def test_embedded_mouth_is_shut_in_silence_and_moves_in_speech(run: Run, examples: Path) -> None:
    from mooe.audio import load_audio
    from mooe.motion.lips import lip_gap

    pipe = MoEEPipeline.from_pretrained()
    silence = run(pipe, np.zeros(3 * 16000, np.float32))
    speaking = run(pipe, load_audio(examples / "speech.wav")[: 4 * 16000])
    shut, moved = (lip_gap(o.motion.displacement)[:, 4] for o in (silence, speaking))
    assert shut.max() < 0.03
    assert moved.max() > 3 * shut.max() and moved.std() > 0.02


@embedded
def test_embedded_emotions_move_what_they_should(run: Run) -> None:
    from mooe.face.regions import ARKIT_NAMES

    pipe = MoEEPipeline.from_pretrained()
    sound = np.zeros(2 * 16000, np.float32)

    def mean(**wish: object) -> dict[str, float]:
        weights = run(pipe, sound, **wish).motion.arkit_weights().mean(0)
        return dict(zip(ARKIT_NAMES, weights.tolist(), strict=True))

    neutral = mean()
    assert mean(emotion="happy")["mouthSmileLeft"] > neutral["mouthSmileLeft"] + 0.3
    assert mean(emotion="angry")["browDownLeft"] > neutral["browDownLeft"] + 0.3
    surprised = mean(emotion="surprised")
    assert surprised["browInnerUp"] > neutral["browInnerUp"] + 0.3
    assert mean(emotion="surprised", intensity=0.5)["browInnerUp"] < surprised["browInnerUp"]


@embedded
def test_embedded_lips_shut_under_an_emotion_where_speech_shuts_them(run: Run, examples: Path) -> None:
    from mooe.audio import load_audio
    from mooe.motion.lips import lip_gap

    pipe = MoEEPipeline.from_pretrained()
    speech = load_audio(examples / "speech.wav")[: 4 * 16000]
    neutral, *gaping = (
        lip_gap(run(pipe, speech, emotion=emotion).motion.displacement)[:, 4]
        for emotion in (None, "angry", "surprised")
    )
    shut = (neutral < 0.005) & (np.convolve(neutral > 0.04, np.ones(9), "same") > 0)  # in speech, not in a pause
    assert shut.any()
    for gap in gaping:
        assert np.median(gap) > np.median(neutral) + 0.05
        assert np.median(gap[shut]) < 0.35 * np.quantile(gap, 0.9)
