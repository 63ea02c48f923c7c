"""`mooe evaluate`: what judges see in finished clips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mooe.commands.terminal import native_logs_hidden
from mooe.errors import ConfigError

if TYPE_CHECKING:
    from mooe.metrics.emotion_report import ClipLabel, EmotionReport

JUDGES = ("facex", "blendshapes")


def evaluate(
    source: Annotated[Path, typer.Argument(metavar="VIDEO|FOLDER", help="A video, or a folder with --emotions.")],
    emotion: Annotated[str | None, typer.Option(metavar="NAME", help="The emotion that the clip shall show.")] = None,
    emotions: Annotated[
        bool, typer.Option("--emotions", help="Judge a folder: anna_happy.mp4, anna_sad_0.5.mp4, anna_neutral.mp4, ...")
    ] = False,
    neutral: Annotated[
        Path | None, typer.Option(help="The same person's neutral clip, to compare blendshapes with.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="What is said in the video: measure lips, lids and head.")] = None,
    phones: Annotated[
        Path | None, typer.Option(help="When which phone is said: a .json beside --audio is found by itself.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="A video of the same moments as they should look: measure what differs.")
    ] = None,
    portrait: Annotated[Path | None, typer.Option(help="The person's photograph: measure the identity.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the figures of speech and quality to this .json.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a row a clip to this .csv (emotion).")] = None,
    png: Annotated[Path | None, typer.Option(help="Draw confusion and intensity to this .png (emotion).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing results.")] = False,
) -> None:
    """Measure finished videos: emotion, lips and head, likeness to a reference or to a portrait."""
    from mooe.media.outputs import check_output

    asked = emotion is not None or emotions
    figures = audio is not None or reference is not None or portrait is not None
    _check_choice(emotion, emotions, asked, figures, audio, phones)
    if not asked and (csv or png or neutral):
        raise ConfigError("--csv, --png and --neutral belong to --emotion and --emotions: give one of these.")
    if report is not None and not figures:
        raise ConfigError("--report holds figures of --audio, --reference and --portrait: give one of these.")
    for path, suffix in ((csv, ".csv"), (png, ".png"), (report, ".json")):
        if path is not None:
            check_output(path, suffix, force=force)
    with native_logs_hidden():
        if asked:
            _evaluate_emotion(source, emotion, neutral, csv, png)
        if figures:
            _evaluate_figures(source, audio, phones, reference, portrait, report)


def _check_choice(
    emotion: str | None, emotions: bool, asked: bool, figures: bool, audio: Path | None, phones: Path | None
) -> None:
    if emotion is not None and emotions:
        raise ConfigError("Give either --emotion NAME for one clip, or --emotions for a folder of clips.")
    if emotions and figures:
        raise ConfigError("--emotions judges a folder; --audio, --reference and --portrait go with one video.")
    if not asked and not figures:
        raise ConfigError("Say what to measure: --emotion NAME, --emotions, --audio A, --reference V or --portrait P.")
    if phones is not None and audio is None:
        raise ConfigError("--phones belongs to --audio: give the speech too.")


def _evaluate_emotion(
    source: Path, emotion: str | None, neutral: Path | None, csv: Path | None, png: Path | None
) -> None:
    from mooe.emotion.taxonomy import NEUTRAL, canonical_name
    from mooe.metrics.emotion_report import ClipLabel, read_labels

    if emotion is None:
        labels = read_labels(source)
    else:
        labels = [ClipLabel(source, canonical_name(emotion))]
        labels += [] if neutral is None else [ClipLabel(neutral, NEUTRAL)]
    report = _judge(labels)
    if csv is not None:
        _write_csv(csv, report)
    if png is not None:
        _draw(png, report)
    _show(report)


def _evaluate_figures(
    video: Path,
    audio: Path | None,
    phones: Path | None,
    reference: Path | None,
    portrait: Path | None,
    report: Path | None,
) -> None:
    from mooe.commands.evaluate_speech import evaluate_speech, figures_table
    from mooe.media import write_json

    figures: dict[str, Any] = {}
    if audio is not None:
        figures |= evaluate_speech(video, audio, phones)
    if reference is not None or portrait is not None:
        figures["quality"] = _quality(video, reference, portrait)
    if report is not None:
        write_json(report, figures)
    print(figures_table(figures))


def _quality(video: Path, reference: Path | None, portrait: Path | None) -> dict[str, Any]:
    from contextlib import ExitStack

    from mooe.media import read_image, read_video
    from mooe.metrics.quality import QualityJudge

    judge = QualityJudge()
    with ExitStack() as stack:
        film = stack.enter_context(read_video(video))
        wanted = None if reference is None else stack.enter_context(read_video(reference))
        person = None if portrait is None else read_image(portrait)
        return judge.compare(film, wanted, person).summary()


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
