"""Class maps as PNG, npz and run lengths, at the picture's size and at the model's."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from edge_deeplab.errors import UsageError
from edge_deeplab.imaging.resize import Placement
from edge_deeplab.serving import answers
from edge_deeplab.serving.answers import Ask, class_indices, encode_answer

LABELS = ("background", "person", "dog")
PLACEMENT = Placement.plan((60, 40), (32, 32), "letterbox", align=4)


def probabilities() -> np.ndarray:
    """(8, 8, 3): three upright stripes of certainty."""
    maps = np.zeros((8, 8, 3), np.float32)
    for column in range(8):
        maps[:, column, min(2, column // 3)] = 1
    return maps


def encoded(ask: Ask, placement: Placement = PLACEMENT) -> tuple[bytes, str]:
    return encode_answer(ask, probabilities(), placement, LABELS, 1)


def labels_of_picture() -> np.ndarray:
    """By the definition: every class brought to the picture's size, then the strongest."""
    return np.argmax(PLACEMENT.restore(probabilities()), axis=-1)


def test_labels_are_the_strongest_class_at_the_pictures_size() -> None:
    png, media_type = encoded(Ask(answer="labels"))
    assert media_type == "image/png"
    assert np.array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), labels_of_picture())
    npz, _ = encoded(Ask(answer="labels", form="npz"))
    assert np.array_equal(np.load(io.BytesIO(npz))["labels"], labels_of_picture())


def test_run_lengths_of_all_classes_make_up_the_labels() -> None:
    body, _ = encoded(Ask(answer="labels", form="rle"))
    document = json.loads(body)
    assert (document["height"], document["width"]) == (60, 40)
    again = np.full((60, 40), 99)
    for segment in document["segments"]:
        mask = coco.decode(segment["segmentation"]).astype(bool)
        assert mask.sum() == segment["area"]
        assert LABELS[segment["class"]] == segment["label"]
        again[mask] = segment["class"]
    assert np.array_equal(again, labels_of_picture())


def test_matte_and_probabilities_are_those_of_the_person_and_of_all() -> None:
    restored = PLACEMENT.restore(probabilities())
    matte = np.load(io.BytesIO(encoded(Ask(answer="matte", form="npz"))[0]))["matte"]
    assert np.allclose(matte, restored[..., 1], atol=1e-6)
    png = cv2.imdecode(np.frombuffer(encoded(Ask(answer="matte"))[0], np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.abs(png / 255 - restored[..., 1]).max() <= 0.5 / 255 + 1e-6  # half a grey level
    every = np.load(io.BytesIO(encoded(Ask(answer="probabilities", form="npz"))[0]))["probabilities"]
    assert np.allclose(every, restored)


def test_at_the_models_scale_the_padding_is_cut_off() -> None:
    maps = np.load(io.BytesIO(encoded(Ask(answer="probabilities", form="npz", scale="model"))[0]))["probabilities"]
    assert np.array_equal(maps, PLACEMENT.crop(probabilities()))


def test_the_first_of_equals_wins_and_many_classes_take_two_bytes() -> None:
    even = np.ones((4, 4, 300), np.float32)
    placement = Placement.plan((4, 4), (4, 4), "stretch")
    assert class_indices(even, placement, "model").dtype == np.uint16
    assert not class_indices(even, placement, "model").any()
    with pytest.raises(UsageError, match="a PNG holds 256 classes"):
        encode_answer(Ask(), even, placement, tuple("x" * 300), None)


@pytest.mark.parametrize(
    "asked", [{"answer": "edges"}, {"answer": "matte", "form": "rle"}, {"form": "bmp"}, {"scale": "half"},
              {"answer": "probabilities", "form": "png"}],
)  # fmt: skip
def test_what_is_not_offered_is_refused_with_what_is(asked: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="allowed: "):
        Ask(**asked)


def test_a_matte_needs_a_person_and_probabilities_need_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="knows no person"):
        encode_answer(Ask(answer="matte"), probabilities(), PLACEMENT, LABELS, None)
    monkeypatch.setattr(answers, "MAX_VALUES", 60 * 40 * 3 - 1)
    with pytest.raises(UsageError, match="scale=model"):
        encoded(Ask(answer="probabilities", form="npz"))
