"""Which pictures: of folders, lists and single files, one after the other, none of them opened.

    for source, name in find_pictures([Path("photos"), Path("more.txt")], leave_out=Path("out")): ...

A name mirrors the tree below the folder, or below the folder that all lines of a list have in common.
"""

# ruff: noqa: PTH100, PTH118, PTH120, PTH122
# Paths are strings here: of a million, Path objects would take longer than the disk.

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_deeplab.errors import InputError
from edge_deeplab.imaging.decode import IMAGE_SUFFIXES

LIST_SUFFIXES = (".txt", ".lst")


def find_pictures(inputs: Sequence[Path], *, leave_out: Path) -> Iterator[tuple[str, str]]:
    """Yields (absolute path, name without suffix) of every picture.

    Args:
        inputs: folders (all pictures below them, by suffix, in order of their names), lists (.txt, .lst: a path a line,
            relative ones from the list's own folder; blank lines and lines of # are passed over) and single pictures.
        leave_out: a folder that is not looked into: the one that is written to.
    Raises: InputError for an input that is not there, or is none of these.
    """
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        if not path.is_dir() and path.suffix.lower() not in (*LIST_SUFFIXES, *IMAGE_SUFFIXES):
            raise InputError(
                f"{path}: is no folder, list or picture", came=path.suffix or "no suffix",
                allowed=f"a folder, a list ({', '.join(LIST_SUFFIXES)}), or {', '.join(IMAGE_SUFFIXES)}",
            )  # fmt: skip
    for path in inputs:
        if path.is_dir():
            yield from _in_folder(path, os.path.abspath(leave_out))
        elif path.suffix.lower() in LIST_SUFFIXES:
            yield from _in_list(path)
        else:
            yield os.path.abspath(path), path.stem


def _in_folder(root: Path, leave_out: str) -> Iterator[tuple[str, str]]:
    top = os.path.abspath(root)
    for folder, below, files in os.walk(top):
        below[:] = sorted(name for name in below if os.path.join(folder, name) != leave_out)
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                path = os.path.join(folder, name)
                yield path, os.path.join(os.path.relpath(folder, top), stem).removeprefix("./")


def _in_list(path: Path) -> Iterator[tuple[str, str]]:
    """Reads the list twice: for the folder its pictures have in common, and for themselves."""
    common = ""
    for source in _lines(path):
        folder = os.path.dirname(source)
        common = os.path.commonpath([common, folder]) if common else folder
    for source in _lines(path):
        yield source, os.path.splitext(os.path.relpath(source, common))[0]


def _lines(path: Path) -> Iterator[str]:
    base = os.path.dirname(os.path.abspath(path))
    try:
        with path.open("rb") as stream:
            for line in stream:
                text = os.fsdecode(line.strip(b"\r\n"))
                if "\0" in text:
                    raise InputError(f"{path}: is no list of paths", came="a line with a zero byte")
                if text.strip() and not text.startswith("#"):
                    yield os.path.abspath(os.path.join(base, text))
    except OSError as error:
        raise InputError(f"{path}: cannot be read", came=error.strerror) from error
