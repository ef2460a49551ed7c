"""LoveDA (Wang et al. 2021): land cover from the air, 1024 x 1024, 7 classes, in rural and urban scenes; 0 is no data.

Its test split has no public masks. Stored labels 1..7 are classes 0..6; colours are the owners'.
"""

from __future__ import annotations

from pathlib import Path

from edge_deeplab.data.data_set import DataSet
from edge_deeplab.data.labelling import IndexLabelling, remap
from edge_deeplab.data.pairs import Listing, files_by_stem, match
from edge_deeplab.labels import IGNORE

LABELS = ("background", "building", "road", "water", "barren", "forest", "agricultural")
COLOURS = (
    (255, 255, 255), (255, 0, 0), (255, 255, 0), (0, 0, 255), (159, 129, 183), (0, 255, 0), (255, 195, 128),
)  # fmt: skip
LABELLING = IndexLabelling(remap({0: IGNORE, **{label + 1: label for label in range(len(LABELS))}, 255: IGNORE}))
SCENES = ("Rural", "Urban")


def is_at(root: Path) -> bool:
    """Whether a part of Train or Val is there."""
    return any((root / part / scene / "masks_png").is_dir() for part in ("Train", "Val") for scene in SCENES)


def list_split(root: Path, split: str) -> Listing:
    """As DataSet.list_split; names are SCENE/NUMBER."""
    part, _, only = split.partition("_")
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for scene in SCENES:
        if only in ("", scene.lower()):
            place = root / part.title() / scene
            for found, folder in ((images, "images_png"), (masks, "masks_png")):
                found.update(
                    {f"{scene}/{stem}": path for stem, path in files_by_stem(place / folder, (".png",)).items()}
                )
    return match(images, masks, LABELLING)


LOVEDA = DataSet(
    name="loveda", title="LoveDA, 7 classes", labels=LABELS, colours=COLOURS,
    splits=tuple(f"{part}{scene}" for part in ("train", "val") for scene in ("", "_rural", "_urban")),
    layout="Train/Rural/images_png beside Train/Rural/masks_png, the same for Urban and Val",
    is_at=is_at, list_split=list_split, inner=("2021LoveDA", "LoveDA"),
)  # fmt: skip
