"""Pictures in Python, in one line: `edge_deeplab.segment("photo.jpg")`.

    import edge_deeplab
    result = edge_deeplab.segment("photo.jpg")
    result.labels, result.names, result.matte, result.overlay()

    with edge_deeplab.PhotoSegmenter("streets.keras") as segmenter:     # opens the model once
        for path in paths:
            print(path, segmenter(path).shares)

It stands at the top of the package, beside the command line: the package's own __init__ imports it when one of its
names is first used, so that `import edge_deeplab` alone still imports nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import overload

import cv2
import numpy as np

from edge_deeplab.errors import InputError
from edge_deeplab.imaging.decode import decode_image, read_image
from edge_deeplab.manifest import Manifest
from edge_deeplab.serving.model_file import locate_model
from edge_deeplab.serving.models import open_batch_model
from edge_deeplab.serving.segmentation import Segmentation, segmentation_of

DEFAULT_MODEL = "portrait"

Picture = str | os.PathLike[str] | bytes | np.ndarray
"""A path, the bytes of a file, or an array: uint8 RGB (H, W, 3), RGBA (H, W, 4) or grey (H, W)."""


class PhotoSegmenter:
    """A model kept open for many pictures. A context manager; not for several threads at once.

    Args:
        model: a .tflite or .keras file, a SavedModel folder of `edge-deeplab convert`, or a bundled name.
        threads: of the engine; None takes all processors.
        manifest: of a .tflite that carries none.
    Raises: ModelError when the model is missing, does not load or says nothing of itself.
    """

    def __init__(
        self, model: str | os.PathLike[str] = DEFAULT_MODEL, *, threads: int | None = None,
        manifest: Manifest | None = None,
    ) -> None:  # fmt: skip
        path = locate_model(os.fspath(model), manifest)
        self._model = open_batch_model(path, threads=threads or os.cpu_count() or 1, manifest=manifest)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of the indices in labels."""
        return tuple(self._model.manifest.labels)

    def __call__(self, picture: Picture) -> Segmentation:
        """Segments one picture. Raises InputError for what is no picture."""
        return segmentation_of(self._model, read_picture(picture))

    def close(self) -> None:
        """Frees the model; closing twice is harmless."""
        self._model.close()

    def __enter__(self) -> PhotoSegmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@overload
def segment(picture: Picture, model: str | os.PathLike[str] = ..., *, threads: int | None = ...) -> Segmentation: ...
@overload
def segment(
    picture: list[Picture] | tuple[Picture, ...], model: str | os.PathLike[str] = ..., *, threads: int | None = ...
) -> list[Segmentation]: ...
def segment(
    picture: Picture | list[Picture] | tuple[Picture, ...],
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    threads: int | None = None,
) -> Segmentation | list[Segmentation]:
    """What a model sees in a picture, or in each of several.

    The model is opened for the call; keep a PhotoSegmenter for many calls, and use `edge-deeplab segment` for folders.

    Args:
        picture: a path, a file's bytes, an array in RGB order (OpenCV's imread gives BGR: turn it round), or a list.
        model, threads: as PhotoSegmenter's.
    Returns: a Segmentation: labels, names, probabilities, matte, overlay(); of a list, one of each.
    Raises: InputError for what is no picture, ModelError as PhotoSegmenter.
    """
    with PhotoSegmenter(model, threads=threads) as segmenter:
        if isinstance(picture, list | tuple):
            return [segmenter(one) for one in picture]
        return segmenter(picture)


def read_picture(picture: Picture) -> np.ndarray:
    """A picture however it is given, as (H, W, 3) uint8 RGB. Raises InputError."""
    if isinstance(picture, np.ndarray):
        return _as_rgb(picture)
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode_image(bytes(picture), name="the picture")
    if isinstance(picture, str | os.PathLike):
        return read_image(Path(picture))
    raise InputError(
        "the picture cannot be read", came=type(picture).__name__, allowed="a path, the bytes of a file, or an array"
    )


def _as_rgb(array: np.ndarray) -> np.ndarray:
    is_known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not is_known or array.size == 0:
        raise InputError(
            "the array is no picture", came=f"{array.dtype} {array.shape}",
            allowed="uint8 (H, W), (H, W, 3) or (H, W, 4), RGB",
        )  # fmt: skip
    if array.ndim == 2 or array.shape[2] == 1:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2RGB))
    return np.ascontiguousarray(array[..., :3])
