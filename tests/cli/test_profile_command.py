"""`edge-deeplab profile` from the command line to the figures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.cli import profile_command, profile_measuring
from edge_deeplab.cli.frame_program import FrameProgram, drawn_figure, moving_frames
from edge_deeplab.cli.main import main
from edge_deeplab.cli.profile_command import KERNELS, MAX_RATIO, OPERATOR_TIMES, STARTS, command
from edge_deeplab.cli.profile_measuring import FRAME_SIZE_WH
from edge_deeplab.imaging.decode import write_image
from edge_deeplab.labels import VOC
from edge_deeplab.manifest import Manifest, append_manifest
from edge_deeplab.profiling import history, operators
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.report import read_profile
from edge_deeplab.runtime import interpreter

QUICK = ["--runs", "3", "--warmup", "1", "--starts", "1"]
QUICKEST = ["--runs", "3", "--warmup", "1", "--starts", "0", "--threads", "1", "--operators", "none", "--no-frame"]
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
    assert [name for name in frame["stages"] if name in ("capture", "prepare", "invoke", "decode")] == [
        "capture", "prepare", "invoke", "decode",
    ]  # fmt: skip
    assert stage in frame["stages"]
    assert sum(row["share"] for row in frame["stages"].values()) == pytest.approx(1.0)
    assert [step["name"] for step in document["frame_start"]["steps"]][-2:] == ["first frame", "steady frames"]
    operators = document["operators"]
    assert [row["name"] for row in operators["rows"]].count("DEPTHWISE_CONV_2D") == 17
    assert operators["threads"] == 1 and all(row["computes"] in (None, "float32") for row in operators["rows"])
    assert document["peaks"]["float32_gops"] > 0
    assert set(document["vitals"]) == {"before", "after"} and "governors" in document["vitals"]["before"]
    assert document["energy"] is not None or any(note.startswith("Energy: ") for note in document["notes"])
    assert document["model_start"]["steady_memory_bytes"] <= document["model_start"]["peak_memory_bytes"]
    for fact in (
        document["model"]["sha256"][:16], document["host"]["cpu_name"], "1 x 257 x 257 x 3 float32", "median",
        "DEPTHWISE_CONV_2D", "of peak", "float products", "steady",
    ):  # fmt: skip
        assert fact in out
    assert json.loads(json.dumps(read_profile(figures).to_dict())) == document


def test_a_model_without_a_manifest_is_measured_alone_and_that_is_said(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--threads", "1", "--operators", "none", "--json", "-", *QUICK]
    code, out, err = profile([str(bare), *quick], capsys)
    document = json.loads(out)  # stdout is for the machine alone
    assert code == 0
    assert document["frame"] is None and document["frame_start"] is None
    assert any("manifest" in note for note in document["notes"])
    assert document["model_start"]["ready_ms"] > 0
    assert "measuring" in err


def test_starts_and_frame_can_be_left_out(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = with_manifest(bare, tmp_path, 15)
    code, out, _ = profile([str(model), "--json", "-", *QUICKEST], capsys)
    document = json.loads(out)
    assert code == 0
    left_out = ("frame", "model_start", "frame_start", "operators", "peaks")
    assert [document[key] for key in left_out] == [None] * len(left_out)


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
        (["{model}", "--html", "{taken}"], 1, "--force"),
        (["{model}", "--operators", "guess"], 2, "profiler"),
        (["{model}", "--operators", "profiler", "--kernels", "reference"], 1, "reference"),
        (["{model}", "--benchmark-model", "{folder}/nowhere"], 1, "nowhere"),
        (["{model}", "--benchmark-model", "{taken}", "--operators", "alone"], 2, "--operators alone"),
        (["{model}", "--max-ratio", "1.2"], 2, "--against"),
        (["{model}", "--against", "{folder}/nowhere.json"], 1, "nowhere.json"),
        (["{model}", "--against", "{taken}"], 1, "no profile"),
        (["{model}", "--against", "{model}"], 1, "no JSON"),
        (["{model}", "--compare", "{model}", "{model}"], 2, "--compare A B"),
        (["--compare", "{model}"], 2, "2 arguments"),
        (["--compare", "{model}", "nowhere.tflite"], 1, "nowhere.tflite"),
        (["--compare", "{model}", "{model}", "--html", "{folder}/page.html"], 2, "--html"),
        (["--compare", "{model}", "{model}", "--starts", "1", "--against", "{taken}"], 2, "--against, --starts"),
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
    assert profile([str(bare), *QUICKEST, "--json", str(figures), "--force"], capsys)[0] == 0
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
    assert (*operators.METHODS, profile_measuring.NO_OPERATORS) == OPERATOR_TIMES
    assert (STARTS, MAX_RATIO) == (profile_measuring.STARTS, history.MAX_RATIO)
    assert f"[{STARTS}]" in (helps["starts"] or "") and f"[{MAX_RATIO}]" in (helps["max_ratio"] or "")


def test_help_places_every_option_under_a_heading() -> None:
    placed = [name for names in profile_command.SECTIONS.values() for name in names]
    assert sorted(placed) == sorted(parameter.name or "" for parameter in command.params if parameter.name != "model")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.tflite"
    path.write_bytes(bright_segmenter(io="uint8").to_bytes())
    return path


def test_a_page_holds_everything_and_no_address(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert profile([str(small), "--threads", "1", "--html", str(page), *QUICK], capsys)[0] == 0
    text = page.read_text()
    for part in ("One inference", "Operators", "Roofline", "Start-up and memory", "CONV_2D", "small.tflite"):
        assert part in text
    assert "http" not in text and "<script" not in text


def test_the_same_model_in_turns_with_itself_is_no_difference(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = profile(["--compare", str(small), str(small), "--runs", "32", "--json", "-"], capsys)
    document = json.loads(out)
    assert code == 0
    assert document["comparison"]["exceeds_noise"] is False
    assert document["models"][0]["sha256"] == document["models"][1]["sha256"]
    code, out, _ = profile(["--compare", str(small), str(small), "--runs", "16"], capsys)
    assert code == 0 and "first / itself" in out and out.rstrip().endswith(".")


def test_a_budget_that_is_held_passes_and_one_that_is_not_ends_with_3(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held against figures of this machine made a thousand times slower and faster in the file: no luck involved."""
    earlier, figures = tmp_path / "earlier.json", tmp_path / "now.json"
    assert profile([str(small), *QUICKEST, "--json", str(earlier)], capsys)[0] == 0
    for factor, code in ((1000.0, 0), (0.001, 3)):
        document = json.loads(earlier.read_text())
        document["latency"][0]["latency"]["median_ms"] *= factor
        held = tmp_path / f"{code}.json"
        held.write_text(json.dumps(document))
        arguments = [str(small), *QUICKEST, "--against", str(held), "--json", str(figures), "--force"]
        came, out, err = profile(arguments, capsys)
        assert came == code
        assert bool(re.search(r"over\s*│", out)) == (code == 3) and ("worse than" in err) == (code == 3)
        assert json.loads(figures.read_text())["against"]["rows"][0]["name"].startswith("inference")


