"""Checkpoints that do not depend on how many processes wrote them: sharded tensors are gathered and cut again."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from mooe.errors import OutputError


def gather(tree: Any) -> Any:
    """Nested data with every sharded tensor made whole; all processes must call it together."""
    return tree_map(lambda value: value.full_tensor() if isinstance(value, DTensor) else value, tree)


def _cut_like(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as the share of it that ``like`` holds."""
    if isinstance(like, DTensor) and whole.shape == like.shape:
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
    return whole


def load_module(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load whole weights into a module that may be sharded."""
    own = module.state_dict()
    module.load_state_dict({name: _cut_like(value, own[name]) for name, value in state.items() if name in own})


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], parameters: Sequence[Tensor]) -> None:
    """Load whole optimiser state for parameters that may be sharded, in the optimiser's order."""
    cut = {
        number: {name: _cut_like(v, parameters[number]) if isinstance(v, Tensor) else v for name, v in values.items()}
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": cut})


def load_average(average: Any, state: dict[str, Any], parameters: Sequence[Tensor]) -> None:
    """Load whole averaged weights for parameters that may be sharded."""
    shadows = [_cut_like(v, p) for v, p in zip(state["shadow_params"], parameters, strict=True)]
    average.load_state_dict({**state, "shadow_params": shadows})


@contextmanager
def averaged(average: Any, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """The averaged weights in place of the ones in training."""
    kept = [p.detach().clone() for p in parameters]
    average.copy_to(parameters)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


@contextmanager
def whole_weights(root: nn.Module) -> Iterator[None]:
    """Every process holds all weights of a module that FSDP has cut; nothing changes for others."""
    unshard, reshard = getattr(root, "unshard", None), getattr(root, "reshard", None)
    if unshard is None or reshard is None:
        yield
        return
    unshard()
    # FSDP cuts the weights again whenever somebody asks for a state dict, which one process alone may do here
    hooks = [(module, module._state_dict_pre_hooks) for module in root.modules()]
    for module, _ in hooks:
        module._state_dict_pre_hooks = OrderedDict()
    try:
        yield
    finally:
        for module, kept in hooks:
            module._state_dict_pre_hooks = kept
        reshard()


def checkpoints(output: Path) -> list[Path]:
    """The finished checkpoints of a run, oldest first."""
    return sorted(output.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))


@contextmanager
def written(target: Path) -> Iterator[None]:
    """Turn what goes wrong while ``target`` is written into an OutputError: a full disk, most likely."""
    try:
        yield
    # PyTorch's writer reports a full disk as a RuntimeError, safetensors' as an error of its own
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OutputError(
            f"{target} cannot be written ({reason}): free some space and run the same command again."
        ) from error


def write_checkpoint(output: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write ``checkpoint-STEP``, whole or not at all, and delete all but the last ``keep`` (raises OutputError)."""
    folder, temporary = output / f"checkpoint-{step}", output / "unfinished"
    shutil.rmtree(temporary, ignore_errors=True)
    with written(folder):
        temporary.mkdir()
        torch.save(state, temporary / "state.pt")
        (temporary / "progress.json").write_text(json.dumps({"step": step}))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    for old in checkpoints(output)[: -max(keep, 1)]:
        shutil.rmtree(old)
    return folder


def read_checkpoint(folder: Path, device: torch.device) -> tuple[int, dict[str, Any]]:
    """The step and the state of a checkpoint."""
    # torch knows no numbered CPUs, which is what a process among several on one machine calls its device
    place = torch.device("cpu") if device.type == "cpu" else device
    state = torch.load(folder / "state.pt", map_location=place, weights_only=True)
    return int(json.loads((folder / "progress.json").read_text())["step"]), state
