"""Cityscapes (Cordts et al. 2016), fine annotations, the 19 classes of its benchmark.

Masks are *_gtFine_labelIds.png, as published, whose 34 ids are mapped here; where a picture has only a
*_gtFine_labelTrainIds.png, made by cityscapesScripts, that is read. Names, ids and colours are those of
cityscapesScripts' helpers/labels.py. The test split's public masks are blank, so it cannot be scored here.
"""

from __future__ import annotations

from pathlib import Path

from edge_deeplab.data.data_set import DataSet
from edge_deeplab.data.labelling import PLAIN, IndexLabelling, Labelling, remap
from edge_deeplab.data.pairs import Listing, Pair, files_by_stem
from edge_deeplab.labels import IGNORE

LABELS = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
COLOURS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
TRAINED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
HIGHEST_ID = 33
LABEL_IDS = IndexLabelling(
    remap({**dict.fromkeys(range(HIGHEST_ID + 1), IGNORE), **{one: at for at, one in enumerate(TRAINED_IDS)}})
)
IMAGE_ENDING = "_leftImg8bit"
MASKS: tuple[tuple[str, Labelling], ...] = (("_gtFine_labelTrainIds", PLAIN), ("_gtFine_labelIds", LABEL_IDS))
"""Endings of a mask's name; a later one is preferred."""


def is_at(root: Path) -> bool:
    """Whether pictures and fine annotations are there."""
    return (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir()


def list_split(root: Path, split: str) -> Listing:
    """As DataSet.list_split; names are CITY/CITY_NUMBER_NUMBER."""
    images: dict[str, Path] = {}
    masks: dict[str, tuple[Path, Labelling]] = {}
    tops = (root / "leftImg8bit" / split, root / "gtFine" / split)
    for city in sorted({place.name for top in tops if top.is_dir() for place in top.iterdir() if place.is_dir()}):
        found = files_by_stem(tops[0] / city, (".png",), ending=IMAGE_ENDING)
        images.update({f"{city}/{stem}": path for stem, path in found.items()})
        for ending, labelling in MASKS:
            found = files_by_stem(tops[1] / city, (".png",), ending=ending)
            masks.update({f"{city}/{stem}": (path, labelling) for stem, path in found.items()})
    return Listing(
        pairs=tuple(Pair(name, path, *masks[name]) for name, path in images.items() if name in masks),
        without_mask=tuple(name for name in images if name not in masks),
        without_picture=tuple(name for name in masks if name not in images),
    )


CITYSCAPES = DataSet(
    name="cityscapes", title="Cityscapes, fine, 19 classes", labels=LABELS, colours=COLOURS, splits=("train", "val"),
    layout="leftImg8bit/SPLIT/CITY/*_leftImg8bit.png beside gtFine/SPLIT/CITY/*_gtFine_labelIds.png",
    is_at=is_at, list_split=list_split, inner=("cityscapes",),
)  # fmt: skip