def test_a_budget_of_another_machine_is_refused_before_measuring(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "earlier.json"
    assert profile([str(small), *QUICKEST, "--json", str(earlier)], capsys)[0] == 0
    document = json.loads(earlier.read_text())
    document["host"]["cpu_name"] = "Cortex-A76"
    earlier.write_text(json.dumps(document))
    code, out, err = profile([str(small), *QUICKEST, "--against", str(earlier)], capsys)
    assert (code, out) == (1, "") and "Cortex-A76" in err and "measuring" not in err


def test_a_native_tool_times_the_operators(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stand-in that prints the tool's table: nothing here brings the tool itself."""
    tool = tmp_path / "benchmark_model"
    head = "[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]"
    times = (("QUANTIZE", 1.0), ("CONV_2D", 2.5), ("QUANTIZE", 0.5))
    rows = "".join(f"{name}\t1.0\t{ms}\t20.0%\t20.0%\t0.0\t1\t[x]:{index}\n" for index, (name, ms) in enumerate(times))
    tool.write_text(
        "#!/bin/sh\ncat <<'END'\nInference timings in us: Init: 1, First inference: 2, Warmup (avg): 3, "
        f"Inference (avg): 5000\nOperator-wise Profiling Info for Regular Benchmark Runs:\n{head}\n{rows}END\n"
    )
    tool.chmod(0o755)
    quick = [argument for argument in QUICKEST if argument not in ("--operators", "none")]
    code, out, _ = profile([str(small), *quick, "--benchmark-model", str(tool), "--json", "-"], capsys)
    found = json.loads(out)["operators"]
    assert code == 0
    assert (found["method"], found["whole_ms"], found["sum_share"]) == ("benchmark_model", 5.0, 0.8)
    assert [row["time_ms"] for row in found["rows"]] == [1.0, 2.5, 0.5]
