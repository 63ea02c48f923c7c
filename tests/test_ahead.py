"""Laws of making chunks ahead: the same frames, the same states, errors where the items are asked for."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mooe import MoEEPipeline
from mooe.decoder import SourcePortrait
from mooe.memory import keep_freed_memory
from mooe.motion.ahead import made_ahead
from mooe.pipeline_output import MoEEStream


def start(pipe: MoEEPipeline, portrait: SourcePortrait, seed: int = 1, **options: object) -> MoEEStream:
    sound = (np.random.default_rng(0).standard_normal(60_000) * 0.05).astype(np.float32)
    settings = {"num_inference_steps": 1, "paste_back": False, "generator": torch.Generator().manual_seed(seed)}
    return pipe.stream(portrait, sound, "happy", **settings | options)


def frames(stream: MoEEStream) -> list[np.ndarray]:
    return [frame for chunk in stream for frame in chunk.frames]


def test_frames_made_ahead_are_the_same(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    usual, ahead = frames(start(pipe, portrait)), frames(start(pipe, portrait, ahead=True))
    assert len(usual) == len(ahead) == 94
    assert all(np.array_equal(a, b) for a, b in zip(usual, ahead, strict=True))


def test_the_state_is_that_behind_the_chunk_given_last(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    """However far the sampling has come meanwhile."""
    whole = start(pipe, portrait, ahead=True)
    next(whole.chunks)
    state = whole.state()
    rest = frames(whole)
    again = frames(start(pipe, portrait, seed=5, ahead=True, state=state))
    assert len(rest) == len(again)
    assert all(np.array_equal(a, b) for a, b in zip(rest, again, strict=True))


def test_streams_side_by_side_do_not_disturb_each_other(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    alone = [frames(start(pipe, portrait, seed)) for seed in (1, 2)]
    together: list[list[np.ndarray]] = [[], []]
    for chunks in zip(*(start(pipe, portrait, seed, ahead=True) for seed in (1, 2)), strict=True):
        for made, chunk in zip(together, chunks, strict=True):
            made.extend(chunk.frames)
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_sampling_raises_comes_to_the_caller(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    calls = 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("enough")

    stream = start(pipe, portrait, ahead=True, on_step=stop)
    assert next(stream.chunks).frames
    with pytest.raises(RuntimeError, match="enough"):
        frames(stream)


def test_live_sound_is_not_asked_for_ahead(pipe: MoEEPipeline, portrait: SourcePortrait) -> None:
    asked = []

    def microphone() -> Iterator[np.ndarray]:
        for number in range(100):
            asked.append(threading.current_thread())
            yield np.full(640, 0.01 * (-1) ** number, np.float32)

    chunks = iter(pipe.stream(portrait, microphone(), num_inference_steps=1, paste_back=False, ahead=True))
    next(chunks)
    assert set(asked) == {threading.current_thread()}


def test_one_item_is_made_ahead_and_no_more() -> None:
    made = []

    def numbers() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    given = made_ahead(numbers())
    for number in range(5):
        assert next(given) == number
        assert len(made) <= number + 2
    assert list(given) == []


def test_items_see_the_context_they_were_asked_for_in() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")
    name.set("here")
    assert list(made_ahead(name.get() for _ in range(2))) == ["here", "here"]


def test_stopping_early_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    given = made_ahead(iter(range(9)))
    assert next(given) == 0
    given.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_memory_can_be_kept_and_computes_the_same() -> None:
    before = np.ones((600, 600, 3)).sum()
    assert isinstance(keep_freed_memory(), bool)
    assert np.ones((600, 600, 3)).sum() == before
