"""What calls what on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import gradio as gr

from mooe.demo.components import Controls, Making, Reenactment, Results, Values, as_uploaded
from mooe.demo.desk import Desk, Kind, finished, reenacted, status
from mooe.demo.driving import MANNERS, Drive, DrivenFilm
from mooe.demo.limits import in_sentences, speaking
from mooe.demo.studio import Cancelled, Film, Progress

Made = TypeVar("Made", Film, DrivenFilm)


def connect_inputs(page: gr.Blocks, desk: Desk, controls: Controls) -> None:
    # Gradio's own "once" drops what comes while the last of its kind is at work: the picture that a visitor uploads
    # right after having removed another, when the server is busy.
    private: dict[str, Any] = {
        "api_visibility": "private", "concurrency_id": "looking", "show_progress": "hidden", "trigger_mode": "multiple",
    }  # fmt: skip
    prompt = controls.described["prompt"]
    still: dict[str, Any] = {
        "fn": speaking(desk.preview),
        "inputs": [controls.portrait, controls.face, controls.intensity, prompt, *controls.sliders],
        "outputs": [controls.preview, controls.name],
        "queue": False,  # the way through the queue takes longer than the still
        **private,
        "trigger_mode": "always_last",
    }
    find: dict[str, Any] = {
        "fn": speaking(desk.find_faces),
        "inputs": controls.portrait,
        "outputs": [controls.faces, controls.face],
    }
    hear: dict[str, Any] = {
        "fn": speaking(desk.hear),
        "inputs": [controls.voice, controls.timeline],
        "outputs": controls.timeline,
    }
    # not .change, which comes twice with each upload
    arrivals = [page.load, controls.portrait.input]
    for path, button in controls.examples.items():
        arrivals.append(button.click(partial(str, path), None, controls.portrait, **private).success)
    for arrive in arrivals:
        arrive(**find, **private).success(**still)
    for listen in (page.load, controls.voice.change):
        listen(**hear, **private)
    controls.faces.select(speaking(desk.point_at_face), controls.portrait, controls.face, **private)
    controls.face.change(
        speaking(desk.mark_face), [controls.portrait, controls.face], controls.faces, **private
    ).success(**still)
    gr.on([component.change for component in (*controls.sliders, controls.intensity, prompt)], **still)
    _connect_fields(controls)


def _connect_fields(controls: Controls) -> None:
    """Wheel, sliders and timeline follow each other in the browser, without the server."""
    sliders, wheel, timeline = controls.sliders, controls.wheel, controls.timeline
    names = ", ".join(f"w{i}" for i in range(len(sliders)))
    gr.on(
        [slider.change for slider in sliders], None, sliders, wheel,
        js=f"({names}) => [(mooe.weights = [{names}])]",
    )  # fmt: skip
    gr.on(
        [slider.input for slider in sliders], None, [timeline, *sliders], timeline,
        js=f"(value, {names}) => mooe.timeline.follow(value, [{names}])",
    )  # fmt: skip
    wheel.input(None, wheel, [*sliders, controls.intensity], js="(weights) => [...weights, 1]").then(
        None, [timeline, wheel], timeline, js="(value, weights) => mooe.timeline.follow(value, weights)"
    )
    timeline.select(None, timeline, sliders, js="(value) => mooe.timeline.chosen(value)")


def connect_film(page: gr.Blocks, desk: Desk, controls: Controls, results: Results) -> None:
    shown = [
        results.status, results.before, results.film, results.gates, results.download, results.report,
        results.report_file, controls.timeline, results.make,
    ]  # fmt: skip

    def make(values: Values, request: gr.Request) -> Iterator[Values]:
        with in_sentences():
            wish = controls.wish(values)
        show = partial(_show, values=values, controls=controls, results=results)
        yield from _followed(desk.film(wish, request.session_hash), results, show)

    _connect_making(desk, "speaking", results, make, controls.everything(), shown)

    def leave(request: gr.Request) -> None:
        desk.stop(request.session_hash)

    page.unload(leave)


def connect_reenactment(desk: Desk, controls: Controls, parts: Reenactment) -> None:
    def show(film: DrivenFilm) -> Values:
        return {
            parts.status: reenacted(film),
            parts.film: str(film.path),
            parts.download: gr.DownloadButton(value=str(film.path), interactive=True),
            parts.report_file: gr.DownloadButton(value=str(film.report), interactive=True),
        }

    def make(values: Values, request: gr.Request) -> Iterator[Values]:
        drive = Drive(
            values[controls.portrait], values[parts.driving], values[controls.face] or 0, values[parts.manner]
        )
        yield from _followed(desk.reenact(drive, request.session_hash), parts, show)

    given = {controls.portrait, controls.face, parts.driving, parts.manner}
    shown = [parts.status, parts.film, parts.download, parts.report_file, parts.make]
    _connect_making(desk, "driven", parts, make, given, shown)


def _followed(steps: Iterator[Progress | Made], parts: Making, show: Callable[[Made], Values]) -> Iterator[Values]:
    """What the page shows of each step of a film."""
    try:
        for step in steps:
            if isinstance(step, Progress):
                line = status(step.stage, step.share, busy=True)
                yield {parts.status: line, parts.make: gr.Button(interactive=False)}
            else:
                yield show(step)
    except Cancelled as stopped:
        yield {parts.status: status(str(stopped))}
    except Exception:
        yield {parts.status: status("The film was not made.")}
        with in_sentences():
            raise


def _connect_making(
    desk: Desk,
    kind: Kind,
    parts: Making,
    make: Callable[[Values, gr.Request], Iterator[Values]],
    given: set[Any],
    shown: list[Any],
) -> None:
    """Let the buttons start and stop a film, which waits for its turn in line."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    event = parts.make.click(make, given, shown, concurrency_limit=None, trigger_mode="once", **private)
    # Not with the last message of the film: until its end, which comes after, a click would be dropped.
    for ended in (event.then, event.failure):
        ended(lambda: gr.update(interactive=True), None, parts.make, queue=False, **private)

    def cancel(request: gr.Request) -> None:
        desk.stop(request.session_hash, kind)

    # What is said in the end comes from the film itself, which ends at its next step: so nothing is said after it.
    stopping = parts.cancel.click(None, parts.status, parts.status, js="(line) => mooe.stopping(line)", **private)
    stopping.then(cancel, None, None, queue=False, **private)


