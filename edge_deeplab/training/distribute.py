"""Training on several devices and machines as on one: the same batches, the same loss, the same steps.

    devices = open_devices(ComputeRecipe(devices=2))      # before any operator of Keras runs
    trainer = Trainer(run, folder, devices=devices)

Every step learns from one global batch. Each replica (a device with a copy of the network) sees its share of it; batch
norms see all of it, the loss is divided by what all of it weighs, and gradients are summed before they are clipped. So
the number of devices changes rounding alone, and what dropout draws.

KERAS_BACKEND decides how: keras.distribution.DataParallel on jax, tf.distribute's MirroredStrategy on tensorflow.
Several machines are started as the framework documents it, the same command on each: TF_CONFIG for TensorFlow
(MultiWorkerMirroredStrategy), KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID for jax. Worker 0 is the
chief, who alone writes.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from edge_deeplab.errors import DeviceError, InputError, RecipeError, UsageError
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.training.fused import fuse_batch_norms
from edge_deeplab.training.run import ComputeRecipe, Stage

TF_CONFIG = "TF_CONFIG"
JAX_KEYS = tuple(f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
JAX_LOSSES = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "heartbeat", "Connection")
"""Signs in jax's errors that another process is gone: it has no class for them."""
LOST = "start every worker again with --resume; they go on from the last checkpoint"

Learn = Callable[[np.ndarray, np.ndarray], float]
"""One step: this worker's share of the images and targets of a global batch -> the loss of the whole of it."""


class Devices(Protocol):
    """What a training runs on.

    Attributes:
        count: replicas, over all workers.
        worker, workers: which process this is, and of how many.
    """

    count: int
    worker: int
    workers: int

    def scope(self) -> AbstractContextManager[Any]:
        """In it, networks and optimizers are made whose variables live on every device."""
        ...

    def total(self, value: Any) -> Any:
        """Inside a step: the sum of a tensor over all replicas, where each sees its share alone."""
        ...

    def learner(self, K: Any, model: Any, optimizer: Any, loss: Callable[[Any, Any], Any]) -> Learn:
        """The step that teaches a network made in scope().

        loss: of (targets, logits), normalised by total().
        Raises, when called: DeviceError when another worker is gone.
        """
        ...

    def gather(self, number: int) -> list[int]:
        """One number of 31 bits of every worker."""
        ...


class OneDevice:
    """The device the backend takes by itself."""

    count, worker, workers = 1, 0, 1

    def scope(self) -> AbstractContextManager[Any]:
        """Changes nothing."""
        return contextlib.nullcontext()

    def total(self, value: Any) -> Any:
        """The value."""
        return value

    def learner(self, K: Any, model: Any, optimizer: Any, loss: Callable[[Any, Any], Any]) -> Learn:
        """Keras's own step."""
        # XLA on a CPU trains this network seven times slower (Zen 4, 256 x 256: 2 against 15 images/s)
        jit = "auto" if K.backend.backend() == "jax" else False
        if K.backend.backend() == "tensorflow":
            fuse_batch_norms(K, model)
        with self.scope():  # it makes variables: those of the loss's mean
            model.compile(optimizer, loss=loss, jit_compile=jit)

        def learn(images: np.ndarray, targets: np.ndarray) -> float:
            with self.scope():
                model.reset_metrics()
                return float(model.train_on_batch(images, targets))

        return learn

    def gather(self, number: int) -> list[int]:
        """The number alone."""
        return [number]


class JaxDevices(OneDevice):
    """Keras's data parallelism on jax: arrays are global, so sums and batch norms are those of the whole batch."""

    def __init__(self, K: Any, wanted: int, *, is_clustered: bool) -> None:
        import jax

        if is_clustered:
            _initialize_jax(K)
        there = jax.local_devices()
        # keras.distribution counts the devices of all workers; what is asked for is of this machine
        names = [f"{device.platform}:{device.id}" for device in jax.devices()]
        chosen = _choose(wanted, [f"{device.platform}:{device.id}" for device in there])
        self.worker, self.workers = jax.process_index(), jax.process_count()
        if self.workers > 1:
            if len(chosen) != len(there):
                raise UsageError("compute.devices: workers take all devices they see", came=wanted,
                                 allowed=len(there), next_step="hide the others with CUDA_VISIBLE_DEVICES")  # fmt: skip
            chosen = names
        self.count = len(chosen)
        self._distribution = K.distribution.DataParallel(devices=chosen, auto_shard_dataset=False)

    def scope(self) -> AbstractContextManager[Any]:
        """Variables are made on every device, and batches are shared out."""
        scope: AbstractContextManager[Any] = self._distribution.scope()
        return scope

    def learner(self, K: Any, model: Any, optimizer: Any, loss: Callable[[Any, Any], Any]) -> Learn:
        """Keras's own step, on global arrays."""
        import jax

        step = super().learner(K, model, optimizer, loss)

        def learn(images: np.ndarray, targets: np.ndarray) -> float:
            try:
                return step(images, targets)
            except (jax.errors.JaxRuntimeError, ValueError) as error:  # jax makes a ValueError of some
                if self.workers == 1 or not any(sign in str(error) for sign in JAX_LOSSES):
                    raise
                raise _lost(error) from error

        return learn

    def gather(self, number: int) -> list[int]:
        """Over jax's own channel."""
        if self.workers == 1:
            return [number]
        from jax.experimental import multihost_utils

        return [int(one) for one in np.ravel(multihost_utils.process_allgather(np.int32(number)))]


