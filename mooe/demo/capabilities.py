"""What the installed model and extras can do: the page shows controls for that, and no others."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mooe.audio import KokoroTextToSpeech
from mooe.errors import DependencyError

if TYPE_CHECKING:
    from mooe.pipeline import MoEEPipeline


@dataclass(frozen=True)
class Capabilities:
    """What can be asked for besides a mixture of emotions.

    Attributes:
        controls: names of the arguments that :meth:`~mooe.pipeline.MoEEPipeline.stream` takes.
        voices: voices that can speak a typed text; empty where none can.
        speakers: whether LoRA weights of speakers can be loaded.
    """

    controls: frozenset[str]
    voices: tuple[str, ...] = ()
    speakers: bool = False

    @classmethod
    def of(cls, pipeline: MoEEPipeline) -> Capabilities:
        """Look at a pipeline and at what is installed beside it."""
        return cls(
            controls=frozenset(inspect.signature(pipeline.stream).parameters),
            voices=_voices(),
            speakers=hasattr(pipeline, "load_lora_weights"),
        )


def _voices() -> tuple[str, ...]:
    try:
        return tuple(KokoroTextToSpeech().voices)
    except DependencyError:
        return ()  # the extra that carries the voices is not installed
