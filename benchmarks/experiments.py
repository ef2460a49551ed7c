"""What each choice in the portrait models brings: short trainings that change one thing, in one table and one picture.

Every row of benchmarks/experiments/list.toml is trained from proxy.toml, brought to int8 without tuning, scored on
val and val_wild, and timed beside MediaPipe's model. A row that is there already is left; a training that was stopped
goes on. RESULTS.md and pareto.svg are written anew from results.json after every row.

    python benchmarks/experiments.py PEER [--data ../shared] [--only NAME] [--output runs/experiments]

PEER is MediaPipe's selfie_segmentation.tflite, or the Python of an environment that holds mediapipe==0.10.21.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from peer_model_speed import peer_model
from portrait_table import FIGURES, SETS, accuracy

from edge_deeplab.data.pairs import PairsFolder
from edge_deeplab.errors import DeviceError, EdgeDeepLabError, UsageError
from edge_deeplab.imaging.svg_drawing import WIDTH, Drawing, Scale, nice_step
from edge_deeplab.models.architecture import count
from edge_deeplab.profiling.engine import compare_engines
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.report import host_line
from edge_deeplab.recipe import dump_recipe, load_recipe, override, parse_assignments
from edge_deeplab.training.run import StartRecipe, TrainRun

HERE = Path(__file__).with_name("experiments")
RESULTS = HERE / "results.json"
CALIBRATION_SAMPLES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A row of list.toml.

    Attributes:
        name, asks: which, and what it is about.
        set: changes of the proxy, as --set takes them.
        start: the backbone's weights; "" is random ones, None the proxy's.
    """

    name: str
    asks: str
    set: tuple[str, ...] = ()
    start: str | None = None

    def recipe(self, data: Path) -> TrainRun:
        """The whole training recipe."""
        run = load_recipe(HERE / "proxy.toml", TrainRun, variables={"DATA": data})
        run = override(run, parse_assignments(text.replace("${DATA}", str(data)) for text in self.set))
        if self.start is None:
            return run
        backbone = Path(self.start.replace("${DATA}", str(data))) if self.start else None
        return dataclasses.replace(run, start=StartRecipe(backbone=backbone))


def read_list() -> list[Experiment]:
    """The rows, in order."""
    rows = tomllib.loads((HERE / "list.toml").read_text())["experiment"]
    return [Experiment(**{**row, "set": tuple(row.get("set", ()))}) for row in rows]


def run_command(*arguments: object) -> None:
    """One command of edge-deeplab; its words go to this program's stderr."""
    done = subprocess.run([sys.executable, "-m", "edge_deeplab.cli.main", *map(str, arguments)], stdout=sys.stderr)
    if done.returncode:
        raise DeviceError(f"edge-deeplab {arguments[0]} failed", came=f"exit code {done.returncode}")


def run_experiment(one: Experiment, data: Path, folder: Path, peer: Path, precision: str) -> dict[str, Any]:
    """Trains, converts, scores and times. Returns: the row."""
    recipe = one.recipe(data)
    work = folder / one.name.replace(" ", "_").replace(",", "")
    work.mkdir(parents=True, exist_ok=True)
    (work / "recipe.toml").write_text(dump_recipe(recipe))
    resume = ["--resume"] if (work / "run/checkpoint.npz").exists() else []
    begun_s = time.monotonic()
    run_command("train", work / "recipe.toml", "--output", work / "run", "--set",
                f"compute.precision={precision}", *resume)  # fmt: skip
    trained_s = time.monotonic() - begun_s
    size = "{}x{}".format(*recipe.final_size_hw)
    calibration, made = folder / f"{size}.calib", work / "proxy.tflite"
    portraits = data / "data/portraits"
    if not calibration.exists():
        run_command("calibrate", *(portraits / name for name in ("train", "train_open", "train_wild")),
                    "--size", size, "--count", CALIBRATION_SAMPLES, "--output", calibration)  # fmt: skip
    run_command("convert", work / "run/proxy.keras", "--calibration", calibration, "--to", "int8", "--output", made,
                "--force")  # fmt: skip
    scores = {name: accuracy(made, PairsFolder(portraits / name)) for name in SETS}
    timed = compare_engines(made, peer, options=MeasureOptions(warmup=20, runs=200, max_duration_s=30.0))
    shutil.rmtree(work / "run", ignore_errors=True)
    counted = count(recipe.model.replace(size_hw=recipe.final_size_hw))
    return {
        "name": one.name, "asks": one.asks, "set": list(one.set), "start": one.start, "seed": recipe.seed,
        "size_hw": list(recipe.final_size_hw), "multiply_adds": counted.multiply_adds,
        "scores": {name: [round(value, 4) for value in values] for name, values in scores.items()},
        "ms": round(timed.first.median_ms, 2), "of_peer": round(timed.ratio, 2), "trained_min": round(trained_s / 60),
    }  # fmt: skip


