"""`edge-deeplab doctor`: looks a data set over before it is trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_deeplab.cli.data_option import SPEC
from edge_deeplab.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from edge_deeplab.data.catalogue import OpenedData
    from edge_deeplab.data.doctor.examination import Diagnosis

TO_STDOUT = "-"
PIPE_WIDTH = 120
MOST_ROWS = 40
MOST_SPLITS = 2  # more leave no room for the count of pictures


@click.command()
@click.argument("data", nargs=-1, metavar=f"{SPEC}...")
@click.option("--list", "lists", is_flag=True, help="List the data sets known, their splits and layouts.")
@click.option(
    "--classes", type=click.IntRange(min=2, max=255), metavar="N", help="Of a folder of your own. [as its masks say]"
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N pairs of each split, evenly spread.")
@click.option(
    "--sheets", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Also write index.html there, with contact sheets of the suspicious pairs.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Threads. [one a processor, at most 8]")
@click.option("--json", "json_file", metavar="FILE", help="Also write everything to FILE; - is stdout alone.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def command(
    data: tuple[str, ...], lists: bool, classes: int | None, limit: int | None, sheets: Path | None,
    workers: int | None, json_file: str | None, force: bool,
) -> None:  # fmt: skip
    """Check a data set: what would break a training, what would mislead it, what it is made of.

    \b
    FOLDER               known by its layout: images/ and masks/ of the same
                         names, or CamVid, VOC, Cityscapes ... as their owners
                         publish them (--list)
    FOLDER@SPLIT         one split; else those for training and evaluation
    NAME:FOLDER[@SPLIT]  names the set, where a layout is another's too

    The same is taken by --data of evaluate, report and tune, and in the [data] table of recipes. Several folders are
    checked together, the first one as that which is learnt from: pictures that are in two of them are found.

    Found are missing, broken and swapped files, masks of another size, colours or JPEGs in place of labels, values that
    are no class, labels that begin with 1, masks of one class, void alone or grey edges, classes that are rare or
    absent, and near duplicates within and across splits.

    Class weights are suggested by two formulas, for loss.class_weights of a recipe. Where something would break a
    training, the exit code is 3.
    """
    from edge_deeplab.cli.report_inputs import check_target
    from edge_deeplab.data.doctor.examination import diagnose
    from edge_deeplab.data.doctor.sheet import PAGE, write_report
    from edge_deeplab.errors import GateError, OutputError, UsageError

    if lists:
        show_catalogue()
        return
    if not data:
        raise UsageError("which data?", allowed=SPEC, next_step="give a folder, or --list for what is known")
    target = Path(json_file) if json_file and json_file != TO_STDOUT else None
    if target is not None:
        check_target(target, overwrite=force)
    if sheets is not None and (sheets / PAGE).exists() and not force:  # before minutes of work; checked again
        raise OutputError(f"{sheets / PAGE}: exists already", next_step="choose another folder, or pass --force")
    opened = [split for text in data for split in open_splits(text)]
    if classes is not None and opened[0].labels:
        raise UsageError(f"--classes: {opened[0].data_set.name} has {len(opened[0].labels)} of its own")
    total = sum(min(len(one.listing.pairs), limit or sys.maxsize) for one in opened)
    with progress_bar("examining pairs", total=total) as on_progress:
        diagnosis = diagnose(opened, classes=classes, limit=limit, workers=workers, on_progress=on_progress)
    if sheets is not None:
        click.echo(f"pictures in {write_report(sheets, diagnosis, overwrite=force)}", err=True)
    if target is not None:
        from edge_deeplab.profiling.report import write_json

        write_json(target, diagnosis.to_dict(), overwrite=force)
    if json_file == TO_STDOUT:
        from edge_deeplab.profiling.report import to_json

        click.echo(to_json(diagnosis.to_dict()), nl=False)
    else:
        show(diagnosis)
    if diagnosis.errors:
        raise GateError(
            "this would break a training: " + "; ".join(finding.title for finding in diagnosis.errors),
            next_step=None if sheets else "see the pictures with --sheets FOLDER",
        )


def open_splits(text: str) -> list[OpenedData]:
    """The split that was named, or those for training and for evaluation that are there.

    Raises: DataError as open_data, and where neither is there.
    """
    from edge_deeplab.data.catalogue import DataSpec, open_data
    from edge_deeplab.errors import DataError

    training = open_data(text, role="train")
    data_set = training.data_set
    if DataSpec.parse(text).split is not None or data_set.train == data_set.evaluation:
        return [training]
    found, reasons = [], []
    for split in (training, open_data(text, role="evaluate")):
        try:
            listing = split.listing
        except DataError as error:  # a split whose list is not there
            reasons.append(str(error))
            continue
        if listing.pairs or listing.without_mask or listing.without_picture:
            found.append(split)
    if not found:
        raise DataError(f"{training.root}: no split is there", came="; ".join(reasons) or None, allowed=data_set.layout)
    return found


def show_catalogue() -> None:
    """Prints the data sets known: name and title, splits, layout."""
    from edge_deeplab.data.catalogue import CATALOGUE

    for one in CATALOGUE.values():
        click.echo(f"{one.name:<12}{one.title}")
        if len(one.splits) > 1:
            click.echo(f"{'':<12}splits {', '.join(one.splits)}")
        click.echo(f"{'':<12}{one.layout}")


def show(diagnosis: Diagnosis) -> None:
    """Prints splits, classes with suggested weights, and findings."""
    from rich.console import Console
    from rich.text import Text

    from edge_deeplab.data.doctor.sheet import summary

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    data = diagnosis.data[0]
    console.print(f"{data.root} ({data.data_set.title})", markup=False)
    for line in summary(diagnosis).split("; "):
        console.print(f"  {line}", markup=False)
    console.print()
    _show_classes(console, diagnosis)
    styles = {"error": "bold red", "warning": "yellow", "note": "blue"}
    for finding in diagnosis.findings:
        console.print()
        console.print(Text.assemble((finding.level, styles[finding.level]), f"  {finding.title}"))
        examples = finding.examples()
        for line in (
            finding.detail,
            f"in {examples}" if examples and finding.code not in ("leak", "duplicate") else "",
        ):
            if line:
                console.print(f"  {line}", markup=False)
        console.print(f"  next: {finding.next_step}", markup=False)
    if not diagnosis.findings:
        console.print("\nnothing was found", markup=False)


def _show_classes(console: object, diagnosis: Diagnosis) -> None:
    from rich.console import Console
    from rich.table import Table

    assert isinstance(console, Console)
    split, counted = diagnosis.weighed
    has_pictures = len(diagnosis.censuses) <= MOST_SPLITS
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("class", no_wrap=True)
    for name in diagnosis.censuses:
        table.add_column(f"{name}\npixels", justify="right", overflow="fold")
        if has_pictures:
            table.add_column("\npictures", justify="right")
    table.add_column("weight\nmedian f.", justify="right")
    table.add_column("\nENet", justify="right")
    medians, enets = counted.median_frequency(), counted.enet()
    for at, label in enumerate(diagnosis.labels[:MOST_ROWS]):
        cells = [
            text
            for census in diagnosis.censuses.values()
            for text in (f"{census.shares[at]:.2%}", str(census.pictures[at]))[: 2 if has_pictures else 1]
        ]
        table.add_row(label, *cells, f"{medians[at]:.2f}", f"{enets[at]:.2f}")
    console.print(table)
    if len(diagnosis.labels) > MOST_ROWS:
        console.print(f"and {len(diagnosis.labels) - MOST_ROWS} classes more: see --json or --sheets", markup=False)
    if len(diagnosis.labels) <= MOST_ROWS:
        weights = ", ".join(f"{one:.2f}" for one in medians)
        console.print(f"\nin a recipe, counted on {split}: loss.class_weights = \\[{weights}]", soft_wrap=True)
