"""What every stage of compositing costs, and how much of the picture it changes.

Two tables at 1280 x 720, one for a blurred and one for a replaced background: compositing at its defaults, then with
one stage changed at a time (switched off where the default has it on, on where it is off), then the looks that can be
chosen. All take the same frames and mattes in turns, frame by frame, so that what else the machine does falls on all;
a cost is the median of the differences from the defaults on the same frame, and stands beside the whole frame's time,
the model's included. How much better each stage makes the picture is what live_quality.py measures.

    python benchmarks/looks_cost.py [--model portrait] [--picture FILE] [--runs 60] [--threads 1] [--json FILE]
        [--pictures DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from live_quality_rows import stage_variants
from rich.console import Console
from rich.table import Table

from edge_deeplab.cli.frame_program import moving_frames
from edge_deeplab.compositing.background import PictureBackground
from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.profiling.engine import describe_model
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.report import host_line, write_json
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.interpreter import engine_name
from edge_deeplab.runtime.segmenter import Segmenter

SIZE_WH = (1280, 720)
WARMUP = 5
DEFAULT = "defaults"
SEEN_LEVELS = 2
"""A pixel has changed when a channel of it differs by more than this: two roundings."""

BLUR_ONLY = {"strength", "blur_style", "aperture", "highlights"}
REPLACED_ONLY = {"despill", "light_wrap"}


@dataclass
class Row:
    """One way to compose, and what was measured of it."""

    compositor: PortraitCompositor
    took_ms: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)
    picture: np.ndarray = field(default_factory=lambda: np.empty((SIZE_WH[1], SIZE_WH[0], 3), np.uint8))


def looks(base: CompositingOptions) -> dict[str, CompositingOptions]:
    """The defaults, one stage changed at a time, and the looks that can be chosen, where they do something."""
    found = {DEFAULT: base}
    for name, options in stage_variants(base).items():
        changed = {
            one.name for one in dataclasses.fields(base) if getattr(options, one.name) != getattr(base, one.name)
        }
        if not changed & (REPLACED_ONLY if base.background is None else BLUR_ONLY):
            found[name] = options
    if base.background is None:
        for strength in (0.25, 0.5, 1.0):
            lens = dataclasses.replace(base, strength=strength, blur_style="lens", highlights=1.0)
            found[f"blur_style lens, strength {strength:g}"] = lens
        found["blur_style lens, aperture hexagon"] = dataclasses.replace(base, blur_style="lens", aperture="hexagon")
        found["strength 1"] = dataclasses.replace(base, strength=1.0)
    else:
        found["despill 0.5, light_wrap 0.5"] = dataclasses.replace(base, despill=0.5, light_wrap=0.5)
    return found


def measure(rows: Mapping[str, Row], frames: list[np.ndarray], mattes: list[np.ndarray], runs: int) -> None:
    """Composes the frames in turns, every row on the same one; each round starts with another row."""
    names = list(rows)
    for turn in range(WARMUP + runs):
        frame, matte = frames[turn % len(frames)], mattes[turn % len(frames)]
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            row = rows[name]
            start = time.perf_counter_ns()
            row.compositor.compose(frame, matte, time_s=turn / 30, out=row.picture)
            took_ms = (time.perf_counter_ns() - start) / 1e6
            if turn >= WARMUP:
                row.took_ms.append(took_ms)
        for row in rows.values():
            difference = cv2.absdiff(row.picture, rows[DEFAULT].picture).max(axis=2)
            row.changed.append(float(np.mean(difference > SEEN_LEVELS)))


def summary(rows: Mapping[str, Row], model_ms: float) -> dict[str, dict[str, float]]:
    """Of every row: its time, its cost over the defaults, also as a share of a whole frame, and its effect."""
    default = np.array(rows[DEFAULT].took_ms)
    whole_ms = float(np.median(default)) + model_ms
    figures = {}
    for name, row in rows.items():
        cost_ms = float(np.median(np.array(row.took_ms) - default))
        figures[name] = {
            "compositing_ms": float(np.median(row.took_ms)),
            "cost_ms": cost_ms,
            "cost_of_whole": cost_ms / whole_ms,
            "changed": float(np.mean(row.changed)),
        }
    return figures


def cost_table(figures: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """The figures as a table."""
    table = Table(title=title, title_justify="left")
    table.add_column("compositing")
    for name in ("ms", "against defaults", "of the whole frame", "pixels changed"):
        table.add_column(name, justify="right")
    for name, one in figures.items():
        against = ("", "", "") if name == DEFAULT else (
            f"{one['cost_ms']:+.2f}", f"{one['cost_of_whole']:+.1%}", f"{one['changed']:.1%}"
        )  # fmt: skip
        table.add_row(name, f"{one['compositing_ms']:.2f}", *against)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="portrait", help="a bundled name or a path [portrait]")
    parser.add_argument("--picture", type=Path, help="what the frames show [a public-domain astronaut]")
    parser.add_argument("--runs", type=int, default=60, help="frames that count [60]")
    parser.add_argument("--threads", type=int, default=1, help="threads of the model and of OpenCV [1]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also write the last picture of each row here")
    arguments = parser.parse_args()
    cv2.setNumThreads(arguments.threads)

    frames, shows = moving_frames(arguments.picture, SIZE_WH)
    mattes, model_took_ms = [], []
    path = bundled_model(arguments.model)
    with Segmenter(path, threads=arguments.threads) as segmenter:
        for turn in range(WARMUP * len(frames)):
            start = time.perf_counter_ns()
            matte = segmenter.matte_bgr(frames[turn % len(frames)])
            model_took_ms.append((time.perf_counter_ns() - start) / 1e6)
            if turn < len(frames):
                mattes.append(matte.copy())
    model_ms = float(np.median(model_took_ms[len(frames) :]))

    # A picture with structure: the frame itself, turned and brightened.
    behind = PictureBackground(cv2.convertScaleAbs(frames[0][::-1, ::-1], alpha=0.7, beta=70))
    bases = {"blurred": CompositingOptions(), "replaced": CompositingOptions(background=behind)}
    console = Console(width=None if sys.stdout.isatty() else 100)
    results = {}
    for title, base in bases.items():
        rows = {name: Row(PortraitCompositor(options)) for name, options in looks(base).items()}
        measure(rows, frames, mattes, arguments.runs)
        results[title] = summary(rows, model_ms)
        whole_ms = results[title][DEFAULT]["compositing_ms"] + model_ms
        console.print(cost_table(results[title], f"{title} background: the whole frame takes {whole_ms:.2f} ms"), "")
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            for name, row in rows.items():
                file = f"{title}-{name.replace(', ', '-').replace(' ', '-')}.png"
                cv2.imwrite(str(arguments.pictures / file), row.picture)
    host = describe_host()
    console.print(
        f"{SIZE_WH[0]} x {SIZE_WH[1]} {shows}, model {path.name} {model_ms:.2f} ms, {arguments.threads} thread(s), "
        f"{arguments.runs} frames; {host_line(host)}; {' '.join(engine_name())}"
    )
    if arguments.json:
        document = {
            "benchmark": "looks_cost",
            "host": host.to_dict(),
            "engine": engine_name(),
            "threads": arguments.threads,
            "size_wh": SIZE_WH,
            "shows": shows,
            "model": describe_model(path).to_dict(),
            "model_ms": model_ms,
            "figures": results,
        }
        write_json(arguments.json, document, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        raise SystemExit(f"looks_cost: error: {error}") from error
