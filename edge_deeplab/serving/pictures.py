"""What can be told of a file before anything decodes it: whether it is a picture, or a video, that this server takes.

Formats are known by their first bytes; names and declared types are the caller's and count for nothing.
"""

from __future__ import annotations

PICTURES = "JPEG, PNG, WebP"
VIDEOS = "MP4, MOV, WebM, Matroska, AVI"
MAX_JPEG_SCANS = 100  # progressive encoders write about ten; each is a pass over the whole picture

_JPEG, _PNG, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF"
_SCAN = b"\xff\xda"
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # what an MP4 or MOV may begin with
_MATROSKA = b"\x1a\x45\xdf\xa3"


def is_picture(data: bytes) -> bool:
    """Whether it begins as a JPEG, PNG or WebP file does."""
    return data.startswith((_JPEG, _PNG)) or (data[:4] == _RIFF and data[8:12] == b"WEBP")


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG makes its decoder pass over the picture without end: a few bytes can ask for it."""
    return data.startswith(_JPEG) and data.count(_SCAN) > MAX_JPEG_SCANS


def is_video(head: bytes) -> bool:
    """Whether it begins as a video file does. head: its first 12 bytes or more.

    Playlists and scripts (HLS, concat, SDP), which name further files for FFmpeg to open, do not.
    """
    return head[4:8] in _BOXES or head.startswith(_MATROSKA) or (head[:4] == _RIFF and head[8:12] in (b"AVI ", b"AVIX"))
