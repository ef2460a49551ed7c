"""Our float model on disk: one NAME.keras file, a Keras 3 archive with our manifest.json as one more entry.

Keras itself still loads it; we rebuild it from the manifest's architecture, with either Keras, at any input size.

    save_model(Path("portrait.keras"), model, manifest)
    model, manifest = rebuild(Path("portrait.keras"), keras_namespace("tf_keras"), size_hw=(192, 192))
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest, append_manifest, read_manifest
from edge_deeplab.models.architecture import architecture_from, at_size, at_stride, build, logits_stride_of, size_of
from edge_deeplab.models.keras_api import keras_namespace, own_layers
from edge_deeplab.models.transfer import Weights, assign_weights, weights_of


def save_model(path: Path, model: Any, manifest: Manifest) -> None:
    """Writes a Keras 3 model and its manifest to `path` (.keras), replacing it in one step."""
    temporary = path.with_name(f".{path.stem}.part.keras")
    try:
        model.save(temporary)
        append_manifest(temporary, manifest)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_manifest(path: Path) -> Manifest:
    """The manifest of one of our models. Raises ModelError when the file is not one of ours."""
    manifest = read_manifest(path)
    if manifest is None or not manifest.architecture:
        raise ModelError(
            f"{path}: not a model this program trained (no manifest with an architecture)",
            allowed="a .keras file written by `edge-deeplab train` or `import`",
        )
    return manifest


def load_weights(path: Path) -> Weights:
    """Layer name -> arrays of a .keras file."""
    K = keras_namespace("keras")
    own_layers(K)
    try:
        return weights_of(K.saving.load_model(path, compile=False))
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: Keras cannot load it", came=str(error).splitlines()[0]) from error


def rebuild(
    path: Path, K: Any, *, batch_size: int | None = None, size_hw: tuple[int, int] | None = None,
    output_stride: int | None = None,
) -> tuple[Any, Manifest]:  # fmt: skip
    """Builds the model of a .keras file anew with Keras `K`, weights copied.

    size_hw, output_stride: others than the file's, where given; see architecture.at_size and at_stride.

    Returns: the model and the manifest, its size_hw and architecture those of the model.
    """
    manifest = load_manifest(path)
    config = architecture_from(manifest.architecture)
    if size_hw is not None or size_of(config) is None:
        config = at_size(config, size_hw or manifest.size_hw)
    if output_stride is not None:
        config = at_stride(config, output_stride)
    model = build(K, config, batch_size)
    assign_weights(model, load_weights(path), source=str(path))
    return model, manifest.replace(
        architecture=config.to_dict(), size_hw=size_of(config), logits_stride=logits_stride_of(config)
    )
