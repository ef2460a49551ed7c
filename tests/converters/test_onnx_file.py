"""The ONNX file on a runtime that no one here wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from small_networks import SIZE_HW, smooth_images, write_model

from edge_deeplab.cli.main import main
from edge_deeplab.converters.onnx_file import METADATA_KEY
from edge_deeplab.manifest import Manifest

FLOAT_NOISE = 1e-4  # of a probability: the same sums in another order


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("onnx") / "small.keras")


def test_onnxruntime_gives_the_networks_numbers_for_any_batch(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnxruntime

    from edge_deeplab.models.keras_api import keras_namespace
    from edge_deeplab.models.store import rebuild

    output = model.with_suffix(".onnx")
    assert main(["convert", str(model), "--to", "onnx", "-o", str(output), "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["format"] == "onnx"
    assert report["against_float"]["signal_to_noise_db"] > 80
    session = onnxruntime.InferenceSession(str(output))
    manifest = Manifest.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert (manifest.labels, manifest.size_hw) == (("background", "person"), SIZE_HW)
    network, _ = rebuild(model, keras_namespace("keras"))
    for count in (1, 3):
        images = np.rint(smooth_images(count, seed=4) * 255).astype(np.uint8)
        (got,) = session.run(["probabilities"], {"images": images})
        logits = network.predict_on_batch(images.astype(np.float32) / 255)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        assert np.abs(got - powers / powers.sum(-1, keepdims=True)).max() < FLOAT_NOISE


def test_without_tf2onnx_the_error_names_the_pip_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    assert main(["convert", str(model), "--to", "onnx", "-o", str(tmp_path / "x.onnx")]) == 1
    assert "pip install 'edge-deeplab[onnx]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "onnx", "-o", "x.savedmodel"], "the output must be called NAME.tflite"),
        (["--to", "onnx,savedmodel", "-o", "x.onnx"], "is no name for --to savedmodel"),
    ],
)
def test_a_name_of_another_format_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["convert", str(model), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
