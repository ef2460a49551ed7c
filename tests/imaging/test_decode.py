"""Reading pictures: what is whole comes in as stored and upright, what is not gets one line."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_deeplab.errors import InputError, OutputError
from edge_deeplab.imaging.decode import read_image, read_mask, write_image

JPEG_LOSS = 8  # grey levels; a smooth picture at OpenCV's quality of 95


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """A smooth RGB picture with red growing to the right, green growing downwards, blue 40."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 255 // (width - 1), rows * 255 // (height - 1), np.full_like(rows, 40)], -1).astype("u1")


def jpeg_bytes(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def with_app1(jpeg: bytes, payload: bytes) -> bytes:
    segment = b"Exif\0\0" + payload
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def orientation(value: int) -> bytes:
    """A TIFF header with one IFD entry: Orientation (0x0112), SHORT."""
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, value, 0, 0)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def empty_png(width: int, height: int, bits: int) -> bytes:
    """A PNG that says it is a palette picture of that size, and holds no pixel."""
    header = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def png_bytes(indices: np.ndarray, bits: int, colour_type: int) -> bytes:
    """A PNG written by hand: grey (0) or palette (3), 1 to 8 bits a pixel."""
    height, width = indices.shape
    as_bits = np.unpackbits(indices[..., None].astype(np.uint8), axis=-1)[..., 8 - bits :].reshape(height, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in as_bits)
    palette = bytes(np.random.default_rng(0).integers(0, 256, (1 << bits) * 3, dtype=np.uint8))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
        + (chunk(b"PLTE", palette) if colour_type == 3 else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_lossless_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, picture())
    assert np.array_equal(read_image(path), picture())


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_round_trip_keeps_the_colour_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, picture())
    assert np.abs(read_image(path).astype(int) - picture()).max() <= JPEG_LOSS


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(with_app1(jpeg_bytes(picture()), orientation(6)))  # 6: turn clockwise to see it upright
    upright = np.rot90(picture(), -1)
    image = read_image(path)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).max() <= JPEG_LOSS


def test_grey_alpha_and_16_bit_pictures_become_rgb(tmp_path: Path) -> None:
    rgba = np.dstack([picture()[..., ::-1], np.full((24, 32), 7, np.uint8)])
    cv2.imwrite(str(tmp_path / "alpha.png"), rgba)
    cv2.imwrite(str(tmp_path / "deep.png"), picture()[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "grey.png"), picture()[..., 0])
    assert np.array_equal(read_image(tmp_path / "alpha.png"), picture())
    assert np.array_equal(read_image(tmp_path / "deep.png"), picture())
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(picture()[..., :1], 3, axis=2))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_masks_give_indices(tmp_path: Path, bits: int) -> None:
    indices = np.random.default_rng(bits).integers(0, 1 << bits, (9, 13), dtype=np.uint8)
    path = tmp_path / "mask.png"
    path.write_bytes(png_bytes(indices, bits, colour_type=3))
    assert np.array_equal(read_mask(path), indices)


def test_grey_masks_come_as_stored(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 256, (9, 13), dtype=np.uint8)
    (tmp_path / "eight.png").write_bytes(png_bytes(values, 8, colour_type=0))
    (tmp_path / "one.png").write_bytes(png_bytes(values & 1, 1, colour_type=0))
    assert np.array_equal(read_mask(tmp_path / "eight.png"), values)
    assert np.array_equal(read_mask(tmp_path / "one.png"), (values & 1) * 255)


def test_voc_annotations_give_class_indices(shared: Path) -> None:
    paths = sorted((shared / "data" / "voc2012_small").rglob("SegmentationClass/*.png"))[:5]
    if not paths:
        pytest.skip("no VOC annotations in the shared data")
    for path in paths:
        assert set(np.unique(read_mask(path))) <= {*range(21), 255}


def test_a_mask_saved_as_colour_counts_where_its_channels_agree(tmp_path: Path) -> None:
    grey = np.repeat(picture()[..., :1], 3, axis=2)
    write_image(tmp_path / "grey.png", grey)
    write_image(tmp_path / "colour.png", picture())
    assert np.array_equal(read_mask(tmp_path / "grey.png"), grey[..., 0])
    with pytest.raises(InputError, match="no label map"):
        read_mask(tmp_path / "colour.png")


def test_a_mask_of_16_bits_is_taken_within_255(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4)
    cv2.imwrite(str(tmp_path / "small.png"), values)
    cv2.imwrite(str(tmp_path / "large.png"), values * 100)
    assert np.array_equal(read_mask(tmp_path / "small.png"), values)
    with pytest.raises(InputError, match=r"1100.*0\.\.255"):
        read_mask(tmp_path / "large.png")


def bad_files() -> dict[str, tuple[bytes, str]]:
    jpeg, png = jpeg_bytes(picture(200, 300)), png_bytes(picture()[..., 0], 8, 0)
    # A thumbnail is a whole JPEG inside the header: its end marker is not the picture's.
    with_thumbnail = with_app1(jpeg, orientation(1) + jpeg_bytes(picture(8, 8)))
    return {
        "empty.jpg": (b"", "empty"),
        "text.png": (b"no picture at all", "no picture"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "end.jpg": (jpeg[:-2], "truncated"),
        "thumbnail.jpg": (with_thumbnail[:-100], "truncated"),
        "head.jpg": (jpeg[:20], "truncated"),
        "half.png": (png[: len(png) - 20], "truncated"),
        "signature.png": (png[:8], "truncated"),
        "huge.png": (empty_png(60000, 60000, 8), "too large"),
        "depth.png": (empty_png(4, 4, 0), "no picture"),
        "bits.png": (png[:50] + b"\0\1\2\3" + png[54:], "damaged.*IDAT"),
    }


@pytest.mark.parametrize("name", bad_files())
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_bad_file_gets_one_line_that_names_it(tmp_path: Path, name: str, read: Callable[[Path], np.ndarray]) -> None:
    content, reason = bad_files()[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read(path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path)


def test_the_whole_thumbnailed_picture_is_read(tmp_path: Path) -> None:
    path = tmp_path / "whole.jpg"
    path.write_bytes(with_app1(jpeg_bytes(picture()), orientation(1) + jpeg_bytes(picture(8, 8))))
    assert read_image(path).shape == (24, 32, 3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_a_picture_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([jpeg_bytes(picture()), png_bytes(picture()[..., 0] % 16, 4, 3)]))
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=8)):
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(bytes(damaged[: data.draw(st.integers(0, len(whole)))]))
    for read in (read_image, read_mask):
        try:
            assert read(path, max_pixels=1_000_000).dtype == np.uint8
        except InputError as error:
            assert "\n" not in str(error)


def test_write_refuses_to_overwrite_until_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, picture())
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_image(path, picture()[::-1])
    assert path.read_bytes() == before
    write_image(path, np.ascontiguousarray(picture()[::-1]), overwrite=True)
    assert np.array_equal(read_image(path), picture()[::-1])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_write_names_what_is_wrong_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.png, \.jpg"):
        write_image(tmp_path / "a.xyz", picture())
    with pytest.raises(OutputError, match="No such file or directory"):
        write_image(tmp_path / "nowhere" / "a.png", picture())
    assert list(tmp_path.iterdir()) == []


def test_write_refuses_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float32"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))
