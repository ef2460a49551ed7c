"""Recipes: what is refused and how it says so, and the round trip through TOML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_deeplab.errors import RecipeError, UsageError
from edge_deeplab.recipe import (
    check,
    describe,
    dump_recipe,
    load_recipe,
    override,
    parse_assignments,
    parse_recipe,
    setting,
)


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = setting(1e-3, low=0.0, high=1.0, help="peak rate")
    betas: tuple[float, float] = setting((0.9, 0.999), low=0.0, high=1.0)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Source:
    root: Path
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Run:
    steps: int = setting(100, low=1, help="optimiser steps")
    flips: bool = True
    title: str = ""
    start: Path | None = None
    rates: tuple[int, ...] = setting((6, 12, 18), low=1)
    sources: tuple[Source, ...] = ()
    classes: dict[str, int] = field(default_factory=dict)
    optimizer: Optimizer = setting(Optimizer())
    warm: Optimizer | None = None

    def __post_init__(self) -> None:
        check(self)


def error_of(text: str, **keywords: object) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, Run, source="run.toml", **keywords)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_empty_recipe_is_all_defaults() -> None:
    assert parse_recipe("", Run) == Run()


def test_nested_table_list_of_tables_and_optional_are_read() -> None:
    text = """
    steps = 7
    start = "${DATA}/weights.tflite"
    rates = [3, 6]
    sources = [{root = "${DATA}/train"}, {root = "b", weight = 2}]
    [optimizer]
    learning_rate = 1
    [warm]
    name = "sgd"
    [classes]
    person = 1
    """
    run = parse_recipe(text, Run, variables={"DATA": Path("/data")})
    assert run == Run(
        steps=7,
        start=Path("/data/weights.tflite"),
        rates=(3, 6),
        sources=(Source(root=Path("/data/train")), Source(root=Path("b"), weight=2.0)),
        optimizer=Optimizer(learning_rate=1.0),
        warm=Optimizer(name="sgd"),
        classes={"person": 1},
    )
    assert isinstance(run.optimizer.learning_rate, float)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("step = 3", ["run.toml", "unknown key step", "did you mean steps?"]),
        ("[optimizer]\nlearnin_rate = 1", ["unknown key optimizer.learnin_rate", "did you mean learning_rate?"]),
        ("steps = 'many'", ["steps: wrong type", "'many'", "a whole number"]),
        ("steps = true", ["steps: wrong type", "a whole number"]),
        ("steps = 1.5", ["steps: wrong type", "a whole number"]),
        ("flips = 1", ["flips: wrong type", "true or false"]),
        ("steps = 0", ["run.toml", "steps: out of range", "came 0", "at least 1"]),
        ("rates = [6, 0]", ["rates: out of range", "came 0"]),
        ("rates = 6", ["rates: wrong type", "a list"]),
        ("rates = [6, 'x']", ["rates[1]: wrong type"]),
        ("optimizer = 3", ["optimizer: wrong type", "a table"]),
        ("[optimizer]\nlearning_rate = 2", ["optimizer.learning_rate: out of range", "0.0..1.0"]),
        ("[optimizer]\nlearning_rate = nan", ["optimizer.learning_rate: out of range", "came nan"]),
        ("[optimizer]\nbetas = [0.9]", ["optimizer.betas: wrong length", "2 values"]),
        ("[optimizer]\nname = 'adam'", ["optimizer.name: unknown value", "did you mean adamw?"]),
        ("sources = [{weight = 1.0}]", ["missing key", "sources[0].root"]),
        ("start = ''", ["start: an empty path"]),
        ("start = '${DATA}/x'", ["start: ${DATA} has no value", "--data"]),
        ("steps = ", ["run.toml: not TOML", "at end of document"]),
    ],
)
def test_refusal_is_one_line_naming_file_and_key(text: str, parts: list[str]) -> None:
    message = error_of(text)
    for part in ["run.toml", *parts]:
        assert part in message


def test_missing_binary_and_directory_files_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", binary, tmp_path):
        with pytest.raises(RecipeError, match=str(path)):
            load_recipe(path, Run)


def test_file_is_read_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('title = "straße"', encoding="utf-8")
    assert load_recipe(path, Run).title == "straße"


def test_check_refuses_a_recipe_made_in_python() -> None:
    with pytest.raises(RecipeError, match="steps: out of range"):
        Run(steps=0)


def test_override_replaces_nested_keys_and_skips_flags_not_given() -> None:
    run = override(Run(), {"steps": 5, "optimizer.learning_rate": 1, "title": None, "warm.name": "sgd"})
    assert run == Run(steps=5, optimizer=Optimizer(learning_rate=1.0), warm=Optimizer(name="sgd"))
    assert override(run, {}) is run


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"optimizer.rate": 1}, "unknown key optimizer.rate"),
        ({"nothing.rate": 1}, "unknown key nothing"),
        ({"steps.rate": 1}, "steps is no table"),
        ({"steps": 0}, "--steps: steps: out of range"),
    ],
)
def test_override_refuses_what_a_file_may_not_say(changes: dict[str, object], part: str) -> None:
    with pytest.raises(RecipeError) as caught:
        override(Run(), changes, source="--steps")
    assert part in str(caught.value)


def test_assignments_are_toml_values_or_plain_strings() -> None:
    assert parse_assignments(["steps=10", "rates=[6, 12]", "title=wide one", "optimizer.learning_rate=1e-3"]) == {
        "steps": 10,
        "rates": [6, 12],
        "title": "wide one",
        "optimizer.learning_rate": 1e-3,
    }
    with pytest.raises(UsageError, match="sets nothing"):
        parse_assignments(["steps"])


def test_describe_gives_default_range_and_help_of_a_dotted_key() -> None:
    rate = describe(Run, "optimizer.learning_rate")
    assert (rate.default, rate.low, rate.high, rate.help) == (1e-3, 0.0, 1.0, "peak rate")
    assert describe(Run, "optimizer.name").choices == ("adamw", "sgd")
    assert describe(Run, "warm.name").key == "warm.name"
    with pytest.raises(RecipeError, match="did you mean steps"):
        describe(Run, "step")


def test_none_that_cannot_be_read_back_is_not_written() -> None:
    @dataclass(frozen=True)
    class Odd:
        seed: int | None = 3

    with pytest.raises(RecipeError, match="None cannot be written"):
        dump_recipe(Odd(seed=None))


texts = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda text: "${" not in text)
optimizers = st.builds(
    Optimizer,
    name=st.sampled_from(["adamw", "sgd"]),
    learning_rate=st.floats(0, 1),
    betas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
runs = st.builds(
    Run,
    steps=st.integers(1, 2**40),
    flips=st.booleans(),
    title=texts,
    start=st.none() | texts.filter(bool).map(Path),
    rates=st.lists(st.integers(1, 99)).map(tuple),
    sources=st.lists(st.builds(Source, root=st.just(Path("a b")), weight=st.floats(0, 9))).map(tuple),
    classes=st.dictionaries(texts, st.integers()),
    optimizer=optimizers,
    warm=st.none() | optimizers,
)


@given(runs)
def test_dump_then_parse_gives_an_equal_recipe(run: Run) -> None:
    assert parse_recipe(dump_recipe(run), Run) == run
