"""`edge-deeplab evaluate`: how good models are on labelled pictures, side by side."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.data_option import DATA_HELP, SPEC
from edge_deeplab.cli.evaluate_portrait import PortraitRequest, evaluate_portrait, portrait_options
from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    import numpy as np

    from edge_deeplab.cli.predictors import Predictor
    from edge_deeplab.data.catalogue import OpenedData
    from edge_deeplab.data.pairs import LabelledPicture
    from edge_deeplab.evaluation.inference import Look
    from edge_deeplab.evaluation.report import Row
    from edge_deeplab.evaluation.runner import ClassReport, EvaluationReport, OnPrediction
    from edge_deeplab.evaluation.trimap_curve import TrimapCurve

PERSON, CLASSES = "person", "classes"
PIPE_WIDTH = 120  # columns of the table where no terminal says how many it has
TO_STDOUT = "-"


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--data", required=True, metavar=SPEC, help=DATA_HELP)
@click.option(
    "--score",
    type=click.Choice([PERSON, CLASSES]),
    help=f"What is scored. [{PERSON} where every model knows a person and the masks hold nothing else, else {CLASSES}]",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N pictures, spread evenly over the names.")
@click.option(
    "--scales",
    metavar="X,Y,...",
    help="Average the probabilities over these sizes of the picture, e.g. 0.75,1,1.5. [1]",
)
@click.option("--flip", is_flag=True, help="Average them over the picture and its mirror image, too.")
@click.option(
    "--window",
    is_flag=True,
    help="Take the picture at its own size in overlapping windows of the model's size, not shrunk to it as a whole.",
)
@click.option("--overlap", type=float, metavar="X", help="Of neighbouring windows, a share of their side. [0.333]")
@click.option(
    "--output-stride",
    type=click.Choice(["8", "16", "32"]),
    help="Build .keras models anew at this output stride, e.g. 8 for one trained at 16; the weights stay.",
)
@click.option(
    "--trimap-curve",
    type=click.Path(path_type=Path),
    metavar="FILE.svg",
    help="Also draw mean IoU near borders against the width of the band.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the LiteRT engine.")
@click.option(
    "--min-person-iou", type=click.FloatRange(0, 1), metavar="X", help="Exit with 3 where a model has less than this."
)
@click.option(
    "--min-mean-iou", type=click.FloatRange(0, 1), metavar="X", help="Exit with 3 where a model has less than this."
)
@click.option("--json", "json_file", metavar="FILE", help="Also write all figures to FILE; - is stdout alone.")
@click.option("--force", is_flag=True, help="Replace FILE when it exists.")
@portrait_options
@foreign_options
def command(
    models: tuple[str, ...],
    data: str,
    score: str | None,
    limit: int | None,
    scales: str | None,
    flip: bool,
    window: bool,
    overlap: float | None,
    output_stride: str | None,
    trimap_curve: Path | None,
    threads: int,
    min_person_iou: float | None,
    min_mean_iou: float | None,
    json_file: str | None,
    force: bool,
    portrait: PortraitRequest,
    facts: ForeignFacts,
) -> None:
    """Score MODEL, or several, on labelled pictures: one row each.

    A MODEL is a .tflite, .keras or .qat file, or the name of a bundled model. One that carries no manifest needs
    --labels, --input-range and --activation (and --size where the file leaves it open); they hold for all such models.

    \b
    person IoU  intersection over union of the person
    mean IoU    mean of person and background IoU
    trimap IoU  the same within 2 % of the diagonal around the true edge
    boundary F  edge pixels within 0.75 % of the diagonal (at least 1 pixel)

    Each is the mean over the pictures, at their own size, person where its probability is above 0.5.
    With --score classes, mean IoU is that of PASCAL VOC: over all pixels of the set, label 255 left out; "of pictures"
    is the mean of each picture's own.

    --scales, --flip and --window show how much more looks at a picture gain, at so many times the cost. Scale 1 is the
    model's own size, with --window the picture's; what does not fit the model is taken in windows of its size.

    --output-stride 8 gives a network trained at 16 denser maps: exactly its own function on sides of k x 16 + 1, as
    imported networks have; on other sides its maps then lie a quarter of the old stride aside, and may score less.

    --trimap-curve draws DeepLabv3+'s figure: mean IoU of the pixels within so many pixels of a border between labels,
    void being one. Its numbers are in --json, too.

    --portrait scores what people see of a portrait: each model's matte, and what compositing at its defaults makes of
    it, against true alpha mattes, or against scenes made of people cut out and moved over --backgrounds.
    """
    from edge_deeplab.cli.predictors import open_predictor, refuse_idle_facts
    from edge_deeplab.data.catalogue import open_data
    from edge_deeplab.data.pairs import spread
    from edge_deeplab.errors import OutputError

    target = Path(json_file) if json_file and json_file != TO_STDOUT else None
    if target and target.exists() and not force:  # before minutes of work; write_json checks again
        raise OutputError(f"{target}: exists already", next_step="choose another name, or pass --force")
    if target and not target.parent.is_dir():
        raise OutputError(f"{target}: cannot be written", came=f"no folder {target.parent}")
    portrait.check()
    if portrait.is_asked:
        evaluate_portrait(
            models, Path(data), portrait, facts, limit=limit, threads=threads, json_file=json_file, force=force
        )
        return
    if trimap_curve is not None:
        check_svg(trimap_curve, overwrite=force)
    look = read_look(scales, flip=flip, window=window, overlap=overlap)
    refuse_idle_facts(list(models), facts)
    opened = open_data(data)
    pairs = spread(opened.pairs, limit)
    with contextlib.ExitStack() as stack:
        predictors = []
        for model in models:
            stride = int(output_stride) if output_stride else None
            predictors.append(open_predictor(model, facts, threads=threads, output_stride=stride))
            stack.callback(predictors[-1].close)
        score = choose_score(score, predictors, min_person_iou, opened)
        curves = [new_curve(score, predictor) if trimap_curve else None for predictor in predictors]
        rows = [
            score_model(name, predictor, pairs, score, look, curve=curve)
            for name, predictor, curve in zip(row_names(models), predictors, curves)
        ]
    points = {row.name: curve.points() for row, curve in zip(rows, curves) if curve is not None}
    document = describe(rows, predictors, score, look, data=opened, threads=threads, points=points)
    if trimap_curve is not None:
        write_curves(trimap_curve, points, title=f"mean IoU near borders: {opened.name}, {len(pairs)} pictures")
    if target:
        from edge_deeplab.profiling.report import write_json

        write_json(target, document, overwrite=force)
    if json_file == TO_STDOUT:
        from edge_deeplab.profiling.report import to_json

        click.echo(to_json(document), nl=False)
    else:
        looked = "" if look.is_plain else f"; {look}"
        show(rows, score, title=f"{opened.name}: {len(pairs)} pictures{looked}")
    hold_gates(rows, {"person_iou": min_person_iou, "mean_iou": min_mean_iou})


def read_look(scales: str | None, *, flip: bool, window: bool, overlap: float | None) -> Look:
    """The options of how a picture is looked at as one object. Raises UsageError for what is not allowed."""
    from edge_deeplab.errors import UsageError
    from edge_deeplab.evaluation.inference import Look

    given: dict[str, Any] = {"flip": flip, "window": window}
    if scales is not None:
        try:
            given["scales"] = tuple(float(part) for part in scales.split(","))
        except ValueError as error:
            raise UsageError("--scales", came=scales, allowed="numbers with commas between, e.g. 0.75,1,1.5") from error
    if overlap is not None:
        if not window and given.get("scales", (1.0,)) == (1.0,):
            raise UsageError("--overlap: there are no windows", next_step="add --window, or --scales other than 1")
        given["overlap"] = overlap
    return Look(**given)


def row_names(models: tuple[str, ...]) -> list[str]:
    """A short name for each model: its file's name, or as typed where two files share it."""
    short = [Path(model).name for model in models]
    return [name if short.count(name) == 1 else model for name, model in zip(short, models)]


