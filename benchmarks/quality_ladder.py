"""What each rung of blur's ladder saves and what it loses: the costs in demo_apps/quality.py come from here.

Every frame of the clips, at 1280 x 720, is made at every quality in turn, in the same run: the rungs of the ladder, and
each of their means alone. "time" is the mean of the medians of the frames with a new matte and of those between, as
often as each comes, as a share of the full quality's; "edge" the mean difference of the alpha from the full quality's,
in percent of the frame; "background" that of the picture where it is background at both, in gray levels.

    python benchmarks/quality_ladder.py --clips ../shared/clips [--size 1280x720] [--threads 1] [--pictures DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.mattes import MattesInTurn
from edge_deeplab.demo_apps.options import SMALL_MODELS
from edge_deeplab.demo_apps.quality import LADDER
from edge_deeplab.errors import EdgeDeepLabError, InputError
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.report import host_line
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.governor import Quality
from edge_deeplab.video.source import open_source

WARMUP_FRAMES = 4
ALONE = (
    Quality(name="small model", cost=1, uses_small_model=True),
    Quality(name="mask every 2nd", cost=1, mask_every=2),
    Quality(name="mask every 3rd", cost=1, mask_every=3),
    Quality(name="mask every 4th", cost=1, mask_every=4),
    Quality(name="working side 240", cost=1, working_side=240),
    Quality(name="working side 160", cost=1, working_side=160),
    Quality(name="plain edge", cost=1, refines_edges=False),
)


class Way:
    """One quality over one clip, with what it cost and how far it was from the full one."""

    def __init__(self, quality: Quality, segmenter: Segmenter, small: Segmenter) -> None:
        self.quality = quality
        self.ms: list[list[float]] = [[] for _ in range(quality.mask_every)]
        self.edge, self.background = list[float](), list[float]()
        self._segmenters = segmenter, small
        self.begin()

    def begin(self) -> None:
        """Another clip."""
        options, self._made = CompositingOptions(), 0
        self._mattes = MattesInTurn(*self._segmenters)
        self._compositor = PortraitCompositor(
            dataclasses.replace(
                options, working_side=min(options.working_side, self.quality.working_side),
                refines_edges=options.refines_edges and self.quality.refines_edges,
            )
        )  # fmt: skip

    def make(self, frame: np.ndarray, out: np.ndarray) -> np.ndarray:
        """The picture, into `out`; its time is kept. Returns the alpha."""
        began_ns = time.perf_counter_ns()
        self._compositor.compose(frame, self._mattes.of(frame, self.quality), out=out)
        self.ms[self._made % self.quality.mask_every].append((time.perf_counter_ns() - began_ns) / 1e6)
        self._made += 1
        return self._compositor.alpha

    def mean_ms(self) -> float:
        """The mean over the frames from one new matte to the next, each by its median."""
        return float(np.mean([np.median(phase[WARMUP_FRAMES:]) for phase in self.ms]))


def frames_of(path: Path, limit: int, size_wh: tuple[int, int]) -> Iterator[np.ndarray]:
    with open_source(str(path)) as source:
        for frame, _ in zip(source, range(limit)):
            yield cv2.resize(frame.bgr, size_wh)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, metavar="DIR", help="videos, as in ../shared/clips")
    parser.add_argument("--model", default="portrait", choices=list(SMALL_MODELS))
    parser.add_argument("--size", default="1280x720", metavar="WxH")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=48, help="frames of each clip [48]")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also write a frame at every rung here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.clips.glob("*.*") if path.suffix in (".mkv", ".mp4"))
    if not paths:
        raise InputError(f"{arguments.clips}: no clips", allowed="a folder of .mkv or .mp4 files")
    width, height = map(int, arguments.size.split("x"))
    cv2.setNumThreads(arguments.threads)
    with ExitStack() as opened:
        big, small = (
            opened.enter_context(Segmenter(name, threads=arguments.threads))
            for name in (arguments.model, SMALL_MODELS[arguments.model])
        )
        ways = [Way(quality, big, small) for quality in (*LADDER, *ALONE)]
        pictures = [np.empty((height, width, 3), np.uint8) for _ in ways]
        for path in paths:
            for way in ways:
                way.begin()
            for index, frame in enumerate(frames_of(path, arguments.limit, (width, height))):
                full = np.empty(0)
                for way, picture in zip(ways, pictures):
                    alpha = way.make(frame, picture)
                    if way is ways[0]:
                        full = alpha.copy()
                    is_behind = (full == 0) & (alpha == 0)
                    way.edge.append(float(cv2.absdiff(alpha, full).mean()) / 2.55)
                    way.background.append(float(cv2.absdiff(picture, pictures[0])[is_behind].mean()))
                if arguments.pictures and path is paths[1] and index == 27:
                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    for place, picture in enumerate(pictures[: len(LADDER)]):
                        cv2.imwrite(str(arguments.pictures / f"rung{place}.png"), picture)
    table = Table(title=f"{len(paths)} clips at {arguments.size}, {arguments.threads} thread(s)")
    for name in ("quality", "ladder says", "time", "ms", "edge %", "background"):
        table.add_column(name, justify="left" if name == "quality" else "right")
    rows = []
    for place, way in enumerate(ways):
        ms = way.mean_ms()
        says = f"{way.quality.cost:.2f}" if place < len(LADDER) else "alone"
        row = {
            "time": ms / ways[0].mean_ms(),
            "edge": float(np.mean(way.edge)),
            "background": float(np.mean(way.background)),
        }
        rows.append({"quality": way.quality.name, "says": says, "ms": ms, **row})
        table.add_row(
            way.quality.name, says, f"{row['time']:.2f}", f"{ms:.1f}", f"{row['edge']:.2f}", f"{row['background']:.2f}"
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    print(host_line(describe_host()))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"quality_ladder: error: {error}")
