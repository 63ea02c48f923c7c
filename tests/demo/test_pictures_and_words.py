"""Names of mixtures, the wheel, and what is drawn of waveform and gates."""

from __future__ import annotations

from typing import Any

import numpy as np

from mooe.demo.mood import WHEEL, name_of, wheel_layout
from mooe.demo.pictures import gates_areas, gates_plot, peaks
from mooe.emotion import COMPOUND_EMOTIONS, EMOTIONS, EmotionMix, parse_emotion


def test_every_emotion_and_compound_is_called_by_its_name() -> None:
    for name in EMOTIONS:
        assert name_of(parse_emotion(f"{name}:0.6")) == f"{name}, 60 %"
    for name in COMPOUND_EMOTIONS:
        assert name_of(parse_emotion(name)) == f"{name.replace('_', ' ')}, 100 %"
    assert name_of(EmotionMix.neutral()) == "neutral"
    assert name_of(parse_emotion({"happy": 0.3, "sad": 0.3})) == "happy and sad, 60 %"


def test_the_wheel_holds_everything_the_taxonomy_has() -> None:
    layout: dict[str, Any] = wheel_layout()
    assert sorted(WHEEL) == sorted(EMOTIONS)
    assert [EMOTIONS[entry["slider"]] for entry in layout["emotions"]] == list(WHEEL)
    assert len(layout["compounds"]) == len(COMPOUND_EMOTIONS)
    neighbours = {frozenset((a, b)) for a, b in zip(WHEEL, WHEEL[1:] + WHEEL[:1], strict=True)}
    assert neighbours <= {frozenset(shares) for shares in COMPOUND_EMOTIONS.values()}


def test_pictures_of_gates_and_waveform() -> None:
    gates = np.zeros((50, 6), np.float32)
    gates[:25, 0] = gates[25:, 1] = 1
    drawn = gates_areas(gates)
    assert drawn.count("<polygon") == 6
    assert "happy 50 %" in drawn
    assert "2.0 s" in gates_plot(gates)
    assert "neutral" in gates_plot(np.zeros((50, 6), np.float32))
    assert gates_areas(np.zeros((0, 6), np.float32)) == ""
    assert max(peaks(np.linspace(0, 0.5, 9000, dtype=np.float32))) == 1
    assert set(peaks(np.zeros(9000, np.float32))) == {0}
    assert len(peaks(np.ones(30, np.float32))) <= 200
