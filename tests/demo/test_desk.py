"""Turns of visitors: one film after another, and who cancels which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mooe.demo.driving import Drive, DrivenFilm
from mooe.demo.limits import MAX_WAITING
from mooe.demo.line import FullError, Line
from mooe.demo.studio import Cancelled, Film, Progress, Studio, Wish

if TYPE_CHECKING:
    from mooe.demo.desk import Desk

Orders = Callable[[str, str], Iterator[Any]]


@pytest.fixture
def desk(studio: Studio, tmp_path: Path) -> Desk:
    pytest.importorskip("gradio", reason="the extra demo (gradio) is not installed")
    from mooe.demo.desk import Desk

    (tmp_path / "films").mkdir()
    return Desk(studio, tmp_path / "films")


@pytest.fixture
def order(desk: Desk, portrait_path: Path, voice: str, driving: Path) -> Orders:
    """Asks for a film: order("speaking" or "driven", visitor)."""

    def ask(kind: str, visitor: str) -> Iterator[Any]:
        if kind == "speaking":
            return desk.film(Wish(str(portrait_path), voice=voice), visitor)
        return desk.reenact(Drive(str(portrait_path), str(driving)), visitor)

    return ask


def begun(film: Iterator[Any]) -> Iterator[Any]:
    """A film of which the first frames are made."""
    while next(film).share == 0:
        pass
    return film


def waiting(film: Iterator[Any]) -> str:
    step = next(film)
    assert isinstance(step, Progress)
    return step.stage


def whole(film: Iterator[Any]) -> bool:
    *_, last = film
    return isinstance(last, Film | DrivenFilm)


def test_films_come_in_the_order_in_which_they_were_asked_for(order: Orders) -> None:
    first, second, third = (order("speaking", visitor) for visitor in ("ann", "bea", "cem"))
    begun(first)
    assert waiting(second) == "Waiting: 1 film comes first"
    assert waiting(third) == "Waiting: 2 films come first"
    assert whole(first)
    assert waiting(third) == "Waiting: 1 film comes first"
    assert whole(second)
    assert whole(third)


@pytest.mark.parametrize("running", ["speaking", "driven"])
def test_a_button_cancels_its_own_film_only(desk: Desk, order: Orders, running: Any) -> None:
    other: Any = {"speaking": "driven", "driven": "speaking"}[running]
    made, waits = begun(order(running, "ann")), order(other, "ann")
    waiting(waits)
    desk.stop("ann", other)
    with pytest.raises(Cancelled):
        next(waits)
    assert whole(made)
    made, waits = begun(order(running, "ann")), order(other, "ann")
    waiting(waits)
    desk.stop("ann", running)
    with pytest.raises(Cancelled):
        list(made)
    assert whole(waits)


def test_who_leaves_stops_no_film_of_another(desk: Desk, order: Orders, tmp_path: Path) -> None:
    films = [begun(order("speaking", "ann")), order("driven", "ann"), order("speaking", "bea")]
    for film in films[1:]:
        waiting(film)
    desk.stop("ann")
    for film in films[:2]:
        with pytest.raises(Cancelled):
            list(film)
    assert whole(films[2])
    assert not list((tmp_path / "films").iterdir())


def test_who_is_gone_keeps_nobody_waiting(order: Orders) -> None:
    first, second = begun(order("speaking", "ann")), order("speaking", "bea")
    waiting(second)
    first.close()  # type: ignore[attr-defined]
    assert whole(second)


def test_the_line_has_an_end() -> None:
    line = Line(MAX_WAITING)
    with ExitStack() as places:
        before = [places.enter_context(line.place()) for _ in range(MAX_WAITING + 1)]
        assert [place(0) for place in before] == list(range(MAX_WAITING + 1))
        with pytest.raises(FullError, match="try again"), line.place():
            pass
    with line.place() as place:
        assert place(0) == 0
