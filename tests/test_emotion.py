"""Laws of the emotion station: names and mixtures, latents, experts, adapters, timeline."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    UNet2DConditionModel,
    UNet3DConditionModel,
    UNetMotionModel,
    UNetSpatioTemporalConditionModel,
)
from torch import Tensor

from mooe.emotion import (
    ACTION_UNITS,
    COMPOUND_EMOTIONS,
    EMOTION_ACTION_UNITS,
    EMOTIONS,
    EmotionMix,
    EmotionTimeline,
    action_units_to_arkit,
    parse_emotion,
)
from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.encoders import EncodedControl
from mooe.emotion.experts import MixtureOfEmotionExperts
from mooe.emotion.gates import gate_loss
from mooe.emotion.latents import EmotionToLatents
from mooe.errors import EmotionError, WeightsError
from mooe.face.regions import ARKIT_NAMES

FRAMES = 4
LATENT_DIM = 32


# --- names and mixtures ---------------------------------------------------------------------------


def test_a_name_with_a_weight_is_read() -> None:
    mix = parse_emotion("happy:.8")
    assert mix.as_dict() == {"happy": pytest.approx(0.8)}
    assert mix.strength == pytest.approx(0.8)
    assert mix.weights.dtype == np.float32


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, {}),
        ("neutral", {}),
        ("calm:.5", {}),
        ("Joy", {"happy": 1}),
        ("ANGER:1", {"angry": 1}),
        (["happy:.25", "sad:.5"], {"happy": 0.25, "sad": 0.5}),
        ({"fear": 0.5}, {"fearful": 0.5}),
        (["happy:.25", "joy:.25"], {"happy": 0.5}),
        ("happily-surprised:.5", {"happy": 0.25, "surprised": 0.25}),
    ],
)
def test_every_way_of_asking_gives_a_mixture(spec: object, expected: dict[str, float]) -> None:
    assert parse_emotion(spec).as_dict() == pytest.approx(expected)  # type: ignore[arg-type]


def test_the_strength_of_a_mixture_is_at_most_one() -> None:
    mix = parse_emotion(["happy", "sad", "happily_surprised:.5"])
    assert mix.strength == pytest.approx(1)
    assert mix.as_dict() == pytest.approx({"happy": 0.5, "sad": 0.4, "surprised": 0.1})


def test_the_fifteen_compounds_are_mixtures_of_two_at_full_strength() -> None:
    assert len(COMPOUND_EMOTIONS) == 15
    for name, shares in COMPOUND_EMOTIONS.items():
        mix = parse_emotion(name)
        assert mix.strength == pytest.approx(1)
        assert mix.as_dict() == pytest.approx(dict(shares))
        assert len(shares) == 2
    assert len({parse_emotion(name) for name in COMPOUND_EMOTIONS}) == 15


def test_intensity_scales_and_zero_is_neutral() -> None:
    mix = parse_emotion({"happy": 0.8}, intensity=0.5)
    assert mix.as_dict() == pytest.approx({"happy": 0.4})
    assert parse_emotion("happy", intensity=0) == EmotionMix.neutral()
    assert parse_emotion(mix) == mix


@pytest.mark.parametrize("weight", ["-.1", "1.1", "nan", "inf", "much", ""])
def test_a_weight_outside_zero_to_one_is_refused(weight: str) -> None:
    with pytest.raises(EmotionError, match="weight of 'happy' must be a number between 0 and 1"):
        parse_emotion(f"happy:{weight}")


@pytest.mark.parametrize("intensity", [-1.0, 1.5, float("nan")])
def test_an_intensity_outside_zero_to_one_is_refused(intensity: float) -> None:
    with pytest.raises(EmotionError, match="intensity must be"):
        parse_emotion("happy", intensity=intensity)


def test_an_unknown_name_gets_the_nearest_and_all_valid_names() -> None:
    with pytest.raises(EmotionError) as error:
        parse_emotion("hapy")
    assert "did you mean 'happy'?" in str(error.value)
    assert all(name in str(error.value) for name in ("neutral", *EMOTIONS, *COMPOUND_EMOTIONS))
    with pytest.raises(EmotionError) as error:
        parse_emotion("xyzzy:.5")
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize("spec", [3.5, [0.5], {1: 0.5}, {"happy": None}, ""])
def test_what_is_no_emotion_is_refused(spec: object) -> None:
    with pytest.raises(EmotionError):
        parse_emotion(spec)  # type: ignore[arg-type]


def test_mixture_weights_are_checked_and_read_only() -> None:
    with pytest.raises(EmotionError, match="6 weights"):
        EmotionMix(np.zeros(5, dtype=np.float32))
    with pytest.raises(EmotionError):
        EmotionMix(np.array([np.nan, 0, 0, 0, 0, 0], dtype=np.float32))
    with pytest.raises(ValueError, match="read-only"):
        EmotionMix.neutral().weights[0] = 1


# --- action units ---------------------------------------------------------------------------------


def test_action_units_move_known_blendshapes() -> None:
    for number, unit in ACTION_UNITS.items():
        assert unit.number == number
        assert set(unit.arkit) <= set(ARKIT_NAMES)
    assert set(EMOTION_ACTION_UNITS) == set(EMOTIONS)
    for units in EMOTION_ACTION_UNITS.values():
        assert all(0 <= weight <= 1 for weight in action_units_to_arkit(units).values())
    assert action_units_to_arkit({12: 0.5}) == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    with pytest.raises(EmotionError, match="Unknown action unit 3"):
        action_units_to_arkit({3: 1.0})


# --- timeline -------------------------------------------------------------------------------------


def test_a_constant_timeline_repeats_the_mixture() -> None:
    mix = parse_emotion("angry:.7")
    weights = EmotionTimeline.constant(mix).weights(5)
    assert weights.shape == (5, 6)
    assert weights.dtype == np.float32
    assert np.array_equal(weights, np.tile(mix.weights, (5, 1)))


def test_keyframes_are_reached_held_and_eased() -> None:
    happy, sad = parse_emotion("happy"), parse_emotion("sad:.5")
    timeline = EmotionTimeline(((0.4, happy), (1.2, sad)))
    weights = timeline.weights(50)
    assert np.array_equal(weights[:11], np.tile(happy.weights, (11, 1)))
    assert np.array_equal(weights[30:], np.tile(sad.weights, (20, 1)))
    assert weights[20] == pytest.approx((happy.weights + sad.weights) / 2)
    assert (np.diff(weights[10:31, 0]) < 0).all()


def test_an_onset_rises_from_exact_neutral() -> None:
    weights = EmotionTimeline.constant(parse_emotion("happy"), onset=0.4).weights(20)
    assert not weights[0].any()
    assert (weights[10:] == parse_emotion("happy").weights).all()


def test_a_timeline_in_parts_is_the_timeline_in_one() -> None:
    timeline = EmotionTimeline(((0.1, parse_emotion("happy")), (0.9, parse_emotion("sad"))))
    parts = [timeline.weights(10, first_frame=start) for start in (0, 10, 20)]
    assert np.array_equal(np.concatenate(parts), timeline.weights(30))


@pytest.mark.parametrize("times", [(), (-1.0,), (1.0, 1.0), (2.0, 1.0), (float("nan"),)])
def test_times_out_of_order_are_refused(times: tuple[float, ...]) -> None:
    with pytest.raises(EmotionError):
        EmotionTimeline(tuple((seconds, EmotionMix.neutral()) for seconds in times))


# --- latents --------------------------------------------------------------------------------------


def make_latents_model(**config: object) -> EmotionToLatents:
    torch.manual_seed(0)
    return EmotionToLatents(latent_dim=LATENT_DIM, encoder_dim=16, num_heads=2, **config).eval()  # type: ignore[arg-type]


def labels(*mixes: str, frames: int = FRAMES) -> Tensor:
    rows = [torch.from_numpy(EmotionTimeline.constant(parse_emotion(mix)).weights(frames)) for mix in mixes]
    return torch.stack(rows)


@pytest.mark.parametrize("learnable", ["queries", "keys_values"])
def test_latents_are_exactly_zero_at_strength_zero_and_linear_near_it(learnable: str) -> None:
    model = make_latents_model(learnable=learnable)
    with torch.no_grad():
        assert not model(labels("neutral")).any()
        latents = model(labels("happy", "happily_surprised"))
        assert latents.shape == (2, FRAMES, 16, LATENT_DIM)
        assert not torch.allclose(latents[0], latents[1])
        once, twice = model(labels("happy") * 1e-3), model(labels("happy") * 2e-3)
    assert once.any()
    assert (twice - 2 * once).abs().max() < 0.01 * twice.abs().max()


def test_latents_of_a_constant_emotion_are_computed_once_and_equal_those_per_frame() -> None:
    model = make_latents_model()
    with torch.no_grad():
        constant = model(labels("sad:.6"))
        changing = labels("sad:.6")
        changing[:, -1] = 0
        per_frame = model(changing)
    assert constant.stride(1) == 0
    assert torch.allclose(constant[:, :-1], per_frame[:, :-1], atol=1e-6)
    assert not per_frame[:, -1].any()


def test_a_batch_of_latents_equals_single_ones() -> None:
    model = make_latents_model()
    with torch.no_grad():
        batch = model(labels("sad:.6", "angry"))
        assert torch.allclose(batch[1:], model(labels("angry")), atol=1e-6)


def test_any_subset_of_controls_gives_latents() -> None:
    model = make_latents_model(text_dim=24)
    units = torch.zeros(1, FRAMES, len(ACTION_UNITS))
    text = EncodedControl(torch.randn(1, 1, 3, 24), torch.tensor([[0.5]]))
    with torch.no_grad():
        assert not model(action_units=units).any()
        units[..., 5] = 0.8
        outputs = [
            model(labels("happy")),
            model(action_units=units),
            model(text=text).expand(-1, FRAMES, -1, -1),
            model(labels("happy"), action_units=units),
            model(labels("happy"), action_units=units, text=text),
        ]
    for index, latents in enumerate(outputs):
        assert latents.shape == (1, FRAMES, 16, LATENT_DIM)
        assert not any(torch.allclose(latents, other) for other in outputs[:index])
    with pytest.raises(ValueError, match="needs a control"):
        model()
    with pytest.raises(ValueError, match="audio_dim=None"):
        model(audio=text)


def assert_same_weights(model: torch.nn.Module, other: torch.nn.Module) -> None:
    state, other_state = model.state_dict(), other.state_dict()
    assert state.keys() == other_state.keys()
    assert all(torch.equal(tensor, other_state[name]) for name, tensor in state.items())


def test_saved_latents_model_loads_bit_for_bit(tmp_path: Path) -> None:
    model = make_latents_model(learnable="keys_values")
    model.save_pretrained(tmp_path)
    again = EmotionToLatents.from_pretrained(tmp_path)
    assert_same_weights(model, again)
    with torch.no_grad():
        assert torch.allclose(again(labels("fearful:.3")), model(labels("fearful:.3")), atol=1e-6)


# --- experts --------------------------------------------------------------------------------------


def make_experts(**config: object) -> MixtureOfEmotionExperts:
    torch.manual_seed(1)
    experts = MixtureOfEmotionExperts(24, LATENT_DIM, inner_dim=16, **config)  # type: ignore[arg-type]
    torch.nn.init.normal_(experts.to_out.weight, std=0.1)
    return experts


def literal_experts(
    experts: MixtureOfEmotionExperts, hidden: Tensor, latents: Tensor
) -> tuple[Tensor, Tensor]:
    """sum_i g_i E_i(X * s_i) and g of tokens [n, c] and latents [m, d], written as in the paper."""
    pooled = latents.mean(dim=0)
    gate_input = hidden + experts.latents_to_gates(pooled / pooled.square().mean().sqrt())
    local = torch.ones(len(hidden), experts.num_experts)
    if experts.local_gate is not None:
        local = torch.sigmoid(experts.local_gate(gate_input))
    gates = torch.full((experts.num_experts,), 1 / experts.num_experts)
    if experts.global_gate is not None:
        gates = torch.softmax(experts.global_gate(gate_input.mean(dim=0)), dim=0)
    inner = experts.to_q.out_features // experts.num_experts
    width = inner // experts.num_heads
    total = torch.zeros_like(hidden)
    for i in range(experts.num_experts):
        rows = slice(i * inner, (i + 1) * inner)
        query = (hidden * local[:, i : i + 1]) @ experts.to_q.weight[rows].T
        key, value = latents @ experts.to_k.weight[rows].T, latents @ experts.to_v.weight[rows].T
        heads = []
        for h in range(experts.num_heads):
            head = slice(h * width, (h + 1) * width)
            attention = torch.softmax(query[:, head] @ key[:, head].T / width**0.5, dim=-1)
            heads.append(attention @ value[:, head])
        total = total + gates[i] * (torch.cat(heads, dim=-1) @ experts.to_out.weight[:, rows].T)
    return total, gates


@pytest.mark.parametrize(
    "config",
    [{}, {"use_global_gate": False}, {"use_local_gate": False}, {"num_experts": 1}, {"num_heads": 4}],
)
def test_experts_compute_the_formula(config: dict[str, object]) -> None:
    experts = make_experts(**config)
    hidden, latents = torch.randn(2, 3, 5, 24), torch.randn(2, 16, LATENT_DIM) * 2
    with torch.no_grad():
        output = experts(hidden, experts.remember(latents))
        for row in range(2):
            for frame in range(3):
                delta, gates = literal_experts(experts, hidden[row, frame], latents[row])
                assert torch.allclose(output.delta[row, frame], delta, atol=1e-5)
                assert torch.allclose(output.global_gates[row, frame], gates, atol=1e-5)


def test_global_gates_sum_to_one_and_local_gates_lie_between_zero_and_one() -> None:
    experts = make_experts()
    output = experts(torch.randn(2, 3, 5, 24), experts.remember(torch.randn(2, 16, LATENT_DIM)))
    assert torch.allclose(output.global_gates.sum(dim=-1), torch.ones(2, 3))
    assert ((output.local_gates > 0) & (output.local_gates < 1)).all()


def test_gates_do_not_depend_on_the_strength_and_the_output_follows_it() -> None:
    experts = make_experts()
    hidden, latents = torch.randn(1, 1, 5, 24), torch.randn(1, 16, LATENT_DIM)
    with torch.no_grad():
        full, weak = (experts(hidden, experts.remember(latents * strength)) for strength in (1.0, 0.01))
        nothing = experts(hidden, experts.remember(latents * 0))
    assert torch.allclose(full.global_gates, weak.global_gates, atol=1e-4)
    assert 0 < weak.delta.abs().max() < 0.05 * full.delta.abs().max()
    assert torch.equal(nothing.delta, torch.zeros_like(hidden))


def test_gradient_reaches_every_expert_and_gate() -> None:
    experts = make_experts()
    output = experts(torch.randn(2, 3, 5, 24), experts.remember(torch.randn(2, 16, LATENT_DIM)))
    output.delta.square().sum().backward()
    for name, parameter in experts.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith(("to_q", "to_k", "to_v")):
            assert parameter.grad.unflatten(0, (6, -1)).abs().sum(dim=(1, 2)).all(), name
        else:
            assert parameter.grad.any(), name


def test_half_precision_neutral_frames_stay_finite() -> None:
    experts = make_experts().to(torch.bfloat16)
    latents = torch.zeros(1, 16, LATENT_DIM, dtype=torch.bfloat16)
    output = experts(torch.randn(1, 3, 5, 24, dtype=torch.bfloat16), experts.remember(latents))
    assert not output.delta.any()
    assert output.global_gates.isfinite().all()


# --- adapters on a UNet ---------------------------------------------------------------------------


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
    adapters = MoEEAdapters.from_unet(unet, latent_dim=LATENT_DIM, inner_dim=16, **config).eval()
    for name, parameter in adapters.named_parameters():
        if name.endswith("to_out.weight"):
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
    adapters = MoEEAdapters.from_unet(unet, latent_dim=LATENT_DIM)
    plain = unet(*unet_inputs()).sample
    adapters.attach(unet)
    with adapters.condition(emotion_latents("sad", "happy")):
        assert torch.equal(unet(*unet_inputs()).sample, plain)


def test_detach_restores_the_processors_and_the_unet_keeps_its_own_state() -> None:
    unet = make_unet()
    processors, state = dict(unet.attn_processors), set(unet.state_dict())
    adapters = make_adapters(unet)
    adapters.attach(unet)
    assert set(unet.state_dict()) == state
    with pytest.raises(WeightsError, match="already attached"):
        make_adapters(unet).attach(unet)
    adapters.detach(unet)
    assert all(unet.attn_processors[path] is processor for path, processor in processors.items())


def test_adapters_of_another_unet_are_refused() -> None:
    adapters = MoEEAdapters(layers={"mid_block.attentions.0.transformer_blocks.0.attn2": 24})
    with pytest.raises(WeightsError, match="made for"):
        adapters.attach(make_unet())


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
    for _ in range(60):
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
    for config in ({}, {"use_global_gate": False}, {"use_local_gate": False}, {"num_experts": 1}):
        adapters = make_adapters(unet, **config)
        adapters.attach(unet)
        with torch.no_grad(), adapters.condition(emotion_latents("happy", "sad")):
            outputs.append(unet(*unet_inputs()).sample)
        adapters.detach(unet)
        sizes.append(sum(parameter.numel() for parameter in adapters.parameters()))
    assert sizes[1] == sizes[2] < sizes[0]
    assert sizes[3] < sizes[0] / 4
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
        name: tuple(block.replace("2D", "SpatioTemporal") for block in names)
        for name, names in blocks.items()
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
