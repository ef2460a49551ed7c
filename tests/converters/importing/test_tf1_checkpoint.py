"""Checkpoints written by TensorFlow's own Saver, whole, cut short and of other things."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import oracles
import pytest
from checkpoints import of_training, write_checkpoint

from edge_deeplab.converters.importing.import_model import import_network
from edge_deeplab.converters.importing.settle import Told
from edge_deeplab.converters.importing.tf1_checkpoint import read_checkpoint
from edge_deeplab.errors import ModelError, UsageError

NAME = "mobilenet_v2_dm05_os16"
PREFIX = "model.ckpt-30000"


@pytest.fixture(scope="module")
def oracle(shared: Path) -> oracles.Oracle:
    return oracles.load(shared, NAME)


@pytest.fixture(scope="module")
def trained(oracle: oracles.Oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint of a training."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder / PREFIX, of_training(oracles.weights_for(oracle)))
    return folder


def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.mark.parametrize("end", ["", PREFIX, f"{PREFIX}.index", f"{PREFIX}.data-00000-of-00001"])
def test_every_way_of_naming_it_reads_the_variables_of_the_network(
    trained: Path, oracle: oracles.Oracle, end: str
) -> None:
    reading = read_checkpoint(trained / end)
    weights = oracles.weights_for(oracle)
    assert set(reading.variables) == set(weights)
    assert all(np.array_equal(reading.variables[name], value) for name, value in weights.items())
    assert "variables of the training left out" in reading.notes[0]


def test_moving_averages_only_when_asked_for(trained: Path) -> None:
    name = "aspp0/weights"
    plain, averaged = read_checkpoint(trained), read_checkpoint(trained, moving_averages=True)
    np.testing.assert_allclose(averaged.variables[name], plain.variables[name] * 1.01, rtol=1e-6)
    assert np.array_equal(averaged.variables["aspp0/BatchNorm/moving_mean"],
                          plain.variables["aspp0/BatchNorm/moving_mean"])  # fmt: skip


def test_a_network_without_averages_says_so(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", {"aspp0/weights": np.ones((1, 1, 2, 2), np.float32)})
    with pytest.raises(ModelError, match="keeps no moving averages"):
        read_checkpoint(tmp_path, moving_averages=True)


def test_the_imported_network_computes_what_the_official_code_computed(trained: Path, oracle: oracles.Oracle) -> None:
    network = import_network(trained, told=Told(crop_hw=(321, 289)))
    pixels = oracles.picture(oracle, "B")
    assert network.prove(pixels) is None
    logits = network.model.predict_on_batch(network.prepared(pixels))
    assert oracle.difference("logits_final", logits, "B") < oracles.TOLERANCE


@pytest.mark.parametrize(
    ("suffix", "said"),
    [(".index", "its index is cut short"), (".data-00000-of-00001", "cut short or damaged at variable")],
)
def test_a_file_cut_short_is_named(trained: Path, tmp_path: Path, suffix: str, said: str) -> None:
    folder = copied(trained, tmp_path)
    file = folder / f"{PREFIX}{suffix}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelError, match=said):
        read_checkpoint(folder)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_missing_file_is_named(trained: Path, tmp_path: Path, suffix: str) -> None:
    folder = copied(trained, tmp_path)
    (folder / f"{PREFIX}{suffix}").unlink()
    asked = folder / f"{PREFIX}{'.index' if suffix != '.index' else '.data-00000-of-00001'}"
    with pytest.raises(ModelError, match=f"no {PREFIX}{suffix}"):
        read_checkpoint(asked)


def test_a_tensorflow_2_checkpoint_is_called_one(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / "two"))
    with pytest.raises(ModelError, match="TensorFlow 2 objects"):
        read_checkpoint(tmp_path / "two.index")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aspp0/BatchNorm/gamma": None}, "came no aspp0/BatchNorm/gamma"),
        ({"aspp9/weights": (1, 1, 2, 2)}, "came aspp9/weights besides"),
        ({"aspp0/BatchNorm/beta": (255,)}, r"came aspp0/BatchNorm/beta \(255,\) for \(256,\)"),
        ({"MobilenetV2/expanded_conv_7/expand/weights": (1, 1, 32, 191)}, "expanded_conv_7/expand/weights"),
    ],
)
def test_the_first_variable_that_does_not_fit_is_named(
    oracle: oracles.Oracle, tmp_path: Path, changes: dict[str, tuple[int, ...] | None], said: str
) -> None:
    variables = oracles.weights_for(oracle)
    for name, shape in changes.items():
        if shape is None:
            del variables[name]
        else:
            variables[name] = np.zeros(shape, np.float32)
    write_checkpoint(tmp_path / "model", variables)
    with pytest.raises(ModelError, match=said):
        import_network(tmp_path, told=Told())


def test_options_for_graphs_are_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match="--preprocessed"):
        import_network(trained, told=Told(), is_preprocessed=True)
