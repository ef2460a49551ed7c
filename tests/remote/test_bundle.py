"""What is sent to a device: enough to run there, and nothing that needs more than numpy and the interpreter."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.remote.bundle import bundled_modules, make_bundle

BLOCKER = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ImportError(name + " is not there")
sys.meta_path.insert(0, Blocked())
"""
NOT_THERE = ("cv2", "click", "rich", "tensorflow", "keras", "PIL", "skimage", "av")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose Python has numpy and the interpreter, and none of NOT_THERE."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(BLOCKER.format(names=NOT_THERE))
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def run(place: Path, files: dict[str, bytes]) -> zipfile.ZipFile:
    (place / "job.zip").write_bytes(make_bundle(files))
    done = subprocess.run(
        [sys.executable, "job.zip"], cwd=place, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(place.parent / "without"), "PATH": "/usr/bin:/bin", "HOME": str(place.parent / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(place / "result.zip")


def test_it_measures_with_numpy_and_the_interpreter_alone(place: Path, portrait: Path) -> None:
    request = {"job": "profile", "threads": [1], "kernels": "auto", "runs": 2, "warmup": 1, "starts": 1}
    files = {"model.tflite": portrait.read_bytes(), "request.json": json.dumps(request).encode()}
    result = json.loads(run(place, files).read("result.json"))
    assert result["latency"][0]["latency"]["count"] == 2
    assert result["model_start"]["runs"] == 1
    assert not (place.parent / "home").exists(), "something was left in the home folder"


def test_it_runs_samples(place: Path, portrait: Path) -> None:
    side = 224  # the bundled model's
    samples = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    stream = io.BytesIO()
    np.save(stream, samples)
    request = {"job": "outputs", "threads": 1, "kernels": "auto", "delegate": None}
    files = {
        "model.tflite": portrait.read_bytes(), "request.json": json.dumps(request).encode(),
        "samples.npy": stream.getvalue(),
    }  # fmt: skip
    result = run(place, files)
    outputs = np.load(io.BytesIO(result.read("outputs.npy")))
    assert (outputs.shape, outputs.dtype) == ((2, side, side, 2), np.uint8)
    assert outputs.std() > 0


def test_it_holds_no_room_that_a_device_has_no_use_for() -> None:
    rooms = {name.split(".")[1] for name in bundled_modules() if "." in name}
    assert rooms <= {"assets", "errors", "kernels", "labels", "manifest", "profiling", "remote", "runtime"}
    assert "edge_deeplab.remote.openssh" not in bundled_modules()


def test_it_holds_nothing_compiled_for_this_machine() -> None:
    names = zipfile.ZipFile(io.BytesIO(make_bundle({}))).namelist()
    assert [name for name in names if not name.endswith(".py")] == []


def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    """The entry is one that even Python 2.7 would read up to the sentence."""
    main = zipfile.ZipFile(io.BytesIO(make_bundle({}))).read("__main__.py").decode()
    old = main.replace("import os, sys, zipfile", "import os, sys, zipfile; sys.version_info = (3, 7)")
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("needs Python 3.11 or later")
    assert list(tmp_path.iterdir()) == []
