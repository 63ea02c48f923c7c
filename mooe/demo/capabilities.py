"""What the installed extras can do: the page shows controls for that, and no others."""

from __future__ import annotations

from mooe.audio import KokoroTextToSpeech
from mooe.errors import DependencyError


def speaking_voices() -> tuple[str, ...]:
    """Voices that can speak a typed text; none where the extra that carries them is not installed."""
    try:
        return tuple(KokoroTextToSpeech().voices)
    except DependencyError:
        return ()
