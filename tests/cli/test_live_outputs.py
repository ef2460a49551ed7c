"""Outputs of `blur` and `webcam` as typed: several at once, a browser's address, what is refused and how."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.cli import live_program
from edge_deeplab.cli.main import main
from edge_deeplab.demo_apps.live import LiveReport
from edge_deeplab.imaging.decode import read_image, write_image
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest, append_manifest
from edge_deeplab.video.pipeline import PipelineReport
from edge_deeplab.video.source import open_source

BLUR = ["blur", "--model", "bright.tflite", "--source", "photo.png", "--threads", "1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with photo.png and bright.tflite (bright is person); no screen."""
    picture = np.full((90, 160, 3), 20, np.uint8)
    picture[30:70, 60:100] = 255
    write_image(tmp_path / "photo.png", picture)
    (tmp_path / "bright.tflite").write_bytes(bright_segmenter((32, 32), io="uint8").to_bytes())
    append_manifest(
        tmp_path / "bright.tflite", Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(32, 32))
    )
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--http", "0.0.0.0:8080"], 2, "--http-token WORD, or allow it with --http-open"),
        (["--http", "somewhere"], 2, "such as 127.0.0.1:8080"),
        (["--http", "0", "--http-token", "short"], 2, "8 to 200 letters"),
        (["--http-token", "long-enough"], 2, "add --http PORT"),
        (["--http-open", "--output", "o.png"], 2, "add --http PORT"),
        (["--no-window"], 1, "leaves no output"),
        (["--window", "--output", "o.png"], 1, "there is no screen"),
        (["--keep-in", "missing", "--output", "o.png"], 2, "'missing' does not exist"),
        (["--virtual-camera", "/dev/video99", "--output", "o.mp4"], 1, "modprobe v4l2loopback"),
        (["--background", "red", "--background", "orang", "--output", "o.png"], 2, "did you mean orange"),
    ],
)
def test_what_is_refused_is_one_line_and_leaves_nothing(place, capfd, arguments, code, says) -> None:
    before = sorted(path.name for path in place.iterdir())
    assert main([*BLUR, *arguments]) == code
    written = capfd.readouterr()
    lines = [line for line in written.err.splitlines() if not line.startswith("INFO: ")]  # the engine's own greeting
    assert written.out == "" and len(lines) == 1 and says in lines[0], written
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_browsers_page_a_control_and_a_clean_end(place, repository) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "edge_deeplab.cli.main", *BLUR, "--http", "127.0.0.1:0", "--http-token", "long-enough",
         "--background", "blur", "--background", "#0000ff", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said = ""
        while (found := re.search(r"watch at (\S+)\?token=long-enough", said)) is None:
            said += (line := running.stderr.readline())
            assert line, said
        address = found.group(1)
        posting = urllib.request.Request(
            f"{address}control?name=next%20background&token=long-enough", method="POST",
            headers={"X-Edge-Deeplab": "1"},
        )  # fmt: skip
        with urllib.request.urlopen(posting, timeout=30) as answer:
            assert json.load(answer) == {"says": "background #0000ff"}
        with open_source(f"{address}stream.mjpeg?token=long-enough") as source:
            assert any((frame.bgr[:10] > (200, -1, -1)).all() for frame, _ in zip(source, range(100))), "all is blue"
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=30)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0
    report = json.loads(out)
    assert report["lost"] == [] and report["output"] == f"pictures at {address}?token=long-enough"


def test_several_outputs_get_the_same_picture(place) -> None:
    """A source that ends: the file is written, what is served beside it ends with it."""
    assert main([*BLUR, "--output", "out.png", "--http", "0", "--background", "red"]) == 0
    assert (read_image(place / "out.png")[:10] == (255, 0, 0)).all()


def test_a_lost_output_ends_with_exit_code_1(capsys) -> None:
    import click
    from click.testing import CliRunner

    @click.command()
    def command() -> None:
        run = PipelineReport(
            frames=1,
            dropped=0,
            duration_s=1.0,
            fps=None,
            stages={},
            cpu_s=0.1,
            was_stopped=False,
            notes=("lost: disk",),
        )
        model = {"name": "m", "file": "m.tflite", "size_hw": (1, 1), "threads": 1, "precision": "int8"}
        report = LiveReport(
            source="s", output="o", frame_wh=(1, 1), model=model, pipeline=run, quality={}, pixel_kernels="OpenCV",
            lost=("x",),
        )  # fmt: skip
        live_program.print_report(report, as_json=False)

    done = CliRunner().invoke(command)
    assert done.exit_code == 1 and "Note: lost: disk" in done.stdout
    assert "pixel kernels: OpenCV; compiled ones, a few times as fast" in done.stdout
