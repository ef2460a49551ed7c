"""`edge-deeplab demo`: a moving picture blurred, a contact sheet, and a table of where the time went."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge_deeplab.cli.live_program import SizeWH, print_report, say_progress, say_source, setting_option
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.options import DemoOptions


@click.command()
@click.option(
    "--output", "-o", "folder", type=click.Path(path_type=Path), default=DemoOptions.folder, show_default=True,
    metavar="DIR", help="Folder for the video and the contact sheet.",
)  # fmt: skip
@setting_option(DemoOptions, "source", "--source", metavar="SOURCE")
@setting_option(DemoOptions, "model", "--model", metavar="MODEL")
@setting_option(DemoOptions, "background", "--background", metavar="WHAT")
@setting_option(CompositingOptions, "strength", "--strength")
@setting_option(
    DemoOptions, "size_wh", "--size", "size_wh", type=SizeWH(), metavar="WxH", show_default=False,
    help="Size of the synthetic picture. [{}x{}]".format(*DemoOptions.size_wh),
)  # fmt: skip
@setting_option(DemoOptions, "frames", "--frames", metavar="N")
@setting_option(DemoOptions, "threads", "--threads", metavar="N")
@setting_option(DemoOptions, "overwrites", "--force", "overwrites", is_flag=True, show_default=False)
@click.option("--json", "as_json", is_flag=True, help="Write the report as JSON to stdout in place of the table.")
def command(
    folder: Path,
    source: str,
    model: str,
    background: str,
    strength: float,
    size_wh: tuple[int, int],
    frames: int,
    threads: int,
    overwrites: bool,
    as_json: bool,
) -> None:
    """Blur a moving picture, without a camera.

    A photo of an astronaut (NASA, public domain, from scikit-image) is moved by pan, zoom and shake as a camera in a
    hand would see it. Writes DIR/portrait-blur.mp4 and DIR/contact-sheet.png, and prints milliseconds per stage.
    """
    from edge_deeplab.demo_apps.demo import camera_line, run_demo

    options = DemoOptions(
        folder=folder, source=source, model=model, background=background, size_wh=size_wh, frames=frames,
        threads=threads, overwrites=overwrites, compositing=CompositingOptions(strength=strength),
    )  # fmt: skip
    result = run_demo(options, on_open=say_source, on_progress=say_progress)
    if as_json:
        files = {"video": str(result.video), "contact_sheet": str(result.sheet)}
        click.echo(json.dumps({**result.report.to_dict(), **files}, indent=2, default=str))
        return
    print_report(result.report, as_json=False)
    click.echo(f"contact sheet {result.sheet}")
    click.echo(camera_line(result.cameras))
