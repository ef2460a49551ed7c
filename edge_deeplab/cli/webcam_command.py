"""`edge-deeplab webcam`: any model's classes over moving pictures, live or for a file."""

from __future__ import annotations

import click

from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.live_program import (
    LIVE_SECTIONS,
    foreign_manifest,
    live_options,
    print_report,
    say_line,
    say_progress,
    say_source,
    setting_option,
)
from edge_deeplab.cli.option_sections import SectionedCommand
from edge_deeplab.compositing.options import OverlayOptions
from edge_deeplab.demo_apps.options import LiveOptions, WebcamOptions

SECTIONS = {
    **LIVE_SECTIONS,
    "Classes": ("opacity", "shows_legend"),
    "Model and speed": ("model", "precision", "threads", "max_cpu"),
    "A model that says nothing of itself": tuple(ForeignFacts.__dataclass_fields__),
}


@click.command(cls=SectionedCommand, sections=SECTIONS)
@live_options
@setting_option(WebcamOptions, "model", "--model", metavar="MODEL")
@setting_option(WebcamOptions, "max_cpu", "--max-cpu", metavar="PERCENT")
@setting_option(OverlayOptions, "opacity", "--opacity")
@setting_option(OverlayOptions, "shows_legend", "--legend/--no-legend", "shows_legend")
@foreign_options
def command(
    live: LiveOptions,
    as_json: bool,
    model: str,
    max_cpu: float | None,
    opacity: float,
    shows_legend: bool,
    facts: ForeignFacts,
) -> None:
    """Show the classes a model sees, each in its colour, with a legend.

    A camera is shown in a window, where h lists the keys, or goes to a file, a virtual camera, a browser, or all of
    them. Ctrl-C, or q in the window, ends it; what was written plays. A model that carries no manifest needs --labels,
    --input-range and --activation.

    \b
    edge-deeplab webcam --show-fps
    edge-deeplab webcam --http 8080
    edge-deeplab webcam --source street.mp4 --output classes.mp4 --model streets.tflite
    """
    from edge_deeplab.demo_apps.webcam import run_webcam

    overlay = OverlayOptions(opacity=opacity, shows_legend=shows_legend)
    options = WebcamOptions(model=model, max_cpu=max_cpu, live=live, overlay=overlay)
    manifest = foreign_manifest(model, facts)
    report = run_webcam(options, manifest=manifest, on_open=say_source, on_progress=say_progress, say=say_line)
    print_report(report, as_json=as_json)