def _show(film: Film, values: Values, controls: Controls, results: Results) -> Values:
    line, plot, timeline = finished(film, values[controls.timeline])
    return {
        results.status: line,
        results.before: film.photograph,
        results.film: str(film.path),
        results.gates: plot,
        results.download: gr.DownloadButton(value=str(film.path), interactive=True),
        results.report: film.content,
        results.report_file: gr.DownloadButton(value=str(film.report), interactive=True),
        controls.timeline: timeline,
    }


def connect_programs(desk: Desk) -> None:
    """Endpoints with names and plain arguments, for `gradio_client` and other programs."""
    with gr.Group(visible=False):
        portrait = as_uploaded(gr.Image(type="filepath", label="portrait"))
        voice = as_uploaded(gr.Audio(type="filepath", label="voice"))
        emotion = gr.Textbox("happy:0.6, surprised:0.4", label="emotion")
        intensity, head_motion = gr.Number(1.0, label="intensity"), gr.Number(1.0, label="head_motion")
        driving, manner = as_uploaded(gr.Video(label="driving")), gr.Textbox(next(iter(MANNERS)), label="manner")
        seed, face = gr.Number(0, label="seed"), gr.Number(0, label="face")
        film, report = gr.Video(label="film"), gr.JSON(label="report")
        still, faces = gr.Image(label="still"), gr.JSON(label="faces")
        gr.Button().click(
            _speaking_film(desk), [portrait, voice, emotion, intensity, head_motion, seed], [film, report],
            api_name="film", concurrency_limit=None,
        )  # fmt: skip
        gr.Button().click(
            _speaking_reenactment(desk), [portrait, driving, manner, face], [film, report], api_name="reenact",
            concurrency_limit=None,
        )  # fmt: skip
        gr.Button().click(
            speaking(desk.still_by_name), [portrait, face, emotion, intensity], still, api_name="still",
            concurrency_id="looking",
        )  # fmt: skip
        gr.Button().click(speaking(desk.list_faces), portrait, faces, api_name="faces", concurrency_id="looking")


def _speaking_film(desk: Desk) -> Any:
    def film(
        portrait: str | None, voice: str | None, emotion: str, intensity: float, head_motion: float, seed: float,
        request: gr.Request,
    ) -> Iterator[tuple[str, dict[str, Any]]]:  # fmt: skip
        with in_sentences():
            yield from desk.film_by_name(portrait, voice, emotion, intensity, head_motion, seed, request)

    return film


def _speaking_reenactment(desk: Desk) -> Any:
    def reenact(
        portrait: str | None, driving: str | None, manner: str, face: float, request: gr.Request
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        with in_sentences():
            yield from desk.reenact_by_name(portrait, driving, manner, face, request)

    return reenact
