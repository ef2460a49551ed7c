"""Importing is cheap, drags no training stack onto the device, and does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARK = ROOT / "benchmarks" / "import_cost.py"
RUNS = 25
ATTEMPTS = 2  # the second only where the first says too much, in case another program came in between

TRAINING_STACK = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "jax", "torch")
TRAINING_ROOMS = ("models", "quantization", "training", "converters", "serving")
DEVICE_ROOMS = (
    "calibration", "cli", "compositing", "data", "demo_apps", "evaluation", "imaging", "kernels", "profiling", "remote",
    "runtime", "video",
)  # fmt: skip

IMPORT_ALL = """
import importlib, json, os, pkgutil, sys, threading
import numpy, cv2  # not ours: cv2 itself changes the environment
environment = dict(os.environ)
import edge_deeplab
names = ["edge_deeplab." + name for name in ("errors", "labels", "manifest")]
for room in {rooms!r}:
    package = importlib.import_module("edge_deeplab." + room)
    names += [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
report = {{"modules": len(names), "stack": {{}}}}
for name in names:
    importlib.import_module(name)
    for heavy in {stack!r}:
        if heavy in sys.modules:
            report["stack"].setdefault(heavy, name)
report["threads"] = threading.active_count()
report["environment"] = sorted(key for key in os.environ if os.environ.get(key) != environment.get(key))
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, object]:
    code = IMPORT_ALL.format(rooms=DEVICE_ROOMS, stack=TRAINING_STACK)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_no_device_module_reaches_the_training_stack(imported: dict[str, object]) -> None:
    assert imported["modules"]
    assert imported["stack"] == {}, "heavy package: the first module that brought it"


def test_importing_starts_no_thread_and_sets_no_environment(imported: dict[str, object]) -> None:
    assert imported["threads"] == 1
    assert imported["environment"] == []


def test_every_room_is_judged() -> None:
    """A new room has to be put on one side or the other."""
    inside = {path.parent.name for path in (ROOT / "edge_deeplab").glob("*/__init__.py")}
    outside = {"calibration", "converters", "demo_apps"}
    without_code = {"assets", "recipes"}
    assert inside | outside == {*DEVICE_ROOMS, *TRAINING_ROOMS} | without_code


def test_importing_the_device_side_and_help_cost_little_more_than_their_parts(tmp_path: Path) -> None:
    """Fails when a ratio is above its limit beyond doubt: the low end of its 95 % interval, not the median alone."""
    figures = tmp_path / "import_cost.json"
    above: dict[str, tuple[float, float]] = {}
    for _ in range(ATTEMPTS):
        subprocess.run([sys.executable, BENCHMARK, "--runs", str(RUNS), "--json", figures], check=True)
        document = json.loads(figures.read_text())
        limits, pairs = document["limits"], document["pairs"]
        assert limits.keys() == pairs.keys()
        above = {
            name: (pair["ratio_low"], limits[name]) for name, pair in pairs.items() if pair["ratio_low"] > limits[name]
        }
        if not above:
            break
    assert not above, "name: (low end of the ratio, limit)"
