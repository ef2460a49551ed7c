from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from small_networks import signal_to_noise_db, smooth_images

from edge_deeplab.errors import InputError, RecipeError, UsageError
from edge_deeplab.quantization.graph import QuantizedNetwork, quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.quantization.store import network_arrays
from edge_deeplab.training.losses import LossRecipe, segmentation_loss, tf_ops
from edge_deeplab.training.tune import TuneProgress, Tuner, repeat
from edge_deeplab.training.tune_recipe import TuneRecipe

L = tf_keras.layers
IMAGES = smooth_images(8, size_hw=(16, 16))
LABELS = (IMAGES[..., 1] > 0.5).astype(np.uint8)
LOSS = segmentation_loss(tf_ops(), LossRecipe(), 2)


def float_model() -> Any:
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((16, 16, 3))
    x = image
    for index, stride in enumerate((2, 1)):
        x = L.Conv2D(8, 3, strides=stride, padding="same", use_bias=False, name=f"conv_{index}")(x)
        x = L.ReLU(6.0, name=f"act_{index}")(L.BatchNormalization(name=f"bn_{index}")(x))
    x = L.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = L.UpSampling2D(2, interpolation="bilinear")(L.Conv2D(2, 1, name="logits")(x))
    return tf_keras.Model(image, x)


def ready(model: Any) -> QuantizedNetwork:
    network = quantize(model)
    set_ranges(network, [IMAGES])
    return network


def batches(step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    while True:
        chosen = np.random.default_rng(step).permutation(len(IMAGES))[:4]
        yield IMAGES[chosen], LABELS[chosen]
        step += 1


def recipe(**changes: Any) -> TuneRecipe:
    return TuneRecipe(
        **{
            "steps": 20,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "checkpoint_every": 5,
            "live_batch_norm": 0.5,
            **changes,
        }
    )


def test_tuning_learns_and_the_network_is_ready_to_convert() -> None:
    network = ready(float_model())
    report = Tuner(network, recipe(steps=60, learning_rate=3e-2), label_loss=LOSS).run(batches)
    assert report.first_loss is not None
    assert report.last_loss is not None
    assert report.last_loss < 0.9 * report.first_loss
    for variable, quantizer, peak in network.kernels():
        assert peak.numpy() == pytest.approx(quantizer.peaks(tf.convert_to_tensor(variable)).numpy())


def test_a_teacher_alone_keeps_the_network_near_the_float_one() -> None:
    model = float_model()
    Tuner(ready(model), recipe(steps=30, learning_rate=3e-2), label_loss=LOSS)
    network = ready(model)
    for variable in network.trainable_variables():
        variable.assign(variable * 1.1)
    before = signal_to_noise_db(model(IMAGES), network.model(IMAGES, training=False))
    unlabelled = repeat([(IMAGES, None)])
    Tuner(network, recipe(steps=60, label_weight=0.0, live_batch_norm=0.0), teacher=model).run(unlabelled)
    assert signal_to_noise_db(model(IMAGES), network.model(IMAGES, training=False)) > before + 3


def test_a_stopped_run_goes_on_exactly(tmp_path: Path) -> None:
    straight = ready(float_model())
    Tuner(straight, recipe(ema=0.9), label_loss=LOSS).run(batches)

    class KilledError(Exception):
        pass

    def kill(progress: TuneProgress) -> None:
        if progress.step == 13:  # three steps after a checkpoint, in the frozen half
            raise KilledError

    checkpoint = tmp_path / "tune.checkpoint"
    with pytest.raises(KilledError):
        Tuner(ready(float_model()), recipe(ema=0.9), label_loss=LOSS).run(
            batches, checkpoint=checkpoint, on_progress=kill
        )
    resumed = ready(float_model())
    report = Tuner(resumed, recipe(ema=0.9), label_loss=LOSS).run(batches, checkpoint=checkpoint)
    assert report.resumed_at == 10
    first, second = network_arrays(straight), network_arrays(resumed)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_batch_norms_and_ranges_stand_still_in_the_frozen_part() -> None:
    network = ready(float_model())
    before = network_arrays(network)
    Tuner(network, recipe(live_batch_norm=0.0), label_loss=LOSS).run(batches)
    after = network_arrays(network)
    for name, array in before.items():
        stands_still = name.startswith("bn_") or name.endswith("/range")
        assert np.array_equal(array, after[name]) == stands_still, name


def test_ranges_follow_in_the_live_part() -> None:
    network = ready(float_model())
    before = network_arrays(network)["act_0/range"]
    Tuner(network, recipe(live_batch_norm=1.0), label_loss=LOSS).run(batches)
    assert not np.array_equal(before, network_arrays(network)["act_0/range"])


def test_no_steps_change_nothing() -> None:
    network = ready(float_model())
    before = network_arrays(network)
    report = Tuner(network, recipe(steps=0)).run(batches)
    assert report.first_loss is None
    assert all(np.array_equal(array, network_arrays(network)[name]) for name, array in before.items())


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "tune.checkpoint"
    Tuner(ready(float_model()), recipe(), label_loss=LOSS).save(checkpoint)
    with pytest.raises(InputError, match="another recipe"):
        Tuner(ready(float_model()), recipe(seed=1), label_loss=LOSS).run(batches, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    with pytest.raises(InputError, match="damaged"):
        Tuner(ready(float_model()), recipe(), label_loss=LOSS).run(batches, checkpoint=checkpoint)


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to learn from"):
        Tuner(ready(float_model()), recipe(distillation=0.0), teacher=float_model())
    with pytest.raises(InputError, match="ended early"):
        Tuner(ready(float_model()), recipe(), label_loss=LOSS).run(lambda step: iter([]))
    with pytest.raises(InputError, match="not finite"):
        Tuner(ready(float_model()), recipe(), label_loss=lambda _, logits: tf.reduce_mean(logits) * np.nan).run(batches)


@pytest.mark.parametrize(("key", "value"), [("steps", -1), ("learning_rate", 2.0), ("live_batch_norm", 1.5)])
def test_a_setting_out_of_range_is_named(key: str, value: float) -> None:
    with pytest.raises(RecipeError, match=key):
        TuneRecipe(**{key: value})


def test_the_rate_rises_then_falls_to_nothing() -> None:
    schedule = TuneRecipe(steps=100, learning_rate=1.0, warm_up=0.1)
    rates = [schedule.rate_at(step) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 1e-3
    assert rates[11:] == sorted(rates[11:], reverse=True)
