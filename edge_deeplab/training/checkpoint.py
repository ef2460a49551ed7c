"""Everything a training needs to go on exactly where it was killed, in one .npz written in one step."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from edge_deeplab.errors import InputError, OutputError

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a training stands.

    Attributes:
        epoch, batch: the next batch to learn from; epochs count on through the stages.
        step: optimizer steps done.
        best_score, best_epoch: of the model kept so far.
        identity: what a recipe and its data must agree on to go on from here.
        metrics: the lines of metrics.jsonl so far.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_score: float = -1.0
    best_epoch: int = -1
    identity: str = ""
    metrics: tuple[str, ...] = field(default=())


def write_checkpoint(
    path: Path, position: Position, model_arrays: list[np.ndarray], optimizer_arrays: list[np.ndarray]
) -> None:
    """Writes to a temporary name and renames, so a kill at any moment leaves the old one or the new one."""
    arrays = {f"model_{index:04d}": array for index, array in enumerate(model_arrays)}
    arrays |= {f"optimizer_{index:04d}": array for index, array in enumerate(optimizer_arrays)}
    meta = json.dumps({"format": FORMAT, **asdict(position)})
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, meta=np.array(meta), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> tuple[Position, list[np.ndarray], list[np.ndarray]]:
    """The inverse of write_checkpoint. Raises InputError for a missing, damaged or foreign file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(str(archive["meta"]))
            if meta.pop("format", None) != FORMAT:
                raise InputError(f"{path}: a checkpoint of another format", next_step="begin anew in another folder")
            meta["metrics"] = tuple(meta["metrics"])
            model = [archive[name] for name in sorted(archive.files) if name.startswith("model_")]
            optimizer = [archive[name] for name in sorted(archive.files) if name.startswith("optimizer_")]
            return Position(**meta), model, optimizer
    except FileNotFoundError as error:
        raise InputError(f"{path}: no checkpoint to resume from", next_step="begin without --resume") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: a damaged checkpoint", came=str(error), next_step="begin anew in another folder"
        ) from error
