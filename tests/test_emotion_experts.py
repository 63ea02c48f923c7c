"""Laws of the Mixture of Emotion Experts by itself."""

import pytest
import torch
from emotion_models import LATENT_DIM
from torch import Tensor

from mooe.emotion.experts import MixtureOfEmotionExperts


def make_experts(**config: object) -> MixtureOfEmotionExperts:
    torch.manual_seed(1)
    experts = MixtureOfEmotionExperts(24, LATENT_DIM, inner_dim=16, **config)  # type: ignore[arg-type]
    torch.nn.init.normal_(experts.to_out.weight, std=0.1)
    return experts


def literal_experts(experts: MixtureOfEmotionExperts, hidden: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
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
