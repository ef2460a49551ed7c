"""An output that gets its name only when it is whole, and the life of a sink that is built on one.

No format is known here.

    pending = PendingOutput(Path("out.mp4"), overwrite=False)   # out.mp4 is not there yet
    ...write to pending.temporary...
    pending.publish()                                           # now it is
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from edge_deeplab.errors import DeviceError, EdgeDeepLabError, OutputError
from edge_deeplab.video.letterbox import letterbox

# Left by one of these, a sink keeps what was recorded: the user pressed Ctrl-C, or the camera went away.
KEPT_AFTER = (KeyboardInterrupt, SystemExit, GeneratorExit, DeviceError)


class PendingOutput:
    """A file or folder written under a temporary name beside its place.

    Args:
        path: where it will be.
        overwrite: whether what is there already may be replaced. In a folder only files of the same names are.
        is_folder: whether it is a folder of files.
        is_recording: whether what is written is of use before it is whole; then its temporary name can be found by a
            person: out.unfinished.mp4.

    Attributes:
        temporary: the name until it is published.

    Raises: OutputError at once when the place holds something, its folder is missing, or it cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool, is_folder: bool = False, is_recording: bool = False) -> None:
        self.path, self.is_folder, self._overwrite = path, is_folder, overwrite
        self.temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        self._left_behind: list[Path] = []
        parent = path.parent
        if not parent.is_dir():
            raise OutputError(f"{path}: its folder {parent} does not exist", next_step="make the folder first")
        if path.is_dir() != is_folder and path.exists():
            raise OutputError(f"{path}: is a {'file' if is_folder else 'folder'}", next_step="choose another name")
        self._check_free("give another name, or --force to replace it")
        try:
            if is_folder:
                self.temporary.mkdir()
            elif is_recording:
                self._begin_recording()
            else:
                self.temporary.touch(exist_ok=False)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written", came=error.strerror) from error

    def _begin_recording(self) -> None:
        """Makes the first unfinished name that is free, and keeps those that were not."""
        for number in itertools.count(1):
            mark = "unfinished" if number == 1 else f"unfinished-{number}"
            self.temporary = self.path.with_name(f"{self.path.stem}.{mark}{self.path.suffix}")
            try:
                self.temporary.touch(exist_ok=False)
                return
            except FileExistsError:
                self._left_behind.append(self.temporary)

    def left_behind_notes(self) -> list[str]:
        """One line for each unfinished recording of the same name, by a run that ended suddenly or is still going."""
        return [
            f"{path}: a recording that was not finished lies there, and plays as far as it went"
            for path in self._left_behind
        ]

    def publish(self) -> None:
        """Gives the whole output its name. Raises OutputError, naming where the work lies, when it cannot."""
        self._check_free(f"what was made lies in {self.temporary}")
        try:
            if self.is_folder and self.path.is_dir():
                for file in self.temporary.iterdir():
                    file.replace(self.path / file.name)
                self.temporary.rmdir()
            else:
                self.temporary.replace(self.path)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written", came=error.strerror, next_step=f"the work lies in {self.temporary}"
            ) from error

    def discard(self) -> None:
        """Removes the temporary file or folder."""
        if self.is_folder:
            import shutil  # here: it brings three compressors with it

            shutil.rmtree(self.temporary, ignore_errors=True)
        else:
            self.temporary.unlink(missing_ok=True)

    def _check_free(self, next_step: str) -> None:
        if self._overwrite:
            return
        holds = any(self.path.iterdir()) if self.path.is_dir() else self.path.exists()
        if holds:
            raise OutputError(f"{self.path}: is there already", next_step=next_step)


class SinkLife:
    """What all sinks share: the states open, closed and discarded, the `with` block, and the check of a frame.

    A sink fills in `_write`, and `_close` and `_discard` where it holds something; each of those is called at most
    once. A failing `_close` discards.

    Args:
        is_recording: whether what was written is kept whatever ends the `with` block.
    """

    def __init__(self, *, is_recording: bool = False) -> None:
        self.notes: list[str] = []
        self._is_recording = is_recording
        self._is_open = True
        self._frame_shape: tuple[int, ...] | None = None

    def write(self, frame_bgr: np.ndarray, time_s: float, name: str = "") -> None:
        """Takes the next frame: (H, W, 3) uint8 BGR. Raises OutputError.

        An output that has one size, such as a video file, takes the first frame's and fits others into it.
        """
        if not self._is_open:
            raise OutputError(f"{self.describe()}: is closed")
        if frame_bgr.dtype != np.uint8 or frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3:
            raise OutputError(
                f"{self.describe()}: not a frame", came=f"{frame_bgr.dtype} {frame_bgr.shape}",
                allowed="(H, W, 3) uint8 BGR",
            )  # fmt: skip
        if self._frame_shape is None:
            self._frame_shape = frame_bgr.shape
        self._write(frame_bgr, time_s, name)

    def idle(self) -> None:
        """Called from the same thread while no frame comes."""

    def finish(self) -> None:
        """Says that the source ended by itself."""

    def close(self) -> None:
        """Completes what was written. Twice is harmless."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._close()
        except EdgeDeepLabError:
            raise
        except BaseException:
            self._discard()
            raise

    def discard(self) -> None:
        """Leaves nothing of what was written. Harmless after close."""
        if self._is_open:
            self._is_open = False
            self._discard()

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, KEPT_AFTER):
            self.close()
        elif self._is_recording:
            with contextlib.suppress(EdgeDeepLabError):  # what ended the block is what the user should read
                self.close()
        else:
            self.discard()

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        raise NotImplementedError

    def _close(self) -> None: ...

    def _discard(self) -> None: ...

    def _fit_to_first(self, frame_bgr: np.ndarray) -> np.ndarray:
        """For a sink whose output has one size: a frame of another one is letterboxed to the first one's, and noted."""
        assert self._frame_shape is not None
        if frame_bgr.shape == self._frame_shape:
            return frame_bgr
        height, width = self._frame_shape[:2]
        note = f"{self.describe()}: frames of other sizes came; they were fitted into {width}x{height}"
        if note not in self.notes:
            self.notes.append(note)
        return letterbox(frame_bgr, (width, height))
