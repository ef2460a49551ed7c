"""Every data set on a small copy of its owners' layout, one contract for all; VOC and CamVid for real."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.cli.data_option import SPEC as CLI_SPEC
from edge_deeplab.data.catalogue import CATALOGUE, SPEC, DataSpec, open_data
from edge_deeplab.data.loader import PairLoader
from edge_deeplab.data.pascal_context import LABELS_60, NUMBERS
from edge_deeplab.errors import DataError, InputError
from edge_deeplab.imaging.augment import AugmentRecipe
from edge_deeplab.labels import IGNORE
from tests.data_copies import MAKERS, make_context_mat, make_voc, stripes, write_mask, write_picture

# What the stripes that data_copies writes into the evaluation split mean.
EXPECTED = {
    "pairs": (0, 1),
    "camvid": (0, 10, IGNORE, 3),
    "voc": (0, 15),
    "cityscapes": (0, 18, IGNORE, 13),
    "ade20k": (IGNORE, 0, 149, 12),
    "context59": (IGNORE, 0, 58, 36),
    "context60": (0, 1, 59, 37),
    "loveda": (IGNORE, 0, 6, 3),
    "potsdam": (0, 5, IGNORE, 4),
}


@pytest.fixture(params=sorted(CATALOGUE))
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The name of a data set and a small copy of it."""
    MAKERS[request.param](tmp_path)
    return request.param, tmp_path


def classes_of(name: str) -> int:
    return len(CATALOGUE[name].labels) or 2


def test_every_set_reads_its_masks_as_labels(copy: tuple[str, Path]) -> None:
    name, root = copy
    opened = open_data(f"{name}:{root}")
    for pair in opened.pairs:
        image, labels = pair.read(classes=classes_of(name))
        assert image.dtype == labels.dtype == np.uint8
        assert image.shape == (*labels.shape, 3)
        np.testing.assert_array_equal(image, pair.read_image())
        np.testing.assert_array_equal(labels, stripes(EXPECTED[name]))
        assert pair.mask_path is not None
        assert pair.mask_path.is_file()
    assert len({pair.name for pair in opened.pairs}) == len(opened.pairs) > 0


def test_every_set_trains_through_the_one_loader(copy: tuple[str, Path]) -> None:
    name, root = copy
    opened = open_data(f"{name}:{root}", role="train")
    loader = PairLoader(
        opened.pairs, size_hw=(32, 32), batch_size=1, recipe=AugmentRecipe(), classes=classes_of(name), workers=2
    )
    labels = np.concatenate([labels for _, labels in loader.epoch(0)])
    assert set(np.unique(labels).tolist()) <= {*range(classes_of(name)), IGNORE}


def test_layout_is_recognised_or_the_choice_is_named(copy: tuple[str, Path]) -> None:
    name, root = copy
    if name.startswith("context"):  # one layout, two ways to count the background
        with pytest.raises(DataError, match=f"write context59:{root} or context60:{root}"):
            open_data(root)
    else:
        assert open_data(root).data_set.name == name


def test_missing_file_is_named_with_the_layout(copy: tuple[str, Path]) -> None:
    name, root = copy
    opened = open_data(f"{name}:{root}")
    pair = opened.pairs[0]
    assert pair.mask_path is not None
    for mask in (pair.mask_path, *pair.mask_path.parent.glob("aachen_000000*")):  # Cityscapes has two for a picture
        mask.unlink(missing_ok=True)
    if name == "pairs":
        write_picture(root / "images/b.jpg")
        write_mask(root / "masks/b.png", (0, 255))
    with pytest.raises(DataError, match=r"1 pictures without a mask: .*; allowed: "):
        _ = open_data(f"{name}:{root}").pairs


def test_colours_and_names_are_one_for_each_class(copy: tuple[str, Path]) -> None:
    name, _ = copy
    data_set = CATALOGUE[name]
    assert len(set(data_set.labels)) == len(data_set.labels)
    assert data_set.palette(classes_of(name)).shape == (classes_of(name), 3)
    assert not {data_set.train, data_set.evaluation} - set(data_set.splits)


def test_labels_that_mean_nothing_are_named(tmp_path: Path) -> None:
    MAKERS["ade20k"](tmp_path)
    write_mask(tmp_path / "annotations/validation/ADE_1.png", (1, 151))
    with pytest.raises(DataError, match=r"ADE_1\.png: label values out of range; came 151; allowed: 0\.\.150"):
        open_data(tmp_path).pairs[0].read(classes=150)


def test_colours_that_mean_nothing_are_named(tmp_path: Path) -> None:
    MAKERS["potsdam"](tmp_path)
    path = tmp_path / "5_Labels_all/top_potsdam_2_13_label.tif"
    mask = cv2.imread(str(path))
    mask[0, 0] = (3, 2, 1)
    cv2.imwrite(str(path), mask)
    with pytest.raises(DataError, match=r"came \(1, 2, 3\); allowed: \(255, 255, 255\)"):
        open_data(tmp_path).pairs[0].read(classes=6)


def test_windows_cover_a_tile_and_none_is_wider_than_asked(tmp_path: Path) -> None:
    MAKERS["potsdam"](tmp_path)
    windows = open_data(tmp_path, role="train").pairs
    assert [window.name for window in windows] == ["2_10 0,0", "2_10 0,188", "2_10 8,0", "2_10 8,188"]
    truth = stripes((0, 5, IGNORE, 4), (520, 700))
    covered = np.zeros((520, 700), bool)
    for window in windows:
        top, left = (int(part) for part in window.name.split()[1].split(","))
        _, labels = window.read(classes=6)
        assert labels.shape == (512, 512)
        np.testing.assert_array_equal(labels, truth[top : top + 512, left : left + 512])
        covered[top : top + 512, left : left + 512] = True
    assert covered.all()


