"""Every kind of model that is served, held to the same contract: a batch is its pictures one by one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime.bundled import assets_folder
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.serving.models import BatchModel, open_batch_model, output_stride

MAX_BATCH = 4
FLOAT_NOISE = 1e-4  # of a probability: other sums in another order


@pytest.fixture(scope="module", params=["portrait.tflite", "portrait.keras"])
def model(request: pytest.FixtureRequest) -> Iterator[BatchModel]:
    path = assets_folder() / request.param
    with closing(open_batch_model(path, threads=1, max_batch=MAX_BATCH)) as opened:
        yield opened


def pictures(model: BatchModel, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *model.sizes_hw[0], 3), dtype=np.uint8)


def test_probabilities_of_every_class_add_up_to_one(model: BatchModel) -> None:
    maps = model.predict(pictures(model, 2))
    assert maps.dtype == np.float32
    assert maps.shape[0] == 2
    assert maps.shape[3] == len(model.manifest.labels)
    assert np.abs(maps.sum(-1) - 1).max() < 2 / 255  # an int8 model's output has steps of 1/255


def test_a_batch_is_its_pictures_one_by_one(model: BatchModel) -> None:
    batch = pictures(model, MAX_BATCH)
    alone = np.concatenate([model.predict(batch[index : index + 1]) for index in range(MAX_BATCH)])
    assert np.abs(model.predict(batch) - alone).max() < FLOAT_NOISE


def test_what_is_returned_stays(model: BatchModel) -> None:
    batch = pictures(model, 2)
    first = model.predict(batch[:1])
    kept = first.copy()
    model.predict(batch[1:])
    assert np.array_equal(first, kept)


def test_batches_beside_one_another_are_what_they_are_alone() -> None:
    with closing(open_batch_model(assets_folder() / "portrait.keras", threads=2, max_batch=2)) as network:
        assert network.beside == 2
        pairs = np.split(pictures(network, 2 * MAX_BATCH), MAX_BATCH)
        alone = [network.predict(pair) for pair in pairs]
        with ThreadPoolExecutor(network.beside) as threads:
            beside = list(threads.map(network.predict, pairs))
    assert max(np.abs(one - other).max() for one, other in zip(alone, beside, strict=True)) < FLOAT_NOISE


def test_the_float_network_agrees_with_the_device_engine(astronaut: np.ndarray) -> None:
    """Two engines, two files of one training: the matte is the same but for int8."""
    import cv2

    with Segmenter("portrait", precision="int8") as segmenter:
        small = cv2.resize(astronaut, segmenter.size_hw[::-1], interpolation=cv2.INTER_AREA)
        matte = segmenter.matte(small)
    with closing(open_batch_model(assets_folder() / "portrait.keras", threads=1)) as network:
        probabilities = network.predict(small[np.newaxis])[0]
    assert np.abs(probabilities[..., 1] - matte).mean() < 0.03


def test_a_network_of_ours_takes_other_sizes_and_a_tflite_does_not() -> None:
    sizes = ((128, 128), (96, 160))
    with closing(open_batch_model(assets_folder() / "portrait.keras", sizes_hw=sizes)) as network:
        assert network.sizes_hw == sizes
        for size in sizes:
            assert network.predict(np.zeros((1, *size, 3), np.uint8)).shape[1:3] == size
    with pytest.raises(ModelError, match="its input size is fixed; came 128x128, 96x160; allowed: 224x224"):
        open_batch_model(assets_folder() / "portrait.tflite", sizes_hw=sizes)


def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be served; came the suffix .h5; allowed: .tflite, .keras"):
        open_batch_model(tmp_path / "model.h5")
    bare = tmp_path / "bare.keras"
    shutil.copyfile(assets_folder() / "portrait.md", bare)
    with pytest.raises(ModelError, match="not a model this program trained"):
        open_batch_model(bare)


@pytest.mark.parametrize(
    ("size_hw", "output_hw", "stride"), [((256, 256), (64, 64), 4), ((256, 256), (256, 256), 1),
                                         ((257, 257), (65, 65), 1), ((64, 128), (16, 16), 1)],
)  # fmt: skip
def test_a_stride_is_whole_or_one(size_hw: tuple[int, int], output_hw: tuple[int, int], stride: int) -> None:
    assert output_stride(size_hw, output_hw) == stride
