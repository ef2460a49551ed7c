from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_networks import lively_deeplab, small_config, smooth_images

from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.quantization.store import load_quantized, save_quantized

MANIFEST = Manifest(
    name="small", labels=("background", "person"), person_class=1, size_hw=(64, 64),
    architecture=small_config().to_dict(),
)  # fmt: skip


def test_a_network_comes_back_as_it_was_and_the_same_network_makes_the_same_bytes(tmp_path: Path) -> None:
    network = quantize(lively_deeplab("mobilenet_v2"))
    images = smooth_images(2)
    set_ranges(network, [images])
    save_quantized(tmp_path / "a.qat", network, MANIFEST)
    again, manifest = load_quantized(tmp_path / "a.qat")
    assert manifest == MANIFEST
    assert np.array_equal(network.model(images, training=False), again.model(images, training=False))
    save_quantized(tmp_path / "b.qat", again, manifest)
    assert (tmp_path / "a.qat").read_bytes() == (tmp_path / "b.qat").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "other"])
def test_a_bad_file_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.qat"
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        path.write_bytes(b"PK\x05\x06" + bytes(18))
    elif damage == "truncated":
        network = quantize(lively_deeplab("mobilenet_v2"))
        save_quantized(path, network, MANIFEST)
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"bad\.qat") as caught:
        load_quantized(path)
    assert "\n" not in str(caught.value)
