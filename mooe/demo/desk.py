"""What happens when a visitor does something on the page."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal, TypeVar

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from mooe.audio.constants import FRAME_RATE, SAMPLE_RATE
from mooe.demo.driving import Drive, DrivenFilm, reenact
from mooe.demo.limits import MAX_WAITING, read_speech
from mooe.demo.line import Line
from mooe.demo.mood import mix_of, name_of
from mooe.demo.pictures import face_at, gates_areas, gates_plot, peaks, with_boxes
from mooe.demo.studio import Film, Progress, Studio, Wish, stop_if
from mooe.emotion import EmotionMix, parse_emotion
from mooe.errors import ConfigError, NoFaceError

Timeline = dict[str, Any]
Made = TypeVar("Made", Film, DrivenFilm)
Kind = Literal["speaking", "driven"]
"""Films that speak and films that another one drives: a visitor may ask for one of each at a time."""
NO_TIMELINE: Timeline = {"duration": 0, "peaks": [], "keyframes": [], "selected": -1, "gates": ""}
_MAX_KEYFRAMES = 50
_PATIENCE = 0.5  # seconds after which one who waits is told where he stands, and asked whether he still wants to


def status(text: str, share: float | None = None, *, busy: bool = False) -> str:
    """The line that says what goes on, with a bar; `busy` while it goes on."""
    bar = f"<progress max='100' value='{round(100 * (share or 0.0))}' aria-label='Progress of the film'></progress>"
    done = f" · {100 * share:.0f} %" if share else ""
    stage = f"<div class='stage' role='status'>{escape(text)}{done}</div>"
    return f"<div class='mooe-status' aria-busy='{str(busy).lower()}'>{stage}{bar}</div>"


READY = status("Ready.")


@dataclass(frozen=True, eq=False)
class _Order:
    """A film that a visitor waits for."""

    session: str | None
    kind: Kind
    stopped: threading.Event = field(default_factory=threading.Event)


class Desk:
    """Handlers of the page.

    Args:
        studio: the model and its portraits.
        folder: where films are made; each in a folder of its own that goes when the film has been handed over.
    """

    def __init__(self, studio: Studio, folder: Path) -> None:
        self.studio = studio
        self._folder = folder
        self._line = Line(MAX_WAITING)
        self._orders: set[_Order] = set()

    def find_faces(self, portrait: str | None) -> tuple[Any, Any]:
        """A new portrait -> the picture with boxes, and the faces to choose from."""
        if not portrait:
            return None, gr.Radio(choices=[("1", 0)], value=0)
        image = self.studio.picture(portrait)
        faces = self.studio.faces(image)
        if not faces:
            raise NoFaceError(
                "No face was found in the portrait: use a sharp picture with a face seen from the front, at least "
                "64 pixels wide."
            )
        choices = [(str(number + 1), number) for number in range(len(faces))]
        return with_boxes(image, faces, 0), gr.Radio(choices=choices, value=0)

    def point_at_face(self, portrait: str | None, event: gr.SelectData) -> int:
        """A click into the picture -> the number of the face nearest to it."""
        if not portrait:
            return 0
        return face_at(self.studio.faces(self.studio.picture(portrait)), *event.index[:2])

    def mark_face(self, portrait: str | None, face: int | None) -> NDArray[np.uint8] | None:
        """Another face chosen -> the picture with its box in blue."""
        if not portrait:
            return None
        image = self.studio.picture(portrait)
        return with_boxes(image, self.studio.faces(image), face or 0)

    def list_faces(self, portrait: str | None) -> list[dict[str, float]]:
        """The faces of a portrait, largest first, as boxes in pixels of the picture."""
        found = self.studio.faces(self.studio.picture(portrait))
        return [dict(zip(("left", "top", "right", "bottom"), map(float, face.box), strict=True)) for face in found]

    def preview(
        self, portrait: str | None, face: int | None, intensity: float, prompt: str | None, *weights: float
    ) -> tuple[Any, str]:
        """Any control of the emotion moved -> a still of the face, and what the mixture is called."""
        asked = np.asarray(weights, np.float32) + self.studio.read_prompt(prompt or "").weights
        mix = mix_of(np.minimum(asked, 1), intensity)
        if not portrait:
            return None, name_of(mix)
        return self.studio.still(portrait, face or 0, mix), name_of(mix)

    def hear(self, voice: str | None, timeline: Timeline | None) -> Timeline:
        """A new recording -> its waveform in the timeline; keyframes past its end go."""
        timeline = dict(timeline or NO_TIMELINE)
        if not voice:
            return NO_TIMELINE | {"keyframes": timeline["keyframes"]}
        waveform = read_speech(voice)
        seconds = round(len(waveform) / SAMPLE_RATE, 3)
        kept = [key for key in timeline["keyframes"] if key["at"] <= seconds]
        return NO_TIMELINE | {"duration": seconds, "peaks": peaks(waveform), "keyframes": kept}

    def stop(self, session: str | None, kind: Kind | None = None) -> None:
        """Stop the films of a kind, or all, that a visitor waits for, at their next denoising step or frame."""
        for order in tuple(self._orders):
            if order.session == session and kind in (None, order.kind):
                order.stopped.set()

    def film(self, wish: Wish, session: str | None) -> Iterator[Progress | Film]:
        """Make a film that :meth:`stop` can end."""
        return self._in_turn(
            lambda folder, stopped: self.studio.film(wish, folder, stopped), _Order(session, "speaking")
        )

    def reenact(self, drive: Drive, session: str | None) -> Iterator[Progress | DrivenFilm]:
        """Make a film that moves as another does and that :meth:`stop` can end."""
        return self._in_turn(
            lambda folder, stopped: reenact(self.studio, drive, folder, stopped), _Order(session, "driven")
        )

    def _in_turn(
        self, make: Callable[[Path, Callable[[], bool]], Iterator[Progress | Made]], order: _Order
    ) -> Iterator[Progress | Made]:
        """When it is its turn, the steps of what is made in a folder of its own, which goes with it."""
        self._orders.add(order)
        try:
            with self._line.place() as before:
                while number := before(_PATIENCE):
                    stop_if(order.stopped.is_set)
                    yield Progress(f"Waiting: {number} {'film comes' if number == 1 else 'films come'} first", 0.0)
                with tempfile.TemporaryDirectory(dir=self._folder, prefix="film-") as folder:
                    yield from make(Path(folder), order.stopped.is_set)
        finally:
            self._orders.remove(order)

    def film_by_name(
        self,
        portrait: str | None,
        voice: str | None,
        emotion: str,
        intensity: float,
        head_motion: float,
        seed: float,
        request: gr.Request,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """For programs: one film of an emotion given in words, such as "happy:0.6, surprised:0.4"."""
        mix = parse_emotion([part for part in emotion.split(",") if part.strip()])
        wish = Wish(
            portrait, voice=voice, weights=tuple(mix.weights.tolist()), intensity=intensity, seed=whole(seed),
            controls={"head_motion": head_motion},
        )  # fmt: skip
        for step in self.film(wish, request.session_hash):
            if isinstance(step, Film):
                # handed over while its folder is still there
                yield str(step.path), step.content

    def reenact_by_name(
        self, portrait: str | None, film: str | None, manner: str, face: float, request: gr.Request
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """For programs: one film of a portrait that moves as the face in another film does."""
        for step in self.reenact(Drive(portrait, film, whole(face), manner), request.session_hash):
            if isinstance(step, DrivenFilm):
                # handed over while its folder is still there
                yield str(step.path), step.content

    def still_by_name(self, portrait: str | None, face: float, emotion: str, intensity: float) -> NDArray[np.uint8]:
        """For programs: a still of an emotion given in words."""
        mix = parse_emotion([part for part in emotion.split(",") if part.strip()], intensity)
        return self.studio.still(portrait, whole(face), mix)


def whole(number: float | None) -> int:
    """A seed or a face's number as typed (raises ConfigError)."""
    if number is None or number != int(number) or not 0 <= number < 2**53:
        raise ConfigError("Seed and face are whole numbers: give 0 or more.")
    return int(number)


