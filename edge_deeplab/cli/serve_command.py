"""`edge-deeplab serve`: a model behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.live_program import setting_option
from edge_deeplab.cli.option_sections import SectionedCommand
from edge_deeplab.serving.options import DEFAULT_MODEL, ServeOptions

if TYPE_CHECKING:
    from edge_deeplab.manifest import Manifest

TOKEN_VARIABLE = "EDGE_DEEPLAB_TOKEN"
SECTIONS = {
    "Where": ("host", "port", "address", "state", "token_file", "cors_origins"),
    "Copies and batches": (
        "replicas", "max_replicas", "threads", "input_sizes", "max_batch", "batch_wait_ms", "max_queue", "timeout_s",
        "drain_s",
    ),
    "Bounds": (
        "max_body_mb", "max_buffer_mb", "max_megapixels", "max_pictures", "header_timeout_s", "body_timeout_s",
        "max_connections",
    ),
    "Videos": ("max_video_mb", "max_video_s", "max_jobs", "max_store_mb", "keep_job_s"),
    "A model that carries no manifest": (
        "labels", "person_class", "size_hw", "input_range", "mean", "std", "activation", "fit",
    ),
}  # fmt: skip


def number(name: str) -> Any:
    """The option of a number of ServeOptions, called as its field."""
    return setting_option(ServeOptions, name, f"--{name.replace('_', '-')}", name)


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("model", default=DEFAULT_MODEL, metavar="[MODEL]")
@setting_option(ServeOptions, "host", "--host", metavar="HOST")
@number("port")
@setting_option(ServeOptions, "address", "--address", type=str, metavar="ADDRESS")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Keep videos and results there when the server ends. [a temporary folder]",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE",
    help=f"Ask callers for the token that stands in FILE; {TOKEN_VARIABLE} may hold it instead.",
)  # fmt: skip
@click.option("--cors", "cors_origins", multiple=True, metavar="ORIGIN",
              help="Let pages of ORIGIN call, * any; may be repeated. [none]")  # fmt: skip
@number("replicas")
@number("max_replicas")
@number("threads")
@click.option("--input-size", "input_sizes", multiple=True, metavar="HxW",
              help="Input size of a .keras model; may be repeated: a picture goes to the nearest.")  # fmt: skip
@number("max_batch")
@number("batch_wait_ms")
@number("max_queue")
@number("timeout_s")
@number("drain_s")
@number("max_body_mb")
@number("max_buffer_mb")
@number("max_megapixels")
@number("max_pictures")
@number("header_timeout_s")
@number("body_timeout_s")
@number("max_connections")
@number("max_video_mb")
@number("max_video_s")
@number("max_jobs")
@number("max_store_mb")
@number("keep_job_s")
@foreign_options
def command(
    model: str, token_file: Path | None, input_sizes: tuple[str, ...], facts: ForeignFacts, **given: Any
) -> None:
    """Serve MODEL over HTTP, on Ray Serve: a .tflite, a .keras file of ours, a SavedModel folder of `convert`, or the
    name of a bundled model.

    Open the address it names in a browser, drop a picture on the page, and look. /docs describes what programs may
    ask, /metrics counts for Prometheus, /health and /ready are for whoever keeps it running. Ctrl-C or SIGTERM answers
    what runs, then ends.

    \b
    edge-deeplab serve
    edge-deeplab serve portrait.keras --replicas 1 --max-replicas 4
    curl --data-binary @photo.jpg 'http://127.0.0.1:8000/v1/segment?answer=matte' -o matte.png
    """
    from edge_deeplab.serving.ray_host import require_ray

    require_ray()  # before what imports it
    sizes = tuple(read_size(text) for text in input_sizes)
    options = ServeOptions(model=model, token=read_token(token_file), sizes_hw=sizes, **given)
    manifest = manifest_of(model, facts)
    from edge_deeplab.serving.server import run_server

    run_server(options, manifest=manifest, on_step=lambda text: click.echo(text, err=True))


def read_size(text: str) -> tuple[int, int]:
    """Height and width of `HxW`. Raises UsageError for anything else."""
    from edge_deeplab.errors import UsageError

    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UsageError("--input-size", came=text, allowed="HxW in pixels, such as 256x256")
    return int(height), int(width)


def read_token(path: Path | None) -> str | None:
    """The token of a file, or of the environment; None where neither holds one. Raises InputError, UsageError."""
    import os

    from edge_deeplab.errors import InputError, UsageError

    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the token cannot be read", came=getattr(error, "strerror", None) or error) from error
    if not token:
        raise UsageError(f"--token-file {path}: is empty", next_step="write a token of 8 or more characters into it")
    return token


def manifest_of(model: str, facts: ForeignFacts) -> Manifest | None:
    """The manifest of a .tflite that carries none; None for a model that says what it is."""
    from edge_deeplab.cli.live_program import foreign_manifest
    from edge_deeplab.errors import UsageError
    from edge_deeplab.manifest import is_saved_model

    if Path(model).suffix.lower() == ".keras" or is_saved_model(Path(model)):
        if facts.given:
            raise UsageError(f"{', '.join(facts.given)}: for a .tflite that carries no manifest", came=model)
        return None
    return foreign_manifest(model, facts)