def choose_score(
    score: str | None, predictors: list[Predictor], min_person_iou: float | None, data: OpenedData
) -> str:  # fmt: skip
    """Person or classes. Raises UsageError where the models, the data or the gate do not go with it, DataError where
    the classes of models and data are not the same.
    """
    from edge_deeplab.errors import UsageError

    without = [predictor.path.name for predictor in predictors if predictor.manifest.person_class is None]
    if score is None:
        score = CLASSES if without or data.labels else PERSON
    if score == PERSON and data.labels:
        raise UsageError(f"--score {PERSON}: {data.data_set.name} has {len(data.labels)} classes, not a person alone",
                         next_step=f"score it with --score {CLASSES}")  # fmt: skip
    for predictor in predictors:
        data.check_labels(predictor.manifest.labels, who=predictor.path.name)
    if score == PERSON and without:
        raise UsageError(f"--score {PERSON}: no person class in {', '.join(without)}", next_step="give --person-class")
    if score == CLASSES and min_person_iou is not None:
        raise UsageError(f"--min-person-iou: goes with --score {PERSON}", came=f"--score {CLASSES}",
                         next_step="use --min-mean-iou")  # fmt: skip
    if score == CLASSES and len({predictor.manifest.labels for predictor in predictors}) > 1:
        raise UsageError(f"--score {CLASSES}: the models have different labels",
                         came="; ".join(f"{one.path.name}: {len(one.manifest.labels)} labels" for one in predictors),
                         next_step="score them one by one")  # fmt: skip
    return score


def score_model(
    name: str, predictor: Predictor, pairs: tuple[LabelledPicture, ...], score: str, look: Look, *,
    curve: TrimapCurve | None = None,
) -> Row[Any]:  # fmt: skip
    """Runs one model over the pairs, with a bar on stderr, and adds its predictions to a curve."""
    from edge_deeplab.evaluation.report import Row

    with progress_bar(name, total=len(pairs)) as on_progress:
        watch = curve.add if curve is not None else None
        report = score_pairs(predictor, pairs, score, look, on_progress=on_progress, on_prediction=watch)
    return Row(name=name, kind=predictor.kind, size_hw=predictor.manifest.size_hw, report=report)


