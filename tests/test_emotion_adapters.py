"""Laws of the experts attached to UNets of diffusers."""

from pathlib import Path

import pytest
import torch
from diffusers import (
    UNet2DConditionModel,
    UNet3DConditionModel,
    UNetMotionModel,
    UNetSpatioTemporalConditionModel,
)
from emotion_models import FRAMES, LATENT_DIM, NUM_LATENTS, assert_same_weights, labels, make_latents_model
from torch import Tensor

from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.gates import gate_loss
from mooe.errors import WeightsError

PRIOR_SHAPE = (4, 4, 4)  # of what the UNet returns a frame


def make_unet() -> UNetMotionModel:
    torch.manual_seed(2)
    unet = UNetMotionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        block_out_channels=(16, 24),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=12,
        num_attention_heads=2,
        motion_num_attention_heads=2,
        motion_max_seq_length=8,
    )
    return unet.eval()


def make_adapters(unet: torch.nn.Module, **config: object) -> MoEEAdapters:
    torch.manual_seed(3)
    prior = {"prior_shape": PRIOR_SHAPE, "num_latents": NUM_LATENTS} if isinstance(unet, UNetMotionModel) else {}
    adapters = MoEEAdapters.from_unet(unet, latent_dim=LATENT_DIM, inner_dim=16, **prior | config).eval()
    for name, parameter in adapters.named_parameters():
        if name.endswith(("to_out.weight", "to_map.weight")):
            torch.nn.init.normal_(parameter, std=0.2)
    return adapters


def unet_inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    sample = torch.randn(batch, 4, FRAMES, 4, 4, generator=generator)
    audio = torch.randn(batch * FRAMES, 3, 12, generator=generator)
    return sample, torch.full((batch,), 7), audio


def emotion_latents(*mixes: str) -> Tensor:
    with torch.no_grad():
        return make_latents_model()(labels(*mixes))


def test_intensity_zero_leaves_the_unet_bitwise_unchanged() -> None:
    unet = make_unet()
    adapters = make_adapters(unet)
    inputs = unet_inputs()
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            plain = unet(*inputs).sample
            adapters.attach(unet)
            assert torch.equal(unet(*inputs).sample, plain)
            for latents in (None, emotion_latents("neutral", "neutral"), emotion_latents("neutral", "happy")):
                with adapters.condition(latents):
                    output = unet(*inputs).sample
                assert torch.equal(output[:1], plain[:1])
            assert not torch.allclose(output[1], plain[1])
            adapters.detach(unet)


def test_new_adapters_start_as_the_plain_unet() -> None:
    unet = make_unet()
    adapters = MoEEAdapters.from_unet(
        unet, latent_dim=LATENT_DIM, prior_shape=PRIOR_SHAPE, num_latents=NUM_LATENTS
    )
    plain = unet(*unet_inputs()).sample
    adapters.attach(unet)
    with adapters.condition(emotion_latents("sad", "happy")):
        assert torch.equal(unet(*unet_inputs()).sample, plain)


def test_detach_restores_the_processors_and_the_unet_keeps_its_own_state() -> None:
    unet = make_unet()
    processors, state = dict(unet.attn_processors), set(unet.state_dict())
    plain = unet(*unet_inputs()).sample
    adapters = make_adapters(unet)
    adapters.attach(unet)
    assert set(unet.state_dict()) == state
    with pytest.raises(WeightsError, match="already attached"):
        make_adapters(unet).attach(unet)
    adapters.detach(unet)
    assert all(unet.attn_processors[path] is processor for path, processor in processors.items())
    with adapters.condition(emotion_latents("sad", "happy")):
        assert torch.equal(unet(*unet_inputs()).sample, plain)


