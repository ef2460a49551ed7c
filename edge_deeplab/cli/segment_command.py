"""`edge-deeplab segment`: folders and lists of pictures, up to millions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.live_program import setting_option
from edge_deeplab.cli.option_sections import SectionedCommand
from edge_deeplab.serving.bulk.options import KINDS, BulkOptions

if TYPE_CHECKING:
    from edge_deeplab.serving.bulk.job import Progress

SECTIONS = {
    "What is written": ("output", "save", "resume", "as_json"),
    "Model and speed": ("model", "workers", "batch", "max_megapixels", "on_ray", "address"),
    "A model that carries no manifest": tuple(ForeignFacts.__dataclass_fields__),
}


class Kinds(click.ParamType):
    """Some of KINDS after commas."""

    name = "KINDS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Returns the names, each once, in the order given; refuses an unknown one."""
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",") if name.strip()))
        unknown = [name for name in names if name not in KINDS]
        if unknown or not names:
            self.fail(f"{', '.join(unknown) or 'nothing'!r} cannot be saved; allowed: {', '.join(KINDS)}", param, ctx)
        return names


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
              help="Where outputs go, each kind in a folder of its own.")  # fmt: skip
@click.option("--save", type=Kinds(), default="labels", show_default=True,
              help=f"Some of {', '.join(KINDS)}, after commas.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with what is in FOLDER; bad pictures get another try.")
@setting_option(BulkOptions, "model", "--model", metavar="MODEL")
@setting_option(BulkOptions, "workers", "--workers", "workers")
@setting_option(BulkOptions, "batch", "--batch", "batch")
@setting_option(BulkOptions, "max_megapixels", "--max-megapixels", "max_megapixels")
@setting_option(BulkOptions, "on_ray", "--ray", "on_ray", is_flag=True)
@setting_option(BulkOptions, "address", "--address", type=str, metavar="ADDRESS")
@click.option("--json", "as_json", is_flag=True, help="Write the end's counts as JSON to stdout.")
@foreign_options
def command(
    inputs: tuple[Path, ...], output: Path, save: tuple[str, ...], resume: bool, as_json: bool, facts: ForeignFacts,
    **given: Any,
) -> None:  # fmt: skip
    """Segment every picture of INPUT: folders with all below them, lists (.txt, a path a line), single pictures.

    Outputs mirror the tree of the inputs: photos/a/1.jpg becomes FOLDER/labels/a/1.png. Nothing is held in memory, so
    a million is a matter of time. Ended by anything, even kill -9, the same command with --resume goes on; each picture
    ends as one output. One that cannot be read is passed over and told of in FOLDER/bad.csv.

    Threads of this process do the work; --ray takes worker processes, --address a Ray cluster.

    \b
    edge-deeplab segment photos -o out
    edge-deeplab segment photos more.txt -o out --save labels,overlay --model streets.keras
    edge-deeplab segment photos -o out --resume
    """
    from edge_deeplab.cli.progress_line import ProgressLine
    from edge_deeplab.cli.serve_command import manifest_of
    from edge_deeplab.serving.bulk.job import run_job

    options = BulkOptions(kinds=save, **given)
    line = ProgressLine()
    shown: list[Progress] = []

    def show(progress: Progress) -> None:
        shown[:] = [progress]
        line.show(describe(progress), is_final=False)

    try:
        end = run_job(
            inputs, output, options, manifest=manifest_of(options.model, facts), resumes=resume, on_progress=show,
            on_step=lambda text: click.echo(text, err=True),
        )  # fmt: skip
    except KeyboardInterrupt:
        click.echo("\nended early; the same command with --resume goes on", err=True)
        raise
    finally:
        if shown:
            line.show(describe(shown[0]), is_final=True)
    if as_json:
        click.echo(json.dumps({**vars(end), "pictures_per_s": end.pictures_per_s}, indent=2))
    else:
        click.echo(report(end, output))


def describe(progress: Progress) -> str:
    """The line of progress."""
    parts = [f"{progress.done + progress.bad}/{progress.total} pictures", f"{progress.pictures_per_s:.1f} a second"]
    if progress.bad:
        parts.append(f"{progress.bad} bad")
    if progress.left_s:
        parts.append(f"{duration(progress.left_s)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A duration for people, e.g. "3 h 20 min"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def report(end: Progress, output: Path) -> str:
    """What stands on stdout when all is done."""
    text = f"{output}: {end.done} of {end.total} pictures done"
    if end.now:
        text += f", {end.now} now, {end.pictures_per_s:.1f} a second"
    if end.bad:
        text += f"; {end.bad} bad, see {output / 'bad.csv'}"
    return text
