"""`edge-deeplab models`: the networks that can be built, what each weighs and what each costs."""

from __future__ import annotations

import json
import re
from typing import Any

import click

SIZE = re.compile(r"([1-9]\d*)(?:x([1-9]\d*))?")


class SizeHW(click.ParamType):
    """Height and width as `256x320`, or one number for a square."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Returns (height, width) in pixels; refuses anything else as a usage error."""
        if isinstance(value, tuple):
            return value
        match = SIZE.fullmatch(value.strip().lower())
        if match is None:
            self.fail(f"{value!r} is no size; allowed: HxW in pixels, such as 256x320, or one number", param, ctx)
        height = int(match.group(1))
        return height, int(match.group(2) or height)


@click.command()
@click.option(
    "--size", "size_hw", type=SizeHW(), metavar="HxW", help="Count at this input size in place of each variant's own."
)
@click.option(
    "--classes", type=click.IntRange(min=1), help="Count with this many classes in place of each variant's own."
)
@click.option(
    "--output-stride",
    type=click.Choice(["8", "16", "32"]),
    help="Count at this stride of the backbone's last features.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout in place of the table.")
def command(size_hw: tuple[int, int] | None, classes: int | None, output_stride: str | None, as_json: bool) -> None:
    """List the networks with their parameters and multiply-adds.

    Multiply-adds are those of the convolutions for one picture; parameters are the trainable ones. Nothing is built
    and TensorFlow is not needed.
    """
    import dataclasses

    from edge_deeplab.models import zoo
    from edge_deeplab.models.architecture import count

    given = {"size_hw": size_hw, "classes": classes, "output_stride": int(output_stride) if output_stride else None}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    rows = zoo.describe()
    if changes:
        configs = [dataclasses.replace(row.config, **changes) for row in rows]
        counts = [count(config) for config in configs]
        rows = [
            zoo.VariantRow(row.name, config, counted.trainable, counted.multiply_adds)
            for row, config, counted in zip(rows, configs, counts)
        ]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
        return

    from rich.console import Console
    from rich.table import Table

    # At most 78 columns, so that a plain terminal, or a pipe, which rich takes for one of 80, shows it whole.
    table = Table("model", "backbone", "input", "stride", "M params", "M mult-adds", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        config = row.config
        table.add_row(
            row.name,
            config.backbone if config.width == 1 else f"{config.backbone} x{config.width:g}",
            "{}x{}".format(*config.size_hw),
            str(config.output_stride),
            f"{row.parameters / 1e6:.2f}",
            f"{row.multiply_adds / 1e6:.0f}",
        )
    Console(highlight=False).print(table)
