"""What the training stages share: the loop, exact resume, averaging of weights, time budget and trackers."""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from mooe.errors import ConfigError

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
    """``no``, ``bf16`` or ``fp16``."""
    report_to: str = "tensorboard"
    """``tensorboard``, ``wandb`` or ``none``."""


def arguments(description: str | None) -> argparse.Namespace:
    """The command line that every stage understands."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="yaml file of the stage")
    parser.add_argument("--max-minutes", type=float, default=math.inf, help="save and stop after this time")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change a setting of the file")
    return parser.parse_args()


def step_size(step: int, config: LoopConfig) -> float:
    """Share of the full step size: linear rise, plateau, cosine fall to 5 %."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    start = config.steps * (1 - config.decay_share)
    if step <= start:
        return 1.0
    progress = min(1.0, (step - start) / max(config.steps - start, 1))
    return 0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * progress))


class TrainingLoop:
    """Runs a loss to the end or to the time budget; run again, it goes on from the last checkpoint.

    A step's data must depend on nothing but the seed, the step and the process, so that a run that was stopped and
    resumed equals the unbroken one.

    Args:
        config: settings.
        modules: what is trained, by name; all of each module's parameters that require gradients.
        loss: called with the step, returns the loss and figures to log.
        export: called with the output folder when averaged weights are in place.
    """

    def __init__(
        self,
        config: LoopConfig,
        modules: dict[str, nn.Module],
        loss: Callable[[int], tuple[Tensor, dict[str, float]]],
        export: Callable[[Path], None],
    ) -> None:
        self.config, self.modules, self.loss, self.export = config, modules, loss, export
        config.output.mkdir(parents=True, exist_ok=True)
        trackers = None if config.report_to == "none" else config.report_to
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision, log_with=trackers, project_dir=str(config.output)
        )
        self.parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.ema = EMAModel(self.parameters, decay=config.ema_decay, use_ema_warmup=True, power=0.75)
        self.step = 0

    def prepare(self) -> Sequence[nn.Module]:
        """Move the modules and the optimiser to their devices; returns the wrapped modules in order."""
        prepared = self.accelerator.prepare(*self.modules.values(), self.optimizer)
        self.optimizer = prepared[-1]
        self.ema.to(self.accelerator.device)
        return list(prepared[:-1])

    def run(self, max_minutes: float = math.inf) -> None:
        """Train until the steps are done or the time is up, then save a checkpoint and the averaged weights."""
        self._resume()
        if self.config.report_to != "none":
            self.accelerator.init_trackers("mooe")
        started = saved = time.monotonic()
        figures: list[dict[str, float]] = []
        while self.step < self.config.steps and time.monotonic() - started < max_minutes * 60:
            figures.append(self._one_step())
            if self.step % self.config.log_every == 0:
                self._log(figures, time.monotonic() - started)
                figures = []
            if time.monotonic() - saved > self.config.checkpoint_minutes * 60:
                self._save()
                saved = time.monotonic()
        self._save()
        if self.config.report_to != "none":
            self.accelerator.end_training()

    def _one_step(self) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * step_size(self.step, self.config)
        with self.accelerator.autocast():
            loss, figures = self.loss(self.step)
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

    def _checkpoints(self) -> list[Path]:
        return sorted(self.config.output.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        folder = self.config.output / f"checkpoint-{self.step}"
        temporary = self.config.output / "unfinished"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        states = {n: self.accelerator.unwrap_model(m).state_dict() for n, m in self.modules.items()}
        torch.save(
            {"modules": states, "optimizer": self.optimizer.state_dict(), "ema": self.ema.state_dict()},
            temporary / "state.pt",
        )
        (temporary / "progress.json").write_text(json.dumps({"step": self.step}))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        for old in self._checkpoints()[: -self.config.keep_checkpoints]:
            shutil.rmtree(old)
        self.ema.store(self.parameters)
        self.ema.copy_to(self.parameters)
        self.export(self.config.output / "weights")
        self.ema.restore(self.parameters)
        logger.info("saved %s", folder)

    def _resume(self) -> None:
        found = self._checkpoints()
        if not found:
            return
        state = torch.load(found[-1] / "state.pt", map_location=self.accelerator.device, weights_only=True)
        if set(state["modules"]) != set(self.modules):
            raise ConfigError(f"The checkpoint {found[-1]} belongs to another stage: choose another output folder.")
        for name, module in self.modules.items():
            self.accelerator.unwrap_model(module).load_state_dict(state["modules"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.step = int(json.loads((found[-1] / "progress.json").read_text())["step"])
        logger.info("resumed from %s", found[-1])
