"""Reading and teaching the experts' gates."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class GateRecord:
    """Gates of all adapted layers and all calls of the UNet since collection began.

    Attributes:
        logits: with gradients enabled, the global gates' logits [batch, frame, expert] of each layer, in the
            order of
            the calls; empty otherwise, so that long videos cost no memory.
    """

    logits: list[Tensor] = field(default_factory=list)
    _global_sum: Tensor | None = None
    _local_sum: Tensor | None = None
    _count: int = 0
    _local_count: int = 0

    def add(self, global_gates: Tensor, local_gates: Tensor | None, global_logits: Tensor) -> None:
        """Adds one layer's gates, each [batch, frame, expert]; local gates as their mean over tokens, None without."""
        if torch.is_grad_enabled():
            self.logits.append(global_logits)
        global_gates = global_gates.detach().float()
        self._global_sum = global_gates if self._global_sum is None else self._global_sum + global_gates
        self._count += 1
        if local_gates is not None:
            local_gates = local_gates.detach().float()
            self._local_sum = local_gates if self._local_sum is None else self._local_sum + local_gates
            self._local_count += 1

    def global_gates(self) -> Tensor | None:
        """Mean global gates over layers and calls, float32 [batch, frame, expert]; None before any call.

        They sum to 1 in each frame with an emotion, and are 0 in neutral frames, where no expert takes part.
        """
        return None if self._global_sum is None else self._global_sum / self._count

    def local_gates(self) -> Tensor | None:
        """Mean local gates over tokens, layers and calls, shaped as `global_gates`; each in (0, 1)."""
        return None if self._local_sum is None else self._local_sum / self._local_count


def gate_loss(logits: list[Tensor], weights: Tensor) -> Tensor:
    """Cross-entropy of the global gates against the emotions asked for.

    Averaged over layers and over the frames that have an emotion.

    Args:
        logits: of each layer, [batch, frame, expert] (`GateRecord.logits`).
        weights: emotion weights [batch, frame or 1, expert]; frames with no emotion do not count.

    Returns:
        Scalar; 0 if every frame is neutral.
    """
    stacked = torch.stack(logits).float()
    weights = weights.float().expand(stacked.shape[1:])
    strength = weights.sum(dim=-1)
    target = weights / strength.unsqueeze(-1).clamp(min=1e-6)
    entropy = -(target * F.log_softmax(stacked, dim=-1)).sum(dim=-1).mean(dim=0)
    asked = strength > 0
    return (entropy * asked).sum() / asked.sum().clamp(min=1)
