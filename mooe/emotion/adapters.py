"""Attaching the Mixture of Emotion Experts to a diffusers UNet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mooe.emotion.experts import ExpertMemory, MixtureOfEmotionExperts
from mooe.emotion.gates import GateRecord
from mooe.emotion.prior import EmotionPrior
from mooe.errors import WeightsError

# Attention over time also comes as attn2 in diffusers' video UNets; emotion is a matter of each frame.
_TEMPORAL_MODULES = {"motion_modules", "temp_attentions", "temporal_transformer_blocks", "transformer_in"}


@dataclass
class _Condition:
    """The emotion of the calls in progress.

    A row is what shares one set of latents: a clip if its emotion does not change, otherwise a frame. Neutral
    rows are left out while gradients are off, as the experts add 0 to them.

    Attributes:
        latents: of the rows taken, [row taken, latent, channel].
        num_rows: rows in all, a multiple of batch.
        batch: clips.
        taken: indices of the rows taken; None for all.
        gate_override: [batch, frame or 1, expert] or None.
        memories: by layer, kept while gradients are off, as they do not change between denoising steps.
    """

    latents: Tensor
    num_rows: int
    batch: int
    taken: Tensor | None
    gate_override: Tensor | None
    memories: dict[str, ExpertMemory] = field(default_factory=dict)

    def frames(self, hidden: Tensor) -> int:
        """Frames in each clip of `hidden` [batch * frame, ...]."""
        frames, rest = divmod(len(hidden), self.batch)
        if rest or self.num_rows not in (self.batch, self.batch * frames):
            raise ValueError(
                f"Emotion latents of {self.batch} clips and {self.num_rows // self.batch} frames do not fit "
                f"a UNet sample of {len(hidden)} frames in all; give them the sample's batch and frames."
            )
        return frames

    def override(self, frames: int) -> Tensor | None:
        """`gate_override` of the rows taken, [row taken, frame, expert]."""
        if self.gate_override is None:
            return None
        return self.select(self.gate_override.expand(-1, frames, -1).flatten(0, 1))

    def select(self, values: Tensor) -> Tensor:
        """Rows taken of [batch * frame, ...] as [row taken, frame, ...]."""
        rows = values.unflatten(0, (self.num_rows, -1))
        return rows if self.taken is None else rows[self.taken]

    def restore(self, rows: Tensor) -> Tensor:
        """Reverse of `select`, with 0 in the rows left out."""
        if self.taken is not None:
            rows = rows.new_zeros(self.num_rows, *rows.shape[1:]).index_copy_(0, self.taken, rows)
        return rows.flatten(0, 1)


class MoEEAdapters(ModelMixin, ConfigMixin):
    """The emotion experts of every spatial cross-attention of a UNet, owned, saved and loaded apart from it.

    The experts act after the layer's own cross-attention (to audio or text): with X the normalised tokens
    plus its output, the sum of the gated experts is added to the residual stream. Without a condition, or
    where its latents are 0, the UNet gives exactly what it gives without adapters. With a prior the held
    expression is also added to what the UNet returns (see `EmotionPrior`).

    Args:
        layers: channels of each adapted cross-attention by its path in the UNet (see `from_unet`).
        latent_dim, num_experts, inner_dim, num_heads, use_global_gate, use_local_gate: of each
            `MixtureOfEmotionExperts`.
        prior_shape: channels, height and width of the motion latents that an `EmotionPrior` moves; None for none.
            The UNet then has to return [batch, channel, frame, height, width], as `UNetMotionModel` does.
        num_latents: emotion latents a frame; only the prior asks.
    """

    @register_to_config
    def __init__(
        self,
        layers: Mapping[str, int],
        latent_dim: int = 128,
        num_experts: int = 6,
        inner_dim: int = 64,
        num_heads: int = 2,
        use_global_gate: bool = True,
        use_local_gate: bool = True,
        prior_shape: Sequence[int] | None = None,
        num_latents: int = 16,
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleDict(
            {
                _key(path): MixtureOfEmotionExperts(
                    channels, latent_dim, num_experts, inner_dim, num_heads, use_global_gate, use_local_gate
                )
                for path, channels in layers.items()
            }
        )
        self.prior = None
        if prior_shape is not None:
            self.prior = EmotionPrior(
                prior_shape, latent_dim, num_latents, num_experts, use_global_gate=use_global_gate
            )
        self._hook: RemovableHandle | None = None
        self._condition: _Condition | None = None
        self._record: GateRecord | None = None

    @classmethod
    def from_unet(cls, unet: nn.Module, **config: Any) -> Self:
        """New adapters for `unet` (not yet attached); `config` are the other arguments of the class."""
        return cls(
            layers={path: layer.query_dim for path, layer in spatial_cross_attentions(unet).items()}, **config
        )

    def attach(self, unet: nn.Module) -> None:
        """Puts the experts behind the cross-attentions of `unet`.

        Raises:
            WeightsError: the adapters were made for another UNet, or adapters are already attached.
        """
        found = spatial_cross_attentions(unet)
        layers = dict(self.config["layers"])
        if {path: layer.query_dim for path, layer in found.items()} != layers:
            raise WeightsError(
                f"These emotion experts were made for {len(layers)} cross-attentions, and this UNet has "
                f"{len(found)} or of other sizes; load the experts that were trained with it."
            )
        if self.prior is not None:
            wanted, given = self.prior.shape[0], cast(ModelMixin, unet).config["out_channels"]
            if wanted != given:
                raise WeightsError(
                    f"The emotion prior was made for {wanted} channels of motion latents, and this UNet has {given}; "
                    "load the experts that were trained with it."
                )
        if any(isinstance(layer.processor, MoEEAttnProcessor) for layer in found.values()):
            raise WeightsError("Emotion experts are already attached to this UNet; detach them first.")
        for path, layer in found.items():
            layer.set_processor(cast(Any, MoEEAttnProcessor(self, path, layer.processor)))
        if self.prior is not None:
            self._hook = unet.register_forward_hook(self._add_prior)

    def detach(self, unet: nn.Module) -> None:
        """Gives every attention of `unet` the processor back that it had before `attach`."""
        for layer in spatial_cross_attentions(unet).values():
            processor = layer.processor
            if isinstance(processor, MoEEAttnProcessor) and processor.adapters is self:
                layer.set_processor(processor.original)
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @contextmanager
    def condition(self, latents: Tensor | None, gate_override: Tensor | None = None) -> Iterator[None]:
        """Calls of the UNet inside the context show this emotion.

        Args:
            latents: [batch, frame or 1, latent, latent_dim] from `EmotionToLatents`, batch and frames as in
                the UNet's sample; None for neutral.
            gate_override: global gates [batch, frame or 1, expert] that replace the computed ones.

        Under gradient checkpointing the backward pass belongs inside the context, too.
        """
        previous = self._condition
        self._condition = None if latents is None else self._make_condition(latents, gate_override)
        try:
            yield
        finally:
            self._condition = previous

    @contextmanager
    def collect_gates(self) -> Iterator[GateRecord]:
        """Records the gates of all calls of the UNet inside the context."""
        previous = self._record
        self._record = GateRecord()
        try:
            yield self._record
        finally:
            self._record = previous

    def apply_experts(self, path: str, hidden: Tensor) -> Tensor | None:
        """What the experts at `path` add to the tokens [batch * frame, token, channel]; None for nothing."""
        condition = self._condition
        if condition is None:
            return None
        frames = condition.frames(hidden)
        override = condition.override(frames)
        experts = cast(MixtureOfEmotionExperts, self.experts[_key(path)])
        if not len(condition.latents):
            if self._record is not None:
                nothing = hidden.new_zeros(condition.batch, frames, experts.num_experts)
                self._record.add(nothing, nothing, nothing)
            return None
        output = experts(condition.select(hidden), self._memory(experts, path, condition), override)
        if self._record is not None:
            gates = (output.global_gates, output.local_gates.mean(dim=2), output.global_logits)
            clips = (condition.batch, frames)
            self._record.add(*(condition.restore(gate).unflatten(0, clips) for gate in gates))
        return condition.restore(output.delta)

    def _add_prior(self, unet: nn.Module, inputs: Any, output: Any) -> Any:
        """Forward hook of the UNet: its output and the emotion prior."""
        condition, prior = self._condition, self.prior
        if condition is None or prior is None or not len(condition.latents):
            return output
        sample: Tensor = output[0]
        frames = sample.shape[2]
        rows = condition.num_rows // condition.batch  # rows a clip, 1 or one a frame
        held = prior(condition.latents, frames // rows, condition.override(frames))
        if self._record is not None:
            gates = (condition.restore(held.global_gates), condition.restore(held.global_logits))
            shared, logits = (gate.unflatten(0, (condition.batch, frames)) for gate in gates)
            self._record.add(shared, None, logits)
        delta = condition.restore(held.delta).unflatten(0, (condition.batch, frames))
        moved = sample + delta.transpose(1, 2).to(sample.dtype)
        return (moved, *output[1:]) if isinstance(output, tuple) else type(output)(moved)

    def _make_condition(self, latents: Tensor, gate_override: Tensor | None) -> _Condition:
        if latents.shape[1] > 1 and latents.stride(1) == 0:  # an expanded view: all frames share one set
            latents = latents[:, :1]
        batch = len(latents)
        rows = latents.flatten(0, 1).to(self.dtype)
        num_rows, taken = len(rows), None
        if not torch.is_grad_enabled():
            emotional = rows.flatten(1).any(dim=1)
            if not bool(emotional.all()):
                taken = emotional.nonzero().squeeze(1)
                rows = rows[taken]
        return _Condition(rows, num_rows, batch, taken, gate_override)

    def _memory(self, experts: MixtureOfEmotionExperts, path: str, condition: _Condition) -> ExpertMemory:
        if torch.is_grad_enabled():
            return experts.remember(condition.latents)
        if path not in condition.memories:
            condition.memories[path] = experts.remember(condition.latents)
        return condition.memories[path]


class MoEEAttnProcessor:
    """Attention processor that runs the one it wraps and adds the emotion experts to its output.

    It is not a module, so the UNet's own parameters and state stay as they were.
    """

    def __init__(self, adapters: MoEEAdapters, path: str, original: Any) -> None:
        self.adapters = adapters
        self.path = path
        self.original = original

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        attended = self.original(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        delta = self.adapters.apply_experts(self.path, hidden_states + attended)
        return attended if delta is None else attended + delta


def spatial_cross_attentions(unet: nn.Module) -> dict[str, Attention]:
    """The spatial cross-attentions of a UNet by their path."""
    return {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, Attention)
        and path.split(".")[-1] == "attn2"
        and module.is_cross_attention
        and _TEMPORAL_MODULES.isdisjoint(path.split("."))
    }


def _key(path: str) -> str:
    """A path as a name that `ModuleDict` takes."""
    return path.replace(".", "/")
