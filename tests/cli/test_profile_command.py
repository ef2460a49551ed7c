"""`edge-deeplab profile` from the command line to the figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_deeplab.cli.frame_program import FrameProgram, drawn_figure, moving_frames
from edge_deeplab.cli.main import main
from edge_deeplab.cli.profile_command import FRAME_SIZE_WH, KERNELS, command
from edge_deeplab.imaging.decode import write_image
from edge_deeplab.labels import VOC
from edge_deeplab.manifest import Manifest, append_manifest
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.runtime import interpreter

QUICK = ["--runs", "3", "--warmup", "1", "--starts", "1"]
SMALL = ["--frame-size", "160x120"]


@pytest.fixture(scope="module")
def bare(shared: Path) -> Path:
    """A real model of someone else, without a manifest."""
    return shared / "models" / "deeplabv3_257_mv_gpu.tflite"


def with_manifest(bare: Path, folder: Path, person_class: int | None) -> Path:
    path = folder / "voc.tflite"
    shutil.copyfile(bare, path)
    manifest = Manifest(
        name="voc", labels=VOC, person_class=person_class, size_hw=(257, 257), input_range=(-1.0, 1.0)
    )  # fmt: skip
    append_manifest(path, manifest)
    return path


def profile(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["profile", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("person_class", "result", "stage"), [(15, "portrait blur", "blend"), (None, "class overlay", "overlay")]
)
def test_everything_is_measured_and_written(
    bare: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    person_class: int | None,
    result: str,
    stage: str,
) -> None:
    model, figures = with_manifest(bare, tmp_path, person_class), tmp_path / "profile.json"
    code, out, _ = profile([str(model), "--threads", "1,2", "--json", str(figures), *SMALL, *QUICK], capsys)
    assert code == 0
    document: dict[str, Any] = json.loads(figures.read_text())
    assert [row["threads"] for row in document["latency"]] == [1, 2]
    assert all(row["latency"]["count"] == 3 and row["latency"]["warmup_count"] == 1 for row in document["latency"])
    frame = document["frame"]
    assert (frame["size_wh"], frame["threads"], frame["result"]) == ([160, 120], 1, result)
    assert list(frame["stages"])[:3] == ["prepare", "invoke", "decode"]
    assert stage in frame["stages"]
    assert sum(row["share"] for row in frame["stages"].values()) == pytest.approx(1.0)
    assert [step["name"] for step in document["frame_start"]["steps"]][-2:] == ["first frame", "steady frames"]
    for fact in (document["model"]["sha256"][:16], document["host"]["cpu_name"], "1 x 257 x 257 x 3 float32", "median"):
        assert fact in out


def test_a_model_without_a_manifest_is_measured_alone_and_that_is_said(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = profile([str(bare), "--threads", "1", "--json", "-", *QUICK], capsys)
    document = json.loads(out)  # stdout is for the machine alone
    assert code == 0
    assert document["frame"] is None and document["frame_start"] is None
    assert any("manifest" in note for note in document["notes"])
    assert document["model_start"]["ready_ms"] > 0
    assert "measuring" in err


def test_starts_and_frame_can_be_left_out(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = with_manifest(bare, tmp_path, 15)
    code, out, _ = profile([str(model), "--no-frame", "--json", "-", "--runs", "2", "--starts", "0"], capsys)
    document = json.loads(out)
    assert code == 0
    assert [document[key] for key in ("frame", "model_start", "frame_start", "notes")][:3] == [None] * 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.tflite"], 1, "nowhere.tflite"),
        (["{bare}", "--frame-size", "160x120"], 1, "manifest"),
        (["{model}", "--picture", "nowhere.png", "--runs", "1"], 1, "nowhere.png"),
        (["{model}", "--json", "{taken}"], 1, "--force"),
        (["{model}", "--json", "{folder}/no/such/folder.json"], 1, "no folder"),
        (["{model}", "--no-frame", "--frame-size", "160x120"], 2, "--no-frame"),
        (["{model}", "--frame-size", "big"], 2, "1280x720"),
        (["{model}", "--threads", "0"], 2, "1,2,4"),
        (["{model}", "--runs", "0"], 2, "runs"),
        (["{model}", "--kernels", "fast"], 2, "xnnpack"),
        ([], 2, "MODEL"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    bare: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    model, taken = with_manifest(bare, tmp_path, 15), tmp_path / "taken.json"
    taken.write_text("{}")
    places = {"bare": bare, "model": model, "taken": taken, "folder": tmp_path}
    came, out, err = profile([argument.format(**places) for argument in arguments], capsys)
    errors = [line for line in err.splitlines() if not line.startswith("measuring")]
    assert came == code
    assert out == ""
    assert len(errors) == 1 and words in errors[0], err
    assert {path.name for path in tmp_path.iterdir()} == {"voc.tflite", "taken.json"}
    assert taken.read_text() == "{}"


def test_force_replaces_the_figures(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "profile.json"
    figures.write_text("{}")
    arguments = [str(bare), "--runs", "1", "--starts", "0", "--threads", "1", "--json", str(figures), "--force"]
    assert profile(arguments, capsys)[0] == 0
    assert json.loads(figures.read_text())["model"]["file"] == bare.name
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def test_frames_are_those_of_the_picture_asked_for(tmp_path: Path) -> None:
    plain = np.full((60, 80, 3), (200, 100, 50), np.uint8)
    write_image(tmp_path / "plain.png", plain)
    frames, shows = moving_frames(tmp_path / "plain.png", (40, 30))
    assert shows == "plain.png"
    assert all(frame.shape == (30, 40, 3) for frame in frames)
    assert np.all(frames[0] == (50, 100, 200))  # BGR


def test_the_program_measured_makes_pictures(bare: Path, tmp_path: Path) -> None:
    """What is timed has to be the real work: the picture comes out changed, at the frame's size."""
    frames, _ = moving_frames(None, (320, 180))
    with FrameProgram(with_manifest(bare, tmp_path, 15), frames) as program:
        program.step()
        assert program.picture.shape == (180, 320, 3)
        assert not np.array_equal(program.picture, frames[0])
        program.close()


def test_the_drawn_figure_is_a_picture_and_the_same_each_time() -> None:
    figure = drawn_figure()
    assert (figure.shape, figure.dtype) == ((512, 512, 3), np.uint8)
    assert np.array_equal(figure, drawn_figure())


def test_help_says_the_defaults_that_hold() -> None:
    """The options' texts are written out so that help stays fast; here they are held to their source."""
    helps = {parameter.name: getattr(parameter, "help", None) for parameter in command.params}
    defaults = MeasureOptions()
    assert f"[{defaults.runs}]" in (helps["runs"] or "")
    assert f"[{defaults.warmup}]" in (helps["warmup"] or "")
    assert "[{}x{}]".format(*FRAME_SIZE_WH) in (helps["size_wh"] or "")
    assert KERNELS == interpreter.KERNELS