def write_results(rows: list[dict[str, Any]], about: str) -> None:
    """results.json, RESULTS.md and pareto.svg."""
    RESULTS.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    heads = ["what changed", "input", "M multiply-adds", *(f"{data} {name}" for data in SETS for name in FIGURES),
             "ms", "of MediaPipe's", "seed"]  # fmt: skip
    lines = [
        "# Short trainings, one thing changed at a time", "",
        "Made by `python benchmarks/experiments.py PEER`: every row is `proxy.toml` with the changes that `list.toml` "
        "names, int8 without tuning. Only differences between rows mean anything: what ships is trained far longer.",
        "", about, "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|",
    ]  # fmt: skip
    for row in rows:
        figures = [f"{value:.3f}" for data in SETS for value in row["scores"][data]]
        lines.append("| " + " | ".join([
            row["name"], str(row["size_hw"][0]), f"{row['multiply_adds'] / 1e6:.0f}", *figures, f"{row['ms']:.2f}",
            f"{row['of_peer']:.2f}", str(row["seed"]),
        ]) + " |")  # fmt: skip
    lines += ["", "![accuracy against latency](pareto.svg)", "", "## What each row asks", ""]
    lines += [f"- **{row['name']}**: {row['asks']}" for row in rows]
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n")
    (HERE / "pareto.svg").write_text(draw_pareto(rows))


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other point beats in both: less cost (the first) and more gain (the second), by cost."""
    best, kept = float("-inf"), []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if gain > best:
            kept.append((cost, gain))
            best = gain
    return kept


def draw_pareto(rows: list[dict[str, Any]]) -> str:
    """The mean person IoU of both sets against latency, every row a point, the front a line."""
    title = "int8 after a short training: accuracy against latency"
    left, right, top, bottom = 58.0, WIDTH - 90.0, 52.0, 378.0
    drawing = Drawing(title, 430.0)
    drawing.text(left, 22, title, "heading")
    points = {row["name"]: (row["of_peer"], sum(row["scores"][data][0] for data in SETS) / len(SETS)) for row in rows}
    costs, gains = zip(*points.values(), strict=True)
    step = nice_step((max(gains) - min(gains)) / 5 or 0.01)
    xs = Scale(0.0, max(costs) * 1.05, left, right)
    ys = Scale(min(gains) // step * step, (max(gains) // step + 1) * step, bottom, top)
    drawing.y_axis(ys, left, right, "person IoU, mean of val and val_wild")
    drawing.x_axis(xs, bottom, top, "latency, of MediaPipe's model")
    drawing.path([(xs(x), ys(y)) for x, y in front(list(points.values()))], "s1")
    for name, (cost, gain) in points.items():
        drawing.dot(xs(cost), ys(gain), 3.6, 0, f"{name}: {gain:.4f} at {cost:.2f}")
        drawing.text(xs(cost) + 6, ys(gain) + 4, name, "tick")
    drawing.line(left, bottom, right, bottom, "axis")
    return drawing.file()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, help="the peer's .tflite, or the Python of its environment")
    parser.add_argument("--data", type=Path, default=Path("../shared"), help="holds data/portraits and models/")
    parser.add_argument("--output", type=Path, default=Path("runs/experiments"), help="where trainings are kept")
    parser.add_argument("--only", action="append", metavar="NAME", help="this row alone; may be repeated [all]")
    parser.add_argument("--precision", default="float32", help="of the trainings: float32 or bfloat16 [float32]")
    arguments = parser.parse_args()

    listed = {one.name: one for one in read_list()}
    unknown = sorted(set(arguments.only or ()) - set(listed))
    if unknown:
        raise UsageError(f"no experiment {', '.join(unknown)}", allowed=", ".join(listed))
    peer = peer_model(arguments.peer)
    document = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    rows = {row["name"]: row for row in document["rows"]}
    about = f"Timed on {host_line(describe_host())}, 1 thread; trained in {arguments.precision}."
    for name in arguments.only or listed:
        if name in rows and not arguments.only:
            continue
        rows[name] = run_experiment(listed[name], arguments.data.resolve(), arguments.output, peer, arguments.precision)
        write_results([rows[known] for known in listed if known in rows], about)
        print(json.dumps(rows[name]), flush=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"experiments: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
