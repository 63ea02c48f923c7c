"""A speaker's clips, from videos or from what was prepared of them."""

from __future__ import annotations

from pathlib import Path

import torch

from training.corpus.filmed import CLIPS_FOLDER, FilmedCorpus, filmed_clips


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