def test_the_prior_adds_the_same_to_any_sample_and_follows_the_strength() -> None:
    unet = make_unet()
    adapters = make_adapters(unet)
    assert adapters.prior is not None
    with torch.no_grad():
        for name, parameter in adapters.named_parameters():
            if name.endswith("to_out.weight"):  # what is left is the prior
                parameter.zero_()
        latents = emotion_latents("happy", "sadly_angry")
        added = []
        for sample in unet_inputs()[0], torch.zeros(2, 4, FRAMES, 4, 4):
            inputs = (sample, *unet_inputs()[1:])
            plain = unet(*inputs).sample
            adapters.attach(unet)
            for strength in (1.0, 0.5):
                with adapters.condition(latents * strength):
                    added.append((unet(*inputs, return_dict=False)[0] - plain) / strength)
            adapters.detach(unet)
    assert added[0].abs().max() > 0.1
    assert all(torch.allclose(offset, added[0], atol=1e-4) for offset in added)
    assert torch.allclose(added[0], added[0][:, :, :1].expand_as(added[0]), atol=1e-4)  # held by every frame


def test_adapters_of_another_unet_are_refused() -> None:
    adapters = MoEEAdapters(layers={"mid_block.attentions.0.transformer_blocks.0.attn2": 24})
    with pytest.raises(WeightsError, match="made for"):
        adapters.attach(make_unet())
    with pytest.raises(WeightsError, match="prior was made for 5"):
        make_adapters(make_unet(), prior_shape=(5, 4, 4)).attach(make_unet())


def test_saved_adapters_load_bit_for_bit(tmp_path: Path) -> None:
    unet = make_unet()
    adapters = make_adapters(unet, use_local_gate=False)
    adapters.save_pretrained(tmp_path)
    again = MoEEAdapters.from_pretrained(tmp_path)
    assert again.config["use_local_gate"] is False
    assert_same_weights(adapters, again)
    outputs = []
    for owner in (adapters, again):
        owner.attach(unet)
        with torch.no_grad(), owner.condition(emotion_latents("angry", "awed")):
            outputs.append(unet(*unet_inputs()).sample)
        owner.detach(unet)
    # Not bit for bit: weights read from a file lie differently in memory, and kernels depend on that.
    assert torch.allclose(*outputs, atol=1e-5)


def test_a_batch_equals_single_clips() -> None:
    unet = make_unet()
    adapters = make_adapters(unet)
    adapters.attach(unet)
    sample, steps, audio = unet_inputs(3)
    latents = emotion_latents("angry", "neutral", "happy:.5")
    with torch.no_grad():
        with adapters.condition(latents):
            batch = unet(sample, steps, audio).sample
        for i, frames in enumerate(audio.split(FRAMES)):
            with adapters.condition(latents[i : i + 1]):
                single = unet(sample[i : i + 1], steps[:1], frames).sample
            assert torch.allclose(batch[i : i + 1], single, atol=1e-5)


def test_latents_per_frame_equal_shared_latents_and_repeated_calls_agree() -> None:
    unet = make_unet()
    adapters = make_adapters(unet)
    adapters.attach(unet)
    shared = emotion_latents("disgusted", "fearful:.4")
    outputs = []
    with torch.no_grad():
        for latents in (shared, shared.contiguous(), shared[:, :1]):
            with adapters.condition(latents):
                outputs += [unet(*unet_inputs()).sample for _ in range(2)]
    assert all(torch.allclose(output, outputs[0], atol=1e-5) for output in outputs)


def test_training_and_inference_compute_the_same() -> None:
    unet = make_unet()
    adapters = make_adapters(unet)
    adapters.attach(unet)
    changing = emotion_latents("happy", "sad") * torch.tensor([0.0, 0.2, 0.0, 1.0])[:, None, None]
    outputs = []
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients), adapters.condition(changing):
            outputs.append(unet(*unet_inputs()).sample.detach())
    assert torch.allclose(*outputs, atol=1e-5)


def test_wrong_number_of_frames_is_refused() -> None:
    unet = make_unet()
    adapters = make_adapters(unet)
    adapters.attach(unet)
    latents = emotion_latents("happy", "sad").contiguous()[:, :3]
    with pytest.raises(ValueError, match="3 frames"), adapters.condition(latents):
        unet(*unet_inputs())


def test_collected_gates_sum_to_one_where_there_is_an_emotion() -> None:
    unet = make_unet()
    adapters = make_adapters(unet)
    adapters.attach(unet)
    with torch.no_grad(), adapters.condition(emotion_latents("neutral", "happy")):
        with adapters.collect_gates() as record:
            assert record.global_gates() is None
            for _ in range(2):
                unet(*unet_inputs())
        unet(*unet_inputs())
    gates, local = record.global_gates(), record.local_gates()
    assert gates is not None
    assert local is not None
    assert gates.shape == local.shape == (2, FRAMES, 6)
    assert not gates[0].any()
    assert torch.allclose(gates[1].sum(dim=-1), torch.ones(FRAMES))
    assert ((local[1] > 0) & (local[1] < 1)).all()
    assert not record.logits


