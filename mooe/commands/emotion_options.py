"""What `mooe generate` takes of emotion besides `--emotion`, and what it tells of the motion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from mooe.errors import OutputError

if TYPE_CHECKING:
    from mooe.pipeline_output import MoEEChunk

PromptOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="The emotion in words, 'a shy smile that turns into surprise', or the transcript with tags: "
        "'[happy] We won! [sad:0.6] But you were not there.'",
    ),
]
VoiceOption = Annotated[bool, typer.Option("--emotion-from-voice", help="Show the emotion that the voice has.")]
ActionUnitOption = Annotated[
    list[str] | None, typer.Option(metavar="AU12=WEIGHT", help="A FACS action unit, 0 to 1; AU12L is the left side.")
]
ArkitOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME=WEIGHT", help="An ARKit blendshape, such as mouthSmileLeft=0.5.")
]
TimelineOption = Annotated[
    Path | None, typer.Option(help="Keyframes of emotion, prompt, voice, au and arkit over time, a .yaml file.")
]
GatesOption = Annotated[
    Path | None, typer.Option(help="Draw each expert's gate over time under the waveform into this .png.")
]
ExportOption = Annotated[
    Path | None, typer.Option(help="Write the motion: .csv in the Live Link Face layout, or .npz.")
]


@dataclass(frozen=True)
class EmotionOptions:
    """The controls of the emotion, as the command line gives them."""

    prompt: str | None = None
    voice: bool = False
    action_units: Sequence[str] = ()
    arkit: Sequence[str] = ()
    timeline: Path | None = None

    def arguments(self) -> dict[str, Any]:
        """As the pipeline takes them."""
        return {
            "prompt": self.prompt,
            "emotion_from_voice": self.voice,
            "action_units": self.action_units,
            "arkit": self.arkit,
            "timeline": self.timeline,
        }

    def check(self, emotion: Sequence[str], intensity: float) -> None:
        """Refuse what cannot be used (raises MooeError)."""
        from mooe.emotion.controls import EmotionRequest

        EmotionRequest(
            list(emotion), intensity, self.prompt, float(self.voice), self.action_units, self.arkit, self.timeline
        ).check()

    def settings(self) -> dict[str, Any]:
        """What was given, for the report."""
        given = {name: value for name, value in self.arguments().items() if value}
        return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


@dataclass(frozen=True)
class MotionOutputs:
    """Files that tell of the motion."""

    gates: Path | None = None
    export: Path | None = None

    def paths(self) -> list[Path]:
        """The files asked for."""
        return [path for path in (self.gates, self.export) if path is not None]

    def check(self, *, force: bool) -> None:
        """Refuse files that could not be written (raises OutputError)."""
        from mooe.media.outputs import check_output
        from mooe.motion_files import MOTION_SUFFIXES

        if self.gates is not None:
            check_output(self.gates, ".png", force=force)
        if self.export is not None:
            suffix = self.export.suffix.lower()
            if suffix not in MOTION_SUFFIXES:
                raise OutputError(f"{self.export} must end in .csv or .npz: choose such a name for the motion.")
            check_output(self.export, suffix, force=force)

    def recorder(self) -> MotionRecorder:
        """Collects what the files need."""
        return MotionRecorder(self)


class MotionRecorder:
    """Collects motion and gates of a clip's chunks; nothing if no file was asked for.

    Args:
        outputs: the files to write.
    """

    def __init__(self, outputs: MotionOutputs) -> None:
        self._outputs = outputs
        self._chunks: list[MoEEChunk] = []

    def add(self, chunk: MoEEChunk) -> None:
        """Note a chunk."""
        from mooe.pipeline_output import MoEEChunk

        if self._outputs.paths():
            self._chunks.append(MoEEChunk([], chunk.motion, chunk.gates, chunk.first))

    def write(self, waveform: Callable[[], NDArray[np.float32]]) -> None:
        """Write the files.

        Args:
            waveform: gives the speech, float32 [n] at 16 kHz.
        """
        from mooe.media.plots import draw_gates
        from mooe.motion_files import write_motion
        from mooe.pipeline_output import FaceMotion

        if self._outputs.gates is not None:
            draw_gates(self._outputs.gates, waveform(), np.concatenate([chunk.gates for chunk in self._chunks]))
        if self._outputs.export is not None:
            write_motion(self._outputs.export, FaceMotion.join([chunk.motion for chunk in self._chunks]))
