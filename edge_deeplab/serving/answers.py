"""What a caller asks of a picture, and the class maps as the bytes of the answer: PNG, npz or COCO run lengths.

    ask = Ask(answer="labels", form="png")
    body, media_type = encode_answer(ask, probabilities, placement, labels, person_class)

Maps are brought to the picture's size class by class, so that memory stays a few times the picture's own.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import cv2
import numpy as np

from edge_deeplab.errors import UsageError
from edge_deeplab.imaging.resize import Placement
from edge_deeplab.serving.rle import encode_rle

ANSWERS = {"labels": ("png", "npz", "rle"), "matte": ("png", "npz"), "probabilities": ("npz",)}
FORMS = ("png", "npz", "rle")
SCALES = ("picture", "model")
MEDIA_TYPES = {"png": "image/png", "npz": "application/x-npz", "rle": "application/json"}
MAX_VALUES = 64_000_000  # of probabilities at the picture's size: 256 MB of float32


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is to come back of one picture.

    Attributes:
        answer: "labels" (class indices), "matte" (the person, 0..1) or "probabilities" (of every class, 0..1).
        form: "png" (labels: index as grey value; matte: 0..255), "npz" (one array called as the answer) or "rle"
            (labels as JSON: COCO's run lengths of every class that is seen).
        scale: "picture": at its own size; "model": as the model gives it.
    """

    answer: str = "labels"
    form: str = "png"
    scale: str = "picture"

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise UsageError("answer: unknown", came=self.answer, allowed=", ".join(ANSWERS))
        if self.form not in ANSWERS[self.answer]:
            raise UsageError(
                f"form: does not go with the answer {self.answer}", came=self.form,
                allowed=", ".join(ANSWERS[self.answer]),
            )  # fmt: skip
        if self.scale not in SCALES:
            raise UsageError("scale: unknown", came=self.scale, allowed=", ".join(SCALES))


def encode_answer(
    ask: Ask, probabilities: np.ndarray, placement: Placement, labels: tuple[str, ...], person_class: int | None
) -> tuple[bytes, str]:
    """The answer's bytes and their media type.

    probabilities: (h, w, classes) float32 over the model's whole input, padding included.
    Raises: UsageError for a matte of a model without a person, for labels as PNG above 256 classes, and for
        probabilities that would not fit into memory.
    """
    if ask.answer == "probabilities":
        values = placement.source_hw[0] * placement.source_hw[1] * probabilities.shape[2]
        if ask.scale == "picture" and values > MAX_VALUES:
            raise UsageError(
                "the probabilities are too many at the picture's size", came=f"{values} values", allowed=MAX_VALUES,
                next_step="ask with scale=model",
            )  # fmt: skip
        return _npz("probabilities", _scaled(probabilities, placement, ask.scale)), MEDIA_TYPES["npz"]
    if ask.answer == "matte":
        if person_class is None:
            raise UsageError("answer: this model knows no person", came="matte", allowed="labels, probabilities")
        matte = _scaled(np.ascontiguousarray(probabilities[..., person_class]), placement, ask.scale)
        if ask.form == "npz":
            return _npz("matte", matte), MEDIA_TYPES["npz"]
        return _png(np.rint(matte * 255).astype(np.uint8)), MEDIA_TYPES["png"]
    class_map = class_indices(probabilities, placement, ask.scale)
    if ask.form == "npz":
        return _npz("labels", class_map), MEDIA_TYPES["npz"]
    if ask.form == "rle":
        return _rle(class_map, labels), MEDIA_TYPES["rle"]
    if class_map.dtype != np.uint8:
        raise UsageError("form: a PNG holds 256 classes", came=f"{len(labels)} classes", allowed="npz, rle")
    return _png(class_map), MEDIA_TYPES["png"]


def class_indices(probabilities: np.ndarray, placement: Placement, scale: str) -> np.ndarray:
    """The most probable class of each pixel; the first of equals wins.

    Returns: (H, W) uint8 (uint16 above 256 classes).
    """
    classes = probabilities.shape[2]
    if classes == 2:  # enlarging is linear: one map in place of two
        return np.asarray(_scaled(probabilities[..., 1] - probabilities[..., 0], placement, scale) > 0).view(np.uint8)
    result: np.ndarray | None = None
    strongest: np.ndarray | None = None
    dtype = np.uint8 if classes <= 256 else np.uint16
    for index in range(classes):
        plane = _scaled(np.ascontiguousarray(probabilities[..., index]), placement, scale)
        if result is None or strongest is None:
            result, strongest = np.zeros(plane.shape, dtype), np.array(plane)
            continue
        np.copyto(result, dtype(index), where=plane > strongest)
        if index + 1 < classes:
            np.maximum(strongest, plane, out=strongest)
    assert result is not None, "a model has at least one class"
    return result


def _scaled(maps: np.ndarray, placement: Placement, scale: str) -> np.ndarray:
    return placement.restore(maps) if scale == "picture" else np.ascontiguousarray(placement.crop(maps))


def _png(grey: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(".png", grey)  # run lengths; OpenCV 5 takes 3 times as long when given a level
    assert done, "a grey picture can be encoded"
    return encoded.tobytes()


def _npz(name: str, array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **{name: array})
    return stream.getvalue()


def _rle(class_map: np.ndarray, labels: tuple[str, ...]) -> bytes:
    seen = np.flatnonzero(np.bincount(class_map.reshape(-1)))
    segments = [
        {"class": int(index), "label": labels[index], "area": int((class_map == index).sum()),
         "segmentation": encode_rle(class_map == index)}
        for index in seen
    ]  # fmt: skip
    document = {"height": class_map.shape[0], "width": class_map.shape[1], "segments": segments}
    return json.dumps(document, ensure_ascii=False).encode()