def test_augmented_voc_takes_sbd_masks_and_falls_back_to_vocs(tmp_path: Path) -> None:
    make_voc(tmp_path)
    pairs = open_data(f"{tmp_path}@train_aug").pairs
    assert [pair.name for pair in pairs] == ["2007_000001", "2008_000003"]
    np.testing.assert_array_equal(pairs[1].read(classes=21)[1], stripes((0, 7)))
    assert [pair.name for pair in open_data(tmp_path, role="train").pairs] == ["2007_000001"]


def test_devkit_folder_above_is_found(tmp_path: Path) -> None:
    make_voc(tmp_path / "VOCdevkit/VOC2012")
    assert open_data(tmp_path).home == tmp_path / "VOCdevkit/VOC2012"


def test_rural_scenes_alone(tmp_path: Path) -> None:
    MAKERS["loveda"](tmp_path)
    assert [pair.name for pair in open_data(f"{tmp_path}@val_rural").pairs] == ["Rural/0"]
    assert [pair.name for pair in open_data(f"{tmp_path}@val").pairs] == ["Rural/0", "Urban/1366"]


@pytest.mark.parametrize(("name", "expected"), [("context59", (IGNORE, 0, 58, 36)), ("context60", (0, 1, 59, 37))])
def test_context_reads_the_owners_matrices(name: str, expected: tuple[int, ...], tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    make_context_mat(tmp_path)
    pair = open_data(f"{name}:{tmp_path}").pairs[0]
    np.testing.assert_array_equal(pair.read(classes=classes_of(name))[1], stripes(expected))
    assert pair.mask_path is not None
    pair.mask_path.write_bytes(pair.mask_path.read_bytes()[:150])
    with pytest.raises(InputError, match="is no MATLAB file, or a damaged one"):
        pair.read(classes=60)


def test_context_numbers_are_in_the_order_of_the_names() -> None:
    """The owners' 459 are alphabetical, so picking 59 of them keeps both orders at once."""
    assert list(NUMBERS.values()) == sorted(NUMBERS.values())
    assert list(NUMBERS) == sorted(NUMBERS)
    assert len(LABELS_60) == 60


@pytest.mark.parametrize(
    ("text", "root", "name", "split"),
    [
        ("voc:/a/b@val", "/a/b", "voc", "val"),
        ("voc:/a/b", "/a/b", "voc", None),
        ("/a/b@train_aug", "/a/b", None, "train_aug"),
        ("/a@home/b", "/a@home/b", None, None),
        ("pairs:a:b", "a:b", "pairs", None),
    ],
)
def test_spec_comes_apart(text: str, root: str, name: str | None, split: str | None) -> None:
    assert DataSpec.parse(text) == DataSpec(Path(root), name, split)


def test_existing_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / "voc:mine@val"
    MAKERS["pairs"](odd)
    assert DataSpec.parse(str(odd)) == DataSpec(odd)
    assert DataSpec.parse(f"pairs:{odd}") == DataSpec(odd, "pairs")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vok:{}", r"unknown data set 'vok'; allowed: .*\(did you mean voc\?\)"),
        ("voc:{}", "is not laid out as voc; came a.txt; allowed: JPEGImages/"),
        ("{}", "is laid out as no data set known here; came a.txt; allowed: images/ and masks/"),
        ("{}/nowhere", "no such folder"),
    ],
)
def test_bad_specs_are_said_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=said) as caught:
        open_data(text.format(tmp_path))
    assert "\n" not in str(caught.value)


def test_unknown_split_and_missing_or_odd_list(tmp_path: Path) -> None:
    make_voc(tmp_path)
    with pytest.raises(DataError, match=r"voc: no split 'vall'; allowed: .*did you mean val\?"):
        open_data(f"{tmp_path}@vall")
    with pytest.raises(DataError, match=r"trainval\.txt: the split's list is missing"):
        _ = open_data(f"{tmp_path}@trainval").pairs
    (tmp_path / "ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is no list of names; came not UTF-8 text"):
        _ = open_data(tmp_path).pairs


def test_classes_must_be_the_models(tmp_path: Path) -> None:
    make_voc(tmp_path)
    opened = open_data(tmp_path)
    opened.check_labels(opened.labels, who="m")
    with pytest.raises(DataError, match=r"voc has 21 classes; came 2 of m\.tflite"):
        opened.check_labels(("background", "person"), who="m.tflite")
    swapped = (*opened.labels[:2], opened.labels[3], opened.labels[2], *opened.labels[4:])
    with pytest.raises(DataError, match="another order; came class 2 is bicycle here and bird there"):
        opened.check_labels(swapped, who="m")


def test_command_line_explains_the_spec_that_is_read() -> None:
    assert CLI_SPEC == SPEC


def test_voc_and_camvid_for_real(shared: Path) -> None:
    voc = open_data(shared / "data/voc2012_small")
    assert (voc.data_set.name, len(voc.pairs), len(open_data(f"{voc.root}@train").pairs)) == ("voc", 60, 60)
    _, labels = voc.pairs[0].read(classes=21)
    assert set(np.unique(labels).tolist()) == {0, 1, 15, IGNORE}  # 2007_000032: aeroplanes and people
    camvid = open_data(shared / "data/camvid")
    assert (camvid.data_set.name, len(camvid.pairs), len(open_data(f"{camvid.root}@train").pairs)) == (
        "camvid",
        101,
        367,
    )
    seen = {int(one) for pair in camvid.pairs[:10] for one in np.unique(pair.read(classes=11)[1])}
    assert seen == {*range(11), IGNORE}
