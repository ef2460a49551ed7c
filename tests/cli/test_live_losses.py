"""A camera that goes away, as a person at the command line meets it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faulty_camera import FaultyCamera
from handmade_tflite import bright_segmenter

from edge_deeplab.cli.live_program import say_progress
from edge_deeplab.cli.main import main
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest, append_manifest
from edge_deeplab.video.pipeline import Progress
from edge_deeplab.video.source import open_source


@pytest.fixture
def camera() -> Iterator[FaultyCamera]:
    """Gives three frames and hangs up; then nobody is there."""
    made = FaultyCamera()
    random = np.random.default_rng(0)
    for _ in range(3):
        made.show(random.integers(0, 255, (96, 128, 3), np.uint8))
    made.cut()
    yield made
    made.stop()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "bright.tflite"
    path.write_bytes(bright_segmenter((32, 32), io="uint8").to_bytes())
    append_manifest(path, Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(32, 32)))
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--no-reconnect"], "error: {url}: the stream ended after 3 pictures"),
        (["--reconnect-minutes", "0.0001"], "did not come back within less than 0.1 s; came"),
    ],
)
def test_a_camera_that_is_given_up_is_one_line_and_the_recording_is_kept(
    options, says, camera, model, tmp_path, capfd, monkeypatch
) -> None:
    url, output = camera.url.replace("//", "//me:secret@"), tmp_path / "out.mp4"
    if "--no-reconnect" not in options:
        monkeypatch.setattr("edge_deeplab.video.streams.OPEN_TIMEOUT_S", 0.2)
        camera.answer = lambda request: camera.head if len(camera.requests) == 1 else b""
    code = main(["blur", "--source", url, "--model", str(model), "--output", str(output), *options])
    told = capfd.readouterr().err
    assert code == 1
    assert says.format(url=url.replace(":secret", "")) in told.splitlines()[-1]
    assert "secret" not in told and "Traceback" not in told
    with open_source(str(output)) as made:
        assert 1 <= len(list(made)) <= 3


def test_the_line_of_progress_says_what_is_wrong(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress(frames=7, total=None, dropped=2, elapsed_s=3.0, fps=30.0, left_s=None, trouble="no picture")
    say_progress(progress)
    shown = capsys.readouterr().err
    assert shown.endswith("frame 7, no picture") and "fps" not in shown
