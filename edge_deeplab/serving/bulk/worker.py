"""What is done to pictures, by a thread here or a process anywhere: read, segment, write. The same in every engine.

    worker = PictureWorker(model, folder=Path("out"), kinds=("labels", "overlay"), max_pixels=10**8)
    outcomes = worker.run(items)

A picture that cannot be read is an outcome with its reason. Outputs are written under a temporary name and renamed, so
one is there whole or not at all, and doing a picture twice leaves one.
"""

from __future__ import annotations

import contextlib
import errno
import io
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.errors import InputError
from edge_deeplab.imaging.decode import read_image
from edge_deeplab.imaging.palette_png import palette_png
from edge_deeplab.labels import colour_map
from edge_deeplab.serving.answers import Ask, encode_answer
from edge_deeplab.serving.bulk.journal import Item, Outcome
from edge_deeplab.serving.bulk.options import KINDS
from edge_deeplab.serving.models import BatchModel
from edge_deeplab.serving.segmentation import Segmentation, segmentations_of

BEGUN = ".begun"
"""The folder of outputs that are being written; what lies there when a run starts was left by one that was ended."""
OVERLAY_QUALITY = 90
# What is wrong with one output's name; all else (a full disk, no right to write) would befall the next picture, too.
_OF_THE_NAME = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ)


class PictureWorker:
    """One model and where its outputs go.

    Args:
        folder: of the outputs; kinds have a folder each in it.
        kinds: some of options.KINDS.
        max_pixels: of one picture; a larger one is bad.
    """

    def __init__(self, model: BatchModel, *, folder: Path, kinds: Sequence[str], max_pixels: int) -> None:
        self._model, self._folder, self._kinds, self._max_pixels = model, folder, tuple(kinds), max_pixels

    def run(self, items: Sequence[Item]) -> list[Outcome]:
        """Does some pictures, as one batch where the model's sizes allow. Returns: one outcome each."""
        outcomes, read, images = [], [], []
        for item in items:
            try:
                images.append(read_image(Path(item.source), max_pixels=self._max_pixels))
            except InputError as error:
                outcomes.append(Outcome(item.number, str(error)))
            else:
                read.append(item)
        for item, result in zip(read, segmentations_of(self._model, images), strict=True):
            outcomes.append(self._write(item, result))
        return outcomes

    def _write(self, item: Item, result: Segmentation) -> Outcome:
        for kind in self._kinds:
            path = output_path(self._folder, kind, item.name)
            try:
                _put(path, encode(kind, result), begun=self._folder / BEGUN)
            except OSError as error:
                reason = f"{path}: cannot be written; came {error.strerror or error}"
                return Outcome(item.number, reason, is_fatal=error.errno not in _OF_THE_NAME)
        return Outcome(item.number)


def output_path(folder: Path, kind: str, name: str) -> Path:
    """Where an output goes: FOLDER/KIND/NAME.SUFFIX."""
    return folder / kind / f"{name}{KINDS[kind]}"


def encode(kind: str, result: Segmentation) -> bytes:
    """One kind of output of a picture, as a file's bytes.

    labels: PNG of class indices with a palette · overlay: JPEG · matte: grey PNG · npz: labels at the picture's size,
    probabilities at the model's · rle: JSON, COCO's run lengths of every class that is seen.
    Raises: ModelError for a matte of a model without a person.
    """
    if kind == "labels":
        return palette_png(result.labels.astype(np.uint8), colour_map(max(len(result.names), 2)))
    if kind == "overlay":
        drawn = cv2.cvtColor(result.overlay(), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, OVERLAY_QUALITY])[1].tobytes()
    if kind == "npz":
        stream = io.BytesIO()
        maps = np.ascontiguousarray(result.placement.crop(result.maps))
        np.savez_compressed(stream, labels=result.labels, probabilities=maps, names=np.array(result.names))
        return stream.getvalue()
    ask = Ask(answer="matte", form="png") if kind == "matte" else Ask(answer="labels", form="rle")
    return encode_answer(ask, result.maps, result.placement, result.names, result.person_class)[0]


def _put(path: Path, data: bytes, *, begun: Path) -> None:
    """Writes under a name of its own in the folder `begun`, then renames, making folders where they are missing."""
    temporary = begun / secrets.token_hex(8)
    try:
        _making_folder(temporary, lambda: temporary.write_bytes(data))
        _making_folder(path, lambda: temporary.replace(path))
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _making_folder(path: Path, act: Callable[[], object]) -> None:
    try:
        act()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        act()
