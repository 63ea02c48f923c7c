"""Lips, head and synchronisation on speech of several languages, and the mouth while nobody speaks.

    python bench/speech.py --clips build/speech --portrait A.jpg --real B.wav C.wav --silent D.jpg E.jpg --out R.json

speaks a few sentences in each of ``--languages`` (needs the extra ``tts``; their phone times come from the synthesis,
the film is made from the sound alone), makes the films that are missing through ``mooe generate``, measures them as
``mooe evaluate --audio`` does, and prints a table a kind of speech. Phone times of recordings are the recogniser's.
``--silent`` portraits, best ones with an open or smiling mouth, are given silence: nothing of the photograph's mouth
may leak into the film.
"""

from __future__ import annotations

import argparse
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.generated import ClipFolder, ClipSpec, be_polite, silence  # noqa: E402
from bench.tables import show, storable  # noqa: E402
from mooe.commands.evaluate_speech import evaluate_speech  # noqa: E402
from mooe.errors import MooeError  # noqa: E402
from mooe.media import read_video, write_json  # noqa: E402
from mooe.metrics.tracks import FaceTracks, track_frames  # noqa: E402

TEXTS = {
    "en-us": "My mother bought a big map of the park. Please put the blue book back by the lamp, and bring me a cup.",
    "en-gb": "Peter said that the museum would be open by May. Perhaps we might climb up before it begins to rain.",
    "es": "Mi madre compró un mapa bonito del parque. Por favor, pon el libro blanco sobre la mesa y trae pan.",
    "fr-fr": "Ma mère a acheté une belle pomme au marché. Pose le petit livre blanc sur la table et apporte du pain.",
    "it": "Mia mamma ha comprato una mappa bella del parco. Per favore, porta il libro bianco e prepara la pasta.",
    "pt-br": "Minha mãe comprou um mapa bonito do parque. Por favor, ponha o livro branco sobre a mesa e traga pão.",
    "hi": "मेरी माँ बाज़ार से फल लाई। बच्चे बाग में बहुत मज़े से खेल रहे हैं, और पापा किताब पढ़ रहे हैं।",
}
# What people reach on films, for comparison (medians; range over clips)
PEOPLE = {
    "shut_on_pbm": "0.88 (0.45 with other sound)", "correlation": "0.27", "jitter_mouth": "6.8 (4.1 to 9.4)",
    "head_speed": "14 to 19 (12 14 25)", "head_range": "8 12 6 in 3-10 s", "blinks": "24",
    # three films of people with their sound, from packages (psychopy's jwpIntro and testMovie, pliers' obama_speech),
    # of which the head's speed stands in brackets
    "beats": "0.66 0.48 0.52", "beats_by_chance": "0.58 0.46 0.48",
}  # fmt: skip
_SILENT_SECONDS = 6.0
_SYNC_WINDOW = 105  # frames: 75 are compared at the largest offset


def arguments() -> argparse.Namespace:
    """The command line."""
    examples = ROOT / "examples"
    parser = argparse.ArgumentParser(description="Measure lips and head on speech of several languages.")
    parser.add_argument("--clips", type=Path, default=Path("build/speech"), help="folder of the clips")
    parser.add_argument("--portrait", type=Path, default=examples / "portraits/grace_hopper.jpg")
    parser.add_argument("--languages", default=",".join(TEXTS), help="with commas between; empty for none")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="recorded speech")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each recording, from its beginning")
    parser.add_argument("--silent", type=Path, nargs="*", default=[], help="portraits to be given silence")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file")
    return parser.parse_args()


def spoken(language: str, folder: Path) -> Path:
    """The language's sentences as a WAV file, with their phone times beside it."""
    from mooe.audio.synthesis import speak

    path = folder / f"spoken_{language}.wav"
    if not path.exists():
        speech = speak(TEXTS[language], language=language)
        write_json(path.with_suffix(".json"), {"phones": [list(phone) for phone in speech.phones]})
        _write_wav(path, speech.waveform)
    return path


def beginning(recording: Path, seconds: float, folder: Path) -> Path:
    """The first seconds of a recording as a WAV file."""
    from mooe.audio import SAMPLE_RATE, load_audio

    path = folder / f"recorded_{recording.stem}.wav"
    if not path.exists():
        _write_wav(path, load_audio(recording)[: round(seconds * SAMPLE_RATE)])
    return path


