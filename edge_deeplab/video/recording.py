"""The file below a recording: whatever ends the program, what was written until then still plays.

A recording is written in pieces that each play alone (fragments of MP4, clusters of Matroska). This file keeps them so:
a piece that could not be written whole is taken back, the disk is asked for what it holds every second, and the index,
which replaces the pieces' own heads when the recording is closed, takes effect with one small last write.

    file = RecordedFile(Path("out.unfinished.mp4"))
    options = piecewise("mp4", av.library_versions["libavformat"])
    container = av.open(file, "w", format="mp4", container_options=options)
    container.mux(packet)
    file.keep()             # all of it is a whole number of pieces now
    file.begin_index()
    container.close()
    file.close()
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from pathlib import Path

SYNC_EVERY_S = 1.0  # what a power loss may cost beyond a kill; a sync of a second's pictures takes milliseconds
PIECE_S = 0.5  # length of a piece: what a kill may cost; shorter ones add heads of about 100 bytes each

HYBRID_SINCE = (61, 7)  # of libavformat, that is FFmpeg 7.1


def piecewise(container: str, libavformat: tuple[int, ...]) -> dict[str, str]:
    """The options that make FFmpeg write pieces; they reach the disk at once only where every packet is flushed.

    Args:
        container: "mp4", "mov", "matroska" or "webm", as FFmpeg calls them.
        libavformat: its version. From 7.1 on FFmpeg puts an ordinary index behind the pieces of an MP4 in the end, so
            that the finished file is like any other; before, the pieces stay, and some players know no length.
    """
    if container in ("matroska", "webm"):
        return {"cluster_time_limit": str(round(PIECE_S * 1e3)), "flush_packets": "1"}
    ways = "+hybrid_fragmented" if libavformat >= HYBRID_SINCE else "+empty_moov+default_base_moof"
    return {"movflags": ways, "frag_duration": str(round(PIECE_S * 1e6)), "flush_packets": "1"}


class RecordedFile:
    """A file as PyAV writes to, which can go back to the last moment at which it was whole.

    Args:
        path: an existing, empty file.

    Raises: OSError when it cannot be opened; while writing, what the disk says.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._file = io.FileIO(path, "r+")
        self._whole_size = 0
        self._patches: list[tuple[int, bytes]] | None = None
        self._at = 0
        self._is_lost = False
        self._closing = threading.Event()
        self._syncing = threading.Thread(target=self._sync, name="recording-sync", daemon=True)
        self._syncing.start()

    def write(self, data: bytes) -> int:
        """Writes at the place; held back when it would change what is whole while the index is being written."""
        if self._is_lost:
            raise OSError(0, "the recording was given up")
        data = bytes(data)
        if self._patches is not None and self._at < self._whole_size:
            self._patches.append((self._at, data))
        else:
            self._put(self._at, data)
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the place of the next write; returns it."""
        if whence == os.SEEK_END:
            offset += self._size()
        elif whence == os.SEEK_CUR:
            offset += self._at
        self._at = offset
        return self._at

    def tell(self) -> int:
        """The place of the next write, bytes."""
        return self._at

    def keep(self) -> None:
        """Says that the file, as it stands, is whole: what comes later can be taken back to here."""
        self._whole_size = self._size()

    def begin_index(self) -> None:
        """From now on changes of what is whole wait until `close`."""
        self._patches = []

    def close(self) -> None:
        """Makes it all take effect. Raises OSError; what was whole is whole then too. Twice is harmless."""
        if self._file.closed:
            return
        self._stop_syncing()
        try:
            if self._patches:
                os.fsync(self._file.fileno())  # the index is on the disk before anything leads to it
            for place, data in self._patches or ():
                self._put(place, data)
            os.fsync(self._file.fileno())
        except OSError:
            self.give_up()
            raise
        self._file.close()

    def give_up(self) -> None:
        """Goes back to what was whole and closes; later writes are refused. Twice is harmless."""
        self._is_lost = True
        if self._file.closed:
            return
        self._stop_syncing()
        with contextlib.suppress(OSError):
            self._file.truncate(self._whole_size)
        with contextlib.suppress(OSError):
            self._file.close()

    def _put(self, place: int, data: bytes) -> None:
        self._file.seek(place)
        left = memoryview(data)
        while left:  # a raw file may take less than it was given: the disk's last bytes
            left = left[self._file.write(left) or 0 :]

    def _size(self) -> int:
        return self._whole_size if self._file.closed else os.fstat(self._file.fileno()).st_size

    def _sync(self) -> None:
        while not self._closing.wait(SYNC_EVERY_S):
            with contextlib.suppress(OSError):  # a failing disk says so again to the next write
                os.fsync(self._file.fileno())

    def _stop_syncing(self) -> None:
        self._closing.set()
        self._syncing.join()