def keyframes_of(timeline: Timeline | None) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """The keyframes that the page sent (raises ConfigError when they make no sense)."""
    sent: Sequence[Any] = (timeline or NO_TIMELINE).get("keyframes") or []
    if len(sent) > _MAX_KEYFRAMES:
        raise ConfigError(f"There are {len(sent)} keyframes: use at most {_MAX_KEYFRAMES}.")
    try:
        keyframes = tuple((float(key["at"]), tuple(float(w) for w in key["weights"])) for key in sent)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError("The keyframes cannot be read: clear the timeline and set them again.") from error
    for _, weights in keyframes:
        EmotionMix(np.asarray(weights, np.float32))
    return keyframes


def words_of(text: str | None) -> list[str]:
    """NAME=VALUE pairs as typed: separated by commas, blanks or new lines."""
    return (text or "").replace(",", " ").split()


def finished(film: Film, timeline: Timeline | None) -> tuple[str, str, Timeline]:
    """What the page says of a film: the status line, the plot of the gates, the timeline with them."""
    seconds, speech = film.content["wall_seconds"], film.content["audio_seconds"]
    notes = " ".join(film.notes)
    line = status(f"Done: {speech:.1f} s of film in {seconds:.1f} s. {notes}".strip(), 1.0)
    old = dict(timeline or NO_TIMELINE)
    new = NO_TIMELINE | {
        "duration": round(len(film.waveform) / SAMPLE_RATE, 3),
        "peaks": peaks(film.waveform),
        "keyframes": old["keyframes"],
        "selected": old["selected"],
        "gates": gates_areas(film.gates),
    }
    return line, gates_plot(film.gates), new


def reenacted(film: DrivenFilm) -> str:
    """What the page says of a film that another one drove."""
    seconds, bridged = film.content["frames"] / FRAME_RATE, film.content["frames_without_face"]
    note = f" {bridged} frames of the film of a face show none and were bridged." if bridged else ""
    return status(f"Done: {seconds:.1f} s of film in {sum(film.content['wall_seconds'].values()):.1f} s.{note}", 1.0)
