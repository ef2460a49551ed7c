"""Every recipe in the package can be read as what it is for, whatever folder its data are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_deeplab.data.catalogue import CATALOGUE, DataSpec
from edge_deeplab.recipe import load_recipe
from edge_deeplab.training.run import TrainRun
from edge_deeplab.training.tune_recipe import TuneRun

FOLDER = Path(__file__).parents[2] / "edge_deeplab/recipes"
RECIPES = sorted(path.name for path in FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_read_and_its_data_are_named_as_data_sets_are(name: str) -> None:
    kind = TuneRun if name.endswith("_tune.toml") else TrainRun
    run = load_recipe(FOLDER / name, kind, variables={"DATA": Path("somewhere")})
    data = run.data.train if isinstance(run, TuneRun) else (*run.data.train, *run.data.validation)
    assert data
    for text in data:
        spec = DataSpec.parse(text)
        assert spec.root.parts[0] == "somewhere"
        assert spec.split is None or spec.name is not None
        if spec.name and spec.split:
            CATALOGUE[spec.name].check_split(spec.split)
