"""Reading and writing single pictures, with bounds: nothing is decoded before its header was believed.

    image = read_image(Path("portrait.jpg"))     # (H, W, 3) uint8 RGB, upright
    labels = read_mask(Path("portrait.png"))     # (H, W) uint8, values as stored
    write_image(Path("out.png"), image)
    height, width = read_size(Path("tile.tif"))  # from its header alone

OpenCV decodes a truncated JPEG into a half-grey picture without a word; here that is an error.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.errors import InputError, OutputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
WRITABLE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MAX_PIXELS = 100_000_000  # 100 megapixels is 300 MB once decoded; phones stop at about 50 binned

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PALETTE = 3  # colour type of IHDR
_TIFF_ORDERS = {b"II*\x00": "<", b"MM\x00*": ">"}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_SHORT, _TIFF_LONG = 3, 4


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a picture as the camera meant it: EXIF rotation applied, alpha dropped, 16 bits brought to 8.

    Returns: (H, W, 3) uint8, RGB.
    Raises: InputError when the file is missing, empty, truncated, larger than max_pixels or no picture.
    """
    data = _read_bytes(path)
    _check_header(path, data, max_pixels)
    return _decode(path, data, cv2.IMREAD_COLOR_RGB)


def decode_image(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """As read_image, for the bytes of a file that is not on the disk; `name` is what messages call it."""
    if not data:
        raise InputError(f"{name}: the file is empty")
    _check_header(Path(name), data, max_pixels)
    return _decode(Path(name), data, cv2.IMREAD_COLOR_RGB)


def read_mask(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a label map or a grey mask, values as stored.

    A palette PNG gives its indices, not its colours (VOC's annotations); grey PNGs of 1, 2 or 4 bits are spread
    over 0..255 as every decoder does; a colour file is taken where its three channels are equal.

    Returns: (H, W) uint8.
    Raises: InputError as read_image, and when the file holds colours or values above 255.
    """
    data = _read_bytes(path)
    _check_header(path, data, max_pixels)
    spread = 1
    if data.startswith(_PNG_SIGNATURE) and data[25] == _PNG_PALETTE and data[24] in (1, 2, 4, 8):
        spread = 255 // ((1 << data[24]) - 1)  # the decoder spreads fewer than 8 bits over 0..255
        data = _palette_as_grey(data)
    decoded = _decode(path, data, cv2.IMREAD_UNCHANGED)
    if decoded.ndim == 3:
        if decoded.shape[2] not in (1, 3) or any(
            not np.array_equal(decoded[..., 0], decoded[..., channel]) for channel in range(1, decoded.shape[2])
        ):
            raise InputError(
                f"{path}: is no label map", came=f"{decoded.shape[2]} different channels",
                allowed="grey or palette, one value a pixel", next_step="save it as an 8-bit PNG of class indices",
            )  # fmt: skip
        decoded = decoded[..., 0]
    if decoded.dtype != np.uint8:
        if decoded.max() > 255 or decoded.min() < 0:
            raise InputError(f"{path}: label values out of range", came=decoded.max(), allowed="0..255")
        decoded = decoded.astype(np.uint8)
    return np.ascontiguousarray(decoded // spread if spread > 1 else decoded)


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as stored, from its header where it is a PNG or TIFF, else by decoding it.

    Raises: InputError as read_image.
    """
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(len(_PNG_SIGNATURE) + 16)
            if data.startswith(_PNG_SIGNATURE) and data[12:16] == b"IHDR":
                width, height = struct.unpack_from(">II", data, 16)
                return height, width
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read", came=error.strerror) from error
    if data[:4] in _TIFF_ORDERS:
        width, height = _check_tiff(path, _read_bytes(path))
        return height, width
    height, width = read_image(path).shape[:2]
    return height, width


def write_image(path: Path, image: np.ndarray, *, overwrite: bool = False) -> None:
    """Writes a picture or a label map; the format follows the suffix. A file is there whole or not at all.

    image: (H, W, 3) uint8 RGB, or (H, W) uint8.
    Raises: OutputError when the file exists and overwrite is False, when the suffix is none of
        WRITABLE_SUFFIXES, or the folder cannot be written.
    """
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"image is {image.dtype} {image.shape}; allowed: uint8 (H, W) or (H, W, 3)")
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise OutputError(
            f"{path}: unknown picture format", came=path.suffix or "no suffix", allowed=", ".join(WRITABLE_SUFFIXES)
        )
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already", next_step="choose another name, or allow overwriting")
    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(path.suffix.lower(), stored)
    if not done:
        raise OutputError(f"{path}: the picture cannot be encoded", came=f"size {image.shape[1]} x {image.shape[0]}")
    import tempfile  # 2 ms, and most programs only read

    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(encoded.tobytes())
        temporary.chmod(0o666 & ~_current_umask())  # mkstemp makes 0600, for secrets; a picture is none
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read_bytes(path: Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read", came=error.strerror) from error
    if not data:
        raise InputError(f"{path}: the file is empty")
    return data


def _decode(path: Path, data: bytes, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:  # its own limit on sides, broken streams
        raise InputError(f"{path}: cannot be decoded", came=error.err) from error
    if image is None or image.size == 0:
        raise InputError(f"{path}: is no picture, or a damaged one", allowed=", ".join(IMAGE_SUFFIXES))
    return image


def _check_header(path: Path, data: bytes, max_pixels: int) -> None:
    """Refuses what is too large or stops too early. Other formats than these are left to OpenCV's own limits."""
    if data.startswith(_PNG_SIGNATURE):
        size_wh = _check_png(path, data)
    elif data.startswith(b"\xff\xd8"):
        size_wh = _check_jpeg(path, data)
    elif data[:4] in _TIFF_ORDERS:
        size_wh = _check_tiff(path, data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size_wh = _check_webp(path, data)
    else:
        return
    if size_wh[0] * size_wh[1] > max_pixels:
        raise InputError(
            f"{path}: the picture is too large", came=f"{size_wh[0]} x {size_wh[1]}", allowed=f"{max_pixels} pixels"
        )


def _truncated(path: Path) -> InputError:
    return InputError(f"{path}: the picture is truncated", came="its end is missing", next_step="copy the file again")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """Yields (kind, payload, its stored CRC over both); stops behind IEND, or where the file does."""
    view, at = memoryview(data), len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield kind, view[at + 8 : at + 8 + length], struct.unpack_from(">I", data, at + 8 + length)[0]
        if kind == b"IEND":
            return
        at += 12 + length


def _check_png(path: Path, data: bytes) -> tuple[int, int]:
    """Returns width and height of a PNG that is whole: IHDR first, IEND last, every check sum right.

    libpng finds a wrong check sum too, but tells it to stderr, beside our one line.
    """
    kinds = []
    for kind, payload, stored in _png_chunks(data):
        if zlib.crc32(payload, zlib.crc32(kind)) != stored:
            raise InputError(
                f"{path}: the picture is damaged", came=f"a wrong check sum in its {kind.decode('latin-1')} chunk"
            )
        kinds.append(kind)
    if not kinds or kinds[0] != b"IHDR" or b"IDAT" not in kinds or kinds[-1] != b"IEND":
        raise _truncated(path)
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _palette_as_grey(data: bytes) -> bytes:
    """A palette PNG with its colour type changed to grey, so that a decoder hands out the indices."""
    chunks = []
    for kind, payload, _ in _png_chunks(data):
        if kind in (b"PLTE", b"tRNS", b"bKGD", b"sBIT", b"hIST"):  # they speak of the palette
            continue
        body = bytes(payload)
        if kind == b"IHDR":
            body = body[:9] + b"\x00" + body[10:]
        chunks.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return _PNG_SIGNATURE + b"".join(chunks)


def _check_jpeg(path: Path, data: bytes) -> tuple[int, int]:
    """Returns width and height of a JPEG that is whole: the end marker is looked for behind the first scan,
    since an EXIF thumbnail before it has one of its own (ISO/IEC 10918-1, B.1.1).
    """
    at, size_wh = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise InputError(f"{path}: is no picture, or a damaged one", came=f"no JPEG marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD7:  # fill bytes, markers without a length
            at += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            size_wh = (width, height)
        if marker == 0xDA:
            if size_wh is None or data.find(b"\xff\xd9", at + 2 + length) < 0:
                raise _truncated(path)
            return size_wh
        at += 2 + length
    raise _truncated(path)


def _check_tiff(path: Path, data: bytes) -> tuple[int, int]:
    """Returns width and height of a TIFF's first picture (TIFF 6.0, section 2)."""
    order = _TIFF_ORDERS[data[:4]]
    sides: dict[int, int] = {}
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        for at in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, at)
            if tag in (_TIFF_WIDTH, _TIFF_HEIGHT) and kind in (_TIFF_SHORT, _TIFF_LONG):
                sides[tag] = struct.unpack_from(order + ("H" if kind == _TIFF_SHORT else "I"), data, at + 8)[0]
    except struct.error as error:
        raise _truncated(path) from error
    if len(sides) < 2:
        raise InputError(f"{path}: is no picture, or a damaged one", came="a TIFF without a width and a height")
    return sides[_TIFF_WIDTH], sides[_TIFF_HEIGHT]


def _check_webp(path: Path, data: bytes) -> tuple[int, int]:
    """Returns width and height of a WebP that is whole, from its first chunk (RFC 9649, sections 2.5 to 2.7)."""
    if len(data) < 30 or len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        raise _truncated(path)
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise InputError(f"{path}: is no picture, or a damaged one", came="a WebP of an unknown kind")
