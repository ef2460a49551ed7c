from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edge_deeplab.converters.export import fixed_batch_function, to_float32
from edge_deeplab.converters.verify import agreement, write_verified
from edge_deeplab.errors import EdgeDeepLabError, OutputError
from edge_deeplab.manifest import Manifest

SIZE_HW = (8, 8)
IMAGES = np.random.default_rng(0).uniform(0, 1, (2, *SIZE_HW, 3)).astype(np.float32)
MANIFEST = Manifest(name="half", labels=("background", "person"), person_class=1, size_hw=SIZE_HW)


def halves(image: tf.Tensor) -> tf.Tensor:
    return image[..., :2] * 0.5


def write(path: Path, data: bytes, *, overwrite: bool = False, format_name: str = "float32") -> object:
    return write_verified(
        path, data, format_name=format_name, manifest=MANIFEST, io="uint8", images=IMAGES,
        expected=halves(tf.constant(IMAGES)).numpy(), overwrite=overwrite,
    )  # fmt: skip


def test_agreement_of_a_known_difference() -> None:
    expected = np.full((1, 4), 10.0)
    found = agreement(expected, expected + 1.0, step=0.5)
    assert found.signal_to_noise_db == pytest.approx(20.0)
    assert (found.mean, found.largest) == (1.0, 1.0)
    assert str(found) == "20.0 dB, mean 2.00 and largest 2 output steps"


def test_a_file_is_published_loaded_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "half.tflite"
    report = write(path, to_float32(fixed_batch_function(halves, SIZE_HW)))
    assert report.against_float.signal_to_noise_db > 100  # type: ignore[attr-defined]
    assert report.size_bytes == path.stat().st_size  # type: ignore[attr-defined]
    assert [entry.name for entry in tmp_path.iterdir()] == ["half.tflite"]


@pytest.mark.parametrize("format_name", ["float32", "int8"])
def test_a_broken_file_leaves_nothing_behind(tmp_path: Path, format_name: str) -> None:
    data = bytearray(to_float32(fixed_batch_function(halves, SIZE_HW)))
    data[len(data) // 4 :] = bytes(len(data) - len(data) // 4)
    with pytest.raises(EdgeDeepLabError) as caught:
        write(tmp_path / "half.tflite", bytes(data), format_name=format_name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "half.tflite"
    path.write_bytes(b"mine")
    data = to_float32(fixed_batch_function(halves, SIZE_HW))
    with pytest.raises(OutputError, match="exists already"):
        write(path, data)
    assert path.read_bytes() == b"mine"
    write(path, data, overwrite=True)
    assert path.read_bytes()[4:8] == b"TFL3"
