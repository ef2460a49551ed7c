"""`edge-deeplab inspect` as typed: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from handmade_tflite import Graph, Operator, Tensor, bright_segmenter
from lint_pairs import PAIRS

from edge_deeplab.cli.main import main
from edge_deeplab.converters.publish import publish
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest

MANIFEST = Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(32, 32), licence="Apache-2.0")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "bright.tflite"
    path.write_bytes(publish(bright_segmenter(io="uint8").to_bytes(), MANIFEST))
    return path


def test_the_verdict_is_the_last_line(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "full int8: yes"
    text = "\n".join(lines)
    assert "operators      3: 2 QUANTIZE, 1 CONV_2D" in text
    assert "delegate       1 partition (ai-edge-litert" in text
    assert "manifest       bright: 2 labels (background, person), person: person" in text
    assert "input image: ImageProperties RGB, NormalizationOptions mean 0 std 255" in text
    assert "SEGMENTER_METADATA activation SOFTMAX" in text
    assert "requantize     QUANTIZE uint8 to int8 (image), QUANTIZE int8 to uint8 (maps)" in text


def test_brief_leaves_out_the_operator_table(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["inspect", str(model)])
    assert "net/logits" in capfd.readouterr().out
    main(["inspect", str(model), "--brief"])
    assert "net/logits" not in capfd.readouterr().out


def test_json_is_all_that_is_on_stdout(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model), "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["is_fully_int8"] is True
    assert report["manifest"]["name"] == "bright"


def test_left_overs_are_listed_by_operator_and_layer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graph = bright_segmenter()
    shape = (1, 32, 32, 2)
    graph.tensors += [
        Tensor(name="real", shape=shape, dtype="float32"),
        Tensor(name="head/relu;x", shape=shape, dtype="float32"),
    ]
    graph.operators += [
        Operator(name="DEQUANTIZE", inputs=graph.outputs, outputs=("real",), options=("DequantizeOptions", {})),
        Operator(name="RELU", inputs=("real",), outputs=("head/relu;x",)),
    ]
    graph.outputs = ("head/relu;x",)
    path = tmp_path / "island.tflite"
    path.write_bytes(graph.to_bytes())
    assert main(["inspect", str(path)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "full int8: no (2 of 3 operators left over)"
    assert any(line.split() == ["2", "RELU", "head/relu", "float32"] for line in lines)
    assert any(line.startswith("manifest       none") for line in lines)


def test_a_file_that_does_not_load_is_shown_with_exit_code_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graph = Graph(
        tensors=[
            Tensor(name="a", shape=(1, 4, 4, 8), scales=(1.0,), zero_points=(0,)),
            Tensor(name="sum", shape=(1, 4, 4, 8), scales=(2.0**-20,), zero_points=(0,)),
        ],
        operators=[Operator(name="ADD", inputs=("a", "a"), outputs=("sum",), options=("AddOptions", {}))],
        inputs=("a",),
        outputs=("sum",),
    )
    path = tmp_path / "aborts.tflite"
    path.write_bytes(graph.to_bytes())
    assert main(["inspect", str(path)]) == 1
    said = capfd.readouterr()
    assert "does not load this file" in said.out
    assert "error          add-scales: an ADD whose input and output scales lie far apart" in said.out
    assert len(said.err.strip().splitlines()) == 1 and said.err.startswith("edge-deeplab: error: ")


@pytest.mark.parametrize("content", [None, b"", b"not a model at all", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 60])
def test_bad_files_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None) -> None:
    path = tmp_path / "bad.tflite"
    if content is not None:
        path.write_bytes(content)
    assert main(["inspect", str(path)]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1 and "bad.tflite" in said.err


@pytest.fixture
def swish(tmp_path: Path) -> Path:
    path = tmp_path / "swish.tflite"
    path.write_bytes(PAIRS["hard-swish-int8"]()[0].to_bytes())
    return path


def test_what_is_outside_of_the_delegate_stands_with_its_reason(swish: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(swish), "--brief"]) == 0
    lines = capfd.readouterr().out.splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("delegate"))
    assert lines[place].startswith("delegate       2 partitions") and lines[place].endswith("outside: 1 of 3 operators")
    assert lines[place + 1].strip() == "HARD_SWISH net/hard_swish_1: int8 is not taken, float32 is"
    assert "findings       3 warnings" in lines
    assert "warning        hard-swish-int8: HARD_SWISH in int8" in lines


def test_lint_shows_findings_alone_with_cost_remedy_and_source(swish: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(swish), "--lint"]) == 0
    text = capfd.readouterr().out
    assert text.startswith("findings ") and "sha256" not in text
    for title in (
        "  where        #1 HARD_SWISH net/hard_swish_1",
        "  why ",
        "  cost ",
        "  do ",
        "  source       https://",
    ):
        assert title in text
    prose = [line for line in text.splitlines() if not line.startswith("  source")]
    assert max(map(len, prose)) <= 120


@pytest.mark.parametrize(("level", "code"), [("info", 3), ("warning", 3), ("error", 0)])
def test_strict_gates_on_the_severity(swish: Path, capfd: pytest.CaptureFixture[str], level: str, code: int) -> None:
    assert main(["inspect", str(swish), "--lint", "--strict", level]) == code
    said = capfd.readouterr()
    assert "hard-swish-int8" in said.out
    assert ("at or above" in said.err) is (code == 3) and len(said.err.strip().splitlines()) <= 1


def test_findings_are_in_the_json_too(swish: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(swish), "--json", "--device", "gpu"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["device"] == "gpu"
    assert "hard-swish-int8" in [finding["rule"] for finding in report["findings"]]
    assert report["rows"][1]["reason"] == "int8 is not taken, float32 is"


@pytest.mark.parametrize("options", [["--strict", "grave"], ["--device", "npu"]])
def test_unknown_levels_and_devices_are_usage_errors(
    swish: Path, capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["inspect", str(swish), *options]) == 2
    assert options[1] in capfd.readouterr().err
