"""A small network taught by a trained one, on pictures with labels and without."""

import numpy as np
import pytest

from edge_deeplab.errors import RecipeError
from edge_deeplab.manifest import read_manifest
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.store import rebuild, save_model
from edge_deeplab.recipe import parse_recipe
from edge_deeplab.training.loop import StepEvent, Trainer
from edge_deeplab.training.losses import TeacherRecipe
from edge_deeplab.training.run import TrainRun
from edge_deeplab.training.teacher import Teacher


@pytest.fixture(scope="module")
def taught(discs, recipe_text, tmp_path_factory):
    """A teacher of one epoch, and a student that learns from it."""
    folder = tmp_path_factory.mktemp("taught")
    short = recipe_text.replace("epochs = 2", "epochs = 1").rsplit("[[stages]]", 1)[0]
    teacher = Trainer(parse_recipe(short, TrainRun, variables={"DATA": discs}), folder / "teacher")
    teacher.train()
    text = short.replace("terms =", 'unlabelled = ["${DATA}/train/images"]\nterms =')
    text += f'[teacher]\nmodel = "{teacher.model_path}"\nweight = 2.0\ntemperature = 2.0\n'
    events = []
    student = Trainer(
        parse_recipe(text, TrainRun, variables={"DATA": discs}), folder / "student", on_event=events.append
    )
    student.train()
    return teacher.model_path, student, events, text


def test_a_student_is_taught_and_says_by_whom(taught):
    _, student, events, _ = taught
    provenance = read_manifest(student.model_path).provenance
    assert provenance["teacher"].startswith("disc.keras sha256 ")
    assert provenance["trained_on"] == {"train": 24, "images": 24}
    assert all(np.isfinite(event.loss) for event in events if isinstance(event, StepEvent))


def test_targets_are_the_labels_and_the_teachers_guess(taught):
    path, _, _, _ = taught
    K = keras_namespace("keras")
    teacher = Teacher(K, TeacherRecipe(model=path, temperature=2.0), size_hw=(48, 32), classes=2)
    images = np.random.default_rng(0).random((2, 48, 32, 3), np.float32)
    labels = np.random.default_rng(1).integers(0, 2, (2, 48, 32), np.uint8)
    targets = teacher.targets(images, labels)
    network, _ = rebuild(path, K, size_hw=(48, 32))
    logits = network.predict_on_batch(images) / 2
    np.testing.assert_array_equal(targets[..., 0], labels)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(targets[..., 1:], expected, atol=1e-5)


def test_a_teacher_of_other_classes_or_pixels_is_refused(taught, tmp_path):
    path, _, _, _ = taught
    K = keras_namespace("keras")
    with pytest.raises(RecipeError, match="logits of 5 classes"):
        Teacher(K, TeacherRecipe(model=path), size_hw=(32, 32), classes=5)
    network, manifest = rebuild(path, K)
    save_model(tmp_path / "signed.keras", network, manifest.replace(input_range=(-1.0, 1.0)))
    with pytest.raises(RecipeError, match="other pixels"):
        Teacher(K, TeacherRecipe(model=tmp_path / "signed.keras"), size_hw=(32, 32), classes=2)


def test_pictures_without_labels_need_a_teacher(taught, discs):
    text = taught[3].split("[teacher]")[0]
    with pytest.raises(RecipeError, match="unlabelled"):
        parse_recipe(text, TrainRun, variables={"DATA": discs})
