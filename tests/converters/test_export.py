from __future__ import annotations

from pathlib import Path

import pytest
import tf_keras
from small_networks import SIZE_HW, lively_deeplab, signal_to_noise_db, smooth_images

from edge_deeplab.converters.export import FLOAT_FORMATS, fixed_batch_function
from edge_deeplab.converters.paths import FORMATS, check_free, output_path
from edge_deeplab.converters.verify import run_file
from edge_deeplab.errors import OutputError
from edge_deeplab.runtime.flatbuffer import TfliteFile

# float32 differs by rounding; float16 by 11 bits of every kernel; dynamic range by 8 bits of kernels and activations.
AGREEMENT_DB = {"float32": 80.0, "float16": 40.0, "dynamic": 15.0}


@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_a_float_file_agrees_with_its_network(name: str, tmp_path: Path) -> None:
    model = lively_deeplab("mobilenet_v2")
    function = fixed_batch_function(lambda image: model(image, training=False), SIZE_HW)
    path = tmp_path / "model.tflite"
    path.write_bytes(FLOAT_FORMATS[name](function))
    images = smooth_images(2)
    got, step = run_file(path, images)
    assert step is None
    assert signal_to_noise_db(model(images, training=False), got) >= AGREEMENT_DB[name]
    file = TfliteFile.read(path)
    assert file.inputs[0].shape == (1, *SIZE_HW, 3)
    assert not any("SPACE_TO_BATCH" in operator.name for operator in file.operators)


def test_kernels_shrink_with_the_format() -> None:
    image = tf_keras.Input((8, 8, 3))
    model = tf_keras.Model(image, tf_keras.layers.Conv2D(256, 5)(tf_keras.layers.Conv2D(64, 3)(image)))
    function = fixed_batch_function(lambda image: model(image, training=False), (8, 8))
    sizes = [len(FLOAT_FORMATS[name](function)) for name in ("float32", "float16", "dynamic")]
    assert sizes == sorted(sizes, reverse=True)


def test_formats_go_beside_the_int8_file() -> None:
    names = [output_path(Path("out/portrait.tflite"), name).name for name in FORMATS]
    assert names == [
        "portrait.float32.tflite", "portrait.float16.tflite", "portrait.dynamic.tflite", "portrait.tflite",
        "portrait.savedmodel", "portrait.float16.savedmodel", "portrait.onnx",
    ]  # fmt: skip


def test_an_existing_output_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "there.tflite"
    path.write_bytes(b"kept")
    with pytest.raises(OutputError, match="exists already"):
        check_free(path, overwrite=False)
    check_free(path, overwrite=True)
    with pytest.raises(OutputError, match="no such folder"):
        check_free(tmp_path / "nowhere" / "x.tflite", overwrite=False)
