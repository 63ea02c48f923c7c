"""The option ``--lora FILE[:WEIGHT]``: read quickly, before anything slow starts, and applied to a pipeline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mooe.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from mooe.motion.lora import SpeakerLoraMixin

HIGHEST_WEIGHT = 2.0
LoraOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE[:WEIGHT]", help="A speaker's way of speaking that train_lora.py learnt, weight 0 to 2."),
]


def parse_lora(text: str) -> tuple[str, float]:
    """Read ``FILE[:WEIGHT]``, a file or folder that ``training/train_lora.py`` wrote; the weight is 1 if left out.

    Raises:
        ConfigError: the weight is not a number from 0 to 2.
        WeightsError: there is no such file or folder.
    """
    path, weight = text, 1.0
    name, colon, number = text.rpartition(":")
    # a file whose own name holds a colon has no weight
    if colon and name and not Path(text).exists():
        path, weight = name, _number(number)
    if not Path(path).exists():
        raise WeightsError(f"There is no LoRA '{path}': give a file or folder that train_lora.py wrote.")
    return path, weight


def load_loras(pipeline: SpeakerLoraMixin, wishes: Sequence[tuple[str, float]]) -> None:
    """Load adapters and set their weights; no wishes leave the pipeline untouched."""
    names = [f"speaker_{number}" for number in range(len(wishes))]
    for name, (path, _) in zip(names, wishes, strict=True):
        pipeline.load_lora_weights(path, adapter_name=name)
    if names:
        pipeline.set_adapters(names, [weight for _, weight in wishes])


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= HIGHEST_WEIGHT:
        raise ConfigError(f"The LoRA weight {text!r} cannot be used: give a number from 0 to {HIGHEST_WEIGHT:g}.")
    return number
