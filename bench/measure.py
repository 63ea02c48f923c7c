"""Measure what mooe promises, on portraits and speech of your own.

    python bench/measure.py --portraits A.jpg B.jpg C.jpg --speech examples/speech.wav --clips build/clips

makes the clips that are missing in the folder through ``mooe generate``, judges each once, prints tables and
writes ``measured.json`` beside the clips. Run it again to go on where it stopped. Needs the extra
``metrics``; see README.

Sections (``--only``): emotion, intensity, timeline, lips, motion, speed, determinism.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.cost import measure_determinism, measure_speed  # noqa: E402
from bench.expression import measure_emotion, measure_intensity  # noqa: E402
from bench.generated import ClipFolder, be_polite  # noqa: E402
from bench.movement import measure_lips, measure_motion  # noqa: E402
from bench.tables import storable  # noqa: E402
from bench.timeline import measure_timeline  # noqa: E402
from mooe.errors import MooeError  # noqa: E402
from mooe.media import write_json  # noqa: E402

SECTIONS = ("emotion", "intensity", "timeline", "lips", "motion", "speed", "determinism")


def arguments() -> argparse.Namespace:
    """The command line."""
    examples = ROOT / "examples"
    parser = argparse.ArgumentParser(description="Measure generated clips.")
    parser.add_argument("--clips", type=Path, default=Path("build/clips"), help="folder of the clips")
    parser.add_argument(
        "--portraits", type=Path, nargs="+", default=sorted((examples / "portraits").glob("*.[jp][pn]g"))
    )
    parser.add_argument("--speech", type=Path, default=examples / "speech.wav", help="the one for emotions")
    parser.add_argument(
        "--labelled",
        type=Path,
        nargs="*",
        default=[examples / "speech.wav"],
        help="speech with phone times beside it (same name, .json)",
    )
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="recorded speech")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    parser.add_argument("--existing", action="store_true", help="measure the clips that are there, make none")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", default="10", help="lengths for the section speed, such as 10,60,300")
    parser.add_argument("options", nargs="*", help="after --, more arguments of 'mooe generate'")
    return parser.parse_args()


def sections(given: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """What to run for each section."""
    clips = ClipFolder(given.clips, size=given.size, generate=not given.existing, options=tuple(given.options))
    portrait, speech, seed = given.portraits[0], given.speech, given.seed
    speeches = list(dict.fromkeys([speech, *given.labelled, *given.real]))
    lengths = [float(length) for length in given.seconds.split(",")]
    return {
        "emotion": lambda: measure_emotion(clips, given.portraits, speech, seed),
        "intensity": lambda: measure_intensity(clips, portrait, speech, seed),
        "timeline": lambda: measure_timeline(clips, given.portraits, speech, seed),
        "lips": lambda: measure_lips(clips, portrait, given.labelled, given.real, seed),
        "motion": lambda: measure_motion(clips, [portrait], speeches, seed),
        "speed": lambda: measure_speed(clips, portrait, speech, seed, lengths),
        "determinism": lambda: measure_determinism(clips, portrait, speech, seed),
    }


def main() -> None:
    """Run the sections asked for."""
    given = arguments()
    wanted = given.only.split(",")
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        sys.exit(f"There is no section {unknown[0]}: choose from {', '.join(SECTIONS)}.")
    be_polite()
    # Sections measured before stay in the file.
    stored = given.clips / "measured.json"
    measured: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
    try:
        for name, run in sections(given).items():
            if name in wanted:
                measured[name] = storable(run())
                write_json(stored, measured)
    except MooeError as error:
        sys.exit(str(error))
    print(f"written to {stored}")


if __name__ == "__main__":
    main()
