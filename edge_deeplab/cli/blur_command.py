"""`edge-deeplab blur`: a person before a blurred or another background, live or for a file."""

from __future__ import annotations

import click

from edge_deeplab.cli.compositing_options import compositing_options
from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.live_program import (
    foreign_manifest,
    live_options,
    print_report,
    say_progress,
    say_source,
    setting_option,
)
from edge_deeplab.cli.quality_options import quality_options
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.options import LiveOptions, PortraitOptions, QualityOptions


@click.command()
@live_options
@setting_option(PortraitOptions, "model", "--model", metavar="MODEL")
@setting_option(PortraitOptions, "background", "--background", metavar="WHAT")
@compositing_options
@quality_options
@foreign_options
def command(
    live: LiveOptions,
    as_json: bool,
    model: str,
    background: str,
    compositing: CompositingOptions,
    quality: QualityOptions,
    facts: ForeignFacts,
) -> None:
    """Put a person before a blurred or another background.

    A camera is shown in a window, or recorded with --output. A video keeps its frame rate, time stamps and rotation,
    and its sound where the extra "media" is installed. Ctrl-C, or q in the window, ends it; what was written plays.
    A model that carries no manifest needs --labels, --input-range and --activation.

    --target-fps holds a rate where the machine is too slow, and --max-cpu leaves it to other programs: the mask is made
    by a smaller model and on fewer frames, the blur more coarsely, as little and as shortly as will do. What was given
    up is said at the end.

    \b
    edge-deeplab blur
    edge-deeplab blur --max-cpu 50
    edge-deeplab blur --source talk.mp4 --output blurred.mp4 --strength 0.8
    edge-deeplab blur --source talk.mp4 --output bokeh.mp4 --blur-style lens
    edge-deeplab blur --source me.jpg --output me-on-navy.png --background navy
    """
    from edge_deeplab.demo_apps.portrait import run_portrait

    options = PortraitOptions(
        model=model, background=background, live=live, compositing=compositing, quality=quality
    )  # fmt: skip
    manifest = foreign_manifest(model, facts)
    report = run_portrait(options, manifest=manifest, on_open=say_source, on_progress=say_progress)
    print_report(report, as_json=as_json)
