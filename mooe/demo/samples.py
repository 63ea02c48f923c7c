"""The examples on the page: two portraits in the public domain and a recording."""

from __future__ import annotations

from pathlib import Path

# In an installed package they lie beside this file, in a checkout in examples/.
_PLACES = (Path(__file__).parent / "examples", Path(__file__).parents[2] / "examples")


def _find(name: str) -> str | None:
    return next((str(place / name) for place in _PLACES if (place / name).is_file()), None)


def portraits() -> dict[str, str]:
    """Files of the example portraits that are there, by whom they show."""
    files = {"Grace Hopper": "portraits/grace_hopper.jpg", "Eileen Collins": "portraits/astronaut.png"}
    return {name: path for name, file in files.items() if (path := _find(file))}


def speech() -> str | None:
    """The example recording, if it is there."""
    return _find("speech.wav")
