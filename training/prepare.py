"""Folders of talking videos -> the filmed corpus that the training scripts read beside the acted one.

    python training/prepare.py VIDEOS... --out corpus/filmed [--workers N | --ray]

Scenes are cut, one face is followed, stretches of bad quality are left out with their reasons, and the rest becomes
motion arrays, speech features, emotions and action units (``training/corpus/filmed.py`` lists them). The layouts of
MEAD, HDTF, CREMA-D and RAVDESS are known, as are plain folders and folders with a metadata.csv
(``training/corpus/sources.py``). ``OUT/report.html`` shows what was kept and why. Run the same command again to go on:
finished videos are kept, changed ones are made anew. A video that cannot be used is reported and the rest goes on.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mooe.config import load_config
from mooe.errors import ConfigError
from training.common import run_command
from training.corpus.filmed import CLIPS_FOLDER
from training.corpus.prepared_video import RECORDS_FOLDER, Job, PrepareSettings, finished_record, prepare_video
from training.corpus.report_page import write_report
from training.corpus.sources import LAYOUTS, find_videos
from training.corpus.workers import WorkerError, run_in_processes, run_with_ray

logger = logging.getLogger("prepare")


@dataclass(frozen=True)
class PrepareConfig:
    """What to prepare, and how.

    Attributes:
        sources: videos and folders of videos.
        output: folder of the corpus.
        layout: a name of ``sources.py``'s table; None finds out by itself.
        workers: processes on this machine.
        ray: run on a Ray cluster instead.
        settings: what decides the result for a video.
    """

    sources: Sequence[Path]
    output: Path
    layout: str | None = None
    workers: int = 1
    ray: bool = False
    settings: PrepareSettings = field(default_factory=PrepareSettings)


def prepare(config: PrepareConfig) -> list[dict[str, Any]]:
    """Prepare all videos and write the report.

    Returns:
        A record for each video, in order of their names.

    Raises:
        ConfigError: there are no videos, or no clip of any of them could be kept.
    """
    if config.workers < 1:
        raise ConfigError(f"{config.workers} workers cannot work: give 1 or more.")
    sources = find_videos(config.sources, config.layout)
    for folder in (CLIPS_FOLDER, RECORDS_FOLDER):
        (config.output / folder).mkdir(parents=True, exist_ok=True)
    records: dict[str, dict[str, Any]] = {}
    jobs = []
    for source in sources:
        job = Job(source, config.output, config.settings)
        done = finished_record(job)
        if done is None:
            jobs.append(job)
        else:
            records[source.name] = done
    logger.info("%d videos, of which %d are done", len(sources), len(records))
    for job, outcome in _run(config, jobs):
        if isinstance(outcome, WorkerError):
            outcome = _failed(job, str(outcome))
        records[job.source.name] = outcome
        logger.info("%s: %s", job.source.path, _summary(outcome))
    ordered = [records[source.name] for source in sources]
    write_report(config.output, ordered)
    if not any(record["clips"] for record in ordered):
        reasons = Counter(r for record in ordered for r in _reasons(record))
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(4))
        raise ConfigError(f"No clip could be kept ({told}): see {config.output / 'report.html'}.")
    return ordered


def _run(config: PrepareConfig, jobs: list[Job]) -> Iterator[tuple[Job, dict[str, Any] | WorkerError]]:
    if config.ray:
        return run_with_ray(prepare_video, jobs)
    return run_in_processes(prepare_video, jobs, config.workers)


def _failed(job: Job, reason: str) -> dict[str, Any]:
    """The record of a video whose worker failed; it is not written, so the next run tries again."""
    return {
        "name": job.source.name, "path": str(job.source.path), "speaker": job.source.speaker, "stamp": "",
        "seconds": 0.0, "error": reason, "clips": [], "rejected": [],
    }  # fmt: skip


def _reasons(record: dict[str, Any]) -> list[str]:
    return [record["error"]] if record["error"] else [part["reason"] for part in record["rejected"]]


def _summary(record: dict[str, Any]) -> str:
    if record["error"]:
        return f"not used: {record['error']}"
    kept = sum(clip["seconds"] for clip in record["clips"])
    reasons = Counter(part["reason"] for part in record["rejected"])
    left_out = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return f"{kept:.1f} of {record['seconds']:.1f} s kept" + (f"; left out: {left_out}" if left_out else "")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", help="videos and folders of videos")
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--layout", choices=[*LAYOUTS, "videofolder"], help="found out by itself if not given")
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine")
    parser.add_argument("--ray", action="store_true", help="run on a Ray cluster")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE",
        help="settings, such as allow_silent=true pseudo_labels=true crop_size=256 limits.min_seconds=3",
    )  # fmt: skip
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = load_config(None, PrepareSettings, options.set)
    records = prepare(
        PrepareConfig(options.sources, options.out, options.layout, options.workers, options.ray, settings)
    )
    kept = sum(clip["seconds"] for record in records for clip in record["clips"])
    unused = sum(bool(record["error"]) for record in records)
    logger.info("%.1f minutes kept, %d videos not used; see %s", kept / 60, unused, options.out / "report.html")


if __name__ == "__main__":
    run_command(main)
