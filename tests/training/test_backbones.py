"""Backbones beyond the MobileNets train: two steps that reach every layer; an EfficientNet begins from a Keras file."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from edge_deeplab.cli.train_command import read_start
from edge_deeplab.models.backbones.efficientnet import blocks_of
from edge_deeplab.models.store import load_manifest
from edge_deeplab.models.transfer import Weights, weights_of
from edge_deeplab.recipe import override, parse_assignments, parse_recipe
from edge_deeplab.training.loop import EpochEvent, Starting, Trainer
from edge_deeplab.training.run import TrainRun

pytestmark = pytest.mark.slow

DEADLINE_S = 300


@pytest.fixture
def short_recipe(recipe_text: str) -> str:
    """The tests' recipe with one epoch of two batches of 12, for a backbone that comes in one width."""
    head = recipe_text.split("[[stages]]", maxsplit=1)[0].replace("width = 0.35\n", "")
    return head + "[[stages]]\nsize_hw = [32, 32]\nepochs = 1\nbatch_size = 12\n"


def short_run(text: str, data: Path, *changes: str) -> TrainRun:
    run = parse_recipe(text, TrainRun, variables={"DATA": data})
    return override(run, parse_assignments(changes), source="--set")


def write_keras_file(path: Path, variant: str) -> Weights:
    """A file as keras.applications publishes them, with random weights. Returns: its arrays."""
    random = np.random.default_rng(0)
    layers: dict[str, dict[str, np.ndarray]] = {}

    def add(name: str, **shapes: tuple[int, ...]) -> None:
        layers[name] = {
            variable: random.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
            if "kernel" in variable
            else random.uniform(0.5, 1.5, shape).astype(np.float32)
            for variable, shape in shapes.items()
        }

    def normalise(name: str, channels: int) -> None:
        add(name, **dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (channels,)))

    channels = 32
    add("normalization", mean=(3,), variance=(3,))
    add("stem_conv", kernel=(3, 3, 3, channels))
    normalise("stem_bn", channels)
    for block in blocks_of(variant):
        inside = channels * block.expansion
        if block.expansion != 1:
            add(f"{block.name}_expand_conv", kernel=(1, 1, channels, inside))
            normalise(f"{block.name}_expand_bn", inside)
        add(f"{block.name}_dwconv", depthwise_kernel=(block.kernel, block.kernel, inside, 1))
        normalise(f"{block.name}_bn", inside)
        add(f"{block.name}_se_reduce", kernel=(1, 1, inside, block.squeezed), bias=(block.squeezed,))
        add(f"{block.name}_se_expand", kernel=(1, 1, block.squeezed, inside), bias=(inside,))
        add(f"{block.name}_project_conv", kernel=(1, 1, inside, block.channels))
        normalise(f"{block.name}_project_bn", block.channels)
        channels = block.channels
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, variables in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{variable}:0".encode() for variable in variables]
            for variable, array in variables.items():
                group[f"{name}/{variable}:0"] = array
    return {name: list(variables.values()) for name, variables in layers.items()}


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Weights]:
    path = tmp_path_factory.mktemp("keras") / "efficientnetb0_notop.h5"
    return path, write_keras_file(path, "efficientnet_b0")


def train(run: TrainRun, folder: Path, starting: Starting | None) -> tuple[Trainer, Weights]:
    """Trains. Returns: the trainer, and the weights it began from."""
    begun: Weights = {}

    def remember(fresh: Weights) -> Weights:
        begun.update(starting.weights(fresh) if starting else fresh)
        return begun

    source = starting.source if starting else "random"
    events: list[object] = []
    trainer = Trainer(run, folder, starting=Starting(source, remember), on_event=events.append)
    assert trainer.train().step == 2
    (epoch,) = (event for event in events if isinstance(event, EpochEvent))
    assert math.isfinite(epoch.loss)
    assert 0 <= epoch.scores["val"] <= 1
    return trainer, begun


def assert_trained(trainer: Trainer, begun: Weights) -> None:
    """Every array of every layer has moved to a number, and a model was kept."""
    ended = weights_of(trainer.model)
    still = [name for name, arrays in begun.items() if any((a == b).all() for a, b in zip(arrays, ended[name]))]
    assert still == []
    assert all(np.isfinite(array).all() for arrays in ended.values() for array in arrays)
    assert load_manifest(trainer.model_path).architecture["backbone"] == trainer.run.model.backbone


@pytest.mark.parametrize("backbone", ["resnet_v1_18", "xception_41"])
def test_two_steps_move_every_layer_and_leave_a_model(
    discs: Path, short_recipe: str, tmp_path: Path, backbone: str
) -> None:
    run = short_run(short_recipe, discs, f"model.backbone={backbone}")
    assert_trained(*train(run, tmp_path / "run", starting=None))


def test_an_efficientnet_trains_from_a_keras_file(
    discs: Path, short_recipe: str, tmp_path: Path, keras_file: tuple[Path, Weights]
) -> None:
    path, arrays = keras_file
    run = short_run(short_recipe, discs, "model.backbone=efficientnet_b0", f"start.backbone={path}")
    trainer, begun = train(run, tmp_path / "run", starting=read_start(run))
    for ours, theirs in (("block1a_dw_conv", "block1a_dwconv"), ("block4b_se_reduce", "block4b_se_reduce"),
                         ("block7a_project_bn", "block7a_project_bn")):  # fmt: skip
        for array, expected in zip(begun[ours], arrays[theirs], strict=True):
            np.testing.assert_array_equal(array, expected)
    assert_trained(trainer, begun)
    assert load_manifest(trainer.model_path).provenance["start"].startswith("efficientnetb0_notop.h5 sha256 ")


def test_a_file_of_another_variant_is_one_line_and_leaves_nothing(
    discs: Path, short_recipe: str, tmp_path: Path, keras_file: tuple[Path, Weights]
) -> None:
    (tmp_path / "short.toml").write_text(short_recipe)
    refused = subprocess.run(
        [sys.executable, "-m", "edge_deeplab.cli.main", "train", str(tmp_path / "short.toml"), "--data", str(discs),
         "--output", str(tmp_path / "out"), "--set", "model.backbone=efficientnet_b3",
         "--set", f"start.backbone={keras_file[0]}"],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "a file of efficientnet_b0; set model.backbone to efficientnet_b0" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
