"""The GPU size on a tiny random Stable Video Diffusion of the real classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.errors import ConfigError, WeightsError
from mooe.media import VideoWriter
from mooe.motion.unet import AUDIO_CONTEXT
from mooe.svd import LatentCompensator, SVDBase, SVDTalker
from training.common import LoopConfig, TrainingLoop
from training.corpus.crop_frames import CropCorpus
from training.corpus.filmed import FilmedClip
from training.train_svd import STAGES, SVDConfig, SVDStage, trained_parts

FRAMES, SIDE = 4, 32


@pytest.fixture(scope="module")
def svd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("svd")
    save_tiny_svd(folder)
    return folder


def save_tiny_svd(folder: Path) -> None:
    """Write tiny random weights, laid out as StableVideoDiffusionPipeline saves them."""
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=SIDE // 2, in_channels=8, out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), cross_attention_dim=16,
        num_attention_heads=(2, 4), projection_class_embeddings_input_dim=96, addition_time_embed_dim=32,
        num_frames=FRAMES,
    ).save_pretrained(folder / "unet")  # fmt: skip
    AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"), latent_channels=4,
    ).save_pretrained(folder / "vae")  # fmt: skip
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, projection_dim=16, num_hidden_layers=1, num_attention_heads=2, image_size=16,
            intermediate_size=16, patch_size=8,
        )
    ).save_pretrained(folder / "image_encoder")  # fmt: skip
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        interpolation_type="linear", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
        timestep_spacing="leading", timestep_type="continuous", steps_offset=1,
    ).save_pretrained(folder / "scheduler")  # fmt: skip


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, a happy and a calm one, with crops."""
    folder = tmp_path_factory.mktemp("filmed")
    (folder / "crops").mkdir()
    for number in range(2):
        rng = np.random.default_rng(number)
        FilmedClip(
            features=rng.random((10, 20), np.float32), displacement=np.zeros((10, 478, 3), np.float32),
            rotation=np.zeros((10, 3), np.float32), translation=np.zeros((10, 3), np.float32),
            gaze=np.zeros((10, 2), np.float32), blink=np.zeros(10, np.float32),
            emotion=np.eye(6, dtype=np.float32)[0] * number, action_units=np.zeros((10, 25), np.float32), audible=True,
            speaker="a", labelled="label", encoder="test",
        ).save(folder / "clips" / f"v-{number:03d}.npz")  # fmt: skip
        with VideoWriter(folder / "crops" / f"v-{number:03d}.mp4", SIDE, SIDE) as video:
            for frame in range(10):
                video.write(np.full((SIDE, SIDE, 3), 20 * frame + 30 * number, np.uint8))
    return folder


def talker(svd_folder: Path) -> SVDTalker:
    torch.manual_seed(1)
    return SVDTalker.from_base(SVDBase.from_pretrained(svd_folder), token_dim=16, audio_dim=20, inner_dim=16)


def condition(model: SVDTalker, emotion: int | None = None, seed: int = 0):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(seed)
    weights = None if emotion is None else torch.eye(6)[emotion].expand(1, FRAMES, 6)
    return model.condition(
        torch.rand(1, 3, SIDE, SIDE, generator=generator) * 2 - 1,
        torch.rand(1, FRAMES + 2 * AUDIO_CONTEXT, 20, generator=generator), emotion=weights,
    )  # fmt: skip


def test_new_parts_leave_svd_as_it_is_and_do_not_change_its_weights(svd_folder: Path) -> None:
    model = talker(svd_folder)
    plain = SVDBase.from_pretrained(svd_folder)
    told = condition(model, emotion=0)
    noised, sigma = torch.randn(1, FRAMES, 4, SIDE // 2, SIDE // 2), torch.tensor([2.0])
    with torch.no_grad(), model.attending(told):
        ours = model.denoise(noised, sigma, told)
    still = told.image_latents[:, None].expand(-1, FRAMES, -1, -1, -1)
    with torch.no_grad():
        out = plain.unet(
            torch.cat([noised / 5**0.5, still], 2), sigma.log() / 4, told.image_embedding,
            torch.tensor([[23.0, 127.0, 0.0]]),
        ).sample  # fmt: skip
    assert torch.allclose(ours, noised / 5 - 2 / 5**0.5 * out, atol=1e-5)
    assert set(model.base.unet.state_dict()) == set(plain.unet.state_dict())


def settings(folder: Path, part: str, steps: int) -> SVDConfig:
    loop = LoopConfig(
        folder, steps, 3e-3, warmup_steps=1, decay_share=0.0, log_every=5, ema_decay=0.5, mixed_precision="no",
        report_to="none",
    )  # fmt: skip
    return SVDConfig(loop, folder, part=part, batch_size=2, window=FRAMES)  # type: ignore[arg-type]


def train(model: SVDTalker, config: SVDConfig, corpus: Path) -> SVDStage:
    """Train a part, and give its loss."""
    stage = STAGES[config.part](config, CropCorpus(corpus, FRAMES), model)
    loop = TrainingLoop(config.loop, trained_parts(model, config.part), stage, model.save_pretrained)
    loop.prepare()
    loop.run()
    return stage


@pytest.mark.parametrize("part", ["speech", "emotion", "decoder"])
def test_the_loss_falls_and_the_rest_stays(svd_folder: Path, corpus_folder: Path, tmp_path: Path, part: str) -> None:
    model = talker(svd_folder)
    published = [*model.base.unet.parameters(), *model.base.vae.parameters()]
    fixed = [parameter.clone() for parameter in published]

    def mean_loss(stage: SVDStage) -> float:
        """Over fixed draws."""
        with torch.no_grad():
            return float(np.mean([float(stage(1000 + number)[0]) for number in range(4)]))

    config = settings(tmp_path, part, 14)
    before = mean_loss(STAGES[part](config, CropCorpus(corpus_folder, FRAMES), model))
    assert mean_loss(train(model, config, corpus_folder)) < before
    assert all(torch.equal(kept, parameter) for kept, parameter in zip(fixed, published, strict=True))


def test_saved_loaded_and_sampled_to_the_same_frames(svd_folder: Path, tmp_path: Path) -> None:
    model = talker(svd_folder)
    for parameter in model.parameters():
        # what starts at zero would hide a part that is not loaded
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path)
    loaded = SVDTalker.from_pretrained(tmp_path, SVDBase.from_pretrained(svd_folder))
    frames = [
        m.decode_frames(m.sample(told, torch.Generator().manual_seed(3), 2), told)
        for m in (model, loaded)
        for told in [condition(m, emotion=1)]
    ]
    assert frames[0].shape == (1, FRAMES, 3, SIDE, SIDE)
    assert torch.isfinite(frames[0]).all() and torch.equal(frames[0], frames[1])


