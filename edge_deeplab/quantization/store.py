"""A quantized network on disk: NAME.qat, a zip of manifest.json, weights.npz and, for a foreign model, config.json.

    save_quantized(Path("portrait.qat"), network, manifest)
    network, manifest = load_quantized(Path("portrait.qat"))

Arrays are stored by the name of the float layer: "stem_conv/0" is its first variable, "stem_act/range" the two ends of
its output's range. Kernel peaks follow from the kernels and are not stored. The same network makes the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import ModelError, OutputError
from edge_deeplab.manifest import ENTRY, Manifest, read_manifest
from edge_deeplab.models.architecture import architecture_from, build
from edge_deeplab.models.keras_api import keras_namespace, own_layers
from edge_deeplab.quantization.graph import QuantizedNetwork, quantize
from edge_deeplab.quantization.ranges import settle_kernels

WEIGHTS = "weights.npz"
CONFIG = "config.json"
SUFFIX = ".qat"


def network_arrays(network: QuantizedNetwork) -> dict[str, np.ndarray]:
    """Everything a network has learnt: name -> array."""
    arrays = {
        f"{layer}/{index}": variable.numpy()
        for layer, variables in network.float_variables.items()
        for index, variable in enumerate(variables)
    }
    for layer, ends in network.ranges().items():
        arrays[f"{layer}/range"] = np.array([end.numpy() for end in ends], np.float32)
    return arrays


def assign_arrays(network: QuantizedNetwork, arrays: dict[str, np.ndarray], *, source: str = "weights") -> None:
    """Sets what network_arrays gave. Raises ModelError when names or shapes do not fit."""
    wanted = network_arrays(network)
    missing, extra = sorted(set(wanted) - set(arrays)), sorted(set(arrays) - set(wanted))
    misshapen = [name for name in wanted if name in arrays and arrays[name].shape != wanted[name].shape]
    if missing or extra or misshapen:
        raise ModelError(
            f"{source}: does not fit the network",
            came=f"{len(missing)} missing, {len(extra)} extra, {len(misshapen)} of another shape: "
            + ", ".join([*missing, *extra, *misshapen][:5]),
        )
    for layer, variables in network.float_variables.items():
        for index, variable in enumerate(variables):
            variable.assign(arrays[f"{layer}/{index}"])
    for layer, ends in network.ranges().items():
        for end, value in zip(ends, arrays[f"{layer}/range"]):
            end.assign(value)
    settle_kernels(network)


def pack_arrays(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an .npz that depend on nothing but them (numpy's own writes the time of day)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    return file.getvalue()


def unpack_arrays(data: bytes, *, source: str) -> dict[str, np.ndarray]:
    """The inverse of pack_arrays. Raises ModelError when the bytes are damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError) as error:
        raise ModelError(f"{source}: its weights are damaged", came=str(error)) from error


def write_replacing(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all. Raises OutputError when the place cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
    finally:
        temporary.unlink(missing_ok=True)


def save_quantized(
    path: Path, network: QuantizedNetwork, manifest: Manifest, *, config: dict[str, Any] | None = None
) -> None:
    """Writes a network, replacing `path` in one step.

    Args:
        config: the tf_keras config of the float model, for a model that is not built from manifest.architecture.
    """
    if not manifest.architecture and config is None:
        raise ModelError(f"{path}: a model without an architecture needs its Keras config to be stored")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(ENTRY), manifest.to_json())
        if config is not None:
            described = {"keras": config, "input_range": list(network.input_range)}
            archive.writestr(zipfile.ZipInfo(CONFIG), json.dumps(described))
        archive.writestr(zipfile.ZipInfo(WEIGHTS), pack_arrays(network_arrays(network)))
    write_replacing(path, file.getvalue())


def _float_model(path: Path, manifest: Manifest, config: dict[str, Any] | None) -> tuple[Any, tuple[float, float]]:
    K = keras_namespace("tf_keras")
    if config is None:
        return build(K, architecture_from(manifest.architecture)), manifest.real_range
    own_layers(K)
    low, high = config["input_range"]
    try:
        return K.Model.from_config(config["keras"]), (low, high)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: its network cannot be built", came=str(error).splitlines()[0]) from error


def load_quantized(path: Path) -> tuple[QuantizedNetwork, Manifest]:
    """Reads what save_quantized wrote. Raises ModelError when the file is missing, damaged, or none of ours."""
    manifest = read_manifest(path)
    if manifest is None:
        raise ModelError(f"{path}: is no quantized network", allowed="a .qat file written by `edge-deeplab tune`")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if WEIGHTS not in names:
                raise ModelError(f"{path}: holds no {WEIGHTS}", allowed="a .qat file written by `edge-deeplab tune`")
            data = archive.read(WEIGHTS)
            config = json.loads(archive.read(CONFIG)) if CONFIG in names else None
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ModelError(f"{path}: is damaged", came=str(error)) from error
    arrays = unpack_arrays(data, source=str(path))
    model, input_range = _float_model(path, manifest, config)
    network = quantize(model, input_range=input_range)
    assign_arrays(network, arrays, source=str(path))
    return network, manifest
