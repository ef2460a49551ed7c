"""`edge-deeplab parity`: whether another machine, delegate or kernel set gives the same answer as this one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.parity_sides import MAX_MEAN_STEPS, MIN_IOU, Limits, Parity, compare
from edge_deeplab.cli.profile_command import KERNELS
from edge_deeplab.cli.target_options import TargetOptions, options_for

PIPE_WIDTH = 110  # columns of the tables where no terminal says how many it has
TO_STDOUT = "-"
LIMIT = 16


@click.command()
@click.argument("model")
@options_for("The other side, as above; needed.", hides_runner=True)
@click.option(
    "--kernels",
    type=click.Choice(KERNELS),
    default="auto",
    show_default=True,
    help="Of this side; reference gives the same on every processor.",
)
@click.option("--target-kernels", type=click.Choice(KERNELS), help="Of an ssh target. [auto]")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the engine, both sides.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="WHAT",
    help="A .calib file, a folder of pictures or one picture. [some pictures of our own]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LIMIT,
    show_default=True,
    metavar="N",
    help="At most N samples, spread evenly.",
)
@click.option(
    "--min-iou",
    type=click.FloatRange(0, 1),
    default=MIN_IOU,
    show_default=True,
    metavar="X",
    help="Exit with 3 where the two sides agree less on the person, or on the classes.",
)
@click.option(
    "--max-mean-steps",
    type=click.FloatRange(min=0),
    default=MAX_MEAN_STEPS,
    show_default=True,
    metavar="X",
    help="Exit with 3 where outputs differ by more in the mean.",
)
@click.option(
    "--max-steps",
    type=click.IntRange(min=0),
    metavar="N",
    help="Exit with 3 where one output differs by more; 0 asks for the same bits. [not held]",
)
@click.option("--json", "json_file", metavar="FILE", help="Also write all figures to FILE; - is stdout alone.")
@click.option("--force", is_flag=True, help="Replace FILE when it exists.")
@foreign_options
def command(
    model: str,
    where: TargetOptions,
    kernels: str,
    target_kernels: str | None,
    threads: int,
    samples: Path | None,
    limit: int,
    min_iou: float,
    max_mean_steps: float,
    max_steps: int | None,
    json_file: str | None,
    force: bool,
    facts: ForeignFacts,
) -> None:
    """Run MODEL here and on --target with the same samples, and say whether they give the same answer.

    \b
    ssh://[USER@]HOST[:PORT]  a machine whose Python has ai-edge-litert; nothing is installed there
    local:KERNELS             xnnpack, builtin or reference, in a process of this machine; --python names another Python
    local:PATH.so             an external delegate on this machine

    MODEL is a .tflite file or the name of a bundled model. A step is the least difference an integer output can have;
    of a float output it is 1/255 of its range. The IoU is that of the person (of the classes, where the model knows no
    person) between the two sides, over all samples.
    """
    from edge_deeplab.errors import GateError, OutputError, UsageError
    from edge_deeplab.profiling.report import to_json, write_json
    from edge_deeplab.remote.address import AdbTarget, SshTarget

    if where.target is None:
        raise UsageError("--target is missing", allowed="ssh://[USER@]HOST[:PORT], local:KERNELS, local:PATH.so")
    target = where.parsed()
    if isinstance(target, AdbTarget):
        raise UsageError(
            f"--target {target}: its runner, benchmark_model, writes no outputs to compare",
            next_step="use `profile` for its speed, and ssh:// for a device with Python",
        )
    if target_kernels and not isinstance(target, SshTarget):
        raise UsageError("--target-kernels: is for ssh://HOST", came=f"--target {target}")
    file = Path(json_file) if json_file and json_file != TO_STDOUT else None
    if file and file.exists() and not force:  # before minutes of work; write_json checks again
        raise OutputError(f"{file}: exists already", next_step="choose another name, or pass --force")
    if file and not file.parent.is_dir():
        raise OutputError(f"{file}: cannot be written", came=f"no folder {file.parent}")

    limits = Limits(min_iou=min_iou, max_mean_steps=max_mean_steps, max_steps=max_steps)
    result = compare(
        model, target, where, facts, samples=samples, limit=limit, threads=threads, kernels=kernels,
        target_kernels=target_kernels or "auto",
    )  # fmt: skip
    missed = limits.missed(result.steps, result.classes)
    document = result.to_dict(limits, missed)
    if file:
        write_json(file, document, overwrite=force)
    if json_file == TO_STDOUT:
        click.echo(to_json(document), nl=False)
    else:
        show(result, limits, missed)
    if missed:
        raise GateError(f"{result.there.place} does not give the same answer: {'; '.join(missed)}")


def show(result: Parity, limits: Limits, missed: list[str]) -> None:
    """Prints the tables and the verdict."""
    from rich.console import Console
    from rich.table import Table

    from edge_deeplab.profiling.host import describe_host
    from edge_deeplab.profiling.report import host_line
    from edge_deeplab.runtime.interpreter import engine_name

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    steps, classes, there = result.steps, result.classes, result.there
    title = f"{result.model.name} on {len(result.names)} samples ({result.source}), {result.threads} thread(s)"
    sides = Table("", "here", "there", title=title, title_justify="left")
    for column in sides.columns:
        column.overflow = "fold"
    sides.add_row("where", "this machine", there.place)
    sides.add_row("kernels", result.kernels, result.target_kernels)
    sides.add_row("engine", " ".join(engine_name()), " ".join(there.engine))
    sides.add_row("host", *(f"{host.machine}: {host_line(host)}" for host in (describe_host(), there.host)))
    console.print(sides)

    figures = Table("between the two", "figure", "allowed", box=None, pad_edge=False)
    figures.add_row("outputs that are the same", _share(steps.shares[0]), "")
    unit = "steps" if steps.step == 1 else f"steps of {steps.step:.3g}"
    figures.add_row(f"difference, mean, {unit}", f"{steps.mean_steps:.4f}", f"at most {limits.max_mean_steps:g}")
    most = "" if limits.max_steps is None else f"at most {limits.max_steps}"
    worst = result.names[steps.sample_max_steps.index(steps.max_steps)]
    at_worst = f" ({worst})" if steps.max_steps > 0 else ""
    figures.add_row(f"difference, farthest, {unit}", f"{steps.max_steps:.4g}{at_worst}", most)
    name = "person IoU" if result.has_person else "mean IoU of the classes"
    figures.add_row(name, f"{classes.iou:.4f}", f"at least {limits.min_iou:g}")
    lowest = min(classes.sample_iou)
    figures.add_row("lowest IoU of a sample", f"{lowest:.4f} ({result.names[classes.sample_iou.index(lowest)]})", "")
    figures.add_row("pixels of the same class", _share(classes.same_share), "")
    console.print(figures)
    if not steps.is_identical:
        bins = Table("difference in steps", "share of outputs", box=None, pad_edge=False)
        for label, share in steps.bins[: max(index for index, share in enumerate(steps.shares) if share) + 1]:
            bins.add_row(label, _share(share))
        console.print(bins)
    console.print(f"Verdict: {'not the same' if missed else 'the same'}, {result.verdict}", markup=False)


def _share(value: float) -> str:
    return f"{value:.3%}" if value < 1 else "100 %"
