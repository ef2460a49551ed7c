"""What a person says on the command line of another machine: --target and what belongs to it.

@click.command()
@target_options
def command(where: TargetOptions, ...) -> None:
    if where.target: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edge_deeplab.remote.address import Target


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """What was said; None where nothing was.

    Attributes:
        target: an address of remote.address.
        python: the Python to use there.
        runner: a native benchmark_model, for Android.
        ssh_config: in place of ~/.ssh/config.
    """

    target: str | None = None
    python: str | None = None
    runner: Path | None = None
    ssh_config: Path | None = None

    def parsed(self) -> Target:
        """The target; one must have been given. Raises UsageError for what makes no sense, alone or together."""
        from edge_deeplab.errors import UsageError
        from edge_deeplab.remote.address import AdbTarget, SshTarget, parse_target

        assert self.target is not None
        target = parse_target(self.target)
        is_ssh, is_adb = isinstance(target, SshTarget), isinstance(target, AdbTarget)
        if self.python and is_adb:
            raise UsageError(
                "--python: Android has no Python", came=f"--target {self.target}", next_step="use --runner"
            )
        if self.runner and not is_adb:
            raise UsageError("--runner: is for adb:SERIAL", came=f"--target {self.target}", next_step="leave it out")
        if self.ssh_config and not is_ssh:
            raise UsageError("--ssh-config: is for ssh://HOST", came=f"--target {self.target}")
        return target

    def refuse_without_target(self) -> None:
        """Raises UsageError when an option was given that only a target gives a meaning."""
        from edge_deeplab.errors import UsageError

        given = {"--python": self.python, "--runner": self.runner, "--ssh-config": self.ssh_config}
        idle = [option for option, value in given.items() if value]
        if idle:
            raise UsageError(f"{', '.join(idle)}: goes with --target", allowed="ssh://[USER@]HOST[:PORT], adb:SERIAL")


def options_for(target_help: str, *, hides_runner: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds the options to a command, which gets them as one argument `where`.

    Args:
        target_help: what a target may be, for --help.
        hides_runner: for a command that takes no native tool and says so when it is given one.
    """
    options = (
        click.option("--target", metavar="WHERE", help=target_help),
        click.option("--python", metavar="PATH", help="The Python with ai-edge-litert there. [the first that has it]"),
        click.option("--runner", type=click.Path(path_type=Path), metavar="PATH", hidden=hides_runner,
                     help="For adb: LiteRT's benchmark_model, built for the device."),
        click.option("--ssh-config", type=click.Path(path_type=Path), metavar="FILE",
                     help="For ssh: read in place of ~/.ssh/config."),
    )  # fmt: skip

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_target(*arguments: Any, **given: Any) -> Any:
            where = TargetOptions(**{name: given.pop(name) for name in TargetOptions.__dataclass_fields__})
            return function(*arguments, where=where, **given)

        for option in reversed(options):
            option(with_target)
        return with_target

    return decorate


target_options = options_for("Another machine: ssh://[USER@]HOST[:PORT] or adb:SERIAL.")
"""The options of a command that measures."""
