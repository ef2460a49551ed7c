"""The doctor: each fault, planted alone in a healthy folder, is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.data.catalogue import CATALOGUE, open_data
from edge_deeplab.data.doctor.census import Census
from edge_deeplab.data.doctor.duplicates import Print, _ones, near_duplicates
from edge_deeplab.data.doctor.examination import Diagnosis, diagnose
from edge_deeplab.data.doctor.examine import Facts
from edge_deeplab.data.doctor.sheet import UNKNOWN_COLOUR, VOID_COLOUR, contact_sheet, write_report
from edge_deeplab.data.labelling import PLAIN, Stored
from edge_deeplab.data.pairs import Pair
from edge_deeplab.errors import DataError, OutputError
from tests.data_copies import MAKERS, stripes, write_mask

SIZE_HW = (60, 80)


def scene(seed: int) -> np.ndarray:
    """A picture unlike that of any other seed, smooth enough to survive JPEG: (60, 80, 3) uint8."""
    coarse = np.random.RandomState(seed).randint(0, 255, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC)


def write_folder(root: Path, values: tuple[int, ...] = (0, 255), count: int = 6, first_seed: int = 0) -> Path:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(root / f"images/{index}.png"), scene(first_seed + index))
        cv2.imwrite(str(root / f"masks/{index}.png"), stripes(values, SIZE_HW))
    return root


def examined(*roots: Path, **options: int) -> Diagnosis:
    return diagnose([open_data(root) for root in roots], **options)


def codes(diagnosis: Diagnosis) -> dict[str, str]:
    return {finding.code: finding.level for finding in diagnosis.findings}


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 1, 2, 255), (0, 1, 2, 3, 4)])
def test_healthy_folder_has_no_finding(values: tuple[int, ...], tmp_path: Path) -> None:
    diagnosis = examined(write_folder(tmp_path, values))
    assert codes(diagnosis) == {}
    assert len(diagnosis.labels) == max(2, len({*values} - {255}))


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_set_can_be_examined(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    diagnosis = diagnose([open_data(f"{name}:{tmp_path}", role="train")])
    assert diagnosis.errors == ()
    assert diagnosis.labels == (CATALOGUE[name].labels or ("background", "person"))


def colour_mask(path: Path) -> None:
    cv2.imwrite(str(path), np.kron(np.array([[[0, 0, 128], [0, 128, 0]]], np.uint8), np.ones((60, 40, 1), np.uint8)))


def jpeg_mask(path: Path) -> None:
    done, data = cv2.imencode(".jpg", stripes((0, 255), SIZE_HW), [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert done
    path.write_bytes(data.tobytes())


def grey_edges(path: Path) -> None:
    cv2.imwrite(str(path), cv2.GaussianBlur(stripes((0, 255), SIZE_HW), (9, 9), 2))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def photo(path: Path) -> None:
    cv2.imwrite(str(path), scene(99))


def bomb(path: Path) -> None:
    """A PNG that claims to be 60,000 x 60,000 and is a few bytes."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize(
    ("spoil", "part", "expected"),
    [
        (Path.unlink, "masks", {"missing-mask": "error"}),
        (Path.unlink, "images", {"missing-picture": "error"}),
        (truncate, "images", {"broken-picture": "error"}),
        (truncate, "masks", {"broken-mask": "error"}),
        (bomb, "images", {"broken-picture": "error"}),
        (bomb, "masks", {"broken-mask": "error"}),
        (colour_mask, "masks", {"colour-mask": "error"}),
        (photo, "masks", {"colour-mask": "error"}),
        (jpeg_mask, "masks", {"jpeg-mask": "error"}),
        (grey_edges, "masks", {"grey-edges": "error"}),
        (lambda path: write_mask(path, (0, 255), (80, 60)), "masks", {"size-mismatch": "error"}),
        (lambda path: write_mask(path, (255,), SIZE_HW), "masks", {"constant-mask": "warning"}),
        (lambda path: write_mask(path, (0,), SIZE_HW), "masks", {"constant-mask": "warning"}),
        (lambda path: write_mask(path, (0, 1), SIZE_HW), "masks", {"mixed-coding": "warning"}),
    ],
)
def test_one_bad_file_is_found_and_named(
    spoil: Callable[[Path], None], part: str, expected: dict[str, str], tmp_path: Path
) -> None:
    root = write_folder(tmp_path)
    spoil(root / part / "3.png")
    diagnosis = examined(root)
    assert codes(diagnosis) == expected
    [finding] = diagnosis.findings
    assert finding.next_step
    assert finding.examples() == f"{root.name}: 3"
    assert str(tmp_path) not in str(diagnosis.to_dict())
    if finding.samples:
        sheet = contact_sheet(finding, diagnosis)
        assert sheet.dtype == np.uint8
        assert sheet.shape[2] == 3


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        ((1, 2, 3), 3, {"off-by-one": "error", "no-zero": "warning", "absent-class": "warning"}),
        ((1, 2, 3), 4, {"no-zero": "warning", "absent-class": "warning"}),
        ((0, 1, 5), 3, {"label-out-of-range": "error", "absent-class": "warning"}),
        ((0, 64, 128, 192), None, {"grey-levels": "error", "absent-class": "warning"}),
        ((0, 2, 3), 4, {"absent-class": "warning"}),
        ((255,), 3, {"all-void": "warning", "absent-class": "warning", "much-void": "warning"}),
    ],
)
def test_label_faults_of_a_whole_set(
    values: tuple[int, ...], classes: int | None, expected: dict[str, str], tmp_path: Path
) -> None:
    assert codes(diagnose([open_data(write_folder(tmp_path, values))], classes=classes)) == expected


