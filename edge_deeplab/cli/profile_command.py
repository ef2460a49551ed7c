"""`edge-deeplab profile`: how fast a model is, where the time goes, what it costs, and whether that has changed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.option_sections import SectionedCommand
from edge_deeplab.cli.target_options import TargetOptions, target_options

if TYPE_CHECKING:
    from rich.table import Table

    from edge_deeplab.cli.profile_measuring import ProfilePlan
    from edge_deeplab.profiling.history import History
    from edge_deeplab.profiling.report import ProfileReport

KERNELS = ("auto", "xnnpack", "builtin", "reference")  # as runtime.interpreter.KERNELS; a test holds them equal
OPERATOR_TIMES = ("auto", "profiler", "alone", "none")  # likewise profiling.operators.METHODS
MAX_RATIO = 1.1  # likewise profiling.history.MAX_RATIO
STARTS = 5  # likewise profile_measuring.STARTS
PIPE_WIDTH = 110  # columns of the tables where no terminal says how many it has
TO_STDOUT = "-"


class FrameSize(click.ParamType):
    """A frame size as `1280x720`, width first as cameras say it."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Returns (width, height) in pixels; refuses anything else as a usage error."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", value.strip().lower())
        if match is None:
            self.fail(
                f"{value!r} is no frame size; allowed: WxH in pixels, 10 or more each, such as 1280x720", param, ctx
            )
        return int(match.group(1)), int(match.group(2))


class ThreadCounts(click.ParamType):
    """Numbers of threads, as `1,2,4`."""

    name = "N[,N...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Returns the counts in the order given, each once; refuses anything else as a usage error."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"[1-9]\d{0,2}(,[1-9]\d{0,2})*", value.replace(" ", "")):
            self.fail(f"{value!r} is no list of thread counts; allowed: such as 1 or 1,2,4", param, ctx)
        return tuple(dict.fromkeys(int(count) for count in value.split(",")))


