"""Training as its users run it: to the end, killed and taken up again, refused with one line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from edge_deeplab.errors import InputError
from edge_deeplab.manifest import read_manifest
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.store import load_weights, rebuild
from edge_deeplab.recipe import load_recipe, parse_recipe
from edge_deeplab.training.checkpoint import Position, read_checkpoint, write_checkpoint
from edge_deeplab.training.loop import EpochEvent, StepEvent, Trainer
from edge_deeplab.training.run import TrainRun

DEADLINE_S = 300


def train_command(recipe, discs, output, *more):
    return [sys.executable, "-m", "edge_deeplab.cli.main", "train", str(recipe), "--data", str(discs),
            "--output", str(output), *more]  # fmt: skip


def run_cli(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, **options)


@pytest.fixture(scope="module")
def whole_run(discs, recipe_text, tmp_path_factory):
    """One training from beginning to end in this process."""
    folder = tmp_path_factory.mktemp("whole")
    run = parse_recipe(recipe_text, TrainRun, variables={"DATA": discs})
    events = []
    trainer = Trainer(run, folder / "run", on_event=events.append)
    end = trainer.train()
    return run, folder / "run", events, end


def test_folder_holds_model_recipe_metrics_and_checkpoint(whole_run):
    run, folder, events, end = whole_run
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.npz", "disc.keras", "metrics.jsonl", "recipe.toml",
    ]  # fmt: skip
    assert load_recipe(folder / "recipe.toml", TrainRun) == run
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert [line["step"] for line in lines] == [6, 12, 18]
    assert [line["size_hw"] for line in lines] == [[32, 32], [32, 32], [48, 48]]
    told = [list(event.warnings) for event in events if isinstance(event, EpochEvent)]
    assert [line.get("warnings", []) for line in lines] == told  # of a network that says one class alone
    assert end.step == 18


def test_loss_falls_and_events_tell_rate_and_time_left(whole_run):
    _, _, events, _ = whole_run
    epochs = [event for event in events if isinstance(event, EpochEvent)]
    assert epochs[-1].loss < 0.9 * epochs[0].loss
    steps = [event for event in events if isinstance(event, StepEvent)]
    assert all(event.images_per_s > 0 and event.steps == 18 for event in steps)
    assert steps[-1].left_s <= steps[0].left_s


def test_model_says_what_it_was_trained_on(whole_run):
    run, folder, _, _ = whole_run
    manifest = read_manifest(folder / "disc.keras")
    assert manifest is not None
    assert manifest.labels == ("background", "person")
    assert manifest.person_class == 1
    assert manifest.provenance["trained_on"] == {"train": 24}
    assert manifest.provenance["terms"] == "made by a test"
    model, _ = rebuild(folder / "disc.keras", keras_namespace("tf_keras"))
    assert model.input_shape == (None, *run.final_size_hw, 3)


def test_model_of_a_later_stage_replaces_one_of_a_smaller_size(whole_run):
    _, folder, _, end = whole_run
    manifest = read_manifest(folder / "disc.keras")
    assert manifest is not None
    assert manifest.size_hw == (48, 48)
    assert end.best_epoch == 2


def test_scores_are_taken_as_seldom_as_asked_and_at_the_end_of_a_stage(recipe_text, discs):
    text = recipe_text.replace("seed =", "score_every = 4\nseed =", 1).replace("epochs = 2", "epochs = 6")
    run = parse_recipe(text, TrainRun, variables={"DATA": discs})
    assert [epoch for epoch in range(7) if run.is_scored(epoch)] == [3, 5, 6]  # six epochs, then one of another size


def test_killed_training_goes_on_exactly(whole_run, recipe, discs, tmp_path):
    """kill -9 between checkpoints, in the first epoch; the end is the one of the training nobody killed."""
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        train_command(recipe, discs, folder), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + DEADLINE_S
    while not (folder / "checkpoint.npz").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    position, _, _ = read_checkpoint(folder / "checkpoint.npz")
    assert 0 < position.step < 18

    again = run_cli(*train_command(recipe, discs, folder))
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "pass --resume" in again.stderr

    resumed = run_cli(*train_command(recipe, discs, folder, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    _, whole_folder, _, _ = whole_run
    expected, reached = load_weights(whole_folder / "disc.keras"), load_weights(folder / "disc.keras")
    for name, arrays in expected.items():
        for first, second in zip(arrays, reached[name], strict=True):
            # the state is kept to the bit; TensorFlow's threads may add in another order
            np.testing.assert_allclose(second, first, rtol=1e-3, atol=1e-4, err_msg=name)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3


def test_killed_worker_ends_the_other_and_one_device_goes_on(whole_run, recipe, discs, tmp_path):
    """Two workers learn as one did; kill -9 of one in the first epoch; one device takes up what they left."""
    folder = tmp_path / "workers"
    addresses = []
    for _ in range(2):
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            addresses.append(f"127.0.0.1:{held.getsockname()[1]}")
    workers = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(subprocess.Popen(
            train_command(recipe, discs, folder), env={**os.environ, "TF_CONFIG": json.dumps(task)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ))  # fmt: skip
    deadline = time.monotonic() + DEADLINE_S
    while not (folder / "checkpoint.npz").exists() and workers[1].poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(workers[1].pid, signal.SIGKILL)
    workers[1].communicate()
    _, error = workers[0].communicate(timeout=DEADLINE_S)
    assert workers[0].returncode == 1
    assert "2 devices, worker 1 of 2" in error
    assert error.splitlines()[-1].startswith("edge-deeplab: error: training: another worker is gone")
    assert "Traceback" not in error
    position, _, _ = read_checkpoint(folder / "checkpoint.npz")
    assert 0 < position.step < 18

    resumed = run_cli(*train_command(recipe, discs, folder, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    _, whole_folder, _, _ = whole_run
    expected, reached = (
        [json.loads(line) for line in (one / "metrics.jsonl").read_text().splitlines()]
        for one in (whole_folder, folder)
    )
    assert [line["step"] for line in reached] == [line["step"] for line in expected]
    # so high a rate makes much of the rounding of sums; test_distribute.py holds the steps themselves to 1e-4
    assert reached[0]["loss"] == pytest.approx(expected[0]["loss"], rel=0.1)


def test_other_recipe_is_not_taken_up(whole_run, recipe, discs, tmp_path):
    _, folder, _, _ = whole_run
    refused = run_cli(*train_command(recipe, discs, folder, "--resume", "--set", "optimizer.learning_rate=0.5"))
    assert refused.returncode == 1
    assert "of another recipe or other data" in refused.stderr


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("--set", "optimizer.rate=1"), 2, "learning_rate"),
        (("--set", "model.backbone=resnet"), 2, "mobilenet_v2"),
        (("--set", "stages=[]"), 2, "stages"),
        (("--devices", "4"), 2, "compute.devices: 4 asked for; came 1 there: CPU:0"),
        (("--data", "nowhere"), 1, "no such folder"),
        (("--resume",), 1, "no checkpoint to resume from"),
    ],
)
def test_bad_input_is_one_line(change, code, said, recipe, discs, tmp_path):
    refused = run_cli(*train_command(recipe, discs, tmp_path / "out", *change))
    assert refused.returncode == code
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()


def test_checkpoint_survives_its_file_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "checkpoint.npz"
    position = Position(epoch=2, batch=5, step=17, best_score=0.5, best_epoch=1, identity="x", metrics=("{}",))
    arrays = [np.arange(6.0).reshape(2, 3), np.array(3)]
    write_checkpoint(path, position, arrays, arrays[::-1])
    loaded, model, optimizer = read_checkpoint(path)
    assert loaded == position
    np.testing.assert_array_equal(model[0], arrays[0])
    np.testing.assert_array_equal(optimizer[0], arrays[1])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged checkpoint"):
        read_checkpoint(path)
