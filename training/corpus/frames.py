"""Frames for the decoder: what geometry draws, beside how it really looks.

    python -m training.corpus.frames --portraits DIR --out corpus/frames [--rounds 4] [--workers 2] [--ray]
    python -m training.corpus.frames --videos DIR --out corpus/frames

Portraits become cycle puppets (:mod:`training.corpus.puppets`), videos pairs of frames
(:mod:`training.corpus.films`). A person is a file, or a folder of files. Those of ``--held-out`` are written to
``OUT/test`` and never trained on, all others to ``OUT/train``. Run the same command again to go on where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mooe.decoder.images import Float, Image
from mooe.errors import DependencyError, MooeError

logger = logging.getLogger(__name__)
FRAME_SIZE = 256
_SUFFIXES = {
    "puppets": {".jpg", ".jpeg", ".png", ".webp"},
    "films": {".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".mpg"},
}


@dataclass(frozen=True)
class FrameSample:
    """One moment of one face, all at 256 px.

    Attributes:
        source: the photograph's head crop, uint8 ``[256, 256, 3]``.
        render: what geometry draws of it, uint8 ``[256, 256, 3]``.
        target: how it really looks, moved so that its landmarks lie at ``points``, uint8 ``[256, 256, 3]``.
        region: uint8 ``[256, 256]``, see :class:`~mooe.decoder.compensation.RenderMaps`.
        flow: geometry's backward flow less the identity, in pixels, float32 ``[64, 64, 2]``.
        residual: what the flow lacks, in pixels, float32 ``[64, 64, 2]``; true only where ``known``.
        known: bool ``[64, 64]``.
        points: driven landmarks, float32 ``[478, 2]`` pixels.
        source_points: the photograph's, float32 ``[478, 2]`` pixels.
    """

    source: Image
    render: Image
    target: Image
    region: NDArray[np.uint8]
    flow: Float
    residual: Float
    known: NDArray[np.bool_]
    points: Float
    source_points: Float


_ARRAYS = tuple(FrameSample.__dataclass_fields__)


@dataclass(frozen=True)
class Job:
    """One shard to be made.

    Attributes:
        kind: ``puppets`` or ``films``.
        source: the picture or the video.
        number: which of the shards made from it.
        path: of the shard.
    """

    kind: str
    source: Path
    number: int
    path: Path


def save_shard(path: Path, samples: Sequence[FrameSample]) -> None:
    """Write samples to a temporary file, then rename it; an empty shard says that nothing could be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    arrays = {name: np.array([getattr(s, name) for s in samples]) for name in _ARRAYS}
    for name in ("flow", "residual", "points", "source_points"):
        arrays[name] = arrays[name].astype(np.float16 if name in ("flow", "residual") else np.float32)
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def load_shard(path: Path) -> list[FrameSample]:
    """Read what :func:`save_shard` wrote."""
    with np.load(path) as data:
        arrays = {name: data[name] for name in _ARRAYS}
    for name in ("flow", "residual"):
        arrays[name] = arrays[name].astype(np.float32)
    return [FrameSample(**{name: arrays[name][i] for name in _ARRAYS}) for i in range(len(arrays["source"]))]


def shard_files(folder: Path, kinds: Iterable[str] = ("puppets", "films")) -> list[Path]:
    """The finished shards of a split's folder, in the order of their names.

    Raises:
        MooeError: there are none.
    """
    found = [path for kind in kinds for path in sorted((folder / kind).glob("*.npz"))]
    if not found:
        raise MooeError(f"There are no frames in {folder}: make some with python -m training.corpus.frames.")
    return found


def person_of(path: Path, folder: Path) -> str:
    """The person that a file below ``folder`` shows: its first folder, or its own name."""
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else path.stem


def plan(kind: str, folder: Path, out: Path, rounds: int, held_out: Iterable[str]) -> list[Job]:
    """The shards that are to be made of a folder's files and are not there yet.

    Raises:
        MooeError: the folder has no such files.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES[kind])
    if not files:
        raise MooeError(f"There is nothing of use in {folder}: give a folder of {', '.join(sorted(_SUFFIXES[kind]))}.")
    kept = set(held_out)
    jobs = []
    for number in range(rounds):
        for path in files:
            person = person_of(path, folder)
            split = "test" if person in kept else "train"
            name = path.stem if person == path.stem else f"{person}-{path.stem}"
            jobs.append(Job(kind, path, number, out / split / kind / f"{name}-{number:03d}.npz"))
    return [job for job in jobs if not job.path.exists()]


def run_job(job: Job) -> int:
    """Make one shard; returns how many samples it has. What cannot be used gives an empty one."""
    import zlib

    rng = np.random.default_rng([zlib.crc32(job.source.name.encode()), job.number])
    try:
        if job.kind == "puppets":
            from training.corpus.puppets import cycle_puppets

            samples = cycle_puppets(job.source, rng)
        else:
            from training.corpus.films import film_frames

            samples = film_frames(job.source, rng)
    except MooeError as error:
        logger.warning("%s: %s", job.source.name, error)
        samples = []
    save_shard(job.path, samples)
    return len(samples)


def _with_ray(jobs: Sequence[Job]) -> Iterable[int]:
    """Run the jobs on the machines of a Ray cluster that share the folders."""
    try:
        import ray
    except ImportError as error:
        raise DependencyError("--ray needs the package ray: run 'pip install ray', or leave --ray out.") from error
    ray.init(ignore_reinit_error=True)
    remote: Callable[..., object] = ray.remote(num_cpus=1)(run_job).remote
    pending = [remote(job) for job in jobs]
    while pending:
        done, pending = ray.wait(pending)
        yield from ray.get(done)


def _with_processes(jobs: Sequence[Job], workers: int) -> Iterable[int]:
    if workers <= 1:
        yield from map(run_job, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_job, jobs)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, help="folder of photographs")
    parser.add_argument("--videos", type=Path, help="folder of films, one face each; a sub-folder is a person")
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--rounds", type=int, default=4, help="shards made of each file")
    parser.add_argument("--held-out", nargs="*", default=[], metavar="PERSON", help="for tests only")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--ray", action="store_true", help="spread the work with Ray")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if (given.portraits is None) == (given.videos is None):
        parser.error("give either --portraits or --videos.")
    kind = "films" if given.portraits is None else "puppets"
    try:
        jobs = plan(kind, given.videos or given.portraits, given.out, given.rounds, given.held_out)
        made = 0
        for number, count in enumerate(_with_ray(jobs) if given.ray else _with_processes(jobs, given.workers), 1):
            made += count
            if number % 20 == 0 or number == len(jobs):
                logger.info("%d of %d shards, %d samples", number, len(jobs), made)
    except MooeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
