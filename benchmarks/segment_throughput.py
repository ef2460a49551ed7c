"""`edge-deeplab segment` beside the loop people write: pictures a second, label maps at the pictures' own size.

The loop reads with OpenCV, runs the model on all processors, enlarges its maps, takes the argmax and writes a PNG, one
picture after the other; it keeps no journal and cannot be resumed. Ours is the whole job: journal, threads, outputs
renamed into place. Both in one process, in turns over the same pictures; medians. With --ray, the job on Ray Data,
whose start is counted, too.

    python benchmarks/segment_throughput.py [--pictures FOLDER] [--count 64] [--model portrait] [--ray] [--json FILE]

Without --pictures they are scikit-image's astronaut, moved and resized to 1280 x 720.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from edge_deeplab.errors import EdgeDeepLabError, UsageError
from edge_deeplab.imaging.decode import IMAGE_SUFFIXES
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions, sample_pair
from edge_deeplab.profiling.report import host_line, render_pairs, write_json
from edge_deeplab.serving.bulk.job import run_job
from edge_deeplab.serving.bulk.options import BulkOptions
from edge_deeplab.serving.model_file import locate_model
from edge_deeplab.serving.models import open_batch_model


def made_pictures(folder: Path, count: int) -> list[Path]:
    """The astronaut, each time moved, as JPEG files of 1280 x 720."""
    import skimage.data

    picture = cv2.resize(skimage.data.astronaut()[..., ::-1], (1280, 720), interpolation=cv2.INTER_CUBIC)
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), np.roll(picture, 7 * number, axis=1))
    return paths


def plain_loop(paths: list[Path], model: str, out: Path) -> Callable[[], None]:
    """What a script of twelve lines does."""
    opened = open_batch_model(locate_model(model, None), threads=os.cpu_count() or 1)

    def run() -> None:
        out.mkdir()
        height, width = opened.sizes_hw[0]
        for path in paths:
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            maps = opened.predict(small[np.newaxis])[0]
            labels = cv2.resize(maps, image.shape[1::-1]).argmax(-1).astype(np.uint8)
            cv2.imwrite(str(out / f"{path.stem}.png"), labels)
        shutil.rmtree(out)

    return run


def job(paths: list[Path], options: BulkOptions, out: Path) -> Callable[[], None]:
    """The whole of `edge-deeplab segment`, model loaded and journal made each time."""

    def run() -> None:
        end = run_job(paths, out, options)
        assert end.done == len(paths)
        shutil.rmtree(out)

    return run


def timed(run: Callable[[], None], count: int) -> Callable[[], float]:
    """A sampler of the milliseconds a picture."""

    def sample() -> float:
        start = time.perf_counter_ns()
        run()
        return (time.perf_counter_ns() - start) / 1e6 / count

    return sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--model", default="portrait")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--ray", action="store_true", help="Ray Data in place of threads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.pictures is None:
            paths = made_pictures(folder, arguments.count)
        else:
            found = (path for path in sorted(arguments.pictures.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES)
            paths = list(found)[: arguments.count]
        if not paths:
            raise UsageError(f"--pictures {arguments.pictures}: holds no picture")
        options = BulkOptions(model=arguments.model, on_ray=arguments.ray)
        with closing(open_batch_model(locate_model(arguments.model, None))):
            pass  # the model's probe, once a machine, is not what is measured
        pair = sample_pair(
            timed(job(paths, options, folder / "ours"), len(paths)),
            timed(plain_loop(paths, arguments.model, folder / "theirs"), len(paths)),
            options=MeasureOptions(warmup=1, runs=arguments.runs, max_duration_s=300.0),
        )
    host = describe_host()
    pairs = {"ms a picture": pair}
    console = Console()
    console.print(render_pairs(pairs, first="segment", second="plain loop"))
    console.print(
        f"{1e3 / pair.first.median_ms:.1f} against {1e3 / pair.second.median_ms:.1f} pictures a second; {len(paths)}"
    )
    console.print(host_line(host))
    if arguments.json:
        document = {
            "benchmark": "segment_throughput", "host": host.to_dict(), "model": arguments.model, "count": len(paths),
            "ray": arguments.ray, "pairs": {name: pair.to_dict() for name, pair in pairs.items()},
        }  # fmt: skip
        write_json(arguments.json, document, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"segment_throughput: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