def score_pairs(
    predictor: Predictor, pairs: tuple[LabelledPicture, ...], score: str, look: Look, *,
    on_progress: Callable[[int], None], on_prediction: OnPrediction | None = None,
) -> EvaluationReport | ClassReport:  # fmt: skip
    """The figures of one model on the pairs, for PERSON or for CLASSES."""
    from edge_deeplab.evaluation.runner import evaluate_classes, evaluate_pairs

    manifest = predictor.manifest
    one_look = predictor.matte if score == PERSON else predictor.probabilities
    predict = look.over(one_look, crop_hw=manifest.size_hw, fit=manifest.fit)
    if score == PERSON:
        return evaluate_pairs(person_masks(pairs), predict, on_progress=on_progress, on_prediction=on_prediction)
    labelled = ((pair.name, *pair.read(classes=len(manifest.labels))) for pair in pairs)
    return evaluate_classes(
        labelled, predict, manifest.labels, on_progress=on_progress, on_prediction=on_prediction
    )  # fmt: skip


def new_curve(score: str, predictor: Predictor) -> TrimapCurve:
    """An empty curve for what is scored: person and background, or the model's classes."""
    from edge_deeplab.evaluation.trimap_curve import TrimapCurve

    return TrimapCurve(2 if score == PERSON else len(predictor.manifest.labels))


def check_svg(path: Path, *, overwrite: bool) -> None:
    """Before minutes of work. Raises UsageError for another kind of file, OutputError where it cannot be written."""
    from edge_deeplab.errors import OutputError, UsageError

    if path.suffix.lower() != ".svg":
        raise UsageError(
            f"--trimap-curve {path}: another kind of file", came=path.suffix or "no suffix", allowed=".svg"
        )
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already", next_step="choose another name, or pass --force")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written", came=f"no folder {path.parent}")


def write_curves(path: Path, points: dict[str, list[tuple[float, float]]], *, title: str) -> None:
    """Draws every model's curve into one file. Raises OutputError where it cannot be written."""
    from edge_deeplab.errors import OutputError
    from edge_deeplab.evaluation.trimap_curve import draw_trimap_curves

    try:
        path.write_text(draw_trimap_curves(points.items(), title=title), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
    click.echo(f"trimap curve in {path}", err=True)


def person_masks(pairs: tuple[LabelledPicture, ...]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Pictures with the mask of the person. Raises DataError for a mask with void pixels, which has no such figures."""
    from edge_deeplab.errors import DataError
    from edge_deeplab.labels import IGNORE

    for pair in pairs:
        image, labels = pair.read(classes=2)
        if (labels == IGNORE).any():
            raise DataError(f"{pair.mask_path}: has void pixels (255 beside 1)", allowed="0 and 255, or 0 and 1",
                            next_step=f"score it with --score {CLASSES}")  # fmt: skip
        yield pair.name, image, labels == 1


def describe(
    rows: list[Row[Any]], predictors: list[Predictor], score: str, look: Look, *, data: OpenedData,
    threads: int, points: dict[str, list[tuple[float, float]]],
) -> dict[str, Any]:  # fmt: skip
    """Everything as plain values: what ran on what, the figures, and those of every picture."""
    import hashlib

    from edge_deeplab import __version__
    from edge_deeplab.runtime.interpreter import engine_name

    return {
        "format": 1,
        "edge_deeplab": __version__,
        "score": score,
        "look": look.to_dict(),
        "data": data.name,
        "data_set": data.data_set.name,
        "engine": list(engine_name()),
        "threads": threads,
        "models": [
            {
                "model": row.name,
                "kind": row.kind,
                "size_hw": list(row.size_hw),
                "sha256": hashlib.sha256(predictor.path.read_bytes()).hexdigest(),
                "size_bytes": predictor.path.stat().st_size,
                **({"trimap_curve": points[row.name]} if row.name in points else {}),
                **row.report.to_dict(),
            }
            for row, predictor in zip(rows, predictors, strict=True)
        ],
    }


def show(rows: list[Row[Any]], score: str, *, title: str) -> None:
    """Prints the table."""
    from rich.console import Console

    from edge_deeplab.evaluation.report import class_table, per_class_table, person_table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    if score == PERSON:
        console.print(person_table(rows, title=title))
        return
    console.print(class_table(rows, title=title))
    console.print()
    console.print(per_class_table(rows))


def hold_gates(rows: list[Row[Any]], least: dict[str, float | None]) -> None:
    """Raises GateError naming every model and figure below its gate."""
    from edge_deeplab.errors import GateError

    missed = [
        f"{row.name} has {figure.replace('_iou', ' IoU')} {getattr(row.report, figure):.4f}, asked for {floor:g}"
        for figure, floor in least.items()
        if floor is not None
        for row in rows
        if getattr(row.report, figure) < floor
    ]
    if missed:
        raise GateError("gate missed: " + "; ".join(missed))
