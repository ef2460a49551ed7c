"""`edge-deeplab blur`: a person before a blurred or another background, live or for a file."""

from __future__ import annotations

import click

from edge_deeplab.cli.compositing_options import NAMES as COMPOSITING_NAMES
from edge_deeplab.cli.compositing_options import compositing_options
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
from edge_deeplab.cli.quality_options import quality_options
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.options import LiveOptions, PortraitOptions, QualityOptions

SECTIONS = {
    **LIVE_SECTIONS,
    "Person and background": ("backgrounds", *COMPOSITING_NAMES),
    "Model and speed": ("model", "precision", "threads", *QualityOptions.__dataclass_fields__),
    "A model that says nothing of itself": tuple(ForeignFacts.__dataclass_fields__),
}  # fmt: skip


@click.command(cls=SectionedCommand, sections=SECTIONS)
@live_options
@setting_option(PortraitOptions, "model", "--model", metavar="MODEL")
@click.option("--background", "backgrounds", multiple=True, default=(PortraitOptions.background,), metavar="WHAT",
              help="Blur, a colour name, #rrggbb, a picture, or a video; of several, b in the window shows the next. "
              f"[{PortraitOptions.background}]")  # fmt: skip
@compositing_options
@quality_options
@foreign_options
def command(
    live: LiveOptions,
    as_json: bool,
    model: str,
    backgrounds: tuple[str, ...],
    compositing: CompositingOptions,
    quality: QualityOptions,
    facts: ForeignFacts,
) -> None:
    """Put a person before a blurred or another background.

    A camera is shown in a window, where h lists the keys, or goes to a file, a virtual camera, a browser, or all of
    them. A video keeps its frame rate, time stamps and rotation, and its sound where the extra "media" is installed.
    Ctrl-C, or q in the window, ends it; what was written plays, after a crash too but for the last second. A model
    that carries no manifest needs --labels, --input-range and --activation.

    --target-fps holds a rate where the machine is too slow, and --max-cpu leaves it to other programs: the mask is made
    on fewer frames and moved with the picture between them, the blur more coarsely, then the mask by a smaller model,
    as little and as shortly as will do. What was given up is said at the end.

    \b
    edge-deeplab blur
    edge-deeplab blur --max-cpu 50
    edge-deeplab blur --virtual-camera --background beach.jpg --background blur --window
    edge-deeplab blur --http 8080 --output talk.mp4
    edge-deeplab blur --source talk.mp4 --output blurred.mp4 --strength 0.8
    edge-deeplab blur --source talk.mp4 --output bokeh.mp4 --blur-style lens
    edge-deeplab blur --source me.jpg --output me-on-navy.png --background navy
    """
    from edge_deeplab.demo_apps.portrait import run_portrait

    options = PortraitOptions(
        model=model, background=backgrounds[0], more_backgrounds=backgrounds[1:], live=live,
        compositing=compositing, quality=quality,
    )  # fmt: skip
    manifest = foreign_manifest(model, facts)
    report = run_portrait(options, manifest=manifest, on_open=say_source, on_progress=say_progress, say=say_line)
    print_report(report, as_json=as_json)