def _write_wav(path: Path, waveform: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((waveform.clip(-1, 1) * 32767).astype("<i2").tobytes())


def measured(clips: ClipFolder, portrait: Path, speech: Path, seed: int) -> dict[str, Any] | None:
    """What `mooe evaluate --audio` gives of a clip; it is tracked once."""
    path = clips.video(ClipSpec(portrait, speech, (), seed))
    if path is None:
        return None
    stored = path.with_suffix(".tracks.npz")
    if not stored.exists() or stored.stat().st_mtime < path.stat().st_mtime:
        print(f"tracking {path.name}", flush=True)
        with read_video(path) as film:
            track_frames(film, film.info.fps).save(stored)
    tracks = FaceTracks.load(stored)
    return {"speech": speech.stem, "portrait": portrait.stem, **evaluate_speech(path, speech, None, tracks)}


def pooled(rows: list[dict[str, Any]], clips: ClipFolder, seed: int, portrait: Path) -> dict[str, Any]:
    """Lag over all clips as one, and closures counted over all."""
    from mooe.audio import SAMPLE_RATE, load_audio
    from mooe.metrics.lips import Closure, lip_closure, lip_gap, lip_lag
    from mooe.metrics.phones import (
        MIDDLE_DELAY,
        expected_opening,
        load_phone_times,
        phone_spans,
        recognise_phone_times,
    )

    pairs, closure = [], Closure(0, 0, 0, 0)
    for row in rows:
        speech = clips.folder / f"{row['speech']}.wav"
        path = clips.video(ClipSpec(portrait, speech, (), seed))
        if path is None:
            continue
        gap = lip_gap(FaceTracks.load(path.with_suffix(".tracks.npz")))
        if speech.with_suffix(".json").exists():
            phones = load_phone_times(speech.with_suffix(".json"))
        else:
            sound = load_audio(speech)
            phones = phone_spans(recognise_phone_times(sound, delay=MIDDLE_DELAY), len(sound) / SAMPLE_RATE)
        pairs.append((gap, expected_opening(phones, len(gap))))
        closure += lip_closure(gap, phones)
    lag = lip_lag(pairs)
    return {
        "lag_frames": lag.frames, "correlation_at_lag": lag.correlation,
        "correlation": float(np.mean([row["lips"]["correlation"] for row in rows])),
        "shut_on_pbm": closure.rate, "shut_by_chance": closure.chance, "pbm": closure.of,
        "sync_confidence": float(np.mean([row["sync"]["confidence"] for row in rows])),
        "jitter_mouth": float(np.mean([row["jitter"]["mouth"] for row in rows])),
        "head_speed": float(np.mean([row["head"]["speed_mean"] for row in rows])),
        "beats": float(np.mean([row["beats"]["score"] for row in rows if row["beats"]])),
        "beats_by_chance": float(np.mean([row["beats"]["chance"] for row in rows if row["beats"]])),
    }  # fmt: skip


def sync_accuracy(rows: list[dict[str, Any]], clips: ClipFolder, seed: int, portrait: Path) -> dict[str, float]:
    """How surely the synchronisation metric finds the offset from windows of 3 s, and how far wrong sounds are.

    Returns:
        Share of windows whose offset (0) is found exactly and within a frame among 31 (chance 1/31 and 3/31); mean
        distance of the right sound, of it shifted by 10 to 15 frames, and of other clips' sounds.
    """
    from mooe.audio import load_audio
    from mooe.metrics.sync import LONGEST_OFFSET, offset_distances, sync_vectors

    pairs = []
    for row in rows:
        speech = clips.folder / f"{row['speech']}.wav"
        path = clips.video(ClipSpec(portrait, speech, (), seed))
        found = None
        if path is not None:
            found = sync_vectors(FaceTracks.load(path.with_suffix(".tracks.npz")), load_audio(speech))
        pairs += [] if found is None else [found]
    offsets, right, shifted, foreign = [], [], [], []
    for number, (seen, heard) in enumerate(pairs):
        for start in range(0, len(seen) - _SYNC_WINDOW + 1, _SYNC_WINDOW // 2):
            span = slice(start, start + _SYNC_WINDOW)
            distances = offset_distances(seen[span], heard[span])
            offsets.append(abs(int(distances.argmin()) - LONGEST_OFFSET))
            right.append(float(distances[LONGEST_OFFSET]))
            shifted.append(float(distances[[*range(6), *range(-6, 0)]].mean()))
            for _, other in pairs[:number] + pairs[number + 1 :]:
                if len(other) >= span.stop:
                    foreign.append(float((seen[span] - other[span]).norm(dim=-1).mean()))
    return {
        "windows": len(offsets), "exact": float(np.mean(np.array(offsets) == 0)),
        "within_1": float(np.mean(np.array(offsets) <= 1)), "distance": float(np.mean(right)),
        "distance_shifted": float(np.mean(shifted)), "distance_foreign": float(np.mean(foreign)) if foreign else np.nan,
    }  # fmt: skip


def show_talking(title: str, rows: list[dict[str, Any]], together: dict[str, Any]) -> None:
    """A line a figure, a column a clip."""
    lines: list[list[object]] = []
    for group, name, people in (
        ("lips", "lag_frames", ""), ("lips", "correlation", PEOPLE["correlation"]),
        ("lips", "shut_on_pbm", PEOPLE["shut_on_pbm"]), ("lips", "shut_by_chance", ""), ("lips", "pbm", ""),
        ("sync", "offset_frames", ""), ("sync", "confidence", ""), ("sync", "distance", ""),
        ("silence", "frames", ""), ("silence", "open_share", ""),
        ("jitter", "mouth", PEOPLE["jitter_mouth"]), ("head", "speed_mean", PEOPLE["head_speed"]),
        ("head", "range", PEOPLE["head_range"]), ("beats", "score", PEOPLE["beats"]),
        ("beats", "chance", PEOPLE["beats_by_chance"]),
        ("blinks", "per_minute", PEOPLE["blinks"]),
    ):  # fmt: skip
        values = [(row[group] or {}).get(name) for row in rows]
        lines.append([f"{group} {name}", *map(_short, values), people])
    names = [row["speech"].removeprefix("spoken_").removeprefix("recorded_")[:12] for row in rows]
    show(title, ["", *names, "people"], lines)
    show(f"{title}, together", ["", ""], [[name, value] for name, value in together.items()])


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " ".join(f"{part:.0f}" for part in value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def show_silent(rows: list[dict[str, Any]]) -> None:
    """The mouth of each portrait in silence."""
    names = ("frames", "open_share", "lip_leak", "gap", "movement")
    lines = [[row["portrait"], *(row["silence"][name] for name in names)] for row in rows]
    show("Silence", ["portrait", *names], lines)


def main() -> None:
    """Measure what is asked for."""
    given = arguments()
    languages = [language for language in given.languages.split(",") if language]
    unknown = [language for language in languages if language not in TEXTS]
    if unknown:
        sys.exit(f"There is no text in {unknown[0]}: choose from {', '.join(TEXTS)}.")
    be_polite()
    clips = ClipFolder(given.clips, size=given.size, generate=True)
    result: dict[str, Any] = {}
    try:
        kinds = {
            "Synthesised speech": [spoken(language, clips.folder) for language in languages],
            "Recorded speech": [beginning(path, given.seconds, clips.folder) for path in given.real],
        }
        for title, speeches in kinds.items():
            rows = [row for speech in speeches if (row := measured(clips, given.portrait, speech, given.seed))]
            if rows:
                together = pooled(rows, clips, given.seed, given.portrait)
                accuracy = sync_accuracy(rows, clips, given.seed, given.portrait)
                together |= {f"sync_{name}": value for name, value in accuracy.items()}
                show_talking(title, rows, together)
                result[title] = {"together": together, "clips": rows}
        quiet = silence(_SILENT_SECONDS, clips.folder)
        still = [row for portrait in given.silent if (row := measured(clips, portrait, quiet, given.seed))]
        if still:
            show_silent(still)
            result["Silence"] = still
    except MooeError as error:
        sys.exit(str(error))
    if given.out:
        write_json(given.out, json.loads(json.dumps(storable(result))))


if __name__ == "__main__":
    main()