SECTIONS = {
    "What is measured": (
        "threads", "kernels", "runs", "warmup", "operators", "benchmark_model", "size_wh", "picture", "no_frame",
        "starts",
    ),
    "Beside another": ("compare", "against", "max_ratio"),
    "What is written": ("json_file", "html_file", "force"),
    "On another machine": ("target", "python", "runner", "ssh_config"),
}  # fmt: skip


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("model", required=False)
@click.option(
    "--threads",
    type=ThreadCounts(),
    metavar="N[,N...]",
    help="Numbers of engine threads; the first is that of all but the latency. [1 and all]",
)
@click.option("--kernels", type=click.Choice(KERNELS), default="auto", show_default=True, help="Kernels of the engine.")
@click.option("--runs", type=click.IntRange(min=1), metavar="N", help="Counted inferences for each. [100]")
@click.option("--warmup", type=click.IntRange(min=0), metavar="N", help="Inferences before the counted ones. [10]")
@click.option(
    "--operators",
    type=click.Choice(OPERATOR_TIMES),
    help="Times by operator: by the engine's profiler; an estimate, each operator run alone; or none."
    " auto takes the profiler where the engine has one. [auto]",
)
@click.option(
    "--benchmark-model",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Take the operators' times from this native tool of LiteRT.",
)
@click.option("--frame-size", "size_wh", type=FrameSize(), metavar="WxH", help="Of the whole frame. [1280x720]")
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the frames show. [scikit-image's astronaut]",
)
@click.option("--no-frame", is_flag=True, help="Measure the model alone.")
@click.option(
    "--starts",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Processes started for start-up time and memory; 0 for none. [{STARTS}]",
)
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    help="In place of MODEL: which of two is faster, and is it more than noise? On 1 thread or --threads.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Hold the figures against an earlier --json; exit with 3 past --max-ratio.",
)
@click.option(
    "--max-ratio",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help=f"How many times the earlier figure is allowed. [{MAX_RATIO}]",
)
@click.option("--json", "json_file", metavar="FILE", help="Also write all figures to FILE; - is stdout alone.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Also write a page with plots, one file to share.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace files that exist.")
@target_options
def command(
    model: str | None,
    threads: tuple[int, ...] | None,
    kernels: str,
    runs: int | None,
    warmup: int | None,
    operators: str | None,
    benchmark_model: Path | None,
    size_wh: tuple[int, int] | None,
    picture: Path | None,
    no_frame: bool,
    starts: int | None,
    compare: tuple[str, str] | None,
    against: Path | None,
    max_ratio: float | None,
    json_file: str | None,
    html_file: Path | None,
    force: bool,
    where: TargetOptions,
) -> None:
    """Measure MODEL, a .tflite file or the name of a bundled model, on this machine or on --target.

    Prints the latency of one inference (median, p90, p99; warm-up told apart), the time of every kind of operator and
    of the slowest, beside what this machine reaches at best, the stages of a whole frame from picture to picture, and
    start-up time, memory and, where the kernel tells, energy; with the host, the file's hash and the input size,
    without which such figures are worthless.

    A budget for a build: keep the --json of a good day, and let --against FILE --max-ratio R fail with exit code 3 when
    inference, frame or memory take more than R times as much on the same kind of machine.

    With --target the model is measured alone, on the other machine: nothing is installed there, nothing stays there,
    and a lost connection is taken up again. ssh needs a Python there with ai-edge-litert; adb needs --runner.
    """
    from edge_deeplab.cli.profile_measuring import FRAME_SIZE_WH, STARTS, ProfilePlan
    from edge_deeplab.errors import UsageError
    from edge_deeplab.profiling.latency import MeasureOptions

    if (model is None) == (compare is None):
        raise UsageError("profile takes MODEL, or --compare A B", came="both" if model else "neither")
    if no_frame and (size_wh or picture):
        raise UsageError("--no-frame goes with neither --frame-size nor --picture")
    if max_ratio and not against:
        raise UsageError("--max-ratio goes with --against FILE")
    if benchmark_model and operators not in (None, "auto"):
        raise UsageError("--benchmark-model times the operators itself", came=f"--operators {operators} beside it")
    json_path = Path(json_file) if json_file and json_file != TO_STDOUT else None
    for path in (json_path, html_file):
        if path:
            _check_place(path, force=force)

    defaults = MeasureOptions()
    options = MeasureOptions(
        runs=defaults.runs if runs is None else runs, warmup=defaults.warmup if warmup is None else warmup
    )
    plan = ProfilePlan(
        threads=threads,
        kernels=kernels,
        options=options,
        size_wh=None if no_frame else size_wh or FRAME_SIZE_WH,
        needs_frame=bool(size_wh or picture),
        picture=picture,
        starts=STARTS if starts is None else starts,
        operators=operators or "auto",
        benchmark_model=benchmark_model,
    )
    of_whole_profiles = {
        "--html": html_file, "--against": against, "--operators": operators, "--benchmark-model": benchmark_model,
        "--frame-size": size_wh, "--picture": picture,
    }  # fmt: skip
    idle = [option for option, value in of_whole_profiles.items() if value]
    if compare:
        if starts is not None:
            idle.append("--starts")
        if where.target:
            idle.append("--target")
        if idle or no_frame:
            raise UsageError(f"{', '.join(idle or ['--no-frame'])}: goes with MODEL, not with --compare")
        _compare(compare, plan, json_path=json_path, to_stdout=json_file == TO_STDOUT, force=force)
        return
    assert model is not None
    if where.target:
        from edge_deeplab.cli.profile_target import profile_target
        from edge_deeplab.remote.desk import ProfileRequest

        request = ProfileRequest(
            threads=threads, kernels=kernels, runs=options.runs, warmup=options.warmup, starts=plan.starts
        )
        profile_target(where, model, request, only_here=idle, json_file=json_file, force=force)
        return
    where.refuse_without_target()
    _profile(
        model, plan, against=against, max_ratio=max_ratio or MAX_RATIO, json_path=json_path,
        to_stdout=json_file == TO_STDOUT, html_file=html_file, force=force,
    )  # fmt: skip


