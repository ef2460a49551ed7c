"""The command itself: killed and gone on with, on threads and on Ray, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.cli import main as door
from edge_deeplab.cli.main import main
from edge_deeplab.cli.segment_command import duration

COMMAND = [sys.executable, "-m", "edge_deeplab.cli.main", "segment"]
PICTURES = 60
WAIT_S = 120.0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some whole pictures and one broken one."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(PICTURES - 1):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC))
    (folder / "broken.jpg").write_bytes((folder / "000.jpg").read_bytes()[:999])
    return folder


def written(out: Path) -> set[str]:
    return {path.name for path in (out / "labels").iterdir()} if (out / "labels").is_dir() else set()


def wanted() -> set[str]:
    return {f"{number:03d}.png" for number in range(PICTURES - 1)}


def test_killed_in_the_middle_it_goes_on_to_one_output_each(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [*COMMAND, str(photos), "-o", str(out), "--workers", "2", "--batch", "2"]
    with (tmp_path / "stderr").open("wb") as errors:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=errors)
        ends_s = time.monotonic() + WAIT_S
        while len(written(out)) < 5:
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            assert time.monotonic() < ends_s
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert written(out) < wanted(), "it was done before it could be killed"
    assert all(cv2.imread(str(out / "labels" / name)) is not None for name in written(out)), "an output is not whole"
    done = subprocess.run([*arguments, "--resume", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["total"], report["done"], report["bad"]) == (PICTURES, PICTURES - 1, 1)
    assert written(out) == wanted()
    assert {path.name for path in out.iterdir()} == {"labels", "journal.sqlite", "done.csv", "bad.csv"}
    assert "broken.jpg" in (out / "bad.csv").read_text()


def test_a_worker_of_ray_killed_under_load_loses_nothing(photos: Path, tmp_path: Path) -> None:
    """Also: the same answers as on threads, nothing but the result on stdout, no process left."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
    from serving_process import command_of, descendants

    out, threads = tmp_path / "out", tmp_path / "threads"
    arguments = [*COMMAND, str(photos), "-o", str(out), "--ray", "--workers", "2", "--batch", "4", "--json"]
    with (tmp_path / "stderr").open("wb") as errors:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True)
        killed = 0
        ends_s = time.monotonic() + WAIT_S
        while process.poll() is None:
            assert time.monotonic() < ends_s
            workers = [pid for pid in descendants(process.pid) if b"MapWorker" in command_of(pid)]
            if not killed and workers and len(written(out)) >= 3:
                os.kill(workers[0], signal.SIGKILL)
                killed = len(written(out))
            time.sleep(0.05)
        stdout = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0, (tmp_path / "stderr").read_text()
    assert 0 < killed < PICTURES - 1
    report = json.loads(stdout)
    assert (report["total"], report["done"], report["bad"]) == (PICTURES, PICTURES - 1, 1)
    assert written(out) == wanted()
    assert main(["segment", str(photos), "-o", str(threads)]) == 0
    for name in wanted():
        assert (out / "labels" / name).read_bytes() == (threads / "labels" / name).read_bytes()


def test_help_and_mistakes_are_a_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "out")
    for arguments, code, said in (
        (["nowhere", "-o", out], 1, "no such file or folder"),
        ([str(photos), "-o", out, "--save", "mask"], 2, "allowed: labels, overlay, matte, npz, rle"),
        ([str(photos), "-o", out, "--model", "portait"], 1, "did you mean portrait?"),
        ([str(photos), "-o", out, "--model", "portrait", "--activation", "none"], 2, "which carries one"),
        ([str(photos), "-o", str(photos)], 1, "holds something else"),
    ):
        assert main(["segment", *arguments]) == code
        lines = capsys.readouterr().err.strip().splitlines()
        assert said in lines[-1]
        assert len(lines) == 1
    assert not Path(out).exists()


def test_without_ray_the_error_names_the_pip_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "pyarrow" else real(name, *rest)
    )
    assert main(["segment", str(photos), "-o", str(tmp_path / "out"), "--ray"]) == 1
    error = capsys.readouterr().err
    assert "pip install 'edge-deeplab[serve]'" in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert "segment" in door.COMMANDS


@pytest.mark.parametrize(("seconds", "said"), [(3.2, "3 s"), (99.0, "99 s"), (1200.0, "20 min"), (7300.0, "2 h 2 min")])
def test_durations_are_said_for_people(seconds: float, said: str) -> None:
    assert duration(seconds) == said