class MirroredDevices:
    """tf.distribute's mirrored strategies.

    Keras's own step is not used: it gives every replica the whole batch, and clips before gradients are summed.
    """

    def __init__(self, wanted: int, *, task: int | None) -> None:
        import tensorflow as tf

        self._tf = tf
        gpus = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices("GPU")]
        if task is None:
            there = gpus or [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("CPU")]
            self.strategy = tf.distribute.MirroredStrategy(_choose(wanted, there))
        else:
            chosen = _choose(wanted, gpus or ["CPU:0"])
            if gpus:
                physical = {one.name.removeprefix("/physical_device:"): one
                            for one in tf.config.list_physical_devices("GPU")}  # fmt: skip
                tf.config.set_visible_devices([physical[name] for name in chosen], "GPU")
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self.count = int(self.strategy.num_replicas_in_sync)
        self._here = self.count if task is None else len(chosen)
        self.worker, self.workers = (0, 1) if task is None else (task, self.count // self._here)

    def scope(self) -> AbstractContextManager[Any]:
        """Variables are mirrored on every device."""
        scope: AbstractContextManager[Any] = self.strategy.scope()
        return scope

    def total(self, value: Any) -> Any:
        """All-reduced."""
        return self._tf.distribute.get_replica_context().all_reduce(self._tf.distribute.ReduceOp.SUM, value)

    def learner(self, K: Any, model: Any, optimizer: Any, loss: Callable[[Any, Any], Any]) -> Learn:
        """A step of our own: each replica's part of the loss, gradients summed, then clipped and applied by all."""
        tf, strategy = self._tf, self.strategy
        for layer in model.layers:
            if isinstance(layer, K.layers.BatchNormalization):
                layer.synchronized = True
        optimizer._all_reduce_sum_gradients = lambda pairs: pairs  # they are summed already, before they are clipped

        def replica(images: Any, targets: Any) -> Any:
            with tf.GradientTape() as tape:
                part = loss(targets, model(images, training=True))
            variables = model.trainable_variables
            gradients = tape.gradient(part, [variable.value for variable in variables])
            optimizer.apply(self.total(gradients), variables)
            return part

        @tf.function(jit_compile=False)  # type: ignore[untyped-decorator]
        def step(images: Any, targets: Any) -> Any:
            parts = strategy.run(replica, args=(images, targets))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

        def learn(images: np.ndarray, targets: np.ndarray) -> float:
            try:
                return float(step(self._share_out(images), self._share_out(targets)))
            except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
                    tf.errors.DeadlineExceededError, tf.errors.InternalError) as error:  # fmt: skip
                if self.workers == 1:
                    raise
                raise _lost(error) from error

        return learn

    def _share_out(self, rows: np.ndarray) -> Any:
        """This worker's rows, an equal part to each of its devices."""
        each, first = len(rows) // self._here, self.worker * self._here

        def part(context: Any) -> Any:
            at = (context.replica_id_in_sync_group - first) * each
            return self._tf.constant(rows[at : at + each])

        return self.strategy.experimental_distribute_values_from_function(part)

    def gather(self, number: int) -> list[int]:
        """By an all-gather of one number a replica."""
        tf = self._tf

        @tf.function  # type: ignore[untyped-decorator]
        def collect() -> Any:
            values = self.strategy.run(lambda: tf.constant([number], tf.int32))
            return self.strategy.gather(values, axis=0)

        return [int(one) for one in collect().numpy()][:: self._here]


