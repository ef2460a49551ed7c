"""Single pictures and folders of pictures as sources and sinks.

Pictures are decoded and written by imaging.decode, which checks them.

    with ImageSource(Path("me.jpg")) as source: ...
    with FolderSink(Path("frames"), suffix=".png") as sink: ...
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.errors import InputError, OutputError
from edge_deeplab.imaging.decode import IMAGE_SUFFIXES, read_image, write_image
from edge_deeplab.video.frames import Frame, MediaFacts, rate_text
from edge_deeplab.video.output import PendingOutput, SinkLife
from edge_deeplab.video.source_life import SourceLife


class ImageSource(SourceLife):
    """One picture: a single frame, or held still at a steady rate like a camera that looks at a photo.

    Args:
        path: the picture.
        held_fps: frames per second when held still, without end; None for a single frame.

    Raises: InputError when it is no picture.
    """

    def __init__(self, path: Path, *, held_fps: Fraction | None = None) -> None:
        super().__init__()
        self._path = path
        self._bgr = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
        self.size_wh = (self._bgr.shape[1], self._bgr.shape[0])
        self.is_live, self.fps = held_fps is not None, held_fps
        self.frame_count = None if self.is_live else 1
        self.media = MediaFacts(fps=held_fps)

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        held = f", held still at {rate_text(self.fps)}" if self.is_live else ""
        return f"picture {self._path} ({self.size_wh[0]}x{self.size_wh[1]}{held})"

    def _frames(self) -> Iterator[Frame]:
        if self.fps is None:
            yield Frame(0, 0.0, self._bgr.copy(), self._path.stem)
            return
        began_s, index = time.perf_counter(), 0
        while True:
            due_s = float(index / self.fps)
            time.sleep(max(0.0, began_s + due_s - time.perf_counter()))
            yield Frame(index, due_s, self._bgr.copy(), self._path.stem)
            index += 1


class FolderSource(SourceLife):
    """The pictures of a folder in the order of their names, each at its own size.

    Args:
        folder: where they are; what is no picture by its suffix is left out, subfolders too.
        fps: the rate at which they are meant to be shown.

    Raises: InputError when there is no picture; while iterating, when one of them is damaged.
    """

    def __init__(self, folder: Path, *, fps: Fraction) -> None:
        super().__init__()
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        self._folder = folder
        files = (path for path in folder.iterdir() if path.is_file())
        self._paths = sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self._paths:
            raise InputError(f"{folder}: holds no picture", allowed=", ".join(IMAGE_SUFFIXES))
        height, width = read_image(self._paths[0]).shape[:2]
        self.size_wh, self.fps, self.frame_count = (width, height), fps, len(self._paths)
        self.media = MediaFacts(fps=fps)

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        return f"folder {self._folder} ({self.frame_count} pictures, the first {self.size_wh[0]}x{self.size_wh[1]})"

    def _frames(self) -> Iterator[Frame]:
        assert self.fps is not None
        for index, path in enumerate(self._paths):
            yield Frame(index, float(index / self.fps), cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR), path.stem)


class _PictureSink(SinkLife):
    """What one picture and a folder of them share: a temporary place, published once a frame was written."""

    def __init__(self, pending: PendingOutput) -> None:
        super().__init__()
        self._pending = pending
        self._written = 0

    def _close(self) -> None:
        if not self._written:
            self._pending.discard()
            self.notes.append(f"{self._pending.path}: no frame came, so nothing was written")
            return
        self._pending.publish()

    def _discard(self) -> None:
        self._pending.discard()


class ImageSink(_PictureSink):
    """One picture. A second frame is refused, so that a video does not end as its first picture unnoticed."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        super().__init__(PendingOutput(path, overwrite=overwrite))

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        return f"picture {self._pending.path}"

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        if self._written:
            raise OutputError(
                f"{self._pending.path}: one picture cannot hold several frames",
                next_step="name a video (.mp4) or a folder (ending in /) as output",
            )
        write_image(self._pending.temporary, cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB), overwrite=True)
        self._written += 1


class FolderSink(_PictureSink):
    """A folder of pictures, named as they were, or frame_000000, frame_000001 ... where frames have no names.

    Args:
        folder: where it will be; with overwrite, files of the same names in it are replaced and others left alone.
        suffix: ".png" (nothing lost) or ".jpg".
    """

    def __init__(self, folder: Path, *, suffix: str = ".png", overwrite: bool = False) -> None:
        super().__init__(PendingOutput(folder, overwrite=overwrite, is_folder=True))
        self._suffix = suffix

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        return f"folder {self._pending.path} ({self._suffix} pictures)"

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        target = self._pending.temporary / f"{name or f'frame_{self._written:06d}'}{self._suffix}"
        if target.exists():  # a.jpg and a.png in one folder, or a picture held still
            target = target.with_name(f"{target.stem}_{self._written:06d}{self._suffix}")
        write_image(target, cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB))
        self._written += 1
