"""`mooe doctor --plan svd`: what the GPU size asks for, counted on a model without weights and estimated from there."""

from __future__ import annotations

from dataclasses import dataclass

from mooe.errors import ConfigError

PLANS = ("svd",)
SIDES = (256, 512, 768)
FRAMES = 14
STEPS = 25
# Dense bf16 tensor throughput that the makers state, TFLOP/s, and memory in GB
DEVICES = (
    ("RTX 3090", 71, 24),
    ("RTX 4090", 165, 24),
    ("A100", 312, 80),
    ("H100", 989, 80),
)
# Share of the stated throughput that diffusion UNets are usually seen to reach
UTILISATION = 0.35
_BYTES = {"bf16": 2, "float32": 4}
_GB = 1e9


@dataclass(frozen=True)
class Cost:
    """What one window of F frames costs at one size.

    Attributes:
        side: of the frames in pixels.
        forward_flops: of one denoising step.
        activation_bytes: kept for the backward pass in bf16, without checkpointing.
        checkpoint_bytes: the same with activations computed again.
    """

    side: int
    forward_flops: float
    activation_bytes: float
    checkpoint_bytes: float


@dataclass(frozen=True)
class Plan:
    """Counted sizes of the model, and a cost for each side."""

    base_parameters: int
    trained_parameters: dict[str, int]
    other_parameters: int
    costs: tuple[Cost, ...]

    def sampling_gb(self, cost: Cost) -> float:
        """Memory to make frames: all weights in bf16, and room for the largest layers."""
        weights = (self.base_parameters + self.other_parameters + sum(self.trained_parameters.values())) * 2
        # one checkpoint's worth of activations is alive at a time, and attention's scratch space
        return (weights + 2 * cost.checkpoint_bytes) / _GB

    def training_gb(self, cost: Cost, part: str, checkpointing: bool) -> float:
        """Memory to train a part at batch size 1: frozen weights bf16; what is trained, Adam and EMA float32."""
        trained = self.trained_parameters[part]
        frozen = self.base_parameters + self.other_parameters + sum(self.trained_parameters.values()) - trained
        activations = cost.checkpoint_bytes if checkpointing else cost.activation_bytes
        return (frozen * 2 + trained * 4 * 5 + activations) / _GB


def make_plan(name: str, sides: tuple[int, ...] = SIDES, frames: int = FRAMES) -> Plan:
    """Count a plan's model on PyTorch's meta device, which needs neither weights nor memory.

    Raises:
        ConfigError: there is no such plan.
    """
    if name not in PLANS:
        raise ConfigError(f"There is no plan '{name}': use {' or '.join(PLANS)}.")
    import torch

    from mooe.svd.counting import count_cost, real_size_parts

    with torch.device("meta"):
        parts = real_size_parts()
    trained = {
        "speech": sum(map(_size, (parts.conditioner, parts.audio_adapters, parts.reference_adapters))),
        "emotion": sum(map(_size, (parts.experts, parts.emotion_encoder))),
        "decoder": _size(parts.compensator),
    }
    costs = tuple(Cost(side, *count_cost(parts, side, frames)) for side in sides)
    return Plan(_size(parts.unet), trained, _size(parts.vae) + _size(parts.image_encoder), costs)


def _size(module: object) -> int:
    return sum(parameter.numel() for parameter in module.parameters())  # type: ignore[attr-defined]


def plan_text(plan: Plan, frames: int = FRAMES) -> str:
    """The plan as text; what is counted and what is estimated is told apart."""
    trained = ", ".join(f"{part} {count / 1e6:.0f} M" for part, count in plan.trained_parameters.items())
    lines = [
        "Stable Video Diffusion with emotion experts. Counted on the real sizes, not run here:",
        f"  UNet {plan.base_parameters / 1e6:.0f} M weights (frozen), decoder and image encoder "
        f"{plan.other_parameters / 1e6:.0f} M, trained beside it: {trained}",
        f"  a window is {frames} frames, batch size 1",
        "",
        f"  {'side':>6} {'TFLOP a step':>13} {'sampling GB':>12} {'training GB':>12} {'checkpointed GB':>16}",
    ]
    for cost in plan.costs:
        lines.append(
            f"  {cost.side:>6} {cost.forward_flops / 1e12:>13.1f} {plan.sampling_gb(cost):>12.1f} "
            f"{plan.training_gb(cost, 'speech', False):>12.1f} {plan.training_gb(cost, 'speech', True):>16.1f}"
        )
    lines += [
        "",
        f"Estimated, at {100 * UTILISATION:.0f} % of the makers' figures for bf16, {STEPS} denoising steps:",
        f"  {'device':>10} {'side':>6} {'s a window':>11} {'s a second of film':>19} {'training s a step':>18}  fits",
    ]
    for device, tera, memory in DEVICES:
        for cost in plan.costs:
            forward = cost.forward_flops / (tera * 1e12 * UTILISATION)
            # backward through a frozen UNet costs one more pass for the inputs; checkpointing one more forward
            fits = [
                word
                for word, need in (
                    ("sampling", plan.sampling_gb(cost)),
                    ("training", plan.training_gb(cost, "speech", True)),
                )
                if need < 0.9 * memory
            ]
            lines.append(
                f"  {device:>10} {cost.side:>6} {forward * STEPS:>11.1f} {forward * STEPS * 25 / frames:>19.1f} "
                f"{3 * forward:>18.2f}  {', '.join(fits) or 'neither'}"
            )
    return "\n".join(lines)