def open_devices(recipe: ComputeRecipe, *, environment: Mapping[str, str] | None = None) -> Devices:
    """The devices a recipe asks for, joined to other workers where the environment names some.

    To be called before any operator of Keras runs: TensorFlow's collectives cannot be set up later.

    Args:
        environment: os.environ where it is None.

    Raises: UsageError when there are fewer devices, the backend cannot share, or the environment makes no sense;
        DeviceError when the other workers cannot be reached.
    """
    K = keras_namespace("keras")
    backend = K.backend.backend()
    environment = os.environ if environment is None else environment
    task = read_tf_config(environment)
    is_jax_cluster = any(environment.get(key) for key in JAX_KEYS)
    for kind, is_set, name in (("tensorflow", task is not None, TF_CONFIG), ("jax", is_jax_cluster, JAX_KEYS[0])):
        if is_set and backend != kind:
            raise UsageError(f"{name}: names workers of {kind}", came=f"KERAS_BACKEND={backend}",
                             next_step=f"set KERAS_BACKEND={kind}, or unset {name} to train alone")  # fmt: skip
    if recipe.devices == 1 and task is None and not is_jax_cluster:
        return OneDevice()
    if backend == "jax":
        return JaxDevices(K, recipe.devices, is_clustered=is_jax_cluster)
    return MirroredDevices(recipe.devices, task=task)


def names_workers(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the environment (os.environ where it is None) makes this process one of several workers.

    Raises: UsageError as read_tf_config.
    """
    environment = os.environ if environment is None else environment
    return read_tf_config(environment) is not None or any(environment.get(key) for key in JAX_KEYS)


def read_tf_config(environment: Mapping[str, str]) -> int | None:
    """The index of this worker in TF_CONFIG; None where there is none, or it names this worker alone.

    Raises: UsageError for one that is not what TensorFlow documents, or that has parameter servers.
    """
    text = environment.get(TF_CONFIG)
    if not text:
        return None
    allowed = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}'
    try:
        config = json.loads(text)
        workers, kind, index = config["cluster"]["worker"], config["task"]["type"], int(config["task"]["index"])
        fits = set(config["cluster"]) == {"worker"} and kind == "worker" and 0 <= index < len(workers)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{TF_CONFIG}: cannot be read", came=repr(text), allowed=allowed) from error
    if not fits:
        raise UsageError(f"{TF_CONFIG}: names no worker of workers alone", came=repr(text), allowed=allowed)
    return index if len(workers) > 1 else None


def _initialize_jax(K: Any) -> None:
    missing = [key for key in JAX_KEYS if not os.environ.get(key)]
    if missing:
        raise UsageError("the environment names a worker of jax in part", came=f"no {', '.join(missing)}",
                         allowed="all of " + ", ".join(JAX_KEYS))  # fmt: skip
    try:
        K.distribution.initialize()
    except ValueError as error:
        came = ", ".join(f"{key}={os.environ[key]}" for key in JAX_KEYS)
        raise UsageError("jax cannot join its workers", came=came, allowed=str(error)) from error
    except RuntimeError as error:
        raise DeviceError(
            "jax cannot join its workers", came=_first_line(error),
            next_step="start the same command on every machine, and look whether the first address can be reached",
        ) from error  # fmt: skip


def _choose(wanted: int, there: Sequence[str]) -> list[str]:
    """The first of the devices, 0 for all. Raises UsageError when there are fewer."""
    if wanted > len(there):
        raise UsageError(f"compute.devices: {wanted} asked for", came=f"{len(there)} there: {', '.join(there)}",
                         allowed=f"1 to {len(there)}, or 0 for all")  # fmt: skip
    return list(there[: wanted or len(there)])


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _lost(error: BaseException) -> DeviceError:
    """What to raise when another worker went; from then on this process ends without the frameworks' leave-taking.

    They would wait for the one that is gone, jax for 100 seconds, to abort the process then.
    """
    atexit.register(_leave)
    return DeviceError("training: another worker is gone", came=type(error).__name__, next_step=LOST)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(DeviceError.exit_code)


def check_batches(stages: Sequence[Stage], devices: Devices) -> None:
    """Holds that every stage's batch can be shared out evenly. Raises RecipeError."""
    for index, stage in enumerate(stages):
        if stage.batch_size % devices.count:
            fitting = -(-stage.batch_size // devices.count) * devices.count
            raise RecipeError(
                f"stages[{index}].batch_size: cannot be shared out evenly",
                came=f"{stage.batch_size} samples for {devices.count} devices",
                allowed=f"a multiple of {devices.count}, such as {fitting}",
            )


def check_agreement(devices: Devices, state: str) -> None:
    """Holds that all workers are about to do the same. Raises InputError when they are not.

    state: what recipe, data and checkpoint a worker has, in any words.
    """
    digest = int(hashlib.sha256(state.encode()).hexdigest()[:7], 16)
    found = devices.gather(digest)
    if len(set(found)) > 1:
        unlike = [str(worker) for worker, one in enumerate(found) if one != found[0]]
        raise InputError(
            "the workers do not stand where worker 0 stands", came=f"worker {', '.join(unlike)}",
            allowed="the same recipe and data, and one --output folder that all of them see",
        )  # fmt: skip