def _check_place(path: Path, *, force: bool) -> None:
    """Before minutes of measuring; writing checks again. Raises OutputError."""
    from edge_deeplab.errors import OutputError

    if path.exists() and not force:
        raise OutputError(f"{path}: exists already", next_step="choose another name, or pass --force")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written", came=f"no folder {path.parent}")


def _profile(
    model: str,
    plan: ProfilePlan,
    *,
    against: Path | None,
    max_ratio: float,
    json_path: Path | None,
    to_stdout: bool,
    html_file: Path | None,
    force: bool,
) -> None:
    """Measures, writes, shows, and holds against an earlier profile. Raises GateError past the budget."""
    from edge_deeplab.cli.profile_measuring import measure_all, thread_counts
    from edge_deeplab.profiling.history import History, check_comparable
    from edge_deeplab.profiling.report import read_profile, to_json, write_json, write_text

    earlier = None
    if against:
        from edge_deeplab.profiling.engine import describe_model
        from edge_deeplab.profiling.host import describe_host
        from edge_deeplab.runtime.bundled import bundled_model

        earlier = read_profile(against)
        check_comparable(
            earlier, host=describe_host(), model=describe_model(bundled_model(model)), kernels=plan.kernels,
            threads=thread_counts(plan),
        )  # fmt: skip
    report = measure_all(model, plan)
    history = History.of(report, earlier, source=str(against), max_ratio=max_ratio) if earlier else None
    document = report.to_dict() | ({"against": history.to_dict()} if history else {})
    if json_path:
        write_json(json_path, document, overwrite=force)
    if html_file:
        from edge_deeplab.profiling.html_page import profile_page

        write_text(html_file, profile_page(report, history), overwrite=force)
    if to_stdout:
        click.echo(to_json(document), nl=False)
    else:
        _show(report, history)
    if history:
        history.check()


def _show(report: ProfileReport, history: History | None) -> None:
    from edge_deeplab.profiling.report import render_profile
    from edge_deeplab.profiling.tables import render_costs, render_history, render_operators

    facts, latency, *rest = render_profile(report)
    tables = [facts, latency, *render_operators(report), *rest, *render_costs(report)]
    notes = report.notes
    if history:
        tables.append(render_history(history))
        notes = (*notes, *history.changes)
    _print(tables, notes)


def _print(tables: Sequence[Table], notes: Sequence[str]) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    for table in tables:
        console.print(table)
    for note in notes:
        console.print(f"Note: {note}", markup=False, highlight=False)


def _compare(
    models: tuple[str, str], plan: ProfilePlan, *, json_path: Path | None, to_stdout: bool, force: bool
) -> None:
    """Measures two models in turns, writes and shows the verdict."""
    from edge_deeplab.profiling.comparison import ComparisonReport, compare_models
    from edge_deeplab.profiling.engine import describe_model
    from edge_deeplab.profiling.host import describe_host
    from edge_deeplab.profiling.report import doubts, host_line, to_json, write_json
    from edge_deeplab.profiling.tables import render_comparison
    from edge_deeplab.runtime.bundled import bundled_model
    from edge_deeplab.runtime.interpreter import engine_name

    host, (first, second) = describe_host(), map(bundled_model, models)
    facts = describe_model(first), describe_model(second)
    threads = (plan.threads or (1,))[0]
    click.echo(f"measuring {first.name} and {second.name} in turns on {threads} thread(s)", err=True)
    found = compare_models(first, second, threads=threads, kernels=plan.kernels, options=plan.options)
    report = ComparisonReport(
        host=host,
        engine=engine_name(),
        models=facts,
        comparison=found,
        notes=tuple(doubts(host, {"the first": found.first, "the second": found.second})),
    )
    if json_path:
        write_json(json_path, report.to_dict(), overwrite=force)
    if to_stdout:
        click.echo(to_json(report.to_dict()), nl=False)
        return
    _print([render_comparison(report)], report.notes)
    click.echo(f"{host_line(host)}; {' '.join(report.engine)}")
    click.echo(found.verdict)