def test_copies_are_found_within_and_across_folders(tmp_path: Path) -> None:
    train, val = write_folder(tmp_path / "train"), write_folder(tmp_path / "val", first_seed=50)
    smaller = cv2.resize(scene(2), (60, 45), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(val / "images/1.png"), smaller)
    write_mask(val / "masks/1.png", (0, 255), (45, 60))
    done, data = cv2.imencode(".jpg", scene(0), [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert done
    (train / "images/4.png").write_bytes(data.tobytes())
    diagnosis = examined(train, val)
    assert codes(diagnosis) == {"leak": "warning", "duplicate": "warning"}
    found = {finding.code: [(one.split, one.name) for one in finding.samples] for finding in diagnosis.findings}
    assert found == {"leak": [("train", "2"), ("val", "1")], "duplicate": [("train", "0"), ("train", "4")]}


def test_hash_alone_does_not_make_a_duplicate() -> None:
    dark, light = (np.full((40, 40, 3), level, np.uint8) for level in (20, 200))
    assert Print.of(dark).bits == Print.of(light).bits
    assert near_duplicates([Print.of(dark), None, Print.of(light)]) == []
    assert near_duplicates([Print.of(dark), None, Print.of(dark)]) == [[0, 2]]


def test_many_copies_are_one_group_and_quick() -> None:
    """All pairs of 20,000 copies would be 200 million."""
    one, other = Print.of(scene(0)), Print.of(scene(1))
    assert near_duplicates([one, other, *[one] * 20_000]) == [[0, *range(2, 20_002)]]


def test_bits_are_counted_alike_by_both_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).integers(0, 1 << 63, (5, 7)).astype(np.uint64)
    expected = np.array([[int(word).bit_count() for word in row] for row in words])
    np.testing.assert_array_equal(_ones(words), expected)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    np.testing.assert_array_equal(_ones(words), expected)


def facts_of(*counts: tuple[int, ...]) -> list[Facts]:
    """Masks that hold so many pixels of labels 0, 1, 2 ..."""
    pair = Pair("a", Path("a.png"), Path("a.png"), PLAIN)
    return [
        Facts(
            split="s",
            pair=pair,
            size_hw=(1, 1),
            image_error=None,
            mask_error=None,
            colours=0,
            has_jpeg_mask=False,
            look=None,
            stored=Stored((1, 1), np.flatnonzero(one), np.array(one)[np.flatnonzero(one)]),
        )
        for one in counts
    ]


def test_weights_worked_out_by_hand() -> None:
    """f = 60/100, 30/100, 10/50 (the second picture lacks class 2); their median is 0.3."""
    census = Census.of(facts_of((20, 20, 10), (40, 10, 0)), classes=4)
    assert census.median_frequency() == pytest.approx([0.5, 1.0, 1.5, 1.0])
    assert census.shares == pytest.approx([0.6, 0.3, 0.1, 0.0])
    assert census.enet() == pytest.approx([1 / np.log(1.62), 1 / np.log(1.32), 1 / np.log(1.12), 1 / np.log(1.02)])


def test_median_frequency_on_camvid_is_near_segnets_published_weights(shared: Path) -> None:
    """SegNet's prototxt has these for its own training set of 367 pictures; its "sign" is known to be off."""
    published = {"sky": 0.2595, "building": 0.1826, "pole": 4.5640, "road": 0.1417, "pavement": 0.9051, "tree": 0.3826,
                 "fence": 1.8418, "car": 0.6823, "pedestrian": 6.2478, "bicyclist": 7.3614}  # fmt: skip
    diagnosis = diagnose([open_data(shared / "data/camvid", role="train")], limit=120)
    weights = dict(zip(diagnosis.labels, diagnosis.weighed[1].median_frequency(), strict=True))
    for name, weight in published.items():
        assert 0.7 < weights[name] / weight < 1.4, name


def test_page_shows_sheets_and_escapes_names(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    for part in ("images", "masks"):
        (root / part / "3.png").rename(root / part / "<b>&.png")
    write_mask(root / "masks/<b>&.png", (0,), SIZE_HW)
    diagnosis = examined(root)
    page = write_report(tmp_path / "out", diagnosis)
    text = page.read_text()
    assert "data: &lt;b&gt;&amp;" in text
    assert "<b>&" not in text
    assert 'src="constant-mask.png"' in text
    assert cv2.imread(str(tmp_path / "out/constant-mask.png")).shape[2] == 3
    with pytest.raises(OutputError, match="exists already"):
        write_report(tmp_path / "out", diagnosis)


def test_sheet_draws_void_and_what_means_nothing(tmp_path: Path) -> None:
    root = write_folder(tmp_path, (0, 1, 2, 255))
    for index in range(6):  # grey pictures, so that a colour is a label's
        cv2.imwrite(str(root / f"images/{index}.png"), np.zeros((*SIZE_HW, 3), np.uint8))
    write_mask(root / "masks/3.png", (0, 9, 255), SIZE_HW)
    diagnosis = examined(root, classes=3)
    [finding] = [one for one in diagnosis.findings if one.code == "label-out-of-range"]
    drawn = {tuple(pixel) for pixel in contact_sheet(finding, diagnosis).reshape(-1, 3).tolist()}
    for colour in (VOID_COLOUR, UNKNOWN_COLOUR):
        assert tuple(round(channel * 0.6) for channel in colour) in drawn


def test_threads_do_not_change_what_is_found(tmp_path: Path) -> None:
    root = write_folder(tmp_path, (0, 1, 2))
    truncate(root / "images/3.png")
    one, many = (examined(root, workers=workers).to_dict() for workers in (1, 5))
    assert one == many


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    seen: list[int] = []
    total: list[int] = []
    diagnose([open_data(write_folder(tmp_path))], limit=4, on_progress=seen.append, on_total=total.append)
    assert seen == [1, 2, 3, 4]
    assert total == [4]


def test_sets_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    pairs = write_folder(tmp_path / "pairs")
    MAKERS["camvid"](tmp_path / "camvid")
    with pytest.raises(DataError, match="sets of different classes; came pairs: pairs, camvid val: camvid"):
        diagnose([open_data(pairs), open_data(tmp_path / "camvid")])
    with pytest.raises(DataError, match="two splits of one name"):
        diagnose([open_data(pairs), open_data(pairs)])
