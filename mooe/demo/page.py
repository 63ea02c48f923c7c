"""The page: what stands where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from mooe.audio.voices import LANGUAGES
from mooe.demo import samples
from mooe.demo.components import Controls, Reenactment, Results, as_uploaded
from mooe.demo.desk import NO_TIMELINE, READY, Desk
from mooe.demo.driving import MANNERS
from mooe.demo.limits import (
    KEPT_SECONDS,
    MAX_FILM_SECONDS,
    MAX_SPEECH_SECONDS,
    MAX_TEXT,
    MAX_UPLOAD_MB,
    MAX_WAITING,
)
from mooe.demo.mood import wheel_layout
from mooe.demo.studio import Studio
from mooe.demo.wiring import connect_film, connect_inputs, connect_programs, connect_reenactment
from mooe.emotion import EMOTIONS

_STATIC = Path(__file__).parent / "static"
_FONT = ["ui-sans-serif", "system-ui", "sans-serif"]  # fonts of the machine: none is fetched from anywhere
_CONSENT = (
    "Use only pictures and voices of people who have agreed to it. Every film is marked as AI-generated, in its pixels "
    "and in the file; uploads and films are deleted after an hour."
)
_LANGUAGES = [("automatic", ""), *((code, code) for code in LANGUAGES.values())]
_MANNERS = {
    "relative": "Changes from the first frame",
    "best frame": "Changes from the frame most like the photograph",
    "absolute": "Expression and pose as filmed",
}


def build(studio: Studio, folder: Path) -> gr.Blocks:
    """The page for a studio; films are made in `folder`."""
    desk = Desk(studio, folder)
    with gr.Blocks(title="mooe", analytics_enabled=False, delete_cache=(600, KEPT_SECONDS)) as page:
        gr.Markdown("# mooe\nA photograph and a voice become a film, with the emotion you choose.", elem_id="title")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                given = _given(studio)
            with gr.Column(scale=6, min_width=320):
                mood = _mood()
                results = _results()
        driven = _reenactment()
        controls = Controls(**given, **mood)
        connect_inputs(page, desk, controls)
        connect_film(page, desk, controls, results)
        connect_reenactment(desk, controls, driven)
        connect_programs(desk)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
    return page


def launch_settings() -> dict[str, Any]:
    """Arguments of ``launch`` that go with the page."""
    answers, fields = ((_STATIC / name).read_text(encoding="utf-8") for name in ("answers.js", "page.js"))
    fields = fields.replace("LAYOUT", json.dumps(wheel_layout()))
    return {
        "theme": _theme(),
        "css": (_STATIC / "page.css").read_text(encoding="utf-8"),
        "head": f"<script>{answers}</script><script>{fields}</script>",
        "max_file_size": MAX_UPLOAD_MB * 2**20,
        "show_error": False,
        "share": False,
        "quiet": True,
        "ssr_mode": False,
        "footer_links": ["api"],
    }


def _theme() -> gr.themes.Base:
    """Soft, with letters dark enough on its light grounds, and light enough on its dark ones, to be read (WCAG AA)."""
    subdued = {"body_text_color_subdued": "*neutral_500", "body_text_color_subdued_dark": "*neutral_400"}
    hints = {"input_placeholder_color": "*neutral_500", "input_placeholder_color_dark": "*neutral_400"}
    labels = {"block_label_text_color": "*primary_700", "block_title_text_color": "*primary_700"}
    ground = {"background_fill_primary": "*neutral_50"}  # what Soft has, but set() would make it white
    theme = gr.themes.Soft(font=_FONT, font_mono=["ui-monospace", "monospace"])
    return theme.set(**subdued, **hints, **labels, **ground)


def _given(studio: Studio) -> dict[str, Any]:
    """Portrait, voice, timeline and what else is the same for any emotion, by the fields of :class:`Controls`."""
    portraits = samples.portraits()
    with gr.Group():
        with gr.Row():
            portrait = gr.Image(
                next(iter(portraits.values()), None), type="filepath", image_mode=None, height=280, min_width=150,
                sources=["upload", "webcam", "clipboard"], label="Portrait", elem_id="portrait", buttons=[],
                alt_text="The portrait as it was given",
            )  # fmt: skip
            faces = gr.Image(
                interactive=False, height=280, min_width=150, label="Face to animate", elem_id="faces", buttons=[],
                alt_text="The portrait with a box around each face; click one to animate it",
            )  # fmt: skip
        face = gr.Radio([("1", 0)], value=0, label="Face (1 is the largest; or click it)", elem_id="face")
    gr.Markdown(_CONSENT, elem_id="consent")
    with gr.Row(elem_id="examples"):
        shown = {
            path: gr.Button(f"Example: {name}", icon=path, size="sm", min_width=140) for name, path in portraits.items()
        }
    voice = gr.Audio(
        samples.speech(), type="filepath", sources=["upload", "microphone"], elem_id="voice", buttons=[],
        label=f"Voice: a recording of up to {MAX_SPEECH_SECONDS:.0f} seconds",
    )  # fmt: skip
    as_uploaded(portrait)
    as_uploaded(voice)
    more = _speech_controls(studio)
    timeline = gr.HTML(
        NO_TIMELINE, elem_id="timeline", html_template="${window.mooe ? mooe.timeline.markup(value) : ''}",
        js_on_load="mooe.timeline.listen(element, props, trigger)", label="Timeline", min_height=170,
    )  # fmt: skip
    gr.Markdown(
        "Click into the waveform to set the mix of that moment; drag it, or choose it and move the sliders. By "
        "keyboard: arrows and Delete. Without keyframes the mix holds throughout.",
        elem_id="timeline-help",
    )
    gr.Button("Clear the timeline", size="sm", elem_id="clear").click(
        None, timeline, timeline, js="(value) => mooe.timeline.cleared(value)"
    )
    with gr.Row():
        arguments: dict[str, gr.components.Component] = {
            "head_motion": gr.Slider(0, 2, 1.0, step=0.05, label="Head motion", elem_id="head-motion", min_width=140),
            "blink_rate": gr.Slider(0, 40, 18, step=1, label="Blinks a minute", elem_id="blinks", min_width=140),
        }
    seed = gr.Number(0, label="Seed: the same one gives the same film", precision=0, minimum=0, elem_id="seed")
    more |= _speaker_controls(studio)
    arguments |= _expert_controls()
    return {
        "portrait": portrait, "examples": shown, "faces": faces, "face": face, "voice": voice,
        "timeline": timeline, "seed": seed, "arguments": arguments, "more": more,
    }  # fmt: skip


def _mood() -> dict[str, Any]:
    """Everything that says which emotion, and the still that shows it, by the fields of :class:`Controls`."""
    with gr.Row():
        with gr.Column(min_width=260):
            wheel = gr.HTML(
                [0.0] * len(EMOTIONS), elem_id="wheel", label="Wheel of emotions", min_height=340,
                html_template="${window.mooe ? mooe.wheel.markup(value) : ''}",
                js_on_load="mooe.wheel.listen(element, props, trigger)",
            )  # fmt: skip
        with gr.Column(min_width=260):
            preview = gr.Image(
                interactive=False, height=310, label="The face at this emotion", elem_id="preview", buttons=[],
                alt_text="A still of the chosen face at the chosen emotion",
            )  # fmt: skip
            name = gr.Markdown("neutral", elem_id="mood")
    described: dict[str, gr.Textbox | gr.Checkbox] = {
        "prompt": gr.Textbox(
            label="Describe the emotion", placeholder="a shy smile that turns into surprise", max_length=300,
            elem_id="prompt",
        ),
        "emotion_from_voice": gr.Checkbox(label="Add the emotion heard in the voice", elem_id="from-voice"),
    }  # fmt: skip
    sliders = []
    for pair in zip(EMOTIONS[::2], EMOTIONS[1::2], strict=True):
        with gr.Row():
            for emotion in pair:
                label = emotion.capitalize()
                sliders.append(
                    gr.Slider(0, 1, 0.0, step=0.01, label=label, elem_id=f"emotion-{emotion}", min_width=140)
                )
    intensity = gr.Slider(0, 1, 1.0, step=0.01, label="Intensity of all of it", elem_id="intensity")
    return {
        "wheel": wheel, "preview": preview, "name": name, "sliders": sliders, "intensity": intensity,
        "described": described,
    }  # fmt: skip


def _speech_controls(studio: Studio) -> dict[str, gr.components.Component]:
    voices = studio.voices
    if not voices:
        return {}
    with gr.Group():
        text = gr.Textbox(
            label="Or type what to say instead of the recording", lines=2, max_length=MAX_TEXT, elem_id="text"
        )
        with gr.Row():
            choices = [("automatic", ""), *((voice, voice) for voice in voices)]
            speaking_voice = gr.Dropdown(choices, value="", label="Speaking voice", elem_id="tts-voice")
            language = gr.Dropdown(_LANGUAGES, value="", label="Language", elem_id="tts-language")
    return {"text": text, "speaking_voice": speaking_voice, "language": language}


def _speaker_controls(studio: Studio) -> dict[str, gr.components.Component]:
    if not studio.speakers:
        return {}
    with gr.Row():
        speaker = gr.Dropdown(
            [("none", ""), *((name, name) for name in studio.speakers)], value="", label="Speaker's manner (LoRA)",
            elem_id="speaker",
        )  # fmt: skip
        weight = gr.Slider(0, 2, 1.0, step=0.05, label="Weight of the manner", elem_id="speaker-weight")
    return {"speaker": speaker, "speaker_weight": weight}


def _expert_controls() -> dict[str, gr.components.Component]:
    """Muscles and blendshapes by hand, folded away."""
    with gr.Accordion("Action units and ARKit weights", open=False, elem_id="expert"):
        return {
            "action_units": gr.Textbox(
                label="Action units (FACS)", placeholder="AU12=0.8, AU4=0.3", elem_id="action-units"
            ),
            "arkit": gr.Textbox(
                label="ARKit weights", placeholder="mouthSmileLeft=0.5, browInnerUp=0.4", elem_id="arkit"
            ),
        }


def _results() -> Results:
    with gr.Row():
        make = gr.Button("Make the film", variant="primary", size="lg", elem_id="make")
        cancel = gr.Button("Cancel", size="lg", elem_id="cancel")
    state = gr.HTML(READY, elem_id="status", min_height=68)
    with gr.Row():
        before = gr.Image(
            interactive=False,
            height=320,
            min_width=200,
            label="Before",
            elem_id="before",
            buttons=[],
            alt_text="The photograph",
        )
        film = gr.Video(interactive=False, height=320, min_width=200, label="After", elem_id="film", autoplay=True)
    with gr.Row():
        download = gr.DownloadButton("Download the film", interactive=False, elem_id="download", size="sm")
        report_file = gr.DownloadButton("Download the report", interactive=False, elem_id="report-file", size="sm")
    gr.Markdown("### Emotion experts over time")
    gates = gr.HTML(
        "<figure class='mooe-gates'><p>Which expert moved the face when: shown with the film.</p></figure>",
        elem_id="gates", min_height=180,
    )  # fmt: skip
    with gr.Accordion("Report", open=False):
        report = gr.JSON(label="Report", elem_id="report", show_label=False)
    return Results(make, cancel, state, before, film, gates, download, report, report_file)


def _reenactment() -> Reenactment:
    """A film of a face that moves the chosen portrait, folded away."""
    with gr.Accordion("Or let a film of a face move the portrait", open=False, elem_id="reenactment"), gr.Row():
        with gr.Column(scale=5, min_width=320):
            driving = as_uploaded(
                gr.Video(
                    sources=["upload", "webcam"], height=320, elem_id="driving", buttons=[],
                    label=f"Film of a face, of up to {MAX_FILM_SECONDS:.0f} seconds",
                )
            )  # fmt: skip
            choices = [(_MANNERS[manner], manner) for manner in MANNERS]
            manner = gr.Radio(choices, value=choices[0][1], label="What is carried over", elem_id="manner")
        with gr.Column(scale=6, min_width=320):
            film = gr.Video(
                interactive=False, height=320, label="The portrait, moved", elem_id="driven-film", autoplay=True
            )
            with gr.Row():
                make = gr.Button("Move the portrait", variant="primary", size="lg", elem_id="reenact")
                cancel = gr.Button("Cancel", size="lg", elem_id="reenact-cancel")
            state = gr.HTML(READY, elem_id="reenact-status", min_height=68)
            with gr.Row():
                download = gr.DownloadButton(
                    "Download the film", interactive=False, elem_id="driven-download", size="sm"
                )
                report = gr.DownloadButton("Download the report", interactive=False, elem_id="driven-report", size="sm")
    return Reenactment(make, cancel, state, driving, manner, film, download, report)
