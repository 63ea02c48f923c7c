"""`mooe evaluate`: what judges see in finished clips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mooe.commands.terminal import native_logs_hidden
from mooe.errors import ConfigError

if TYPE_CHECKING:
    from mooe.metrics.emotion_report import ClipLabel, EmotionReport

JUDGES = ("facex", "blendshapes")


def evaluate(
    source: Annotated[Path, typer.Argument(metavar="VIDEO|FOLDER", help="A clip, or a folder with --emotions.")],
    emotion: Annotated[str | None, typer.Option(metavar="NAME", help="The emotion that the clip shall show.")] = None,
    emotions: Annotated[
        bool, typer.Option("--emotions", help="Judge a folder: anna_happy.mp4, anna_sad_0.5.mp4, anna_neutral.mp4, ...")
    ] = False,
    neutral: Annotated[
        Path | None, typer.Option(help="The same person's neutral clip, to compare blendshapes with.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a row a clip to this .csv.")] = None,
    png: Annotated[Path | None, typer.Option(help="Draw confusion and intensity to this .png.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing results.")] = False,
) -> None:
    """Tell which emotion the judges see, and whether it is the one asked for."""
    from mooe.emotion.taxonomy import NEUTRAL, canonical_name
    from mooe.media.outputs import check_output

    if (emotion is not None) == emotions:
        raise ConfigError("Give either --emotion NAME for one clip, or --emotions for a folder of clips.")
    for path, suffix in ((csv, ".csv"), (png, ".png")):
        if path is not None:
            check_output(path, suffix, force=force)
    from mooe.metrics.emotion_report import ClipLabel, read_labels

    if emotion is None:
        labels = read_labels(source)
    else:
        labels = [ClipLabel(source, canonical_name(emotion))]
        labels += [] if neutral is None else [ClipLabel(neutral, NEUTRAL)]
    with native_logs_hidden():
        report = _judge(labels)
    if csv is not None:
        _write_csv(csv, report)
    if png is not None:
        _draw(png, report)
    _show(report)


def _judge(labels: list[ClipLabel]) -> EmotionReport:
    from mooe.metrics.emotion_report import EmotionEvaluator

    evaluator = EmotionEvaluator()
    if evaluator.missing:
        print("mooe:", evaluator.missing, "Only blendshapes judge now.", file=sys.stderr)
    return evaluator.evaluate(labels)


def _show(report: EmotionReport) -> None:
    for result in report.results:
        label = result.label
        asked = label.emotion if label.intensity == 1 else f"{label.emotion}:{label.intensity:g}"
        probability = f" ({result.probabilities[result.seen]:.2f})" if result.seen else ""
        strength = "" if result.strength is None else f", strength {result.strength:.2f}"
        print(
            f"{label.path.name}: asked {asked}, facex sees {result.seen or '-'}{probability}, "
            f"blendshapes {result.blendshapes or '-'}{strength}"
        )
    for judge in JUDGES:
        right, of = report.accuracy(judge)
        if of:
            print(f"{judge}: {right} of {of} right")
        for name, correlation in report.rank_correlation(judge).items():
            print(f"{judge}: {name} grows with the intensity, Spearman {correlation:.2f}")


def _write_csv(path: Path, report: EmotionReport) -> None:
    import csv
    import io

    from mooe.media.outputs import as_output_error, replacing

    rows = report.rows()
    text = io.StringIO()
    writer = csv.DictWriter(text, max(rows, key=len), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as temporary, as_output_error(path):
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _draw(path: Path, report: EmotionReport) -> None:
    from mooe.media.plots import confusion_chart, curve_chart, stack_charts
    from mooe.metrics.emotion import JUDGED_EMOTIONS

    charts = []
    for judge in JUDGES:
        right, of = report.accuracy(judge)
        if of:
            title = f"{judge}: asked (rows) and seen (columns), {right} of {of} right"
            charts.append(confusion_chart(JUDGED_EMOTIONS, report.confusion(judge), title))
    for judge, what in (("facex", "probability"), ("blendshapes", "share of the actors' change")):
        curves = report.curves(judge)
        if curves:
            charts.append(curve_chart(curves, f"{judge}: {what} by intensity asked for"))
    if not charts:
        raise ConfigError("There is nothing to draw: no judge could judge these clips.")
    stack_charts(charts).save(path)
