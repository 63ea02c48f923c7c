"""Running a function over many items in processes that may die: each item gives a result or the reason it has none."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from mooe.errors import DependencyError

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerError(Exception):
    """An item whose worker raised or died; the message says how."""


def run_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Result | WorkerError]]:
    """Results as they come, in any order. A worker that dies costs the item it was at, and is replaced.

    Args:
        function: can be pickled, as can the items and the results.
        items: what to run it on.
        workers: processes at a time.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(items))
    busy: dict[Connection, tuple[Any, Item]] = {}
    idle: list[tuple[Connection, Any]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                connection, process = idle.pop() if idle else _start(context, function)
                item = waiting.pop()
                connection.send(item)
                busy[connection] = (process, item)
            for ready in wait(list(busy)):
                connection = ready  # type: ignore[assignment]
                process, item = busy.pop(connection)
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    yield item, WorkerError(_death(process.exitcode))
                    continue
                idle.append((connection, process))
                yield item, outcome
    finally:
        for connection, process in [*idle, *((c, p) for c, (p, _) in busy.items())]:
            connection.close()
            process.terminate()
            process.join()


def run_with_ray(
    function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result | WorkerError]]:
    """The same on a Ray cluster, or on this machine if there is none; the files must be where its nodes see them.

    Raises:
        DependencyError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise DependencyError("--ray needs the package ray: install it with 'pip install mooe[ray]'.") from error
    ray.init(ignore_reinit_error=True)
    # a video that kills its worker would kill the next one as well
    remote = ray.remote(max_retries=0)(function)
    pending = {remote.remote(item): item for item in items}
    while pending:
        (ready,), _ = ray.wait(list(pending), num_returns=1)
        item = pending.pop(ready)
        try:
            yield item, ray.get(ready)
        except ray.exceptions.RayError as error:
            yield item, WorkerError(str(error).strip().splitlines()[-1])


def _start(context: Any, function: Callable[[Any], Any]) -> tuple[Connection, Any]:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, function), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _work(connection: Connection, function: Callable[[Any], Any]) -> None:
    # Ctrl-C is the parent's to handle, which then ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            outcome = function(item)
        except Exception as error:  # reported with the item's name; the others go on
            outcome = WorkerError(f"{type(error).__name__}: {error}")
        connection.send(outcome)


def _death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"its worker was killed ({name}); if memory ran out, use fewer workers"
    return f"its worker ended with exit code {exitcode}"
