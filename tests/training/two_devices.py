"""A tiny network taught some steps on one device or several: what test_distribute.py runs in processes of their own.

    python tests/training/two_devices.py one|devices|worker DIE_AFTER

Prints one JSON object: the losses, and what the network and the optimizer came to. `worker` is told who it is by the
environment, as frameworks document it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np

from edge_deeplab.labels import IGNORE

CLASSES, BATCH, SIDE, STEPS = 3, 8, 8, 5


def batches() -> Any:
    """Pictures and labels whose void lies almost all in the second half of each batch: replicas must not be equals."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        images = rng.random((BATCH, SIDE, SIDE, 3), np.float32) * np.linspace(0.2, 2, BATCH)[:, None, None, None]
        labels = rng.integers(0, CLASSES, (BATCH, SIDE, SIDE)).astype(np.uint8)
        void = rng.random(labels.shape) < np.repeat([0.05, 0.9], BATCH // 2)[:, None, None]
        yield images.astype(np.float32), np.where(void, np.uint8(IGNORE), labels)


def learn(devices: Any, die_after: int | None) -> dict[str, Any]:
    """The losses of the steps, and the sums and norms of the averaged weights and of the optimizer's state."""
    from edge_deeplab.models.keras_api import keras_namespace
    from edge_deeplab.training.losses import LossRecipe, segmentation_loss

    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    layers = K.layers
    with devices.scope():
        image = layers.Input((SIDE, SIDE, 3))
        # no biases: before a batch norm their gradient is rounding alone, which Adam makes a step of
        x = layers.BatchNormalization(name="first_bn")(layers.Conv2D(8, 3, use_bias=False)(image))
        x = layers.BatchNormalization(name="second_bn")(layers.DepthwiseConv2D(3, use_bias=False)(layers.ReLU()(x)))
        x = layers.ZeroPadding2D(2)(layers.ReLU()(x))
        model = K.Model(image, layers.Conv2D(CLASSES, 1, name="logits")(x))
        optimizer = K.optimizers.AdamW(0.02, weight_decay=0.1, global_clipnorm=0.05, use_ema=True, ema_momentum=0.8)
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        optimizer.build(model.trainable_variables)
    recipe = LossRecipe(class_weights=(0.5, 1.0, 3.0))
    step = devices.learner(K, model, optimizer, segmentation_loss(K.ops, recipe, CLASSES, total=devices.total))
    each = BATCH // devices.workers
    rows = slice(devices.worker * each, (devices.worker + 1) * each)
    losses = []
    for index, (images, labels) in enumerate(batches()):
        if die_after == index:
            os._exit(9)
        losses.append(step(images[rows], labels[rows]))
    state = [np.asarray(K.ops.convert_to_numpy(one), np.float64) for one in (*model.variables, *optimizer.variables)]
    return {"losses": losses, "norms": [float(np.sqrt((one**2).sum())) for one in state], "count": devices.count}


def main() -> None:
    """Opens what the command line asks for, learns, prints."""
    kind = sys.argv[1]
    die_after = int(sys.argv[2]) if len(sys.argv) > 2 else None
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from edge_deeplab.errors import EdgeDeepLabError
    from edge_deeplab.training.distribute import OneDevice, check_agreement, open_devices
    from edge_deeplab.training.run import ComputeRecipe

    if kind == "devices" and os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        processor = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    try:
        found = {}
        if kind == "devices":  # beside one device, in the same process
            found["one"] = learn(OneDevice(), None)
        devices = open_devices(ComputeRecipe(devices=2 if kind == "devices" else 1))
        check_agreement(devices, os.environ.get("TEST_STATE", "the same"))
        found["several"] = learn(devices, die_after)
        print(json.dumps(found), flush=True)
    except EdgeDeepLabError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
