"""What the commands over moving pictures share: their options, progress on stderr, the report on stdout.

    @click.command()
    @live_options
    def command(live: LiveOptions, as_json: bool, ...) -> None: ...

Options take default, range and help from the dataclasses that they fill; none is written here.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.foreign_facts import ForeignFacts
from edge_deeplab.demo_apps.options import FIRST_DEVICE, LiveOptions
from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.recipe import describe

if TYPE_CHECKING:
    from edge_deeplab.demo_apps.live import LiveReport
    from edge_deeplab.manifest import Manifest
    from edge_deeplab.video.frames import Source
    from edge_deeplab.video.pipeline import Progress

CLEAR_LINE = "\r\033[K"
# Headings of --help, for option_sections.SectionedCommand; a command adds its own.
LIVE_SECTIONS = {
    "Where pictures come from": (
        "source", "list_cameras", "camera_size_wh", "camera_fps", "mirror", "reconnects", "reconnect_minutes",
    ),
    "Where they go, one or several": (
        "output", "overwrites", "shows_window", "keeps_in", "virtual_camera", "http", "http_token", "http_is_open",
    ),
    "What is reported": ("shows_fps", "as_json"),
}  # fmt: skip
PIPE_WIDTH = 100  # columns of the table where no terminal says how many it has


class SizeWH(click.ParamType):
    """Width and height as cameras say them: `1280x720`."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Returns (width, height) in pixels; refuses anything else as a usage error."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{1,4})x([1-9]\d{1,4})", value.strip().lower())
        if match is None:
            self.fail(f"{value!r} is no size; allowed: WxH in pixels, such as 1280x720", param, ctx)
        return int(match.group(1)), int(match.group(2))


def setting_option(cls: type, key: str, *names: str, **extra: Any) -> Callable[..., Any]:
    """A click option with the default, range and help of a field of a dataclass.

    Args:
        cls: the dataclass; its fields are made by recipe.setting.
        key: the field.
        names: as click.option's; the last may be the parameter's name.
    """
    item = describe(cls, key)
    kind: Any = item.type
    if kind is bool:
        kind = None
    elif item.choices is not None:
        kind = click.Choice(item.choices)
    elif item.low is not None and item.high is not None and "type" not in extra:
        whole = isinstance(item.low, int) and isinstance(item.high, int) and isinstance(item.default, int | None)
        kind = click.IntRange(int(item.low), int(item.high)) if whole else click.FloatRange(item.low, item.high)
    text = f"{item.help[:1].upper()}{item.help[1:]}."
    given = {"type": kind, "default": item.default, "show_default": item.default is not None, "help": text}
    return click.option(*names, **{**given, **extra})