def test_gates_can_be_overridden_and_taught() -> None:
    unet = make_unet()
    adapters = make_adapters(unet)
    adapters.attach(unet)
    weights, latents = labels("happy", "sadly_angry"), emotion_latents("happy", "sadly_angry")
    with adapters.condition(latents, gate_override=weights), adapters.collect_gates() as record:
        forced = unet(*unet_inputs()).sample
    gates = record.global_gates()
    assert gates is not None
    assert torch.allclose(gates, weights)
    optimizer = torch.optim.Adam(adapters.parameters(), lr=0.02)
    for _ in range(120):
        with adapters.condition(latents), adapters.collect_gates() as record:
            free = unet(*unet_inputs()).sample
        loss = gate_loss(record.logits, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not torch.allclose(forced, free)
    gates = record.global_gates()
    assert gates is not None
    assert (gates - weights).abs().max() < 0.1
    assert gate_loss(record.logits, torch.zeros_like(weights)) == 0


def test_gradient_reaches_the_experts_of_every_layer_and_the_latents() -> None:
    unet = make_unet()
    adapters, model = make_adapters(unet), make_latents_model()
    adapters.attach(unet)
    with adapters.condition(model(labels("happy", "fearful"))):
        unet(*unet_inputs()).sample.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in adapters.parameters())
    assert model.embeddings.grad is not None
    assert model.embeddings.grad.any()


def test_ablation_switches_change_parameters_and_outputs() -> None:
    unet = make_unet()
    outputs, sizes = [], []
    switches = ({"use_global_gate": False}, {"use_local_gate": False}, {"prior_shape": None}, {"num_experts": 1})
    for config in ({}, *switches):
        adapters = make_adapters(unet, **config)
        adapters.attach(unet)
        with torch.no_grad(), adapters.condition(emotion_latents("happy", "sad")):
            outputs.append(unet(*unet_inputs()).sample)
        adapters.detach(unet)
        sizes.append(sum(parameter.numel() for parameter in adapters.parameters()))
    assert max(sizes[1:]) < sizes[0]
    assert sizes[-1] < sizes[0] / 4
    for index, output in enumerate(outputs):
        assert not any(torch.allclose(output, other) for other in outputs[:index])


def test_experts_attach_to_the_other_unets_of_diffusers() -> None:
    torch.manual_seed(5)
    shared = {
        "sample_size": 4,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "cross_attention_dim": 12,
    }
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    volume = {name: tuple(block.replace("2D", "3D") for block in names) for name, names in blocks.items()}
    spatio_temporal = {
        name: tuple(block.replace("2D", "SpatioTemporal") for block in names) for name, names in blocks.items()
    }
    flat = UNet2DConditionModel(**shared, **blocks, attention_head_dim=8).eval()
    cubic = UNet3DConditionModel(**shared, **volume, attention_head_dim=8).eval()
    video = UNetSpatioTemporalConditionModel(
        **shared, **spatio_temporal, in_channels=4, num_attention_heads=(2, 2), addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24, num_frames=FRAMES,
    ).eval()  # fmt: skip
    context = torch.randn(2, 3, 12)
    calls = {
        flat: (torch.randn(2, 4, 4, 4), 1, context),
        cubic: (torch.randn(2, 4, FRAMES, 4, 4), 1, context),
        video: (torch.randn(2, FRAMES, 4, 4, 4), 1, context[:, :1], torch.ones(2, 3)),
    }
    for unet, inputs in calls.items():
        adapters = make_adapters(unet)
        with torch.no_grad():
            plain = unet(*inputs).sample
            adapters.attach(unet)
            with adapters.condition(emotion_latents("happy", "neutral")):
                output = unet(*inputs).sample
        assert adapters.experts
        assert not torch.allclose(output[0], plain[0])
        assert torch.equal(output[1], plain[1])
