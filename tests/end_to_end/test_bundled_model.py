"""The model we ship: what it is made of, how good it is, and that the demo's person stands whole in every frame."""

import json
import zipfile

import cv2
import numpy as np
import pytest

from edge_deeplab.cli.main import main
from edge_deeplab.converters.inspect import inspect_model
from edge_deeplab.data.pairs import PairsFolder
from edge_deeplab.evaluation.runner import evaluate_pairs
from edge_deeplab.models.deeplab import DeepLabConfig
from edge_deeplab.models.zoo import VARIANTS
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.segmenter import Segmenter

FLOORS = {
    "portrait": {"val": 0.93, "val_wild": 0.60},
    "portrait-192": {"val": 0.925, "val_wild": 0.60},
    "portrait-large": {"val": 0.938, "val_wild": 0.63},
}
LIMIT_BYTES = {"portrait": 1_500_000, "portrait-192": 1_500_000, "portrait-large": 3_000_000}


@pytest.fixture(scope="module", params=list(FLOORS))
def model(request):
    return bundled_model(request.param)


def test_every_operator_is_int8_in_one_delegate_with_dilations_kept(model):
    report = inspect_model(model)
    assert model.stat().st_size <= LIMIT_BYTES[model.stem]
    assert report.is_fully_int8
    assert report.is_fully_delegated
    assert report.partitions == 1
    assert report.operators.get("QUANTIZE", 0) <= 2
    assert not {"DEQUANTIZE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"} & set(report.operators)
    rates = {rate for rates in report.dilations.values() for rate in rates}
    assert {2, 3, 6, 9} <= rates


def test_manifest_says_how_it_was_made(model):
    with Segmenter(model) as segmenter:
        manifest = segmenter.manifest
    assert manifest.labels == ("background", "person")
    config = DeepLabConfig.from_dict(manifest.architecture)
    variant = VARIANTS["portrait" if model.stem == "portrait-192" else model.stem]
    assert config.replace(form="training", size_hw=variant.size_hw) == variant
    assert {"trained_on", "terms", "start", "conversion"} <= set(manifest.provenance)
    assert manifest.size_hw == ((192, 192) if model.stem == "portrait-192" else (256, 256))
    assert "labels.txt" in zipfile.ZipFile(model).namelist()


@pytest.mark.parametrize("name", ["val", "val_wild"])
def test_person_iou_holds(model, shared, name):
    pairs = PairsFolder(shared / "data/portraits" / name).pairs
    with Segmenter(model, threads=2) as segmenter:
        loaded = ((pair.name, image, labels == 1) for pair in pairs for image, labels in [pair.read()])
        report = evaluate_pairs(loaded, segmenter.matte)
    assert len(report.pictures) == len(pairs)
    assert report.person_iou >= FLOORS[model.stem][name]


def test_demo_blurs_the_background_and_leaves_the_person_in_every_frame(tmp_path):
    """Measured in the video itself against the same view unblurred: her face is untouched, the room is smooth."""
    for strength in ("0", "0.5"):
        arguments = ["demo", "--output", str(tmp_path / strength), "--frames", "24", "--size", "640x360",
                     "--strength", strength, "--json"]  # fmt: skip
        assert main(arguments) == 0

    def frames(strength):
        capture = cv2.VideoCapture(str(tmp_path / strength / "portrait-blur.mp4"))
        while True:
            ok, frame = capture.read()
            if not ok:
                return
            yield frame

    def detail(frame, part):
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[part].mean())

    sharp, blurred = list(frames("0")), list(frames("0.5"))
    assert len(sharp) == len(blurred) == 24
    with Segmenter("portrait") as segmenter:
        for plain, soft in zip(sharp, blurred):
            matte = cv2.resize(segmenter.matte_bgr(plain), (640, 360))
            person = cv2.erode((matte > 0.9).astype(np.uint8), np.ones((9, 9))) > 0
            room = cv2.dilate((matte > 0.1).astype(np.uint8), np.ones((25, 25))) == 0
            assert 0.2 < person.mean() < 0.8
            assert detail(soft, person) > 0.85 * detail(plain, person)  # the codec alone costs some
            assert detail(soft, room) < 0.65 * detail(plain, room)  # a plain wall has little detail to lose


def test_inspect_prints_the_verdict(capsys):
    assert main(["inspect", "portrait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_fully_int8"] is True
