"""What the README tells people to type is there to be typed: commands, options, make targets, files."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import click
import pytest

from edge_deeplab.cli.main import COMMANDS, group

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = "\n".join(re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL))
INLINE = re.findall(r"`((?:\.venv/bin/)?(?:edge-deeplab|python) [^`\n]+)`", README)
TYPED = [line.strip() for line in CONSOLE.splitlines() if line.strip()] + INLINE
OURS = sorted({line for line in TYPED if "edge-deeplab " in line and "COMMAND" not in line and "pip" not in line})


def split(line: str) -> tuple[str, list[str]]:
    words = shlex.split(line)[1:]
    return words[0], words[1:]


def test_every_command_has_an_example() -> None:
    assert {split(line)[0] for line in OURS} >= set(COMMANDS)


@pytest.mark.parametrize("line", OURS)
def test_command_line_parses_as_typed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, options and the values' types; whether a file is there is the command's to say when it runs."""
    name, words = split(line)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            monkeypatch.setattr(parameter.type, "exists", False)
    with contextlib.suppress(click.exceptions.Exit):  # --list-cameras does its work and leaves
        command.make_context(name, words)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, flags=re.MULTILINE))))
def test_make_target_is_in_the_makefile(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\b(?:benchmarks|constraints|edge_deeplab/recipes)/[\w./-]+\w", README)))
)
def test_file_the_readme_names_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


def test_architecture_names_every_folder_of_the_tree() -> None:
    drawing = README.partition("## Architecture")[2].partition("```text")[2].partition("```")[0]
    rooms = [path.parent.name for path in (ROOT / "edge_deeplab").glob("*/__init__.py")]
    outside = [path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "edge_deeplab"]
    for room in sorted({*rooms, *outside} - {"tests"}):
        assert f"{room}/" in drawing, f"the README's Architecture does not show {room}/"
