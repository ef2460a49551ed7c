"""Where a model lies, whether it says what it is, and how it travels to a machine that lacks it.

path = locate_model("portrait", None)
data = pack_model(path)                       # there
path = unpack_model(data, path.name)          # here
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest, is_saved_model, read_manifest
from edge_deeplab.runtime.bundled import bundled_model

KERAS_SUFFIX = ".keras"


def locate_model(model: str, manifest: Manifest | None) -> Path:
    """The path of a model: a .tflite or .keras file, a SavedModel's folder, or a bundled name.

    manifest: of a .tflite that carries none.
    Raises: ModelError for what is missing, or says nothing of itself; in milliseconds.
    """
    path = Path(model)
    if path.suffix.lower() == KERAS_SUFFIX or is_saved_model(path):
        if read_manifest(path) is None:
            raise ModelError(
                f"{path}: carries no manifest",
                allowed="a .keras file of edge-deeplab train or import, a SavedModel of edge-deeplab convert",
            )
        return path
    path = bundled_model(model)
    if manifest is None and path.suffix.lower() == ".tflite" and read_manifest(path) is None:
        raise ModelError(
            f"{path}: carries no manifest, so what its numbers mean is unknown",
            next_step="give --labels, --input-range and --activation",
        )
    return path


def pack_model(path: Path) -> bytes:
    """A model file, or a SavedModel's folder, as bytes for another machine."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(path, arcname=path.name)
    return stream.getvalue()


def unpack_model(data: bytes, name: str) -> Path:
    """What pack_model packed, in a temporary folder, under its own name."""
    folder = Path(tempfile.mkdtemp(prefix="edge-deeplab-"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder / name
