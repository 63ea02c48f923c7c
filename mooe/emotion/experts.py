"""Mixture of Emotion Experts (MoEE): six cross-attention experts behind a local and a global gate."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ExpertMemory(NamedTuple):
    """What the experts know of a set of emotion latents, made once for many steps.

    Row r holds for the tokens of all frames that share one set of latents.

    Attributes:
        keys: [row, channel, expert * head * latent]: the query projection times the keys.
        values: [row, expert * head * latent, channel]: the values times the output projection.
        local_bias: [row, expert]: the emotion's part of the local gate's logits.
        global_bias: [row, expert]: the emotion's part of the global gate's logits.
    """

    keys: Tensor
    values: Tensor
    local_bias: Tensor
    global_bias: Tensor


class ExpertOutput(NamedTuple):
    """What the experts add, and how they were gated.

    Attributes:
        delta: sum_i g_i E_i(X * s_i), [row, frame, token, channel].
        global_gates: g, [row, frame, expert], as applied.
        global_logits: logits of g before any override, [row, frame, expert].
        local_gates: s, [row, frame, token, expert].
    """

    delta: Tensor
    global_gates: Tensor
    global_logits: Tensor
    local_gates: Tensor


class MixtureOfEmotionExperts(nn.Module):
    """X' = X + sum_i g_i E_i(X * s_i): six experts behind a local and a global gate.

    The local gate s = sigmoid(G(X~)) is per token, the global gate g = softmax(G'(Pool(X~))) per frame.
    Each expert E_i is a multi-head cross-attention from the tokens to the emotion latents (Liu et al., "MoEE:
    Mixture of Emotion Experts for Audio-Driven Portrait Animation", CVPR 2025). Values and outputs have no
    bias, so every E_i is exactly 0 where the latents are 0. The output projection starts at zero: training
    starts at X' = X.

    Deviation from the paper: there the gates read X. Here they read X~ = X + W pool(latents), the pooled
    latents taken at unit size, as the tokens of a noised motion cannot tell which emotion is asked for; their
    size is left out so that the choice of experts does not depend on the intensity.

    As the latents are few (m) and X enters E_i only through its query, W_q X s_i . k is computed as
    s_i (X . W_q^T k): keys and values are folded into the query and output projections once for all tokens,
    and all experts and heads are two matrix products.

    Args:
        channels: channels of the tokens.
        latent_dim: channels of the emotion latents.
        num_experts: number of experts (6 in the paper, one a basic emotion).
        inner_dim: width of each expert's attention, all heads together.
        num_heads: attention heads of each expert.
        use_global_gate: without it every expert counts 1 / num_experts (ablation).
        use_local_gate: without it s = 1 (ablation).

    Raises:
        ValueError: inner_dim is not a multiple of num_heads.
    """

    def __init__(
        self,
        channels: int,
        latent_dim: int = 128,
        num_experts: int = 6,
        inner_dim: int = 64,
        num_heads: int = 2,
        use_global_gate: bool = True,
        use_local_gate: bool = True,
    ) -> None:
        super().__init__()
        if inner_dim % num_heads:
            raise ValueError(f"inner_dim ({inner_dim}) must be a multiple of num_heads ({num_heads}).")
        self.num_experts = num_experts
        self.num_heads = num_heads
        self.to_q = nn.Linear(channels, num_experts * inner_dim, bias=False)
        self.to_k = nn.Linear(latent_dim, num_experts * inner_dim, bias=False)
        self.to_v = nn.Linear(latent_dim, num_experts * inner_dim, bias=False)
        self.to_out = nn.Linear(num_experts * inner_dim, channels, bias=False)
        nn.init.zeros_(self.to_out.weight)
        self.latents_to_gates = nn.Linear(latent_dim, channels, bias=False)
        self.local_gate = nn.Linear(channels, num_experts) if use_local_gate else None
        self.global_gate = nn.Linear(channels, num_experts) if use_global_gate else None

    def remember(self, latents: Tensor) -> ExpertMemory:
        """Folds emotion latents [row, latent, latent_dim] into the experts' projections."""
        experts_and_heads = (self.num_experts, self.num_heads, -1)
        key = self.to_k(latents).unflatten(-1, experts_and_heads)
        value = self.to_v(latents).unflatten(-1, experts_and_heads)
        query_weight = self.to_q.weight.unflatten(0, experts_and_heads)
        out_weight = self.to_out.weight.unflatten(1, experts_and_heads)
        keys = torch.einsum("rmehd,ehdc->rcehm", key, query_weight * key.shape[-1] ** -0.5).flatten(2)
        values = torch.einsum("rmehd,cehd->rehmc", value, out_weight).flatten(1, 3)
        pooled = self.latents_to_gates(unit_mean(latents))
        nothing = pooled.new_zeros(len(latents), self.num_experts)
        return ExpertMemory(
            keys=keys,
            values=values,
            local_bias=nothing if self.local_gate is None else self.local_gate(pooled),
            global_bias=nothing if self.global_gate is None else self.global_gate(pooled),
        )

    def forward(
        self, hidden: Tensor, memory: ExpertMemory, gate_override: Tensor | None = None
    ) -> ExpertOutput:
        """What the experts add to X.

        Args:
            hidden: the tokens X, [row, frame, token, channel].
            memory: of the latents of each row, from `remember`.
            gate_override: global gates [row, frame, expert] to use in place of g (teacher forcing).
        """
        rows, frames, tokens, _ = hidden.shape
        flat = hidden.flatten(1, 2)
        scores = torch.bmm(flat, memory.keys).view(rows, frames, tokens, self.num_experts, self.num_heads, -1)
        local_gates = self._local_gates(hidden, memory.local_bias)
        logits = self._global_logits(hidden, memory.global_bias)
        gates = logits.softmax(dim=-1) if gate_override is None else gate_override.to(logits.dtype)
        # In float32, which is both closer and, over so few elements, faster on CPU than in half precision.
        attention = (scores * local_gates[..., None, None]).softmax(dim=-1, dtype=torch.float32)
        attention = (attention * gates.float()[:, :, None, :, None, None]).to(hidden.dtype)
        delta = torch.bmm(attention.view(rows, frames * tokens, -1), memory.values)
        return ExpertOutput(delta.view_as(hidden), gates, logits, local_gates)

    def _local_gates(self, hidden: Tensor, bias: Tensor) -> Tensor:
        if self.local_gate is None:
            return hidden.new_ones(*hidden.shape[:3], self.num_experts)
        return (F.linear(hidden, self.local_gate.weight) + bias[:, None, None]).sigmoid()

    def _global_logits(self, hidden: Tensor, bias: Tensor) -> Tensor:
        if self.global_gate is None:
            return hidden.new_zeros(*hidden.shape[:2], self.num_experts)
        return F.linear(hidden.mean(dim=2), self.global_gate.weight) + bias[:, None]


def unit_mean(latents: Tensor) -> Tensor:
    """Mean of emotion latents [row, latent, latent_dim] at unit size, [row, latent_dim]; 0 where they are 0."""
    # In float32, as half precision would round the epsilon to zero and make 0 / 0 of a neutral frame.
    pooled = latents.float().mean(dim=1)
    return F.rms_norm(pooled, pooled.shape[-1:], eps=1e-12).to(latents.dtype)
