"""`edge-deeplab profile --target`: the same measurement on another machine, and the tables and JSON of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.target_options import TargetOptions

if TYPE_CHECKING:
    from rich.table import Table

    from edge_deeplab.remote.address import AdbTarget, SshTarget
    from edge_deeplab.remote.desk import ProfileRequest
    from edge_deeplab.remote.vitals import Vitals

PIPE_WIDTH = 110  # columns of the tables where no terminal says how many it has
TO_STDOUT = "-"


def profile_target(
    where: TargetOptions,
    model: str,
    request: ProfileRequest,
    *,
    only_here: Sequence[str] = (),
    json_file: str | None = None,
    force: bool = False,
) -> None:
    """Measures a model on the target and shows it.

    Args:
        only_here: options that were given and mean something on this machine alone.
        json_file: as the command has it; "-" is stdout alone.

    Raises: UsageError for options that do not go together; what the measurement raises.
    """
    from edge_deeplab.errors import UsageError
    from edge_deeplab.profiling.report import to_json, write_json
    from edge_deeplab.remote.address import LocalTarget, SshTarget
    from edge_deeplab.runtime.bundled import bundled_model
    from edge_deeplab.runtime.probe import check_is_tflite

    target = where.parsed()
    if only_here:
        raise UsageError(f"{', '.join(only_here)}: is measured on this machine alone", came=f"--target {target}")
    if isinstance(target, LocalTarget):
        raise UsageError(
            f"--target {target}: this machine is measured without --target", next_step="use --kernels for its kernels"
        )
    path = bundled_model(model)
    check_is_tflite(path)
    if isinstance(target, SshTarget):
        document, tables, notes = _over_ssh(target, where, path, request)
    else:
        document, tables, notes = _over_adb(target, where, path, request)
    if json_file and json_file != TO_STDOUT:
        write_json(Path(json_file), document, overwrite=force)
    if json_file == TO_STDOUT:
        click.echo(to_json(document), nl=False)
        return

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    for table in tables:
        console.print(table)
    for note in notes:
        console.print(f"Note: {note}", markup=False, highlight=False)


Shown = tuple[dict[str, Any], "list[Table]", Sequence[str]]  # JSON document, tables, notes


def _over_ssh(target: SshTarget, where: TargetOptions, model: Path, request: ProfileRequest) -> Shown:
    from edge_deeplab.profiling.report import render_profile
    from edge_deeplab.remote.desk import open_ssh, profile_there

    with open_ssh(target, python=where.python, config=where.ssh_config, say=_say) as place:
        _say(place.name)
        made = profile_there(place, model, request)
    tables = [*render_profile(made.report), device_table(made.place, made.before, made.after)]
    return made.to_dict(), tables, made.report.notes


def _over_adb(target: AdbTarget, where: TargetOptions, model: Path, request: ProfileRequest) -> Shown:
    from edge_deeplab.remote.native import profile_android, render_native

    made = profile_android(target, model, where.runner, request, say=_say)
    place = f"{target}, {made.device.name}"
    return made.to_dict(), [*render_native(made), device_table(place, made.before, made.after)], made.notes


def device_table(place: str, before: Vitals, after: Vitals) -> Table:
    """How the device felt before and after; what it does not tell is said to be so."""
    from rich.table import Table

    table = Table("", "before", "after", title=f"The device, {place}", title_justify="left", min_width=len(place) + 12)
    rows: dict[str, tuple[str, str]] = {
        "governor": (", ".join(before.governors), ", ".join(after.governors)),
        "clock, MHz": (_clock(before), _clock(after)),
        "temperature, °C": (_heat(before), _heat(after)),
        "slowed down": (_throttled(before), _throttled(after)),
    }
    for name, looks in rows.items():
        table.add_row(name, *(look or "not told" for look in looks))
    return table


def _clock(vitals: Vitals) -> str:
    if not vitals.current_mhz:
        return ""
    limit = vitals.allowed_mhz or vitals.top_mhz
    low, high = min(vitals.current_mhz), max(vitals.current_mhz)
    return (f"{low}" if low == high else f"{low} to {high}") + (f" of {limit}" if limit else "")


def _heat(vitals: Vitals) -> str:
    hottest = vitals.hottest_c
    if hottest is None:
        return ""
    sensor = next(name for name, value in vitals.temperatures_c.items() if value == hottest)
    return f"{hottest:.1f} ({sensor})"


def _throttled(vitals: Vitals) -> str:
    if vitals.is_throttled:
        return ", ".join(vitals.cooling) or f"yes (firmware {vitals.firmware_flags:#x})"
    if vitals.firmware_flags is None and vitals.throttle_events is None and not vitals.temperatures_c:
        return ""
    return "no" if not vitals.throttle_events else f"no ({vitals.throttle_events} times since its start)"


def _say(what: str) -> None:
    click.echo(f"measuring {what}" if not what.startswith(("ssh:", "adb:")) else what, err=True)
