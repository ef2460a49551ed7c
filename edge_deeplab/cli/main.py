"""The door: `edge-deeplab COMMAND`, every error as one line, every exit code from the tree in errors.py.

The commands stand in one table and are imported when they are called, so that `--help` costs little more than
importing click. Nothing here knows what a command does.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NamedTuple

import click

from edge_deeplab import __version__
from edge_deeplab.errors import EdgeDeepLabError, MissingExtraError, UsageError, nearest

PROGRAM = "edge-deeplab"
INTERRUPTED = 130  # what a shell reports of a program that SIGINT ended


class Entry(NamedTuple):
    """Where a command lives, and its line in `edge-deeplab --help`."""

    module: str
    attribute: str
    help: str


COMMANDS: dict[str, Entry] = {
    "models": Entry("edge_deeplab.cli.models_command", "command", "List the networks, their size and their cost."),
    "doctor": Entry("edge_deeplab.cli.doctor_command", "command", "Check a data set before it is trained on."),
    "train": Entry("edge_deeplab.cli.train_command", "command", "Train a network from a recipe on a folder of pairs."),
    "import": Entry("edge_deeplab.cli.import_command", "command", "Bring in a TF1 checkpoint, graph or .tflite."),
    "calibrate": Entry("edge_deeplab.cli.calibrate_command", "command", "Pick the samples that int8 ranges come from."),
    "tune": Entry("edge_deeplab.cli.tune_command", "command", "Set a model's int8 ranges and tune it with them."),
    "convert": Entry("edge_deeplab.cli.convert_command", "command", "Write TFLite, SavedModel or ONNX."),
    "inspect": Entry("edge_deeplab.cli.inspect_command", "command", "Show what a .tflite is made of."),
    "evaluate": Entry("edge_deeplab.cli.evaluate_command", "command", "Score a model on a folder of pairs."),
    "report": Entry("edge_deeplab.cli.report_command", "command", "Score every stage from float to int8."),
    "profile": Entry("edge_deeplab.cli.profile_command", "command", "Measure latency, memory and start-up time."),
    "parity": Entry("edge_deeplab.cli.parity_command", "command", "Check that a device gives the same answer."),
    "blur": Entry("edge_deeplab.cli.blur_command", "command", "Put a person before a blurred or new background."),
    "webcam": Entry("edge_deeplab.cli.webcam_command", "command", "Show any model's classes over live video."),
    "segment": Entry("edge_deeplab.cli.segment_command", "command", "Segment folders and lists of pictures."),
    "serve": Entry("edge_deeplab.cli.serve_command", "command", "Serve a model over HTTP, with a page to try it."),
    "demo": Entry("edge_deeplab.cli.demo_command", "command", "Blur a moving picture and time every stage."),
}

# The packages that extras bring, and the extra to name when one of them is missing.
EXTRAS = {
    "ai_edge_litert": "headless",
    "cv2": "headless",
    "av": "media",
    "keras": "train",
    "tensorflow": "train",
    "tensorflow_model_optimization": "train",
    "tf_keras": "train",
    "scipy": "matlab",
    "skimage": "demo",
    "tf2onnx": "onnx",
    "ray": "serve",
    "fastapi": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
}


class LazyGroup(click.Group):
    """A group whose commands are the rows of COMMANDS, imported when they are called and listed without importing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the work, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports one command; None for a name that is not in the table."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; raises UsageError listing the valid ones and the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UsageError(f"unknown command {args[0]!r}", allowed=nearest(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the table; the commands themselves stay unimported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    name=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="edge-deeplab COMMAND --help says more of one command.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much is said on stderr.",
)
@click.option("--traceback", is_flag=True, help="Show where an error came from, for a bug report.")
@click.pass_context
def group(ctx: click.Context, log_level: str, traceback: bool) -> None:
    """DeepLab from training to the edge: train, calibrate, tune, convert, measure, run."""
    ctx.ensure_object(dict)
    prepare_process(log_level)


def prepare_process(log_level: str) -> None:
    """Sends logs and warnings to stderr, one line each, and keeps TensorFlow's start-up notes out of them."""
    import logging
    import warnings

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    clear = "\r\033[K" if sys.stderr.isatty() else ""  # a line of progress may stand there
    logging.basicConfig(stream=sys.stderr, format=f"{clear}%(message)s", level=logging.WARNING)
    logging.getLogger("edge_deeplab").setLevel(log_level.upper())

    def one_line(message: Warning | str, *_: object, **__: object) -> str:
        return f"{PROGRAM}: warning: {' '.join(str(message).split())}\n"

    warnings.formatwarning = one_line


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0 done, 1 our error, 2 usage, 3 a quality gate was missed.

    Args:
        arguments: what follows the program's name; None reads sys.argv.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--traceback" in arguments:
        return _invoke(arguments)
    try:
        return _invoke(arguments)
    except EdgeDeepLabError as error:
        return _say(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        missing = MissingExtraError(package, extra=EXTRAS[package], purpose=f"'{' '.join(arguments[:1])}'")
        return _say(str(missing), missing.exit_code)
    except BrokenPipeError:  # `edge-deeplab inspect ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{error.strerror or error}", 1)


def _invoke(arguments: list[str]) -> int:
    try:
        result = group.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
        return _say(f"{error.format_message().rstrip('.')}; see {command} --help", error.exit_code)
    except click.Abort:
        click.echo(f"{PROGRAM}: interrupted", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _say(message: str, exit_code: int) -> int:
    click.echo(f"{PROGRAM}: error: {' '.join(message.split())}", err=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
