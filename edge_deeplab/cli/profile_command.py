"""`edge-deeplab profile`: how fast a model is here, where a frame's time goes, what starting costs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.target_options import TargetOptions, target_options

if TYPE_CHECKING:
    from edge_deeplab.profiling.latency import MeasureOptions
    from edge_deeplab.profiling.report import FrameProfile, ProfileReport

FRAME_SIZE_WH = (1280, 720)
STARTS = 5
KERNELS = ("auto", "xnnpack", "builtin", "reference")  # as runtime.interpreter.KERNELS; a test holds them equal
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


@click.command()
@click.argument("model")
@click.option(
    "--threads",
    type=ThreadCounts(),
    metavar="N[,N...]",
    help="Numbers of engine threads; the first is the frame's. [1 and all]",
)
@click.option("--kernels", type=click.Choice(KERNELS), default="auto", show_default=True, help="Kernels of the engine.")
@click.option("--runs", type=click.IntRange(min=1), metavar="N", help="Counted inferences for each. [100]")
@click.option("--warmup", type=click.IntRange(min=0), metavar="N", help="Inferences before the counted ones. [10]")
@click.option("--frame-size", "size_wh", type=FrameSize(), metavar="WxH", help="Of the whole frame. [1280x720]")
@click.option("--picture", type=click.Path(path_type=Path), help="What the frames show. [scikit-image's astronaut]")
@click.option("--no-frame", is_flag=True, help="Measure the model alone.")
@click.option(
    "--starts",
    type=click.IntRange(min=0),
    metavar="N",
    default=STARTS,
    show_default=True,
    help="Starts measured; 0 for none.",
)
@click.option("--json", "json_file", metavar="FILE", help="Also write the figures to FILE; - is stdout alone.")
@click.option("--force", is_flag=True, help="Replace FILE when it exists.")
@target_options
def command(
    model: str,
    threads: tuple[int, ...] | None,
    kernels: str,
    runs: int | None,
    warmup: int | None,
    size_wh: tuple[int, int] | None,
    picture: Path | None,
    no_frame: bool,
    starts: int,
    json_file: str | None,
    force: bool,
    where: TargetOptions,
) -> None:
    """Measure MODEL, a .tflite file or the name of a bundled model, on this machine or on --target.

    Prints the latency of one inference (median, p90, p99; warm-up told apart), the stages of a whole frame from
    picture to picture, and the start-up time and peak memory of processes of their own; with the host, the file's
    hash and the input size, without which such figures are worthless.

    With --target the model is measured alone, on the other machine: nothing is installed there, nothing stays there,
    and a lost connection is taken up again. ssh needs a Python there with ai-edge-litert; adb needs --runner.
    """
    from edge_deeplab.errors import OutputError, UsageError
    from edge_deeplab.profiling.latency import MeasureOptions
    from edge_deeplab.profiling.report import render_profile, to_json, write_json

    if no_frame and (size_wh or picture):
        raise UsageError("--no-frame goes with neither --frame-size nor --picture")
    target = Path(json_file) if json_file and json_file != TO_STDOUT else None
    if target and target.exists() and not force:  # before minutes of measuring; write_json checks again
        raise OutputError(f"{target}: exists already", next_step="choose another name, or pass --force")
    if target and not target.parent.is_dir():
        raise OutputError(f"{target}: cannot be written", came=f"no folder {target.parent}")

    defaults = MeasureOptions()
    options = MeasureOptions(
        runs=defaults.runs if runs is None else runs, warmup=defaults.warmup if warmup is None else warmup
    )
    if where.target:
        from edge_deeplab.cli.profile_target import profile_target
        from edge_deeplab.remote.desk import ProfileRequest

        here = {"--frame-size": size_wh, "--picture": picture}
        request = ProfileRequest(
            threads=threads, kernels=kernels, runs=options.runs, warmup=options.warmup, starts=starts
        )
        only_here = [option for option, value in here.items() if value]
        profile_target(where, model, request, only_here=only_here, json_file=json_file, force=force)
        return
    where.refuse_without_target()
    report = measure_all(
        model,
        threads=threads,
        kernels=kernels,
        options=options,
        size_wh=None if no_frame else size_wh or FRAME_SIZE_WH,
        needs_frame=bool(size_wh or picture),
        picture=picture,
        starts=starts,
    )
    if target:
        write_json(target, report.to_dict(), overwrite=force)
    if json_file == TO_STDOUT:
        click.echo(to_json(report.to_dict()), nl=False)
        return

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    for table in render_profile(report):
        console.print(table)
    for note in report.notes:
        console.print(f"Note: {note}", markup=False, highlight=False)


def measure_all(
    model: str,
    *,
    threads: tuple[int, ...] | None,
    kernels: str,
    options: MeasureOptions,
    size_wh: tuple[int, int] | None,
    needs_frame: bool,
    picture: Path | None,
    starts: int,
) -> ProfileReport:
    """Measures everything asked for; says on stderr what it is at.

    Args:
        size_wh: of the frame, None for no frame.
        needs_frame: whether a model that cannot do a frame is an error (the frame was asked for) or a note.

    Raises: ModelError, InputError and what measure_startup raises.
    """
    from edge_deeplab.errors import ModelError
    from edge_deeplab.manifest import read_manifest
    from edge_deeplab.profiling.engine import describe_model, profile_engine
    from edge_deeplab.profiling.host import describe_host
    from edge_deeplab.profiling.report import ProfileReport, doubts
    from edge_deeplab.profiling.startup import measure_startup
    from edge_deeplab.runtime.bundled import bundled_model
    from edge_deeplab.runtime.interpreter import engine_name

    host, notes = describe_host(), []
    path = bundled_model(model)
    facts = describe_model(path)
    if size_wh and read_manifest(path) is None:
        if needs_frame:
            raise ModelError(
                f"{path}: no whole frame without a manifest", next_step="pass --no-frame, or publish one in it"
            )
        notes.append("No whole frame: the file carries no manifest, so what its output means is not known.")
        size_wh = None

    counts = threads or tuple(dict.fromkeys((1, host.usable_cpus)))
    latency = []
    for count in counts:
        _say(f"{facts.file}: {options.runs} inferences on {count} thread(s)")
        latency.append(profile_engine(path, threads=count, kernels=kernels, options=options))

    frame = None
    if size_wh:
        _say("whole frames of {}x{}".format(*size_wh))
        frame = _measure_frame(path, size_wh, picture, threads=counts[0], kernels=kernels, options=options)

    ways = [str(path), "--threads", str(counts[0]), "--kernels", kernels]
    model_start = frame_start = None
    if starts:
        _say(f"{starts} starts")
        python = [sys.executable, "-P", "-m"]  # -P: modules in the working folder are none of ours
        model_start = measure_startup([*python, "edge_deeplab.profiling.child", *ways], runs=starts)
    if starts and size_wh:
        size = ["--size-wh", *map(str, size_wh)]
        frame_start = measure_startup([*python, "edge_deeplab.cli.frame_program", *ways, *size], runs=starts)

    noise = {f"{profile.threads} thread(s)": profile.latency for profile in latency}
    if frame:
        noise["the frame"] = frame.stages.total
    return ProfileReport(
        host=host,
        engine=engine_name(),
        model=facts,
        latency=tuple(latency),
        model_start=model_start,
        frame=frame,
        frame_start=frame_start,
        notes=(*notes, *doubts(host, noise)),
    )


def _measure_frame(
    path: Path, size_wh: tuple[int, int], picture: Path | None, *, threads: int, kernels: str, options: MeasureOptions
) -> FrameProfile:
    import cv2

    from edge_deeplab.cli.frame_program import FrameProgram, moving_frames
    from edge_deeplab.profiling.report import FrameProfile
    from edge_deeplab.profiling.stages import profile_stages

    frames, shows = moving_frames(picture, size_wh)
    with FrameProgram(path, frames, threads=threads, kernels=kernels) as program:
        stages = profile_stages(program.step, options=options)
        return FrameProfile(
            size_wh=size_wh,
            threads=threads,
            opencv_threads=cv2.getNumThreads(),
            result=program.result,
            shows=shows,
            stages=stages,
        )


def _say(what: str) -> None:
    click.echo(f"measuring {what}", err=True)
