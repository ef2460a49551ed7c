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
from edge_deeplab.runtime.bundled import assets_folder, bundled_model
from edge_deeplab.runtime.precision import float16_twin
from edge_deeplab.runtime.segmenter import Segmenter

FLOORS = {
    "portrait-small": {"val": 0.92, "val_wild": 0.595},
    "portrait": {"val": 0.938, "val_wild": 0.635},
    "portrait-large": {"val": 0.946, "val_wild": 0.705},
}
LIMIT_BYTES = {"portrait-small": 1_000_000, "portrait": 1_000_000, "portrait-large": 3_000_000}
ALL_BYTES = 12_000_000  # of the three pairs


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
    assert {2, *VARIANTS[model.stem].aspp_rates} <= rates


def test_each_is_a_pair_with_float16_weights_and_all_together_are_small(model):
    twin = float16_twin(model)
    assert sum(path.stat().st_size for path in assets_folder().glob("*.tflite")) <= ALL_BYTES
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    with Segmenter(model) as int8, Segmenter(twin) as float16:
        assert float16.manifest.labels == int8.manifest.labels
        assert float16.size_hw == int8.size_hw
        assert np.abs(float16.matte(picture) - int8.matte(picture)).mean() < 0.1


def test_manifest_says_how_it_was_made(model):
    with Segmenter(model) as segmenter:
        manifest = segmenter.manifest
    assert manifest.labels == ("background", "person")
    config = DeepLabConfig.from_dict(manifest.architecture)
    assert config.replace(form="training") == VARIANTS[model.stem]
    assert manifest.name == model.stem
    assert {"trained_on", "terms", "start", "conversion"} <= set(manifest.provenance)
    assert manifest.size_hw == config.size_hw
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
