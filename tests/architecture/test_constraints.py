"""The constraints files pin exactly, hold no address, and leave out nothing that base and dev bring."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "constraints").glob("*.txt"))
EXACT = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.+!]+")


def pins(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_line_is_one_exact_version(path: Path) -> None:
    assert [line for line in pins(path) if not EXACT.fullmatch(line)] == []
    names = [canonicalize_name(line.partition("==")[0]) for line in pins(path)]
    assert len(names) == len(set(names)), "a package is pinned twice"


def test_everything_that_base_and_dev_bring_is_pinned() -> None:
    """Walks the installed packages from pyproject.toml's own lines, so that a new dependency has to be pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    pinned = {canonicalize_name(line.partition("==")[0]) for line in pins(ROOT / "constraints" / "constraints.txt")}
    ours = [*project["dependencies"], *extras["dev"], *extras["headless"], *extras["train"], *extras["media"]]
    waiting = [(Requirement(text), "") for text in [*ours, *extras["demo"]]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in ("", *requirement.extras):
            if name == "edge-deeplab" or (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            assert name in pinned, f"{name} is not in constraints/constraints.txt"
            try:
                needs = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue  # a lighter install: its part of the walk is not seen
            waiting += [(Requirement(text), wanted) for text in needs]
