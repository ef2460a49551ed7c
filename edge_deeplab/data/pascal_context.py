"""PASCAL Context (Mottaghi et al. 2014): whole scenes of VOC 2010, with 59 classes, or 60 with a background.

Two layouts of the masks, beside JPEGImages/:
- trainval/NAME.mat, the owners' labels of 459 classes in a MATLAB matrix LabelMap, read by SciPy (extra `matlab`);
- SegmentationClassContext/NAME.png, grey, 0..59, as mmsegmentation's conversion of the Detail annotations writes them;
  they are preferred where both are there.
59 ignores what the 60 call background: all of the 459 that are not among the 59. Splits are
ImageSets/SegmentationContext/{train,val}.txt (4,998 and 5,105 names); the owners publish them as train.txt and val.txt
beside the .mat files' folder, which is looked at, too. The owners have no palette: colours are VOC's map.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_deeplab.data.data_set import DataSet, read_names
from edge_deeplab.data.labelling import IndexLabelling, remap
from edge_deeplab.data.pairs import Listing, files_by_stem, match
from edge_deeplab.errors import InputError, MissingExtraError
from edge_deeplab.imaging.decode import MAX_PIXELS
from edge_deeplab.labels import IGNORE

# The 59 classes and their numbers among the 459, which are alphabetical.
NUMBERS = {
    "aeroplane": 2, "bag": 9, "bed": 18, "bedclothes": 19, "bench": 22, "bicycle": 23, "bird": 25, "boat": 31,
    "book": 33, "bottle": 34, "building": 44, "bus": 45, "cabinet": 46, "car": 59, "cat": 65, "ceiling": 68,
    "chair": 72, "cloth": 80, "computer": 85, "cow": 98, "cup": 104, "curtain": 105, "dog": 113, "door": 115,
    "fence": 144, "floor": 158, "flower": 159, "food": 162, "grass": 187, "ground": 189, "horse": 207,
    "keyboard": 220, "light": 232, "motorbike": 258, "mountain": 259, "mouse": 260, "person": 284, "plate": 295,
    "platform": 296, "pottedplant": 308, "road": 324, "rock": 326, "sheep": 347, "shelves": 349, "sidewalk": 354,
    "sign": 355, "sky": 360, "snow": 366, "sofa": 368, "table": 397, "track": 415, "train": 416, "tree": 420,
    "truck": 424, "tvmonitor": 427, "wall": 440, "water": 445, "window": 454, "wood": 458,
}  # fmt: skip
LABELS_59 = tuple(NUMBERS)
LABELS_60 = ("background", *LABELS_59)
ALL_NUMBERS = 459
MATRIX = "LabelMap"
PNG_MASKS, MAT_MASKS = "SegmentationClassContext", "trainval"
LISTS = (Path("ImageSets/SegmentationContext"), Path("ImageSets/Segmentation_context"), Path())


def read_mat(path: Path) -> np.ndarray:
    """Reads the owners' label matrix. Returns: (H, W) unsigned, 0..459.

    Raises: InputError for a file that is none, or too large; MissingExtraError without SciPy.
    """
    try:
        from scipy.io import loadmat, whosmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise MissingExtraError("scipy", extra="matlab", purpose="reading labels from MATLAB files") from error
    import zlib

    broken = (MatReadError, ValueError, TypeError, KeyError, NotImplementedError, EOFError, zlib.error, OSError)
    try:
        shapes = {name: shape for name, shape, _ in whosmat(path)}  # headers alone: nothing is unpacked yet
        shape = shapes.get(MATRIX, ())
        if len(shape) != 2 or not 0 < shape[0] * shape[1] <= MAX_PIXELS:
            raise InputError(f"{path}: holds no label map", came=shapes or "nothing", allowed=f"a matrix {MATRIX}")
        matrix = loadmat(path, variable_names=[MATRIX])[MATRIX]
    except broken as error:
        raise InputError(f"{path}: is no MATLAB file, or a damaged one", came=str(error) or None) from error
    if matrix.dtype.kind not in "ui" or (matrix.dtype.kind == "i" and matrix.size and matrix.min() < 0):
        raise InputError(f"{path}: {MATRIX} is no label map", came=str(matrix.dtype), allowed="whole numbers from 0")
    return np.ascontiguousarray(matrix).astype(np.uint16)


def _labelling_of(kind: str, *, has_background: bool) -> IndexLabelling:
    other = 0 if has_background else IGNORE
    first = 1 if has_background else 0
    if kind == "png":
        table = {0: other, **{number: number - 1 + first for number in range(1, len(LABELS_60))}, 255: IGNORE}
        return IndexLabelling(remap(table))
    rest = dict.fromkeys(range(ALL_NUMBERS + 1), other)
    return IndexLabelling(
        remap({**rest, **{number: at + first for at, number in enumerate(NUMBERS.values())}}), read_mat
    )


def is_at(root: Path) -> bool:
    """Whether pictures and either kind of masks are there."""
    has_mat = (root / MAT_MASKS).is_dir() and next((root / MAT_MASKS).glob("*.mat"), None) is not None
    return (root / "JPEGImages").is_dir() and ((root / PNG_MASKS).is_dir() or has_mat)


def _list_split(root: Path, split: str, *, has_background: bool) -> Listing:
    name = f"{split}.txt"
    path = next((root / place / name for place in LISTS if (root / place / name).is_file()), root / LISTS[0] / name)
    images = files_by_stem(root / "JPEGImages", (".jpg", ".jpeg"))
    is_png = (root / PNG_MASKS).is_dir()
    masks = files_by_stem(root / PNG_MASKS, (".png",)) if is_png else files_by_stem(root / MAT_MASKS, (".mat",))
    labelling = _labelling_of("png" if is_png else "mat", has_background=has_background)
    return match(images, masks, labelling, wanted=read_names(path))


def list_59(root: Path, split: str) -> Listing:
    """As DataSet.list_split, the background ignored."""
    return _list_split(root, split, has_background=False)


def list_60(root: Path, split: str) -> Listing:
    """As DataSet.list_split, the background as class 0."""
    return _list_split(root, split, has_background=True)


_LAYOUT = "JPEGImages/, SegmentationClassContext/*.png or trainval/*.mat, ImageSets/SegmentationContext/SPLIT.txt"
_INNER = ("VOC2010", "VOCdevkit/VOC2010")
CONTEXT_59 = DataSet(
    name="context59", title="PASCAL Context, 59 classes", labels=LABELS_59, splits=("train", "val"), layout=_LAYOUT,
    is_at=is_at, list_split=list_59, inner=_INNER,
)  # fmt: skip
CONTEXT_60 = DataSet(
    name="context60", title="PASCAL Context, 59 classes and background", labels=LABELS_60, splits=("train", "val"),
    layout=_LAYOUT, is_at=is_at, list_split=list_60, inner=_INNER,
)  # fmt: skip
