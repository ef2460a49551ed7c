"""Several devices and several processes learn as one does: the same losses, the same averaged weights and moments."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.errors import RecipeError, UsageError
from edge_deeplab.recipe import parse_recipe
from edge_deeplab.training.distribute import JAX_KEYS, OneDevice, check_batches, open_devices, read_tf_config
from edge_deeplab.training.run import ComputeRecipe, Stage, TrainRun

PROGRAM = str(Path(__file__).with_name("two_devices.py"))
BACKENDS = ("tensorflow", "jax")
DEADLINE_S = 300
TOLERANCE = 1e-4
"""Of losses and of norms: asked for; measured 6e-7, the rounding of sums in another order."""


def start(*arguments: str, backend: str, **environment: str) -> subprocess.Popen[str]:
    own = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1", **environment}
    return subprocess.Popen([sys.executable, PROGRAM, *arguments], env=own, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def found_by(process: subprocess.Popen[str]) -> dict:
    out, error = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, error
    return json.loads(out.splitlines()[-1])


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def start_workers(backend: str, *arguments: tuple[str, ...], states: tuple[str, ...] = ("", "")) -> list:
    """One process for each tuple of arguments, who find each other as the framework documents it."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(arguments))]
    processes = []
    for index, own in enumerate(arguments):
        if backend == "tensorflow":
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {"TF_CONFIG": json.dumps(task)}
        else:
            environment = dict(zip(JAX_KEYS, (addresses[0], str(len(arguments)), str(index))))
        processes.append(start("worker", *own, backend=backend, TEST_STATE=states[index], **environment))
    return processes


@pytest.fixture(scope="module", params=BACKENDS)
def two_devices(request: pytest.FixtureRequest) -> tuple[str, dict]:
    """The backend, and what it came to on one and on two devices of one process."""
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"} if request.param == "jax" else {}
    return request.param, found_by(start("devices", backend=request.param, **devices))


def assert_same(one: dict, several: dict) -> None:
    assert (one["count"], several["count"]) == (1, 2)
    assert max(one["losses"]) - min(one["losses"]) > 100 * TOLERANCE  # it learns: equal losses say something
    np.testing.assert_allclose(several["losses"], one["losses"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(several["norms"], one["norms"], rtol=TOLERANCE, atol=TOLERANCE)


def test_two_devices_learn_as_one_where_void_is_unequal(two_devices: tuple[str, dict]) -> None:
    _, found = two_devices
    assert_same(found["one"], found["several"])


def test_two_processes_learn_as_one(two_devices: tuple[str, dict]) -> None:
    backend, found = two_devices
    for process in start_workers(backend, (), ()):
        assert_same(found["one"], found_by(process)["several"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_that_goes_ends_the_others_with_one_line(backend: str) -> None:
    left, gone = start_workers(backend, (), ("3",))
    _, error = left.communicate(timeout=DEADLINE_S)
    gone.communicate(timeout=DEADLINE_S)
    assert (left.returncode, gone.returncode) == (1, 9)
    said = [line for line in error.splitlines() if line.startswith("training: another worker is gone")]
    assert len(said) == 1
    assert "--resume" in said[0]
    assert "Traceback" not in error


def test_workers_that_differ_are_refused() -> None:
    for process in start_workers("tensorflow", (), (), states=("step 4", "step 6")):
        _, error = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1
        assert "came worker 1; allowed: the same recipe and data" in error


def test_more_devices_than_there_are_is_one_line() -> None:
    with pytest.raises(UsageError, match="4 asked for; came 1 there: CPU:0; allowed: 1 to 1, or 0 for all"):
        open_devices(ComputeRecipe(devices=4), environment={})


def test_one_device_is_taken_as_it_is() -> None:
    assert type(open_devices(ComputeRecipe(), environment={})) is OneDevice


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"cluster": {}}', '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
     '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}'],
)  # fmt: skip
def test_a_broken_tf_config_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"TF_CONFIG: .*; allowed: \{\"cluster\""):
        read_tf_config({"TF_CONFIG": text})


def test_a_cluster_of_one_is_no_cluster() -> None:
    text = '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'
    assert read_tf_config({"TF_CONFIG": text}) is None


def test_workers_of_another_backend_are_refused() -> None:
    with pytest.raises(UsageError, match="names workers of jax; came KERAS_BACKEND=tensorflow"):
        open_devices(ComputeRecipe(), environment={JAX_KEYS[0]: "host:1"})


def test_a_batch_that_cannot_be_shared_out_is_one_line() -> None:
    devices = OneDevice()
    devices.count = 3
    with pytest.raises(RecipeError, match="came 16 samples for 3 devices; allowed: a multiple of 3, such as 18"):
        check_batches([Stage(size_hw=(32, 32), epochs=1, batch_size=16)], devices)


def test_what_it_runs_on_does_not_make_it_another_training(discs: Path, recipe_text: str) -> None:
    run = parse_recipe(recipe_text, TrainRun, variables={"DATA": discs})
    elsewhere = dataclasses.replace(run, compute=ComputeRecipe(devices=4, precision="bfloat16"))
    assert elsewhere != run
    assert elsewhere.without_compute == run.without_compute
    assert dataclasses.replace(run, seed=9).without_compute != run.without_compute
