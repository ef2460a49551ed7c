"""TIFFs, as tiles from the air come: bounded before they are decoded, their size read from the header."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import InputError
from edge_deeplab.imaging.decode import read_image, read_size


@pytest.fixture
def tile(tmp_path: Path) -> Path:
    path = tmp_path / "tile.tif"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8))
    return path


def header(order: str, width: int, height: int) -> bytes:
    """A TIFF of nothing but the two tags that say its size."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    tags = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in ((256, width), (257, height)))
    return start + struct.pack(f"{order}H", 2) + tags + bytes(4)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_size_is_that_of_the_decoded_picture(suffix: str, tile: Path) -> None:
    path = tile.with_suffix(suffix)
    cv2.imwrite(str(path), cv2.imread(str(tile)))
    assert read_size(path) == read_image(path).shape[:2] == (24, 32)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_bomb_is_refused_by_its_header(order: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    path.write_bytes(header(order, 60_000, 50_000))
    assert read_size(path) == (50_000, 60_000)
    with pytest.raises(InputError, match="too large; came 60000 x 50000; allowed: 100000000 pixels"):
        read_image(path)


@pytest.mark.parametrize("length", [4, 9, 20, 35])
def test_a_truncated_header_is_one_line(length: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    path.write_bytes(header("<", 10, 10)[:length])
    with pytest.raises(InputError, match="truncated"):
        read_image(path)


def test_a_directory_without_sizes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.tif"
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, 0) + bytes(4))
    with pytest.raises(InputError, match="a TIFF without a width and a height"):
        read_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tif: no such file"):
        read_size(tmp_path / "none.tif")
