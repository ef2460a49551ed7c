from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_quant_graphs
import numpy as np
import oracles
import pytest
from checkpoints import of_training, write_checkpoint

from edge_deeplab.cli.main import main
from edge_deeplab.manifest import read_manifest
from edge_deeplab.models.official_config import OfficialConfig

PORTRAIT = "models/portrait_mnv2_dm05_os8_frozen_inference_graph.pb"
CROP = 65


@pytest.fixture(scope="module")
def graph(shared: Path) -> Any:
    return fake_quant_graphs.at_crop(fake_quant_graphs.frozen(shared / PORTRAIT), 513, CROP)


@pytest.fixture(scope="module")
def pb(graph: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("import") / "theirs.pb"
    path.write_bytes(graph.SerializeToString())
    return path


@pytest.fixture(scope="module")
def checkpoint(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    write_checkpoint(
        folder / "model.ckpt-7", of_training(oracles.weights_for(oracles.load(shared, "mobilenet_v2_dm05_os16")))
    )
    return folder


def test_a_graph_becomes_a_model_file_that_says_where_it_is_from(
    pb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ours.keras"
    assert main(["import", str(pb), "-o", str(output), "--licence", "MIT"]) == 0
    said = capsys.readouterr().out
    proof = "both networks on the same pictures: logits differ by at most"
    for part in ("mobilenet_v2", "0.5", f"{CROP}x{CROP}", proof, f"convert {output}", f"--size {CROP}x{CROP}"):
        assert part in said
    manifest = read_manifest(output)
    assert manifest is not None
    assert OfficialConfig.from_dict(manifest.architecture).crop_size == (CROP, CROP)
    assert (manifest.labels, manifest.person_class, manifest.input_range) == (("background", "person"), 1, (-1.0, 1.0))
    assert manifest.licence == "MIT"
    assert set(manifest.provenance["imported"]["files"]) == {"theirs.pb"}
    assert str(pb.parent) not in manifest.to_json()


def test_a_checkpoint_says_what_it_assumes(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ours.keras"
    assert main(["import", str(checkpoint), "-o", str(output), "--crop", "65x97", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["found"]["output stride"] == ["16", "assumed"]
    assert said["found"]["crop"] == ["65x97", "told"]
    assert said["found"]["variant"] == ["mobilenet_v2", "names and shapes"]
    assert said["proof"] == "names and shapes of all variables"
    assert len(said["labels"]) == 21
    assert sorted(said["files"]) == ["model.ckpt-7.data-00000-of-00001", "model.ckpt-7.index"]


def test_a_quantized_graph_brings_its_int8_ranges_to_the_int8_file(
    graph: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, CROP, CROP, 3)).astype(np.uint8)
    names = fake_quant_graphs.activations(graph)
    ranges = fake_quant_graphs.seen_ranges(graph, names, "ImageTensor", pixels)
    ranges["concat_projection/Relu"] = (0.0, 7.65)
    path = tmp_path / "quantized.pb"
    path.write_bytes(fake_quant_graphs.quantized(graph, ranges, folds=True).SerializeToString())
    output = tmp_path / "ours.keras"
    assert main(["import", str(path), "-o", str(output)]) == 0
    said = capsys.readouterr().out
    assert f"next: edge-deeplab convert {tmp_path / 'ours.qat'}" in said
    assert "labels equal to those of its own fake quantization in" in said
    tflite = tmp_path / "ours.tflite"
    assert main(["convert", str(output), "-o", str(tflite), "--to", "int8"]) == 2
    assert f"or convert {tmp_path / 'ours.qat'}, whose ranges are set" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "ours.qat"), "-o", str(tflite), "--to", "int8"]) == 0
    from edge_deeplab.runtime.flatbuffer import TfliteFile

    operators = [operator for operator in TfliteFile.read(tflite).operators if operator.name == "CONV_2D"]
    projection, logits = (operator.outputs[0] for operator in operators[-2:])
    assert projection.scales[0] == pytest.approx(7.65 / 255, rel=1e-6)
    low, high = ranges["logits/semantic/BiasAdd"]
    assert logits.scales[0] == pytest.approx((high - low) / 255, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{pb}", "-o", "{out}", "--labels", "a,b,c"], 2, "came 3 names; allowed: 2 classes"),
        (["{pb}", "-o", "{out}", "--output-stride", "16"], 2, "leave --output-stride out"),
        (["{pb}", "-o", "{out}", "--crop", "129"], 2, "--crop: the graph of"),
        (["{pb}", "-o", "{out}", "--moving-averages"], 2, "only checkpoints keep them"),
        (["{pb}", "-o", "{folder}/ours.tflite"], 2, "must be called NAME.keras"),
        (["{pb}", "-o", "{folder}/none/ours.keras"], 1, "no such folder"),
        (["{folder}/absent.pb", "-o", "{out}"], 1, "no such file"),
        (["{folder}/theirs.keras", "-o", "{out}"], 2, "go straight to `edge-deeplab convert`"),
        (["{folder}/saved", "-o", "{out}"], 2, "SavedModels go straight to `edge-deeplab convert`"),
        (["{folder}/half.pb", "-o", "{out}"], 1, "cut short"),
        (["{folder}/empty.pb", "-o", "{out}"], 1, "an empty file"),
        (["{folder}/words.txt", "-o", "{out}"], 1, "no frozen graph"),
        (["{folder}", "-o", "{out}"], 1, "not a folder of one checkpoint"),
        (["{pb}", "-o", "{out}", "--atrous-rates", "six"], 2, "whole numbers after commas"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    pb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "theirs.keras").write_bytes(b"PK\x03\x04 and more")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "half.pb").write_bytes(pb.read_bytes()[:1_000_000])
    (tmp_path / "empty.pb").write_bytes(b"")
    (tmp_path / "words.txt").write_text("these are words")
    before = sorted(tmp_path.rglob("*"))
    filled = [part.format(pb=pb, folder=tmp_path, out=tmp_path / "ours.keras") for part in arguments]
    assert main(["import", *filled]) == code
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert said in errors[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_exists_is_kept_unless_forced(pb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "ours.keras"
    output.write_bytes(b"mine")
    assert main(["import", str(pb), "-o", str(output)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert output.read_bytes() == b"mine"