def test_speech_reference_and_emotion_each_change_the_motion(svd_folder: Path) -> None:
    model = talker(svd_folder)
    for adapters in (model.audio_adapters, model.reference_adapters, model.experts):
        for parameter in adapters.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    told = condition(model, emotion=0)
    others = [condition(model, emotion=2), condition(model, emotion=0), condition(model, emotion=0)]
    others[1].features = others[1].features.flip(1)
    noised, sigma = torch.randn(1, FRAMES, 4, SIDE // 2, SIDE // 2), torch.tensor([2.0])

    def run(given):  # type: ignore[no-untyped-def]
        with torch.no_grad(), model.attending(given):
            return model.denoise(noised, sigma, told)

    first = run(told)
    others[2].image_latents = others[2].image_latents.flip(-1)
    assert all(not torch.allclose(first, run(other)) for other in others)
    assert torch.equal(first, run(condition(model, emotion=0)))


def test_missing_weights_and_crops_are_named(tmp_path: Path, svd_folder: Path) -> None:
    with pytest.raises(WeightsError, match="Stable Video Diffusion cannot be loaded"):
        SVDBase.from_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="holds no SVDTalker"):
        SVDTalker.from_pretrained(tmp_path, SVDBase.from_pretrained(svd_folder))
    with pytest.raises(ConfigError, match=r"prepare\.py"):
        CropCorpus(tmp_path, FRAMES)


def test_new_codebooks_leave_the_latent_decoder_as_it_is_and_trained_ones_know_the_person(svd_folder: Path) -> None:
    model = talker(svd_folder)
    latents = torch.randn(2, FRAMES, 4, SIDE // 2, SIDE // 2)
    told = [condition(model, seed=seed) for seed in range(2)]
    both = replace(told[0], image_latents=torch.cat([t.image_latents for t in told]))
    plain = SVDBase.from_pretrained(svd_folder).decode_frames(latents)
    assert torch.equal(model.decode_frames(latents, both), plain)
    for parameter in model.compensator.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.eval()
    frames = model.decode_frames(latents, both)
    assert torch.equal(model.base.decode_frames(latents), plain)
    assert not torch.allclose(frames, plain, atol=1e-3)
    # the clips of a batch know nothing of each other
    alone = model.decode_frames(latents[:1], told[0])
    assert torch.allclose(alone, frames[:1], atol=1e-5)
    assert not torch.allclose(model.decode_frames(latents[:1], told[1]), alone, atol=1e-3)


def test_a_broken_run_of_the_codebooks_equals_an_unbroken_one(
    svd_folder: Path, corpus_folder: Path, tmp_path: Path
) -> None:
    unbroken = talker(svd_folder)
    train(unbroken, settings(tmp_path / "unbroken", "decoder", 4), corpus_folder)
    train(talker(svd_folder), settings(tmp_path / "broken", "decoder", 2), corpus_folder)
    resumed = talker(svd_folder)
    train(resumed, settings(tmp_path / "broken", "decoder", 4), corpus_folder)
    for one, other in zip(unbroken.compensator.parameters(), resumed.compensator.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_guidance_goes_from_no_sound_towards_the_sound(svd_folder: Path) -> None:
    model = talker(svd_folder)
    for parameter in model.audio_adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    told = condition(model)

    def sample(guidance: float, audible: bool) -> torch.Tensor:
        given = replace(told, audible=torch.tensor([audible]))
        return model.sample(given, torch.Generator().manual_seed(0), 1, audio_guidance=guidance)

    silent, heard, strong = sample(1, False), sample(1, True), sample(2, True)
    assert not torch.allclose(silent, heard)
    assert torch.allclose(strong - heard, heard - silent, atol=1e-3 * float(heard.abs().max()))


def test_codebooks_of_another_decoder_are_refused(svd_folder: Path) -> None:
    base = SVDBase.from_pretrained(svd_folder)
    with pytest.raises(WeightsError, match="another latent decoder"):
        LatentCompensator({"mid_block": 8}).attach(base.vae)
