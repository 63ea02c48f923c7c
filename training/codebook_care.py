"""What codebooks need while they are trained: codes that nothing uses come back, alike in all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from accelerate import PartialState
from accelerate.utils import gather, reduce

from mooe.decoder.codebooks import Codebook

_REVIVE_EVERY = 50  # steps
_REVIVE_SHARE = 0.95  # of all steps; after it the books rest


def revive_codes(books: Iterable[Codebook], step: int, steps: int, see: Callable[[], object]) -> None:
    """Every so often move unused codes to queries of this step's batch.

    Args:
        books: in training mode.
        step: of the training.
        steps: of the training in all.
        see: lets the books see the batch; they do not remember one across a resumed run.
    """
    if step % _REVIVE_EVERY != _REVIVE_EVERY - 1 or step >= _REVIVE_SHARE * steps:
        return
    books = list(books)
    with torch.no_grad():
        see()
    share_counts(books)
    for book in books:
        book.revive(step, gather)


def share_counts(books: Iterable[Codebook]) -> None:
    """Make the codes and how often they are used those of all processes' batches together."""
    if PartialState().num_processes > 1:
        for book in books:
            book.hits.copy_(reduce(book.hits, "mean"))
            book.codes.copy_(reduce(book.codes, "mean"))
