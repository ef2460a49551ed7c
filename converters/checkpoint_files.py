"""Which files a TensorFlow 1 checkpoint is.

Checkpoints of both versions: model.ckpt.index with its .data files beside it, and the single file of 2016 in which
slim's ResNets were published. One is named by any of its files, by what their names have in common, or by the folder
of one.

    prefix = checkpoint_prefix(Path("deeplabv3_pascal_trainval"))
    checkpoint_files(prefix)
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_deeplab.errors import ModelError

TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # ends the table that an .index file, or an old checkpoint, is


def checkpoint_prefix(path: Path) -> Path | None:
    """What the names of a checkpoint's files begin with, from any of them, from itself or from their folder.

    Returns: None when `path` is no checkpoint's. Raises: ModelError for a folder with none, or with several and no
        file `checkpoint` that says which is the last.
    """
    if path.is_dir():
        found = {file.with_suffix("").name: file.with_suffix("") for file in sorted(path.glob("*.index"))}
        if (path / "checkpoint").is_file():
            last = re.search(r'^model_checkpoint_path: "(.+)"', (path / "checkpoint").read_text(errors="replace"))
            if last and Path(last[1]).name in found:
                return found[Path(last[1]).name]
        if len(found) != 1:
            raise ModelError(
                f"{path}: not a folder of one checkpoint", came=f"{len(found)} .index files",
                allowed="a checkpoint's files in it", next_step="name one of them" if found else None,
            )  # fmt: skip
        return next(iter(found.values()))
    if path.name.endswith(".index"):
        return path.with_suffix("")
    data_file = re.fullmatch(r"(.+)\.data-\d{5}-of-\d{5}", path.name)
    if data_file:
        return path.with_name(data_file[1])
    if not path.exists():
        return path if _beside(path, ".index").exists() else None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(TABLE_MAGIC)))
        return path if file.read() == TABLE_MAGIC else None


def checkpoint_files(prefix: Path) -> tuple[Path, ...]:
    """The files of a checkpoint, in the order of their names."""
    if prefix.exists():
        return (prefix,)
    return (_beside(prefix, ".index"), *sorted(prefix.parent.glob(f"{prefix.name}.data-*")))


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
