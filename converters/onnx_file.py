"""A network as an ONNX file, for runtimes that take nothing else: RGB bytes at its own size in, probabilities out.

    write_onnx(Path("portrait.onnx"), source, manifest=source.manifest, images=pixels)

Input `images` (N, H, W, 3) uint8; output `probabilities` (N, h, w, classes) float32; the manifest is the metadata entry
METADATA_KEY. Resizing pictures and maps stays with the caller: a SavedModel does it inside, ONNX's operators for that
differ between runtimes. tf2onnx 1.17 writes it (the extra `onnx`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edge_deeplab.converters import server_graph
from edge_deeplab.converters.paths import check_free
from edge_deeplab.converters.saved_model import network_of
from edge_deeplab.converters.sources import Source
from edge_deeplab.converters.verify import Agreement, FileReport, agreement
from edge_deeplab.errors import ConversionError, MissingExtraError, OutputError
from edge_deeplab.manifest import Manifest

OPSET = 17
METADATA_KEY = "edge_deeplab_manifest"


def write_onnx(
    path: Path, source: Source, *, manifest: Manifest, images: np.ndarray, overwrite: bool = False
) -> FileReport:
    """Writes an ONNX file and compares it with its source on ONNX's reference evaluator; there whole or not at all.

    images: (N, H, W, 3) uint8 RGB at the network's size.
    Raises: MissingExtraError, ConversionError, OutputError.
    """
    check_free(path, overwrite=overwrite)
    try:
        import onnx
        import tf2onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "tf2onnx", extra="onnx", purpose="writing ONNX") from error
    network = network_of(source)

    def call(images: Any) -> Any:
        output = network(server_graph.to_network(images, manifest))
        return {"probabilities": server_graph.class_probabilities(output, manifest)}

    signature = [tf.TensorSpec((None, *manifest.size_hw, 3), tf.uint8, name="images")]
    run = tf.function(call, input_signature=signature, autograph=False)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        model, _ = tf2onnx.convert.from_function(run, input_signature=signature, opset=OPSET)
    except ValueError as error:
        raise ConversionError(f"{path}: tf2onnx refuses the network", came=str(error).splitlines()[0]) from error
    onnx.helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
    data = model.SerializeToString()
    agrees = _compared(data, run, images[:1])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return FileReport(
        path=path, format="onnx", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), against_float=agrees
    )


def _compared(data: bytes, run: Any, images: np.ndarray) -> Agreement:
    """The file beside the function it was made from, run by ONNX's own evaluator, which every runtime must equal."""
    from onnx.reference import ReferenceEvaluator

    outputs: Any = ReferenceEvaluator(data).run(["probabilities"], {"images": images})
    got = np.asarray(outputs[0])
    return agreement(run(tf.constant(images))["probabilities"].numpy(), got)
