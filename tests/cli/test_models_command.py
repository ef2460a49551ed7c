"""`edge-deeplab models`: the table and the JSON say the same, and nothing needs TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edge_deeplab.cli.main import main
from edge_deeplab.models import zoo


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, object]]:
    assert main(["models", "--json", *arguments]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_json_holds_every_variant_with_its_counts(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert list(rows) == list(zoo.VARIANTS)
    for row in zoo.describe():
        assert (rows[row.name]["parameters"], rows[row.name]["multiply_adds"]) == (row.parameters, row.multiply_adds)


def test_table_shows_every_name_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in zoo.VARIANTS)
    assert max(map(len, text.splitlines())) <= 80


def test_twice_the_size_costs_four_times_as_much_and_weighs_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    small, large = listed(capsys, "--size", "256"), listed(capsys, "--size", "512x512")
    for name in small:
        assert large[name]["parameters"] == small[name]["parameters"]
        ratio = large[name]["multiply_adds"] / small[name]["multiply_adds"]  # type: ignore[operator]
        assert 3.9 < ratio <= 4.0  # the image-pooling branch costs the same at every size


def test_size_that_no_network_takes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--size", "250"]) == 2
    assert main(["models", "--size", "wide"]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 2


def test_listing_imports_no_keras() -> None:
    code = (
        "import sys; from edge_deeplab.cli.main import main; main(['models']);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'tf_keras')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
