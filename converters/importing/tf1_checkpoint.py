"""Reads the variables of a TensorFlow 1 checkpoint, as the official training code writes them.

Any of NAME.index, NAME.data-00000-of-00001, the prefix NAME, or the folder they lie in.

    reading = read_checkpoint(Path("deeplabv3_pascal_trainval/model.ckpt"))
    reading.variables["xception_65/entry_flow/conv1_1/weights"]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.converters.checkpoint_files import checkpoint_files, checkpoint_prefix
from edge_deeplab.converters.importing.readings import CHECKPOINT, Reading
from edge_deeplab.errors import MissingExtraError, ModelError

ALLOWED = "NAME.index with NAME.data-00000-of-00001 beside it, their prefix NAME, or their folder"
AVERAGE = "ExponentialMovingAverage"
# What a training keeps beside the network: counters, and slots of the optimizers TensorFlow 1 has.
COUNTERS = {"global_step", "beta1_power", "beta2_power", "learning_rate"}
SLOTS = {"Momentum", "Adam", "Adam_1", "RMSProp", "RMSProp_1", "Adagrad", "local_step", "biased", AVERAGE}
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def read_checkpoint(path: Path, *, moving_averages: bool = False) -> Reading:
    """Reads every variable of the network; counters and optimizers' slots are left out.

    Args:
        moving_averages: takes each variable's exponential moving average where one was kept.
    Raises: ModelError when files are missing, cut short, of TensorFlow 2, or have no averages although asked for;
        MissingExtraError when TensorFlow is not installed.
    """
    prefix = checkpoint_prefix(path)
    if prefix is None:
        raise ModelError(f"{path}: no checkpoint", allowed=ALLOWED)
    files = checkpoint_files(prefix)
    absent = [file for file in files if not file.is_file()]
    if absent or (len(files) == 1 and files[0].suffix == ".index"):
        name = absent[0].name if absent else f"{prefix.name}.data-00000-of-00001"
        raise ModelError(f"{prefix}: a file of this checkpoint is missing", came=f"no {name}", allowed=ALLOWED)
    variables = _read_all(prefix)
    kept = {name: array for name, array in variables.items() if not _is_of_training(name)}
    averages = {
        name.removesuffix(f"/{AVERAGE}"): array for name, array in variables.items() if name.endswith(f"/{AVERAGE}")
    }
    notes = [f"{len(variables) - len(kept)} variables of the training left out"] if len(kept) < len(variables) else []
    if moving_averages:
        used = {name: array for name, array in averages.items() if name in kept}
        if not used:
            raise ModelError(f"{prefix}: keeps no moving averages", next_step="leave --moving-averages out")
        kept |= used
        notes.append(f"moving averages taken for {len(used)} of {len(kept)} variables")
    elif averages:
        notes.append("it keeps moving averages too; --moving-averages takes those")
    return Reading(source=str(prefix), kind=CHECKPOINT, variables=kept, notes=tuple(notes))


def _is_of_training(name: str) -> bool:
    parts = name.split("/")
    return name in COUNTERS or parts[-1] in SLOTS


def _read_all(prefix: Path) -> dict[str, np.ndarray]:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingExtraError("tensorflow", extra="train", purpose="reading a checkpoint") from error
    # what the reader raises depends on where the bytes end
    broken = (tf.errors.OpError, ValueError, RuntimeError, OSError, LookupError)
    try:
        reader: Any = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
    except broken as error:
        raise ModelError(
            f"{prefix}: its index is cut short or damaged",
            came=_first_line(error),
            next_step="copy the checkpoint again",
        ) from error
    if _OBJECT_GRAPH in shapes:
        raise ModelError(
            f"{prefix}: is a checkpoint of TensorFlow 2 objects, whose variables have no official names",
            allowed="one of tf.compat.v1.train.Saver",
            next_step="save the model as .keras or SavedModel and convert it",
        )  # fmt: skip
    variables = {}
    for name in sorted(shapes):
        try:
            value = np.asarray(reader.get_tensor(name))
        except broken as error:
            raise ModelError(
                f"{prefix}: cut short or damaged at variable {name}", came=_first_line(error),
                next_step="copy its .data files again",
            ) from error  # fmt: skip
        variables[name] = value.astype(np.float32) if value.dtype.kind == "f" else value
    return variables


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
