"""A speaker's clips, from videos or from what was prepared of them, and takes cut from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mooe.motion.controls import counter_turn
from training.corpus.filmed import CLIPS_FOLDER, FilmedCorpus, filmed_clips
from training.corpus.motion import Take


def open_speaker(data: list[Path], output: Path, window: int) -> FilmedCorpus:
    """The speaker's clips; videos are prepared into ``output`` first.

    Raises:
        MooeError: nothing in ``data`` can be used.
    """
    if len(data) == 1 and (data[0] / CLIPS_FOLDER).is_dir():
        return FilmedCorpus(filmed_clips(data[0]), window)
    from training.corpus.prepared_video import PrepareSettings
    from training.prepare import PrepareConfig, prepare

    folder = output / "corpus"
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        torch.distributed.barrier()
    else:
        prepare(PrepareConfig(tuple(data), folder, settings=PrepareSettings(allow_silent=True)))
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
    return FilmedCorpus(filmed_clips(folder), window)


def draw_take(corpus: FilmedCorpus, stream: np.random.Generator, turned_share: float) -> Take:
    """A take, or for ``turned_share`` of them the same face on a head that turns as in another take.

    The eyes stay as they are in their sockets. In two minutes of film an adapter tells the clips by how the head stands
    and learns by heart what the brows did there; on other film they would then hardly move.
    """
    take = corpus.sample(stream)
    if not turned_share or stream.random() >= turned_share:
        return take
    mine, other = take.controls, corpus.sample(stream).controls
    gaze = mine.gaze + counter_turn(mine.rotation) - counter_turn(other.rotation)
    return replace(take, controls=replace(mine, gaze=gaze, rotation=other.rotation, translation=other.translation))
