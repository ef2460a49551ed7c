"""Our model file: Keras loads it, we rebuild it with either Keras at any size."""

import numpy as np
import pytest

from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.models.deeplab import DeepLabConfig, build_deeplab
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.store import load_manifest, rebuild, save_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    config = DeepLabConfig(backbone="mobilenet_v3_small", width=0.5, size_hw=(64, 64), aspp_rates=(1,), aspp_filters=8)
    model = build_deeplab(keras_namespace("keras"), config)
    manifest = Manifest(
        name="tiny", labels=("background", "person"), person_class=1, size_hw=(64, 64), architecture=config.to_dict()
    )
    path = tmp_path_factory.mktemp("store") / "tiny.keras"
    save_model(path, model, manifest)
    return path, model


def test_file_is_a_keras_archive_and_carries_the_manifest(saved):
    path, model = saved
    image = np.random.RandomState(0).uniform(0, 1, (1, 64, 64, 3)).astype(np.float32)
    loaded = keras_namespace("keras").saving.load_model(path, compile=False)
    np.testing.assert_array_equal(loaded.predict(image, verbose=0), model.predict(image, verbose=0))
    assert load_manifest(path).labels == ("background", "person")
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.keras"]


def test_rebuilt_with_tf_keras_at_another_size(saved):
    path, model = saved
    twin, manifest = rebuild(path, keras_namespace("tf_keras"), size_hw=(96, 64), batch_size=1)
    assert twin.input_shape == (1, 96, 64, 3)
    assert manifest.size_hw == (96, 64)
    same, _ = rebuild(path, keras_namespace("tf_keras"))
    image = np.random.RandomState(0).uniform(0, 1, (1, 64, 64, 3)).astype(np.float32)
    # float32 rounding between two Kerases
    np.testing.assert_allclose(same.predict(image, verbose=0), model.predict(image, verbose=0), atol=1e-5)


def test_file_of_someone_else_is_refused(tmp_path):
    K = keras_namespace("keras")
    path = tmp_path / "other.keras"
    K.Sequential([K.layers.Input((4,)), K.layers.Dense(1)]).save(path)
    with pytest.raises(ModelError, match="not a model this program trained"):
        load_manifest(path)
