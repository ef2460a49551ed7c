"""Reads the weights of a backbone out of a file that other people trained, whatever kind of file it is.

| file | backbones |
|---|---|
| a .tflite, float or quantized | MobileNetV2 |
| a TensorFlow 1 frozen graph, or a checkpoint of either version | MobileNetV2, ResNet v1, Xception |
| a Keras weight file (.h5, .weights.h5, .keras) of keras.applications | MobileNetV2, ResNet50, ResNet101 |

What the arrays become in our own network is for transplant.py to say; nothing here builds a network. EfficientNets are
another matter: efficientnet_start.py.

    backbone = read_foreign_backbone(Path("frozen_inference_graph.pb"))
    backbone.arrays["MobilenetV2/expanded_conv_1/expand/weights"]
"""

from __future__ import annotations

from pathlib import Path

from edge_deeplab.converters.checkpoint_files import checkpoint_files, checkpoint_prefix
from edge_deeplab.converters.starts.backbone_weights import ForeignBackbone
from edge_deeplab.converters.starts.keras_applications import HDF5_MAGIC, ZIP_MAGIC, read_keras_applications
from edge_deeplab.converters.starts.pretrained_keras import backbone_of_keras
from edge_deeplab.converters.starts.pretrained_tflite import backbone_of_tflite
from edge_deeplab.converters.starts.pretrained_variables import (
    backbone_of_checkpoint,
    backbone_of_frozen_graph,
)
from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import read_manifest
from edge_deeplab.runtime.flatbuffer import IDENTIFIER, TfliteFile

ALLOWED = "a TensorFlow frozen graph (.pb) or checkpoint, a Keras weight file (.h5, .keras) or a .tflite"


def read_foreign_backbone(path: Path) -> ForeignBackbone:
    """Reads a backbone; the content of the file decides what kind it is.

    Raises: ModelError when the file is missing, damaged, or holds no backbone known here; MissingExtraError when
        TensorFlow or h5py is needed and not installed.
    """
    prefix = checkpoint_prefix(path)
    if prefix is not None:
        return backbone_of_checkpoint(prefix)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read", came=error.strerror, allowed=ALLOWED) from error
    if not data:
        raise ModelError(f"{path}: an empty file", allowed=ALLOWED)
    if data[4:8] == IDENTIFIER:
        return backbone_of_tflite(TfliteFile.from_bytes(data, source=str(path)), read_manifest(path))
    if data.startswith((HDF5_MAGIC, ZIP_MAGIC)):
        return backbone_of_keras(read_keras_applications(path), source=str(path))
    return backbone_of_frozen_graph(data, str(path))


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that read_foreign_backbone(path) reads: several for a checkpoint."""
    prefix = checkpoint_prefix(path)
    return (path,) if prefix is None else checkpoint_files(prefix)
