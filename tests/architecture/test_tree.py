"""What holds of every tracked file: short, documented, without registry addresses or machine paths."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

CODE = ("edge_deeplab/", "calibration/", "converters/", "demo_apps/")
LONGEST = 500
# Where packages come from, and where someone's files lie, is theirs to know.
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:work|root|home/\w+|Users/\w+|opt/pypi)\b")
REGISTRY = re.compile(r"(?:--(?:extra-)?index-url|--find-links|--trusted-host|pypi\.org/simple|\bfile:///)")
LITERT = re.compile(r"\b(?:ai_edge_litert|tflite_runtime)\b")
KNOWS_LITERT = {"edge_deeplab/runtime/interpreter.py", "edge_deeplab/runtime/flatbuffer.py", "edge_deeplab/cli/main.py"}


def tracked_files(repository: Path) -> list[Path]:
    if not (repository / ".git").exists():
        pytest.skip("needs the git repository: its tracked files are judged")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True)
    return [Path(name) for name in done.stdout.split("\0") if name and (repository / name).is_file()]


@pytest.fixture(scope="module")
def texts(repository: Path) -> dict[str, str]:
    """Every tracked text file by its name."""
    found = {}
    for path in tracked_files(repository):
        data = (repository / path).read_bytes()
        if b"\0" not in data:
            found[path.as_posix()] = data.decode("utf-8")
    return found


@pytest.fixture(scope="module")
def modules(texts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name.endswith(".py")}


def test_no_file_is_longer_than_500_lines(modules: dict[str, str]) -> None:
    long = {name: text.count("\n") for name, text in modules.items() if text.count("\n") > LONGEST}
    assert long == {}, "look for the second subject"


def test_no_tracked_file_names_a_machine_path_or_a_registry(texts: dict[str, str]) -> None:
    found = []
    for name, text in texts.items():
        if name == "tests/architecture/test_tree.py":
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATH.search(line) or REGISTRY.search(line):
                found.append(f"{name}:{number}: {line.strip()}")
    assert found == []


def test_no_file_is_called_utils_or_helpers(texts: dict[str, str]) -> None:
    vague = {"utils", "helpers", "common", "misc", "base", "util", "helper"}
    assert [name for name in texts if Path(name).stem in vague] == []


def test_every_module_of_the_package_has_a_docstring(modules: dict[str, str]) -> None:
    inside = {name: text for name, text in modules.items() if name.startswith(CODE)}
    assert inside
    assert [name for name, text in inside.items() if text.strip() and not ast.get_docstring(ast.parse(text))] == []


def test_mapped_folders_hold_what_the_package_maps(repository: Path, modules: dict[str, str]) -> None:
    """A folder with code that pyproject.toml does not list would be missing from an install, without a word."""
    import tomllib

    listed = set(tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    held = set()
    for name in modules:
        if name.startswith(CODE):
            folder = Path(name).parent.as_posix().replace("/", ".")
            held.add(folder if folder.startswith("edge_deeplab") else f"edge_deeplab.{folder}")
    assert held == listed


def test_only_the_interpreter_knows_which_litert_is_installed(modules: dict[str, str]) -> None:
    """import-linter does not see an import by name through importlib; this does."""
    knows = {name for name, text in modules.items() if name.startswith(CODE) and LITERT.search(_without_prose(text))}
    assert knows <= KNOWS_LITERT


def _without_prose(text: str) -> str:
    """The code of a module, without its comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)
