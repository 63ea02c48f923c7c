"""What the training stages share: the loop, exact resume, averaging of weights, time budget and trackers."""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import reduce
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from mooe.errors import ConfigError, MooeError, OutputError
from mooe.weights import fast_dtype
from training.checkpoints import (
    averaged,
    checkpoints,
    gather,
    load_average,
    load_module,
    load_optimizer,
    read_checkpoint,
    whole_weights,
    write_checkpoint,
    written,
)
from training.extras import PreviewConfig, choose_attention, enable_checkpointing, push_to_hub, tracker_names

logger = logging.getLogger(__name__)


@dataclass
class LoopConfig:
    """Settings of a training loop."""

    output: Path
    """Folder for checkpoints, trackers and final weights."""
    steps: int
    """Optimiser steps in all."""
    learning_rate: float
    """AdamW's step size after warm-up."""
    warmup_steps: int = 50
    """Steps over which the step size rises."""
    decay_share: float = 0.3
    """Last share of the steps over which the step size falls to 5 %."""
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    """Largest gradient norm."""
    ema_decay: float = 0.995
    """Decay of the averaged weights, which are the ones saved."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints."""
    keep_checkpoints: int = 2
    log_every: int = 20
    """Steps between log lines."""
    seed: int = 0
    mixed_precision: str = "bf16"
    """``no``, ``bf16`` or ``fp16``; processors that do not compute in bfloat16 take float32 in its place."""
    report_to: str = "tensorboard"
    """``tensorboard``, ``wandb``, both with a comma between, or ``none``."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """Attention of the UNet: PyTorch's own, or xformers on an NVIDIA GPU."""
    preview: PreviewConfig | None = None
    """What to show at each checkpoint; none makes no videos."""


def arguments(
    description: str | None, add: Callable[[argparse.ArgumentParser], None] | None = None
) -> argparse.Namespace:
    """The command line that every stage understands; ``add`` adds a stage's own options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="yaml file of the stage")
    parser.add_argument("--max-minutes", type=float, default=math.inf, help="save and stop after this time")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change a setting of the file")
    parser.add_argument(
        "--push_to_hub", "--push-to-hub", metavar="NAME", help="upload the weights to this model repository at the end"
    )
    if add is not None:
        add(parser)
    return parser.parse_args()


def run_command(main: Callable[[], None]) -> None:
    """Run a script; what the user can mend is told in a sentence, with exit code 2."""
    try:
        main()
    except MooeError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def setup_unet(unet: nn.Module | None, config: LoopConfig) -> None:
    """Apply the settings of attention and activation checkpointing to the UNet in use, before experts are attached.

    Raises:
        ConfigError: a stage without a UNet is asked for them.
        DependencyError: xformers cannot be used here.
    """
    if unet is None:
        if config.gradient_checkpointing or config.attention != "sdpa":
            raise ConfigError("This stage has no UNet: take gradient_checkpointing and attention out of its settings.")
        return
    choose_attention(unet, config.attention)
    if config.gradient_checkpointing:
        enable_checkpointing(unet)


def take_streams(seed: int, step: int, size: int) -> list[np.random.Generator]:
    """A source of randomness for each take of this process's batch.

    It depends on the seed, the step and the take's number over all processes alone, so that N processes draw together
    what one process with N times the batch would, and a resumed run what the unbroken one would.
    """
    first = PartialState().process_index * size
    return [np.random.default_rng([seed, step, first + number]) for number in range(size)]


def step_size(step: int, config: LoopConfig) -> float:
    """Share of the full step size: linear rise, plateau, cosine fall to 5 %."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    start = config.steps * (1 - config.decay_share)
    if step <= start:
        return 1.0
    progress = min(1.0, (step - start) / max(config.steps - start, 1))
    return 0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * progress))


class _Objective(nn.Module):
    """What is trained, with its loss as the forward pass: DDP and FSDP then see all uses of the weights in one call."""

    def __init__(self, modules: dict[str, nn.Module], loss: Callable[[int], tuple[Tensor, dict[str, float]]]) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(modules)
        self.loss = loss

    def forward(self, step: int) -> tuple[Tensor, dict[str, float]]:
        return self.loss(step)


def _precision(wanted: str) -> str:
    """What is computed in; a processor without bfloat16 imitates it tenfold slower than float32."""
    if wanted == "bf16" and PartialState().device.type == "cpu" and fast_dtype() == torch.float32:
        logger.info("this processor does not compute in bfloat16: float32 takes its place")
        return "no"
    return wanted


