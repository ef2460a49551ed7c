from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.calibration.artifact import FACTS, SAMPLES, CalibrationSet
from edge_deeplab.calibration.recipe import SamplingRecipe
from edge_deeplab.calibration.sampling import Choice, Picture, choose_samples
from edge_deeplab.errors import InputError, OutputError


@pytest.fixture(scope="module")
def choice() -> Choice:
    rng = np.random.default_rng(3)

    def pictures() -> list[Picture]:
        shapes = [(40, 60), (50, 30), (40, 60), (80, 80), (33, 44)]
        return [
            Picture(source="folder", name=f"{index}.jpg", image=rng.integers(0, 256, (*shape, 3)).astype(np.uint8))
            for index, shape in enumerate(shapes)
        ]

    return choose_samples(pictures(), SamplingRecipe(count=5, seed=7, size_hw=(16, 24)))


@pytest.fixture
def saved(choice: Choice, tmp_path: Path) -> Path:
    path = tmp_path / "set.calib"
    CalibrationSet.of(choice).save(path)
    return path


def test_round_trip_keeps_samples_and_facts(choice: Choice, saved: Path) -> None:
    made, read = CalibrationSet.of(choice), CalibrationSet.load(saved)
    np.testing.assert_array_equal(read.samples, made.samples)
    assert read.facts == json.loads(json.dumps(made.facts))
    assert read.size_hw == (16, 24)
    assert len(read) == 5
    assert read.sha256 == hashlib.sha256(made.samples.tobytes()).hexdigest()


def test_facts_say_what_was_seen(choice: Choice) -> None:
    facts = CalibrationSet.of(choice).facts
    assert facts["sources"] == [{"name": "folder", "seen": 5, "samples": 5}]
    assert (facts["seed"], facts["count"], facts["asked"], facts["fit"]) == (7, 5, 5, "stretch")
    assert facts["resolutions"] == {
        "smallest_hw": [33, 44], "median_hw": [40, 60], "largest_hw": [80, 80], "distinct": 4
    }  # fmt: skip
    brightness = [record["brightness"] for record in facts["samples"]]
    assert facts["statistics"]["brightness"]["max"] == max(brightness)
    assert len(facts["statistics"]["rgb"]["mean"]) == 3


def test_batches_are_float_rgb_zero_to_one_in_order(choice: Choice) -> None:
    made = CalibrationSet.of(choice)
    batches = list(made.batches(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.rint(np.concatenate(batches) * 255).astype(np.uint8), made.samples)
    assert 0 <= min(batch.min() for batch in batches) <= max(batch.max() for batch in batches) <= 1


def test_the_same_set_makes_the_same_bytes(choice: Choice, saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.calib"
    CalibrationSet.of(choice).save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_an_existing_file_is_kept_unless_told(choice: Choice, saved: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        CalibrationSet.of(choice).save(saved)
    CalibrationSet.of(choice).save(saved, overwrite=True)
    assert [path.name for path in saved.parent.iterdir()] == ["set.calib"]


def test_a_folder_that_is_not_there_is_one_line(choice: Choice, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written; came No such file or directory"):
        CalibrationSet.of(choice).save(tmp_path / "nowhere" / "set.calib")


def test_missing_empty_truncated_and_foreign_files_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such calibration file"):
        CalibrationSet.load(tmp_path / "none.calib")
    broken = tmp_path / "broken.calib"
    for data in (b"", b"no zip", saved.read_bytes()[: saved.stat().st_size // 2]):
        broken.write_bytes(data)
        with pytest.raises(InputError, match="is no calibration file, or a damaged one"):
            CalibrationSet.load(broken)
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("manifest.json", "{}")
    with pytest.raises(InputError, match="is no calibration file"):
        CalibrationSet.load(broken)


def rewrite(saved: Path, samples: np.ndarray | None = None, **changes: object) -> Path:
    """A copy of the artifact with some of it changed."""
    with zipfile.ZipFile(saved) as archive:
        facts, array = json.loads(archive.read(FACTS)), archive.read(SAMPLES)
    if samples is not None:
        stream = io.BytesIO()
        np.save(stream, samples)
        array = stream.getvalue()
    path = saved.with_name("changed.calib")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(FACTS, json.dumps({**facts, **changes}))
        archive.writestr(SAMPLES, array)
    return path


def test_changed_samples_and_other_formats_are_refused(saved: Path) -> None:
    samples = CalibrationSet.load(saved).samples
    with pytest.raises(InputError, match="not those its facts speak of"):
        CalibrationSet.load(rewrite(saved, samples=255 - samples))
    with pytest.raises(InputError, match="its samples are no pictures; came float32"):
        CalibrationSet.load(rewrite(saved, samples=samples.astype(np.float32)))
    with pytest.raises(InputError, match="another format"):
        CalibrationSet.load(rewrite(saved, format=99))
