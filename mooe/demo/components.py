"""The components of the page, by what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from mooe.demo.desk import keyframes_of, whole, words_of
from mooe.demo.studio import Wish

Values = dict[Any, Any]


@dataclass
class Controls:
    """The components that say what to make, and what shows the emotion.

    `arguments` and `described` go to the pipeline by name, `more` into the :class:`Wish`; what needs an extra or
    speakers that are not there is missing from it.
    """

    portrait: gr.Image
    examples: dict[str, gr.Button]
    faces: gr.Image
    face: gr.Radio
    voice: gr.Audio
    wheel: gr.HTML
    sliders: list[gr.Slider]
    intensity: gr.Slider
    timeline: gr.HTML
    seed: gr.Number
    preview: gr.Image
    name: gr.Markdown
    arguments: dict[str, gr.components.Component]
    described: dict[str, gr.Textbox | gr.Checkbox]
    more: dict[str, gr.components.Component]

    def everything(self) -> set[Any]:
        """All that a film depends on."""
        fixed = {self.portrait, self.face, self.voice, self.intensity, self.timeline, self.seed, *self.sliders}
        return fixed.union(self.arguments.values(), self.described.values(), self.more.values())

    def wish(self, values: Values) -> Wish:
        """What the visitor asks for (raises MooeError)."""
        arguments = {name: values[component] for name, component in (self.arguments | self.described).items()}
        for name in ("action_units", "arkit"):
            arguments[name] = words_of(arguments[name])
        more = {name: values[component] for name, component in self.more.items()}
        return Wish(
            portrait=values[self.portrait],
            face=values[self.face] or 0,
            voice=values[self.voice],
            weights=tuple(values[slider] for slider in self.sliders),
            intensity=values[self.intensity],
            keyframes=keyframes_of(values[self.timeline]),
            seed=whole(values[self.seed]),
            controls={name: value for name, value in arguments.items() if value not in ("", None, [], False)},
            **more,
        )


@dataclass
class Making:
    """The components that start and stop a film and show how far it is."""

    make: gr.Button
    cancel: gr.Button
    status: gr.HTML


@dataclass
class Results(Making):
    """The components that show what was made."""

    before: gr.Image
    film: gr.Video
    gates: gr.HTML
    download: gr.DownloadButton
    report: gr.JSON
    report_file: gr.DownloadButton


@dataclass
class Reenactment(Making):
    """The components of a film that another one drives."""

    driving: gr.Video
    manner: gr.Radio
    film: gr.Video
    download: gr.DownloadButton
    report_file: gr.DownloadButton


def as_uploaded(component: Any) -> Any:
    """Let handlers get the file as it was uploaded: Gradio's own reading of a damaged one fails without a sentence."""
    component.preprocess = lambda payload: payload.path if payload else None
    return component
