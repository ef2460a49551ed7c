"""One file for one model: the network unchanged, with metadata, labels and manifest inside."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.converters.publish import METADATA_NAME, normalization, publish, read_metadata
from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.imaging.decode import write_image
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest, read_manifest
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.interpreter import Engine

MANIFEST = Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(32, 32), licence="Apache-2.0")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def published(tmp_path: Path, *, ends: str = "uint8", manifest: Manifest = MANIFEST) -> Path:
    path = tmp_path / f"bright_{ends}.tflite"
    path.write_bytes(publish(bright_segmenter(io=ends).to_bytes(), manifest))
    return path


def test_manifest_and_labels_are_inside(tmp_path: Path) -> None:
    path = published(tmp_path)
    assert read_manifest(path) == MANIFEST
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["labels.txt", "manifest.json"]
        assert archive.testzip() is None
        assert archive.read("labels.txt") == b"background\nperson\n"


@pytest.mark.parametrize("ends", ["int8", "uint8", "float32"])
def test_the_network_computes_the_same(tmp_path: Path, ends: str) -> None:
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(bright_segmenter(io=ends).to_bytes())
    picture = np.random.default_rng(0).integers(0, 100, (1, 32, 32, 3)).astype(ends)
    with Engine(plain) as before, Engine(published(tmp_path, ends=ends)) as after:
        np.testing.assert_array_equal(before.run(picture)[0], after.run(picture)[0])


def test_metadata_says_what_the_image_segmenter_asks_for(tmp_path: Path) -> None:
    metadata = read_metadata(TfliteFile.read(published(tmp_path)))
    assert metadata is not None
    assert (metadata["name"], metadata["license"], metadata["min_parser_version"]) == ("bright", "Apache-2.0", "1.5.0")
    (graph,) = metadata["subgraph_metadata"]
    (picture,), (maps,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    size = {"width": 32, "height": 32}
    assert picture["content"]["content_properties"] == ("ImageProperties", {"color_space": "RGB", "default_size": size})
    assert picture["process_units"] == [{"options": ("NormalizationOptions", {"mean": [0.0], "std": [255.0]})}]
    assert picture["stats"] == {"max": [255.0], "min": [0.0]}
    assert maps["content"]["content_properties"] == ("ImageProperties", {"color_space": "GRAYSCALE"})
    assert maps["content"]["range"] == {"min": 1, "max": 2}
    assert [(file["name"], file["type"]) for file in maps["associated_files"]] == [("labels.txt", "TENSOR_AXIS_LABELS")]
    assert graph["custom_metadata"] == [{"name": "SEGMENTER_METADATA", "options": {"activation": "SOFTMAX"}}]


@pytest.mark.parametrize(("activation", "written"), [("none", "NONE"), ("sigmoid", "SIGMOID"), ("softmax", "SOFTMAX")])
def test_activation_is_the_manifests(tmp_path: Path, activation: str, written: str) -> None:
    path = published(tmp_path, manifest=MANIFEST.replace(activation=activation))
    metadata = read_metadata(TfliteFile.read(path))
    assert metadata is not None
    assert metadata["subgraph_metadata"][0]["custom_metadata"][0]["options"] == {"activation": written}


def test_publishing_again_replaces_and_never_doubles() -> None:
    once = publish(bright_segmenter().to_bytes(), MANIFEST)
    other = MANIFEST.replace(name="other", labels=("nothing", "person"))
    assert publish(once, MANIFEST) == once
    assert publish(publish(once, other), MANIFEST) == once
    again = publish(once, other)
    assert TfliteFile.from_bytes(again).metadata_names.count(METADATA_NAME) == 1
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert archive.namelist() == ["labels.txt", "manifest.json"]
        assert archive.read("labels.txt") == b"nothing\nperson\n"


def test_the_same_model_makes_the_same_bytes() -> None:
    model = bright_segmenter(io="uint8").to_bytes()
    assert publish(model, MANIFEST) == publish(model, MANIFEST)


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, [0.0], [255.0]),
        ({"input_range": (-1.0, 1.0)}, [127.5], [127.5]),
        ({"input_range": (0.0, 255.0)}, [0.0], [1.0]),
        ({"mean": IMAGENET_MEAN, "std": IMAGENET_STD}, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    ],
)
def test_normalization_is_the_manifests_formula(changes: dict, mean: list[float], std: list[float]) -> None:
    manifest = MANIFEST.replace(**changes)
    came = normalization(manifest)
    np.testing.assert_allclose(came[0], mean)
    np.testing.assert_allclose(came[1], std)
    pixels = np.array([[0.0] * 3, [100.0] * 3, [255.0] * 3])
    low, high = manifest.input_range
    real = (low + pixels / 255 * (high - low) - np.array(manifest.mean)) / np.array(manifest.std)
    np.testing.assert_allclose((pixels - np.array(came[0])) / np.array(came[1]), real)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_hw": (64, 64)}, "input shape"),
        ({"labels": ("a", "b", "c")}, "3 labels"),
    ],
)
def test_a_manifest_of_another_network_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        publish(bright_segmenter().to_bytes(), MANIFEST.replace(**changes))


def test_a_network_with_two_outputs_is_refused() -> None:
    graph = bright_segmenter(io="float32")
    graph.outputs = ("maps", "net/logits;net/logits/BiasAdd")
    with pytest.raises(ConversionError, match="1 inputs and 2 outputs"):
        publish(graph.to_bytes(), MANIFEST)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"bright: no \.tflite file"):
        publish(b"PK\x03\x04 not a model", MANIFEST)


@pytest.mark.parametrize("ends", ["uint8", "float32"])
def test_mediapipe_loads_the_file_and_sees_the_same(tmp_path: Path, repository: Path, ends: str) -> None:
    peer = os.environ.get("EDGE_DEEPLAB_PEER_PYTHON")
    if not peer:
        pytest.skip("needs MediaPipe in an environment of its own: set EDGE_DEEPLAB_PEER_PYTHON to its Python")
    (tmp_path / "pictures").mkdir()
    # pictures of the model's own size: MediaPipe shrinks larger ones without the half-pixel offset
    rows, columns = np.mgrid[:96, :128]
    for name, (row, column) in {"one": (40, 50), "two": (55, 70)}.items():
        grey = np.clip(255 - 4 * np.hypot(rows - row, columns - column), 0, 255).astype(np.uint8)
        write_image(tmp_path / "pictures" / f"{name}.png", np.repeat(grey[..., None], 3, axis=2))
    model = tmp_path / "bright.tflite"
    manifest = MANIFEST.replace(size_hw=(96, 128))
    model.write_bytes(publish(bright_segmenter((96, 128), io=ends).to_bytes(), manifest))
    command = [sys.executable, str(repository / "benchmarks" / "mediapipe_loads.py"), "--peer-python", peer]
    command += ["--model", str(model), "--pictures", str(tmp_path / "pictures"), "--gate", "0.99"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "labels background, person" in result.stdout