class TrainingLoop:
    """Runs a loss to the end or to the time budget; run again, it goes on from the last checkpoint.

    A step's data must depend on nothing but the seed, the step and the process, so that a run that was stopped and
    resumed equals the unbroken one; PyTorch's own randomness is seeded anew at each step for the same reason. The loss
    must be a mean over takes, so that N processes equal one with N times the batch.

    Args:
        config: settings.
        modules: what is trained, by name; all of each module's parameters that require gradients.
        loss: called with the step, returns the loss and figures to log.
        export: called with the output folder when averaged weights are in place.
        preview: called with the path of a video to make, when averaged weights are in place.
    """

    def __init__(
        self,
        config: LoopConfig,
        modules: dict[str, nn.Module],
        loss: Callable[[int], tuple[Tensor, dict[str, float]]],
        export: Callable[[Path], None],
        preview: Callable[[Path], None] | None = None,
    ) -> None:
        self.config, self.modules, self.loss, self.export, self.preview = config, modules, loss, export, preview
        config.output.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(
            mixed_precision=_precision(config.mixed_precision),
            log_with=tracker_names(config.report_to),
            project_dir=str(config.output),
            # a stage may leave weights out for some steps
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        if config.preview is not None and preview is None:
            raise ConfigError("This stage makes no previews: take 'preview' out of its settings.")
        self.parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.objective: nn.Module = _Objective(modules, loss)
        self.step = 0

    def prepare(self) -> torch.device:
        """Move the modules and the optimiser to their device, which is returned."""
        prepared: Any = self.accelerator.prepare(self.objective, self.optimizer)
        self.objective, self.optimizer = prepared
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        self.ema = EMAModel(self.parameters, decay=self.config.ema_decay, use_ema_warmup=True, power=0.75)
        self.ema.to(self.accelerator.device)
        return self.accelerator.device

    def run(self, max_minutes: float = math.inf, hub_name: str | None = None) -> None:
        """Train until the steps are done or the time is up, then save a checkpoint and the averaged weights.

        Args:
            max_minutes: time budget.
            hub_name: model repository to upload the weights to at the end.

        Raises:
            OutputError: the last checkpoint or the weights cannot be written; earlier ones stay.
        """
        self._resume()
        if self.config.report_to != "none":
            self.accelerator.init_trackers("mooe")
        started = saved = time.monotonic()
        figures: list[dict[str, float]] = []
        while self.step < self.config.steps and not self._agree(time.monotonic() - started >= max_minutes * 60):
            figures.append(self._one_step())
            if self.step % self.config.log_every == 0:
                self._log(figures, time.monotonic() - started)
                figures = []
            if self._agree(time.monotonic() - saved > self.config.checkpoint_minutes * 60):
                failure = self._save()
                if failure is not None:
                    logger.error("%s The training goes on.", failure)
                saved = time.monotonic()
        failure = self._save()
        if failure is not None:
            raise failure
        if self.config.report_to != "none":
            self.accelerator.end_training()
        if hub_name is not None and self.accelerator.is_main_process:
            push_to_hub(self.config.output / "weights", hub_name)

    def _agree(self, wish: bool) -> bool:
        """Whether any process wishes it: clocks differ, and processes must stop and save at the same step."""
        if self.accelerator.num_processes == 1:
            return wish
        asked = torch.tensor(float(wish), device=self.accelerator.device)
        return float(reduce(asked, "sum")) > 0

    def _one_step(self) -> dict[str, float]:
        torch.manual_seed(self.config.seed + 1_000_003 * self.step + self.accelerator.process_index)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * step_size(self.step, self.config)
        loss, figures = self.objective(self.step)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.step(self.parameters)
        self.step += 1
        return {"loss": float(loss.detach()), **figures}

    def _log(self, figures: list[dict[str, float]], seconds: float) -> None:
        names = sorted({name for f in figures for name in f})
        means = {n: sum(f[n] for f in figures if n in f) / max(sum(n in f for f in figures), 1) for n in names}
        text = "  ".join(f"{n} {v:.4f}" for n, v in means.items())
        logger.info("step %d  %.0f s  %s", self.step, seconds, text)
        if self.config.report_to != "none":
            self.accelerator.log(means, step=self.step)

    def _save(self) -> OutputError | None:
        """Write a checkpoint and the averaged weights; returns why it could not be done."""
        state = {
            "modules": {name: gather(module.state_dict()) for name, module in self.modules.items()},
            "optimizer": gather(self.optimizer.state_dict()),
            "ema": gather(self.ema.state_dict()),
        }
        # the state refers to the weights in training, so it is written before the averaged ones take their place
        failure = self._tried(lambda: self._write(state))
        with averaged(self.ema, self.parameters), whole_weights(self.objective):
            # whatever fails in the main process, all meet at the end
            failure = failure or self._tried(self._publish)
        self.accelerator.wait_for_everyone()
        return failure

    def _tried(self, writing: Callable[[], None]) -> OutputError | None:
        """Let the main process write; returns why it could not."""
        if self.accelerator.is_main_process:
            try:
                writing()
            except OutputError as error:
                return error
        return None

    def _write(self, state: dict[str, Any]) -> None:
        folder = write_checkpoint(self.config.output, self.step, state, self.config.keep_checkpoints)
        logger.info("saved %s", folder)

    def _publish(self) -> None:
        """Write the weights in place, and a video of what they do."""
        with written(self.config.output / "weights"):
            self.export(self.config.output / "weights")
        if self.preview is not None:
            folder = self.config.output / "previews"
            folder.mkdir(exist_ok=True)
            self.preview(folder / f"step-{self.step}.mp4")

    def _resume(self) -> None:
        found = checkpoints(self.config.output)
        if not found:
            return
        self.step, state = read_checkpoint(found[-1], self.accelerator.device)
        if set(state["modules"]) != set(self.modules):
            raise ConfigError(f"The checkpoint {found[-1]} belongs to another stage: choose another output folder.")
        for name, module in self.modules.items():
            load_module(module, state["modules"][name])
        load_optimizer(self.optimizer, state["optimizer"], self.parameters)
        load_average(self.ema, state["ema"], self.parameters)
        logger.info("resumed from %s", found[-1])
