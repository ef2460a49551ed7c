"""PASCAL VOC 2012 (Everingham et al. 2015), 21 classes, 255 void; and its augmented training set.

SegmentationClassAug holds SBD's labels (Hariharan et al. 2011) in VOC's numbers, as they go round with the list
train_aug.txt or trainaug.txt of 10,582 names; a name that has no mask there is looked for in SegmentationClass. Masks
may be palette PNGs, as published, or grey ones of indices (SegmentationClassRaw). Colours are VOCdevkit's.
"""

from __future__ import annotations

from pathlib import Path

from edge_deeplab.data.data_set import DataSet, read_names
from edge_deeplab.data.labelling import PLAIN
from edge_deeplab.data.pairs import Listing, files_by_stem, match
from edge_deeplab.errors import DataError
from edge_deeplab.labels import VOC as LABELS

AUGMENTED = "train_aug"
AUGMENTED_LISTS = ("train_aug.txt", "trainaug.txt")
LISTS = Path("ImageSets/Segmentation")
MASKS, MASKS_AUGMENTED, MASKS_RAW = "SegmentationClass", "SegmentationClassAug", "SegmentationClassRaw"


def is_at(root: Path) -> bool:
    """Whether pictures, masks and lists are there."""
    masks = any((root / name).is_dir() for name in (MASKS, MASKS_AUGMENTED, MASKS_RAW))
    return (root / "JPEGImages").is_dir() and (root / LISTS).is_dir() and masks


def list_split(root: Path, split: str) -> Listing:
    """As DataSet.list_split. Raises DataError where the list is missing."""
    lists = root / LISTS
    masks = {**files_by_stem(root / MASKS_RAW, (".png",)), **files_by_stem(root / MASKS, (".png",))}
    if split != AUGMENTED:
        path = lists / f"{split}.txt"
    else:
        path = next((lists / name for name in AUGMENTED_LISTS if (lists / name).is_file()), lists / AUGMENTED_LISTS[0])
        augmented = files_by_stem(root / MASKS_AUGMENTED, (".png",))
        if not augmented:
            raise DataError(f"{root / MASKS_AUGMENTED}: no masks", allowed="SBD's labels as PNG, one a picture")
        masks.update(augmented)
    return match(files_by_stem(root / "JPEGImages", (".jpg", ".jpeg")), masks, PLAIN, wanted=read_names(path))


VOC = DataSet(
    name="voc", title="PASCAL VOC 2012", labels=LABELS, splits=("train", "val", "trainval", "test", AUGMENTED),
    layout="JPEGImages/, SegmentationClass/ (and SegmentationClassAug/), ImageSets/Segmentation/SPLIT.txt",
    is_at=is_at, list_split=list_split, inner=("VOC2012", "VOCdevkit/VOC2012"),
)  # fmt: skip
