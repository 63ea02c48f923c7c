"""Emotion prior: what an emotion alone says of the clean latents."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from mooe.emotion.experts import unit_mean


class PriorOutput(NamedTuple):
    """What the prior adds, and how its experts were gated.

    Attributes:
        delta: sum_i g_i U_i D_i vec(latents), [row, frame, channel, height, width].
        global_gates: g, [row, frame, expert], as applied.
        global_logits: logits of g before any override, [row, frame, expert].
    """

    delta: Tensor
    global_gates: Tensor
    global_logits: Tensor


class EmotionPrior(nn.Module):
    """The expression that an emotion holds, as an offset to the UNet's prediction of clean latents.

    Experts that act through a UNet's attentions alone pass slow and small movements on by half, such as wide lids and
    bared teeth: the UNet's answer to its tokens saturates, and what lies behind the attentions was taught to move lips
    by sound. So each emotion also has a low-rank linear map from the emotion latents straight to the motion latents,
    as sound and controls have one in :class:`mooe.motion.unet.MotionUNet`. What depends on speech and pose is left to
    the experts in the attentions.

    Nothing has a bias, so the prior is exactly 0 where the latents are 0, and it follows their size: half an emotion
    is half its offset. Its gate reads the latents at unit size, as those of
    :class:`mooe.emotion.experts.MixtureOfEmotionExperts` do. It starts at zero.

    Args:
        shape: channels, height and width of the motion latents.
        latent_dim: channels of the emotion latents.
        num_latents: emotion latents a frame.
        num_experts: number of experts.
        rank: of each expert's map.
        use_global_gate: without it every expert counts 1 / num_experts (ablation).
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int = 128,
        num_latents: int = 16,
        num_experts: int = 6,
        rank: int = 8,
        use_global_gate: bool = True,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.num_experts = num_experts
        self.to_rank = nn.Linear(num_latents * latent_dim, num_experts * rank, bias=False)
        self.to_map = nn.Linear(num_experts * rank, math.prod(self.shape), bias=False)
        nn.init.zeros_(self.to_map.weight)
        self.global_gate = nn.Linear(latent_dim, num_experts) if use_global_gate else None

    def forward(self, latents: Tensor, frames: int, gate_override: Tensor | None = None) -> PriorOutput:
        """What the emotion adds in each frame.

        Args:
            latents: of rows whose frames share them, [row, latent, latent_dim].
            frames: frames in a row.
            gate_override: global gates [row, frame, expert] in place of g (teacher forcing).
        """
        rows = len(latents)
        if self.global_gate is None:
            logits = latents.new_zeros(rows, self.num_experts)
        else:
            logits = self.global_gate(unit_mean(latents))
        logits = logits[:, None].expand(-1, frames, -1)
        gates = logits.softmax(dim=-1) if gate_override is None else gate_override.to(logits.dtype)
        ranks = self.to_rank(latents.flatten(1)).unflatten(-1, (self.num_experts, -1))
        delta = self.to_map((gates[..., None] * ranks[:, None]).flatten(2))
        return PriorOutput(delta.unflatten(-1, self.shape), gates, logits)
