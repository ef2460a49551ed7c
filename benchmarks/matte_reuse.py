"""How good are mattes carried along the motion, and what do they cost beside an inference?

On every clip each frame's own matte is made; then, for a mask on every 2nd, 3rd and 4th frame, the mattes between are
kept as they stood ("kept") or carried (compositing.motion, "carried") and held against the frame's own. The difference
is the mean over pixels of |a - b| in percent; 1 - IoU that of the masks at 0.5; "moving" the quarter of the frames
between that differ most from the kept matte. Times are of a 1280 x 720 frame, inference and carrying in turn.

    python benchmarks/matte_reuse.py --clips ../shared/clips [--model portrait] [--pictures DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from edge_deeplab.compositing.motion import CUT_LEVELS, MatteMotion, motion_view
from edge_deeplab.errors import EdgeDeepLabError, InputError
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.report import host_line
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.source import open_source

EVERY = (2, 3, 4)
SIZE_WH = (1280, 720)
COLOURS = {"own": (80, 220, 80), "kept": (60, 60, 255), "carried": (255, 160, 40)}  # BGR


class Between(NamedTuple):
    """A frame between two new mattes, and how far each way is from its own matte."""

    clip: str
    index: int
    kept: float
    carried: float
    kept_iou: float
    carried_iou: float
    unexplained: float


def iou(matte: np.ndarray, other: np.ndarray) -> float:
    person, truth = matte > 0.5, other > 0.5
    return float((person & truth).sum() / max(1, (person | truth).sum()))


def compare(frames: list[np.ndarray], mattes: list[np.ndarray], every: int, clip: str) -> list[Between]:
    motion, views, found = MatteMotion(), [motion_view(frame) for frame in frames], list[Between]()
    for index, own in enumerate(mattes):
        key = index // every * every
        if key == index:
            continue
        carried = motion.carry(mattes[key], views[key], views[index])
        off = [float(np.abs(one - own).mean()) for one in (mattes[key], carried.matte)]
        found.append(
            Between(clip, index, *off, iou(mattes[key], own), iou(carried.matte, own), carried.unexplained)
        )  # fmt: skip
    return found


def costs(segmenter: Segmenter, frames: list[np.ndarray], runs: int = 60) -> dict[str, float]:
    """Median milliseconds of an inference and of a carried matte, taking turns."""
    large = [cv2.resize(frame, SIZE_WH) for frame in frames[:8]]
    motion, seen = MatteMotion(), {"inference": list[float](), "carried": list[float]()}
    matte, before = segmenter.matte_bgr(large[0]), motion_view(large[0])
    for turn in range(runs):
        frame = large[turn % len(large)]
        began = time.perf_counter_ns()
        segmenter.matte_bgr(frame)
        inferred = time.perf_counter_ns()
        motion.carry(matte, before, motion_view(frame))
        seen["inference"].append((inferred - began) / 1e6)
        seen["carried"].append((time.perf_counter_ns() - inferred) / 1e6)
    return {name: float(np.median(values[10:])) for name, values in seen.items()}


def draw(frame: np.ndarray, mattes: dict[str, np.ndarray], title: str) -> np.ndarray:
    """The frame with the outline of each matte at 0.5."""
    picture = (frame * 0.75).astype(np.uint8)
    for name, matte in mattes.items():
        mask = (cv2.resize(matte, frame.shape[1::-1]) > 0.5).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, COLOURS[name], 2)
    for row, (text, colour) in enumerate(((title, (255, 255, 255)), *((n, COLOURS[n]) for n in mattes))):
        cv2.putText(picture, text, (10, 24 + 22 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, metavar="DIR", help="videos, as in ../shared/clips")
    parser.add_argument("--model", default="portrait", help="a bundled name or a path [portrait]")
    parser.add_argument("--limit", type=int, default=150, help="frames of each clip [150]")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also draw the worst and the middle frame here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.clips.glob("*.*") if path.suffix in (".mkv", ".mp4"))
    if not paths:
        raise InputError(f"{arguments.clips}: no clips", allowed="a folder of .mkv or .mp4 files")
    cv2.setNumThreads(1)
    clips: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    with Segmenter(arguments.model) as segmenter:
        for path in paths:
            with open_source(str(path)) as source:
                frames = [frame.bgr for frame, _ in zip(source, range(arguments.limit))]
            clips[path.stem] = frames, [segmenter.matte_bgr(frame) for frame in frames]
        took_ms = costs(segmenter, next(iter(clips.values()))[0])
    console, rows = Console(width=None if sys.stdout.isatty() else 110), list[dict[str, Any]]()
    table = Table(title=f"{len(clips)} clips, against every frame's own matte")
    for name in ("mask every", "frames between", "way", "difference %", "moving", "1 - IoU", "moving", "95th"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for every in EVERY:
        found = [one for clip, (frames, mattes) in clips.items() for one in compare(frames, mattes, every, clip)]
        kept = np.array([one.kept for one in found])
        moving = kept >= np.percentile(kept, 75)
        for way in ("kept", "carried"):
            off = 100 * np.array([getattr(one, way) for one in found])
            missed = 1 - np.array([getattr(one, f"{way}_iou") for one in found])
            row = {
                "every": every, "frames": len(found), "way": way, "difference": off.mean(),
                "difference_moving": off[moving].mean(), "missed": missed.mean(),
                "missed_moving": missed[moving].mean(), "missed_p95": np.percentile(missed, 95),
            }  # fmt: skip
            rows.append({name: value if isinstance(value, int | str) else float(value) for name, value in row.items()})
            cells = [f"{row[name]:.2f}" for name in ("difference", "difference_moving")]
            cells += [f"{row[name]:.4f}" for name in ("missed", "missed_moving", "missed_p95")]
            table.add_row(str(every), str(len(found)), way, *cells)
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            ranked = sorted(found, key=lambda one: one.carried)
            for word, one in (
                ("worst", ranked[-1]),
                ("median", ranked[len(ranked) // 2]),
                ("gain", max(found, key=lambda one: one.kept - one.carried)),
            ):
                frames, mattes = clips[one.clip]
                key = one.index // every * every
                views = motion_view(frames[key]), motion_view(frames[one.index])
                shown = {
                    "own": mattes[one.index], "kept": mattes[key],
                    "carried": MatteMotion().carry(mattes[key], *views).matte,
                }  # fmt: skip
                picture = draw(frames[one.index], shown, f"{one.clip} {one.index}, every {every}")
                cv2.imwrite(str(arguments.pictures / f"every{every}_{word}.png"), picture)
    console.print(table)
    most = max(one.unexplained for clip, (f, m) in clips.items() for one in compare(f, m, EVERY[-1], clip))
    console.print(
        f"at {SIZE_WH[0]} x {SIZE_WH[1]}: an inference {took_ms['inference']:.2f} ms, a carried matte "
        f"{took_ms['carried']:.2f} ms ({took_ms['carried'] / took_ms['inference']:.2f} of it)",
        f"most of a frame left unexplained: {most:.1f} gray levels; a cut counts from {CUT_LEVELS:g}",
        host_line(describe_host()),
        sep="\n",
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "took_ms": took_ms}, indent=2))


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"matte_reuse: error: {error}")
