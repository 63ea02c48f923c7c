"""The report of a prepared corpus: a page that shows what was kept, what was left out, and why."""

from __future__ import annotations

from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from mooe.errors import OutputError
from mooe.media import replacing, write_json

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ddd}
section{margin:1.6rem 0;border-top:1px solid #ccc}figure{display:inline-block;margin:.3rem;width:128px}
figure img{width:112px;height:112px;object-fit:contain;background:#eee;border:3px solid #2e7d32}
figure.out img{border-color:#c62828;opacity:.75}figcaption{font-size:12px;line-height:1.3}.error{color:#c62828}
"""


def write_report(output: Path, records: list[dict[str, Any]]) -> None:
    """Write ``report.html`` and ``summary.json`` to ``output`` (raises OutputError)."""
    summary = summarize(records)
    write_json(output / "summary.json", summary)
    page = output / "report.html"
    try:
        with replacing(page) as temporary:
            temporary.write_text(_page(summary, records), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{page} cannot be written ({error.strerror}): free some space.") from error


def summarize(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals: videos, seconds kept and left out by reason, clips by speaker and emotion."""
    clips = [(record, clip) for record in records for clip in record["clips"]]
    left_out: Counter[str] = Counter()
    speakers: Counter[str] = Counter()
    emotions: Counter[str] = Counter()
    for record in records:
        for part in record["rejected"]:
            left_out[part["reason"]] += part["seconds"]
    for record, clip in clips:
        speakers[record["speaker"]] += clip["seconds"]
        emotions[" + ".join(clip["emotion"]) or ("neutral" if clip["labelled"] != "none" else "not known")] += 1
    return {
        "videos": len(records),
        "videos_not_used": {record["path"]: record["error"] for record in records if record["error"]},
        "clips": len(clips),
        "seconds_kept": round(sum(clip["seconds"] for _, clip in clips), 2),
        "seconds_left_out": {reason: round(seconds, 2) for reason, seconds in left_out.most_common()},
        "seconds_by_speaker": {name: round(seconds, 2) for name, seconds in speakers.most_common()},
        "clips_by_emotion": dict(emotions.most_common()),
    }


def _page(summary: dict[str, Any], records: list[dict[str, Any]]) -> str:
    rows = [
        ("videos", summary["videos"]),
        ("videos not used", len(summary["videos_not_used"])),
        ("clips kept", summary["clips"]),
        ("kept", f"{summary['seconds_kept'] / 60:.1f} min"),
        *((f"left out: {reason}", f"{seconds:.1f} s") for reason, seconds in summary["seconds_left_out"].items()),
        *((f"clips: {emotion}", count) for emotion, count in summary["clips_by_emotion"].items()),
    ]
    table = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows)
    sections = "".join(_section(record) for record in records)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Prepared videos</title><style>{_STYLE}</style>"
        f"<h1>Prepared videos</h1><p>Green frames were kept, red ones left out.</p><table>{table}</table>{sections}"
        "</html>\n"
    )


def _section(record: dict[str, Any]) -> str:
    kept = sum(clip["seconds"] for clip in record["clips"])
    title = f"{escape(record['name'])} <small>({escape(record['speaker'])})</small>"
    if record["error"]:
        return f"<section><h2>{title}</h2><p class=error>Not used: {escape(record['error'])}</p></section>"
    figures = "".join(_kept(clip) for clip in record["clips"]) + "".join(map(_left_out, record["rejected"]))
    return f"<section><h2>{title}</h2><p>{kept:.1f} of {record['seconds']:.1f} s kept</p>{figures}</section>"


def _kept(clip: dict[str, Any]) -> str:
    emotion = ", ".join(f"{name} {weight:g}" for name, weight in clip["emotion"].items())
    sync = "" if clip["sync"] is None else f"<br>lips and sound {clip['sync']:g}"
    units = ", ".join(f"{number} ({weight:g})" for number, weight in clip["action_units"].items() if weight >= 0.05)
    caption = f"{clip['start']:.1f} s, {clip['seconds']:.1f} s long<br>{escape(emotion) or 'no emotion'}{sync}"
    return _figure("", clip["thumbnail"], caption + (f"<br>AU {units}" if units else ""))


def _left_out(part: dict[str, Any]) -> str:
    caption = f"{part['start']:.1f} s, {part['seconds']:.1f} s<br>{escape(part['reason'])}"
    return _figure("out", part["thumbnail"], caption)


def _figure(kind: str, thumbnail: str, caption: str) -> str:
    image = f'<img alt="" src="data:image/jpeg;base64,{thumbnail}">' if thumbnail else ""
    return f'<figure class="{kind}">{image}<figcaption>{caption}</figcaption></figure>'
