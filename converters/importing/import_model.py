"""Brings a network of the official code into our model file: read, settle, assign, prove, write.

network = import_network(Path("frozen_inference_graph.pb"), told=Told())
proof = network.prove(pixels)                       # None where the file cannot be run
network.write(Path("theirs.keras"), network.manifest(labels=("background", "person")), proof)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab import __version__
from edge_deeplab.converters.checkpoint_files import checkpoint_files, checkpoint_prefix
from edge_deeplab.converters.importing.detect import first_difference
from edge_deeplab.converters.importing.frozen_graph import read_frozen_graph
from edge_deeplab.converters.importing.layer_plan import LayerPlan, plan_layers
from edge_deeplab.converters.importing.proof import Difference, compare
from edge_deeplab.converters.importing.readings import CHECKPOINT, Reading, scope_of
from edge_deeplab.converters.importing.settle import Settled, Told, settle
from edge_deeplab.converters.importing.tf1_checkpoint import read_checkpoint
from edge_deeplab.converters.importing.tflite_weights import read_tflite
from edge_deeplab.converters.official import to_layers
from edge_deeplab.errors import ConversionError, ModelError, UsageError
from edge_deeplab.manifest import Manifest
from edge_deeplab.models.architecture import count
from edge_deeplab.models.counting import Count
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.official import build_official
from edge_deeplab.models.official_config import OfficialConfig
from edge_deeplab.models.store import save_model
from edge_deeplab.models.transfer import Weights, assign_weights
from edge_deeplab.runtime.flatbuffer import IDENTIFIER

ALLOWED = "a TensorFlow 1 checkpoint (.index, .data, or its folder), a frozen graph (.pb) or a float .tflite"
PIXEL_RANGE = (0.0, 255.0)
OFFICIAL_RANGE = (-1.0, 1.0)
# What `convert` takes as it is, by its first bytes: HDF5, and the zip that a .keras file is.
_KERAS_BEGINNINGS = (b"\x89HDF", b"PK\x03\x04")


def read_network(path: Path, *, moving_averages: bool = False, is_preprocessed: bool = False) -> Reading:
    """Reads a file; its content decides which kind it is.

    Raises: UsageError for what goes straight to `convert`, or an option that is not for this kind; ModelError and
        ConversionError as the readers do.
    """
    reads = "go straight to `edge-deeplab convert`"
    if (path.is_dir() and (path / "saved_model.pb").is_file()) or path.name == "saved_model.pb":
        raise UsageError(f"{path}: is a SavedModel, which needs no import", next_step=f"SavedModels {reads}")
    prefix = checkpoint_prefix(path)
    if prefix is not None:
        if is_preprocessed:
            raise UsageError("--preprocessed: a checkpoint has no input", allowed="a frozen graph, or a .tflite")
        return read_checkpoint(path, moving_averages=moving_averages)
    if moving_averages:
        raise UsageError("--moving-averages: only checkpoints keep them", came=path.name)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read", came=error.strerror, allowed=ALLOWED) from error
    if not start:
        raise ModelError(f"{path}: an empty file", allowed=ALLOWED)
    if start[4:8] == IDENTIFIER:
        return read_tflite(path)
    if start.startswith(_KERAS_BEGINNINGS):
        raise UsageError(f"{path}: is no file of TensorFlow 1", next_step=f"Keras files {reads}")
    return read_frozen_graph(path, is_preprocessed=is_preprocessed)


def import_network(
    path: Path, *, told: Told, moving_averages: bool = False, is_preprocessed: bool = False
) -> ImportedNetwork:
    """Reads a file and finds its network; nothing is built yet.

    Raises: EdgeDeepLabError naming the first thing that does not fit.
    """
    reading = read_network(path, moving_averages=moving_averages, is_preprocessed=is_preprocessed)
    settled = settle(reading, told)
    plan = plan_layers(settled.config)
    if reading.layout is not None and not is_preprocessed and reading.mean_rgb != settled.config.mean_rgb:
        raise ConversionError(
            f"{reading.source}: its preprocessing is not that of {settled.config.model_variant}",
            came=f"mean {reading.mean_rgb}", allowed=f"mean {settled.config.mean_rgb}",
        )  # fmt: skip
    return ImportedNetwork(path, reading, settled, plan, fit_variables(reading, plan))


def fit_variables(reading: Reading, plan: LayerPlan) -> dict[str, np.ndarray]:
    """The variables a network wants, from those that a file gives.

    Folded batch norm becomes one that does nothing but add: mean 0, variance 1 less epsilon, gamma 1, beta the bias.
    Where the file's epsilon is another than ours, the variance takes the difference, so that their sum is the same.
    Raises: ModelError naming the first variable that is missing, too much, or of another shape.
    """
    fitted: dict[str, np.ndarray] = {}
    given = dict(reading.variables)
    for name, shape in plan.shapes.items():
        scope, last = scope_of(name), name.rpartition("/")[2]
        if name in given:
            value = given.pop(name)
            if last == "moving_variance" and scope in reading.epsilons:
                value = np.maximum(value + np.float32(reading.epsilons[scope] - plan.epsilons[scope]), 0)
        elif "/BatchNorm/" in name and f"{scope}/biases" in reading.variables:
            given.pop(f"{scope}/biases", None)
            value = _statistic(last, reading.variables[f"{scope}/biases"], plan.epsilons[scope])
        elif last == "biases" and reading.is_folded:
            value = np.zeros(shape, np.float32)  # an optimizer takes a bias of zeros away
        else:
            continue
        fitted[name] = value.astype(np.float32)
    problem = first_difference(plan.shapes, {**{name: array.shape for name, array in fitted.items()},
                                             **{name: array.shape for name, array in given.items()}})  # fmt: skip
    if problem is not None:
        missing, extra = len(plan.shapes) - len(fitted), len(given)
        raise ModelError(
            f"{reading.source}: its variables are not those of this network", came=problem,
            allowed=f"all {len(plan.shapes)} variables ({missing} missing, {extra} besides)",
        )  # fmt: skip
    return fitted


def _statistic(last: str, bias: np.ndarray, epsilon: float) -> np.ndarray:
    ones = np.ones(bias.shape, np.float32)
    return {"gamma": ones, "beta": bias, "moving_mean": 0 * ones, "moving_variance": ones - np.float32(epsilon)}[last]


@dataclass
class ImportedNetwork:
    """A network found in a file.

    Attributes:
        path: what was asked for.
        reading: what the file gave.
        settled: which network it is.
        plan: that network's layers.
        variables: official name -> array, complete.
    """

    path: Path
    reading: Reading
    settled: Settled
    plan: LayerPlan
    variables: Mapping[str, np.ndarray] = field(repr=False)

    @property
    def config(self) -> OfficialConfig:
        """The network in the official code's terms."""
        return self.settled.config

    @property
    def weights(self) -> Weights:
        """Our layer name -> arrays."""
        return to_layers(self.plan.official, self.variables)

    @property
    def size_hw(self) -> tuple[int, int]:
        """The input's height and width."""
        assert self.config.crop_size is not None, "settle always finds one"
        return self.config.crop_size

    def count(self) -> Count:
        """Parameters and multiply-adds."""
        return count(self.config)

    @cached_property
    def model(self) -> Any:
        """The Keras 3 network with the file's weights."""
        model = build_official(keras_namespace("keras"), self.config)
        assign_weights(model, self.weights, source=self.reading.source)
        return model

    def prepared(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels 0..255 as the network takes them."""
        mean = self.config.mean_rgb
        prepared = pixels * (2.0 / 255.0) - 1.0 if mean is None else pixels - np.asarray(mean)
        return prepared.astype(np.float32)

    def prove(self, pixels: np.ndarray) -> Difference | None:
        """Runs both networks on the same pictures; None where the file cannot be run.

        Args:
            pixels: (N, H, W, 3) float32, whole numbers 0..255, of the network's size.
        Raises: ConversionError when the logits have another shape, or the two differ by more than rounding.
        """
        if self.reading.run is None:
            return None
        theirs = self.reading.run(pixels)
        ours = np.concatenate([self.model.predict_on_batch(image[np.newaxis]) for image in self.prepared(pixels)])
        theirs = enlarge(theirs, ours.shape)
        if theirs.shape != ours.shape:
            raise ConversionError(f"{self.reading.source}: its logits have another shape", came=theirs.shape,
                                  allowed=ours.shape)  # fmt: skip
        difference = compare(theirs, ours)
        if not difference.holds:
            raise ConversionError(
                f"{self.reading.source}: the network that was found does not compute what the file computes",
                came=str(difference), next_step="nothing is written; the options say what the names may not",
            )  # fmt: skip
        return difference

    def manifest(
        self, *, name: str, labels: tuple[str, ...], person_class: int | None = None, fit: str = "stretch",
        licence: str = "",
    ) -> Manifest:  # fmt: skip
        """What the model file says of itself. Raises UsageError when there are not as many labels as classes."""
        if len(labels) != self.config.num_classes:
            raise UsageError(
                "--labels: not as many names as the network has classes", came=f"{len(labels)} names",
                allowed=f"{self.config.num_classes} classes",
            )  # fmt: skip
        mean = self.config.mean_rgb
        return Manifest(
            name=name, labels=labels, person_class=person_class, size_hw=self.size_hw,
            input_range=OFFICIAL_RANGE if mean is None else PIXEL_RANGE, mean=mean or (0.0, 0.0, 0.0), fit=fit,
            activation="softmax", architecture=self.config.to_dict(), licence=licence,
        )  # fmt: skip

    def write(self, output: Path, manifest: Manifest, proof: Difference | None) -> Manifest:
        """Writes NAME.keras, whole or not at all. Returns: the manifest as written, with where it came from."""
        made = manifest.replace(provenance={**manifest.provenance, "imported": self.provenance(proof)})
        save_model(output, self.model, made)
        return made

    def provenance(self, proof: Difference | None) -> dict[str, Any]:
        """Where the network came from and how it was found; no path of this machine."""
        return {
            "kind": self.reading.kind,
            "files": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in self._files()},
            "found": {finding.what: [finding.value, finding.how] for finding in self.settled.findings},
            "notes": list(self.reading.notes),
            "proof": str(proof) if proof is not None else "names and shapes of all variables",
            "edge_deeplab": __version__,
        }

    def _files(self) -> tuple[Path, ...]:
        prefix = checkpoint_prefix(self.path) if self.reading.kind == CHECKPOINT else None
        return (self.path,) if prefix is None else checkpoint_files(prefix)


def enlarge(logits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Logits that a file gives before its last enlargement, enlarged with aligned corners as the official code does."""
    if logits.ndim != 4 or logits.shape[1:3] == shape[1:3] or logits.shape[3] != shape[3]:
        return logits
    from edge_deeplab.converters.official import resize_aligned

    return np.asarray(resize_aligned(keras_namespace("keras"), logits, (shape[1], shape[2])))
