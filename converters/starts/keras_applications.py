"""Reads the weight files of keras.applications, and of any Keras model, by layer name. Builds no network.

Three kinds of file, told apart by their content:

| file | from | layer names |
|---|---|---|
| NAME.h5 | `save_weights` or `save` of tf.keras and Keras 2, `save` of Keras 3; keras.applications' downloads | in it |
| NAME.keras | `save` of Keras 3 and tf_keras | in it |
| NAME.weights.h5 | `save_weights` of Keras 3 | in it if Keras was new enough to write them; else refused |

    arrays = read_keras_applications(Path("efficientnetb0_notop.h5"))
    arrays["stem_conv"][0].shape                     # (3, 3, 3, 32)

What the arrays become in our own networks is for the module of each backbone to say.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import MissingExtraError, ModelError

LayerArrays = dict[str, list[np.ndarray]]

ALLOWED = "a Keras weight file: .h5, .weights.h5 or .keras"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
# what the saving of Keras 3 and of tf_keras 2.13 on calls the list of a model's layers
LAYER_LISTS = ("layers", "_layer_checkpoint_dependencies")


def read_keras_applications(path: Path) -> LayerArrays:
    """Layer name -> its arrays, in the order Keras keeps them (kernel, bias; gamma, beta, mean, variance).

    The layers of a model used as a layer stand beside the others, under their own names. Layers without weights and
    the optimizer's state are left out. Floating point of any width becomes float32.

    Raises: ModelError when the file is missing, damaged, none of Keras's, or holds no layer names;
        MissingExtraError when h5py is not installed.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(HDF5_MAGIC))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read", came=error.strerror, allowed=ALLOWED) from error
    if start.startswith(ZIP_MAGIC):
        return _from_archive(path)
    if start != HDF5_MAGIC:
        raise ModelError(f"{path}: not a Keras weight file", came="neither HDF5 nor a .keras archive", allowed=ALLOWED)
    with _opened(path, str(path)) as file:
        legacy = file.get("model_weights", file)  # a whole model in one .h5, or weights alone
        arrays = _legacy(legacy) if _attribute(legacy, "layer_names") else _by_stored_names(file)
    return _checked(arrays, str(path))


@contextlib.contextmanager
def _opened(file: Path | io.BytesIO, source: str) -> Iterator[Any]:
    """An open HDF5 file; whatever turns out to be damaged while it is read is an error that names it."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", extra="train", purpose="reading a Keras weight file") from error
    try:
        with h5py.File(file, "r") as opened:
            yield opened
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{source}: damaged", came=str(error), allowed=ALLOWED) from error


def _from_archive(path: Path) -> LayerArrays:
    try:
        with zipfile.ZipFile(path) as archive:
            config, weights = json.loads(archive.read(CONFIG)), archive.read(WEIGHTS)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: no .keras archive, or damaged", came=str(error), allowed=ALLOWED) from error
    with _opened(io.BytesIO(weights), str(path)) as file:
        arrays = _by_stored_names(file) or _by_config(file, config)
    return _checked(arrays, str(path))


def _checked(arrays: LayerArrays, source: str) -> LayerArrays:
    if not arrays:
        raise ModelError(
            f"{source}: holds no weights under layer names", allowed=ALLOWED,
            next_step="save the whole model: model.save('NAME.keras')",
        )  # fmt: skip
    return arrays


def _array(dataset: Any) -> np.ndarray:
    array = np.asarray(dataset)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _attribute(group: Any, name: str) -> list[str]:
    """A list of names among a group's attributes; long ones are cut into NAME0, NAME1, ..."""
    values = group.attrs.get(name)
    if values is None:
        pieces: list[np.ndarray] = []
        while (piece := group.attrs.get(f"{name}{len(pieces)}")) is not None:
            pieces.append(piece)
        values = np.concatenate(pieces) if pieces else ()
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]


def _legacy(group: Any) -> LayerArrays:
    """The layout of Keras 1 to 2: a group for every layer, which lists its variables."""
    arrays: LayerArrays = {}
    for name in _attribute(group, "layer_names"):
        variables = _attribute(group[name], "weight_names")
        owners = [variable.split("/")[-2] if "/" in variable else name for variable in variables]
        is_nested = len(set(owners)) > 1  # a model used as a layer: its variables say whose they are
        for owner, variable in zip(owners, variables):
            arrays.setdefault(owner if is_nested else name, []).append(_array(group[name][variable]))
    return arrays


def _variables(group: Any) -> list[np.ndarray]:
    """The arrays vars/0, vars/1, ... of a layer's group."""
    variables = group.get("vars", {})
    return [_array(variables[key]) for key in sorted(variables, key=int)]


def _layer_list(group: Any) -> Any:
    return next((group[name] for name in LAYER_LISTS if name in group), {})


def _by_stored_names(group: Any) -> LayerArrays:
    """The layout of Keras 3: groups named after classes, layer names beside the variables."""
    arrays: LayerArrays = {}
    for layer in _layer_list(group).values():
        name = layer["vars"].attrs.get("name") if "vars" in layer else None
        if name is not None and (variables := _variables(layer)):
            arrays[str(name)] = variables
        arrays |= _by_stored_names(layer)
    return arrays


def _by_config(group: Any, config: Mapping[str, Any]) -> LayerArrays:
    """The same layout without names: the n-th layer of a class is CLASS_n, in the order of the model's config."""
    arrays: LayerArrays = {}
    layers, seen = _layer_list(group), dict[str, int]()
    for layer in config["config"].get("layers", ()):
        stem = _snake_case(layer["class_name"].split(">")[-1])
        number = seen.get(stem, 0)
        seen[stem] = number + 1
        key = f"{stem}_{number}" if number else stem
        if key not in layers:
            continue
        if variables := _variables(layers[key]):
            arrays[layer["config"]["name"]] = variables
        arrays |= _by_config(layers[key], layer)
    return arrays


def _snake_case(name: str) -> str:
    """Conv2D -> conv2d, DepthwiseConv2D -> depthwise_conv2d, as Keras names the groups."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
