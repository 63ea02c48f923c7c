"""LoRA adapters of speakers: exact at weight 0, saved and loaded, weighed, fused, refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mooe.cli import run
from mooe.commands.lora import parse_lora
from mooe.decoder.compensator import PortraitCompensator
from mooe.errors import ConfigError, WeightsError
from mooe.motion.behavior import BLINK_CURVE, BlinkSchedule, blink_curve
from mooe.motion.lora import DECODER_TARGETS, add_speaker_lora, save_unet_lora
from mooe.motion.manner import BrowManner
from mooe.motion.unet import AUDIO_CONTEXT, MotionUNet
from mooe.pipeline import MoEEPipeline

FRAMES = 12


def denoise(unet: MotionUNet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        conditioning = unet.condition(random(1, FRAMES + 2 * AUDIO_CONTEXT, 390), random(1, FRAMES, 10))
        known = torch.zeros(1, FRAMES, 1, 4, 4)
        out: torch.Tensor = unet(random(1, FRAMES, 48, 4, 4), torch.tensor([500.0]), conditioning, known)
    return out


def adapter(folder: Path, seed: int, blink_length: float = 1.0, brows: BrowManner | None = None) -> torch.Tensor:
    """Writes an adapter that is not zero; gives what the model does with it."""
    unet = MoEEPipeline.from_pretrained("debug").unet
    add_speaker_lora(unet, rank=2, alpha=2)
    generator = torch.Generator().manual_seed(seed)
    for parameter in unet.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.05, generator=generator)
    save_unet_lora(unet, folder, blink_length=blink_length, brows=brows)
    return denoise(unet)


def compensator() -> PortraitCompensator:
    torch.manual_seed(0)
    return PortraitCompensator(motion_codes=12, appearance_codes=12)


def fill(model: PortraitCompensator) -> torch.Tensor:
    """What the fill's retrieval makes of random maps."""
    assert model.appearance is not None
    retrieval = model.appearance.retrievals["16"]
    channels = model.config["appearance_channels"][2]
    maps = torch.randn(1, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out: torch.Tensor = retrieval(maps, model.appearance.book).features
    return out


@pytest.fixture
def base() -> MoEEPipeline:
    return MoEEPipeline.from_pretrained("debug")


def test_a_new_adapter_changes_nothing_and_freezes_the_rest() -> None:
    unet = MoEEPipeline.from_pretrained("debug").unet
    before = denoise(unet)
    add_speaker_lora(unet, rank=2)
    assert torch.equal(denoise(unet), before)
    assert all("lora" in name for name, p in unet.named_parameters() if p.requires_grad)


def test_saved_loaded_weighed_and_at_weight_0_the_base_model_exactly(tmp_path: Path, base: MoEEPipeline) -> None:
    plain = denoise(base.unet)
    adapted = adapter(tmp_path, 1)
    base.load_lora_weights(tmp_path, adapter_name="mara")
    assert torch.equal(denoise(base.unet), adapted) and not torch.allclose(adapted, plain)
    base.set_adapters(["mara"], [0.0])
    assert torch.equal(denoise(base.unet), plain)
    base.set_adapters(["mara"], [1.0])
    assert torch.equal(denoise(base.unet), adapted)
    base.disable_lora()
    assert torch.equal(denoise(base.unet), plain)


def test_fused_equals_unfused_and_comes_out_again(tmp_path: Path, base: MoEEPipeline) -> None:
    plain, adapted = denoise(base.unet), adapter(tmp_path, 1)
    base.load_lora_weights(tmp_path, adapter_name="mara")
    base.fuse_lora()
    assert torch.allclose(denoise(base.unet), adapted, atol=1e-4)
    base.unfuse_lora()
    base.set_adapters(["mara"], [0.0])
    assert torch.allclose(denoise(base.unet), plain, atol=1e-4)


def test_two_speakers_mix_by_their_weights(tmp_path: Path, base: MoEEPipeline) -> None:
    one, two = adapter(tmp_path / "one", 1), adapter(tmp_path / "two", 2)
    base.load_lora_weights(tmp_path / "one", adapter_name="one")
    base.load_lora_weights(tmp_path / "two" / "pytorch_lora_weights.safetensors", adapter_name="two")
    base.set_adapters(["one", "two"], [1.0, 0.0])
    assert torch.allclose(denoise(base.unet), one, atol=1e-5)
    base.set_adapters(["one", "two"], [0.0, 1.0])
    assert torch.allclose(denoise(base.unet), two, atol=1e-5)


def test_blinks_last_as_long_as_the_speakers_by_weight(tmp_path: Path, base: MoEEPipeline) -> None:
    adapter(tmp_path, 1, blink_length=2.5)
    assert base.blink_length == 1
    base.load_lora_weights(tmp_path, adapter_name="slow")
    assert base.blink_length == 2.5
    base.set_adapters(["slow"], [0.5])
    assert base.blink_length == 1.75
    base.set_adapters(["slow"], [0.0])
    assert base.blink_length == 1
    base.set_adapters(["slow"], [1.0])
    base.unload_lora_weights()
    assert base.blink_length == 1


def test_mouths_widen_by_what_the_speakers_leave(tmp_path: Path, base: MoEEPipeline) -> None:
    adapter(tmp_path, 1)
    assert base.mouth_widening == 1
    base.load_lora_weights(tmp_path, adapter_name="one")
    assert base.mouth_widening == 0
    base.set_adapters("one", 0.25)
    assert base.mouth_widening == 0.75
    base.unload_lora_weights()
    assert base.mouth_widening == 1


def test_brows_wander_as_the_speakers_by_weight(tmp_path: Path, base: MoEEPipeline) -> None:
    brows = BrowManner(np.stack([0.5 * np.eye(5), 0.2 * np.eye(5)]), 0.1 * np.eye(5))
    adapter(tmp_path, 1, brows=brows)
    assert base.brow_manners == []
    base.load_lora_weights(tmp_path, adapter_name="lively")
    [(found, weight)] = base.brow_manners
    assert weight == 1 and np.array_equal(found.transition, brows.transition)
    base.set_adapters(["lively"], [0.5])
    assert base.brow_manners[0][1] == 0.5
    base.save_lora_weights(tmp_path / "again", "lively")
    base.unload_lora_weights()
    assert base.brow_manners == []
    base.load_lora_weights(tmp_path / "again")
    assert np.array_equal(base.brow_manners[0][0].noise, brows.noise)


def test_a_brow_manner_that_grows_without_end_is_refused(tmp_path: Path, base: MoEEPipeline) -> None:
    adapter(tmp_path, 1, brows=BrowManner(np.stack([1.1 * np.eye(5), np.zeros((5, 5))]), np.eye(5)))
    with pytest.raises(WeightsError, match="manner"):
        base.load_lora_weights(tmp_path, adapter_name="wild")
    assert "wild" not in getattr(base.unet, "peft_config", {})


def test_a_longer_blink_is_the_usual_one_stretched() -> None:
    assert np.array_equal(blink_curve(1.0), BLINK_CURVE)
    usual, slow = (BlinkSchedule(np.random.default_rng(3), 20.0, length).take(2000) for length in (1.0, 2.0))
    assert (slow > 0.5).sum() == pytest.approx(2 * (usual > 0.5).sum(), rel=0.3)
    assert np.array_equal(usual, BlinkSchedule(np.random.default_rng(3), 20.0).take(2000))


def test_what_does_not_fit_is_named(tmp_path: Path, base: MoEEPipeline) -> None:
    with pytest.raises(WeightsError, match="no LoRA in"):
        base.load_lora_weights(tmp_path)
    adapter(tmp_path, 1)
    other = MoEEPipeline.from_pretrained()
    with pytest.raises(WeightsError, match="another UNet"):
        other.load_lora_weights(tmp_path)
    base.load_lora_weights(tmp_path, adapter_name="mara")
    with pytest.raises(WeightsError, match="loaded already"):
        base.load_lora_weights(tmp_path, adapter_name="mara")
    file = tmp_path / "pytorch_lora_weights.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="damaged"):
        base.load_lora_weights(tmp_path, adapter_name="new")
    with pytest.raises(ConfigError, match="targets"):
        add_speaker_lora(MoEEPipeline.from_pretrained("debug").unet, targets=("nothing",))


def test_the_option_reads_files_and_weights(tmp_path: Path) -> None:
    file = tmp_path / "mara"
    file.touch()
    assert parse_lora(str(file)) == (str(file), 1.0)
    assert parse_lora(f"{file}:0.4") == (str(file), 0.4)
    odd = tmp_path / "mara:2"
    odd.touch()
    assert parse_lora(str(odd)) == (str(odd), 1.0)
    with pytest.raises(ConfigError, match="number from 0 to 2"):
        parse_lora(f"{file}:much")
    with pytest.raises(WeightsError, match="no LoRA"):
        parse_lora(str(tmp_path / "nobody"))


@pytest.mark.slow
def test_generate_with_a_speaker(
    tmp_path: Path, portrait_path: Path, write_wav, tone, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    adapter(tmp_path, 1)
    speech = write_wav(tone(0.4))
    words = ["generate", "--portrait", str(portrait_path), "--audio", str(speech), "--model", "debug", "--size", "128"]
    videos = []
    for name, lora in (("plain", []), ("zero", [f"{tmp_path}:0"]), ("full", [f"{tmp_path}:1.5"])):
        out = tmp_path / f"{name}.mp4"
        options = [part for wish in lora for part in ("--lora", wish)]
        assert run([*words, "--out", str(out), *options]) == 0
        videos.append(out.read_bytes())
    assert videos[0] == videos[1] != videos[2]
    assert run([*words, "--out", str(tmp_path / "x.mp4"), "--lora", str(tmp_path / "nobody")]) == 2
    assert "There is no LoRA" in capsys.readouterr().err


def test_the_decoder_is_adapted_where_there_is_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipeline, learnt = MoEEPipeline.from_pretrained("debug"), compensator().eval()
    plain = fill(learnt)
    add_speaker_lora(pipeline.unet, rank=2)
    add_speaker_lora(learnt, 2, 2, DECODER_TARGETS)
    assert torch.equal(fill(learnt), plain)
    for parameter in learnt.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.5)
    adapted = fill(learnt)
    save_unet_lora(pipeline.unet, tmp_path, compensator=learnt)

    whole = MoEEPipeline.from_pretrained("debug")
    whole.register_modules(compensator=compensator().eval())
    whole.load_lora_weights(tmp_path, adapter_name="mara")
    assert torch.equal(fill(whole.compensator), adapted) and not torch.allclose(adapted, plain)
    whole.set_adapters(["mara"], [0.0])
    assert torch.equal(fill(whole.compensator), plain)
    whole.set_adapters(["mara"], [1.0])
    whole.save_lora_weights(tmp_path / "again", adapter_name="mara")
    assert (tmp_path / "again" / "pytorch_lora_weights.safetensors").stat().st_size > 0
    whole.unload_lora_weights()
    assert torch.equal(fill(whole.compensator), plain)

    motion_alone = MoEEPipeline.from_pretrained("debug")
    motion_alone.load_lora_weights(tmp_path / "again", adapter_name="mara")
    assert "adapts the motion alone" in caplog.text


def test_an_adapter_of_the_motion_leaves_a_decoder_alone(tmp_path: Path, base: MoEEPipeline) -> None:
    adapter(tmp_path, 1)
    base.register_modules(compensator=compensator().eval())
    before = fill(base.compensator)
    base.load_lora_weights(tmp_path, adapter_name="mara")
    base.set_adapters(["mara"], [0.5])
    base.fuse_lora()
    base.unfuse_lora()
    base.disable_lora()
    base.unload_lora_weights()
    assert torch.equal(fill(base.compensator), before)