def live_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of LiveOptions and `--json`; the command gets them as `live` and `as_json`."""

    @functools.wraps(function)
    def with_live(*arguments: Any, **given: Any) -> Any:
        fields = {name: given.pop(name) for name in LiveOptions.__dataclass_fields__}
        return function(*arguments, live=LiveOptions(**fields), **given)

    for option in reversed(_OPTIONS):
        option(with_live)
    return with_live


def foreign_manifest(model: str, facts: ForeignFacts) -> Manifest | None:
    """The manifest of a model that carries none, of the facts given; None for one that does.

    Raises: ModelError naming what is missing; UsageError for facts of a model that says them itself.
    """
    from edge_deeplab.errors import UsageError
    from edge_deeplab.manifest import read_manifest
    from edge_deeplab.runtime.bundled import bundled_model
    from edge_deeplab.runtime.interpreter import Engine

    path = bundled_model(model)
    if read_manifest(path) is not None:
        if facts.given:
            raise UsageError(
                f"{', '.join(facts.given)}: for a model that carries no manifest", came=f"{path}, which carries one",
                next_step="leave the options out",
            )  # fmt: skip
        return None
    with Engine(path) as engine:
        signature, result = engine.inputs[0].signature, engine.outputs[0]
    is_fixed = len(signature) == 4 and all(side > 0 for side in signature[1:3])
    proven = "argmax" if result.dtype.name in ("int32", "int64") else None
    return facts.manifest(path, size_hw=(signature[1], signature[2]) if is_fixed else None, activation=proven)


def say_source(source: Source) -> None:
    """Names the source on stderr, once it is open."""
    click.echo(source.describe(), err=True)


def say_line(line: str) -> None:
    """One line on stderr, in place of the progress that stands there; the progress comes back below it."""
    click.echo(f"{CLEAR_LINE if sys.stderr.isatty() else ''}{line}", err=True)


def say_progress(progress: Progress) -> None:
    """One line on stderr that is written over, on a terminal alone."""
    if not sys.stderr.isatty():
        return
    total = "" if progress.total is None else f" of {progress.total}"
    if progress.trouble:  # a rate that was is no news now
        click.echo(f"{CLEAR_LINE}frame {progress.frames}{total}, {progress.trouble}", err=True, nl=False)
        return
    rate = "" if progress.fps is None else f", {progress.fps:.1f} fps"
    left = "" if progress.left_s is None else f", {progress.left_s:.0f} s left"
    late = "" if progress.latency_ms is None or progress.total is not None else f", {progress.latency_ms:.0f} ms late"
    dropped = f", {progress.dropped} dropped" if progress.dropped else ""
    status = f", {progress.status}" if progress.status else ""
    click.echo(f"{CLEAR_LINE}frame {progress.frames}{total}{rate}{late}{left}{dropped}{status}", err=True, nl=False)


def print_report(report: LiveReport, *, as_json: bool) -> None:
    """The report on stdout: a table of milliseconds per stage and the rate, or JSON.

    Ends the command with exit code 1 where an output was lost: what was asked for is not all there.
    """
    if sys.stderr.isatty():
        click.echo(err=True)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2, default=str))
    else:
        _print_table(report)
    if report.lost:
        click.get_current_context().exit(EdgeDeepLabError.exit_code)


def _print_table(report: LiveReport) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"milliseconds per stage, {report.frame_wh[0]}x{report.frame_wh[1]}", title_justify="left")
    for name in ("stage", "median", "p90", "p99"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for name, timing in report.stage_rows():
        shown = f"  {name.partition('/')[2]}" if "/" in name else name
        values = (timing.median_ms, timing.p90_ms, timing.p99_ms)
        table.add_row(shown, *(f"{value:.2f}" for value in values))
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(table)
    for line in report_lines(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def report_lines(report: LiveReport) -> list[str]:
    """What the table does not say: frames, rate, cores, model, where the result is, and what could not be kept."""
    run = report.pipeline
    rate = "" if run.fps is None else f", {run.fps:.1f} frames per second"
    dropped = f", {run.dropped} dropped" if run.dropped else ""
    cores = f", {run.cpu_s / run.duration_s:.1f} processor cores busy" if run.duration_s > 0 else ""
    size_hw, threads = report.model["size_hw"], report.model["threads"]
    precision = f", {report.model['precision']}" if report.model["precision"] else ""
    return [
        f"{run.frames} {'frame' if run.frames == 1 else 'frames'} in {run.duration_s:.1f} s{rate}{dropped}{cores}",
        f"model {report.model['name']} ({report.model['file']}), {size_hw[0]}x{size_hw[1]} (HxW), {threads} threads"
        f"{precision}",
        *(
            ["pixel kernels: OpenCV; compiled ones, a few times as fast, come with an install where a C compiler is"]
            if report.pixel_kernels == "OpenCV"
            else []
        ),
        *(f"{share:.0%} of the frames: {name}" for name, share in report.quality.items()),
        f"output {report.output}{' (stopped early)' if run.was_stopped else ''}",
        *(f"Note: {note}" for note in run.notes),
    ]


def _list_cameras(context: click.Context, parameter: click.Parameter, is_asked: bool) -> None:
    if not is_asked or context.resilient_parsing:
        return
    from edge_deeplab.video.cameras import list_cameras

    cameras = list_cameras()
    for camera in cameras:
        click.echo(f"{camera.index}  {camera.path}  {camera.name}")
    if not cameras:
        click.echo("no camera found", err=True)
    context.exit()


_OPTIONS = (
    click.option("--source", default=LiveOptions.source, show_default=True, metavar="SOURCE",
                 help="Camera (0, /dev/video0), video, picture, folder of pictures, http or rtsp URL, or synthetic."),
    click.option("--output", "-o", metavar="FILE|DIR/", help="Video, picture, or folder of pictures (NAME/) to write; "
                 "null writes nothing. [a window, where nothing else is named]"),
    click.option("--window/--no-window", "shows_window", default=None, help="Show the result in a window, beside "
                 "other outputs or not at all. h in it lists the keys."),
    click.option("--virtual-camera", is_flag=False, flag_value=FIRST_DEVICE, metavar="[DEVICE]", help="Be a camera "
                 "for other programs: v4l2loopback's /dev/videoN, or that of OBS. [the first device there is]"),
    click.option("--http", metavar="[HOST:]PORT", help="Show the result to browsers and to programs that read Motion "
                 "JPEG. [HOST 127.0.0.1, this machine alone]"),
    click.option("--http-token", default=LiveOptions.http_token, metavar="WORD", envvar="EDGE_DEEPLAB_HTTP_TOKEN",
                 show_envvar=True, help="With --http, a word that viewers must know."),
    setting_option(LiveOptions, "http_is_open", "--http-open", "http_is_open", is_flag=True, show_default=False),
    click.option("--keep-in", "keeps_in", type=click.Path(path_type=Path, file_okay=False, exists=True),
                 default=LiveOptions.keeps_in, metavar="DIR", help="Folder of the snapshots and recordings that keys "
                 "ask for. [where you are]"),
    click.option("--list-cameras", is_flag=True, is_eager=True, expose_value=False, callback=_list_cameras,
                 help="List the cameras and exit."),
    click.option("--camera-size", "camera_size_wh", type=SizeWH(), metavar="WxH", help="Size asked of the camera, "
                 "and of synthetic."),
    setting_option(LiveOptions, "camera_fps", "--camera-fps", metavar="N"),
    setting_option(LiveOptions, "mirror", "--mirror/--no-mirror"),
    setting_option(LiveOptions, "reconnects", "--reconnect/--no-reconnect", "reconnects"),
    setting_option(LiveOptions, "reconnect_minutes", "--reconnect-minutes", metavar="N"),
    setting_option(LiveOptions, "threads", "--threads", metavar="N"),
    setting_option(LiveOptions, "precision", "--precision"),
    setting_option(LiveOptions, "shows_fps", "--show-fps/--no-show-fps", "shows_fps"),
    setting_option(LiveOptions, "overwrites", "--force", "overwrites", is_flag=True, show_default=False),
    click.option("--json", "as_json", is_flag=True, help="Write the report as JSON to stdout in place of the table."),
)  # fmt: skip
