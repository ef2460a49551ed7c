"""TensorFlow 1 checkpoints for tests, written by TensorFlow's own Saver."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf


def write_checkpoint(prefix: Path, variables: Mapping[str, np.ndarray]) -> None:
    """Writes NAME.index, NAME.data-00000-of-00001 and the folder's `checkpoint` file."""
    with tf.Graph().as_default():
        for name, value in variables.items():
            tf.compat.v1.get_variable(name, initializer=tf.constant(value), use_resource=False)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            tf.compat.v1.train.Saver().save(session, str(prefix), write_meta_graph=False)


def of_training(variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables with what a training keeps beside them: step, momenta, moving averages a hundredth larger."""
    kept = dict(variables)
    kept["global_step"] = np.int64(30000)
    for name, value in variables.items():
        if not name.endswith(("moving_mean", "moving_variance")):
            kept[f"{name}/Momentum"] = np.zeros_like(value)
            kept[f"{name}/ExponentialMovingAverage"] = value * np.float32(1.01)
    return kept
