"""The door: help, exit codes, and errors of one line."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable

import click
import pytest

from edge_deeplab import __version__
from edge_deeplab.cli import main as door
from edge_deeplab.errors import EdgeDeepLabError, GateError, InputError, UsageError

HEAVY = ("numpy", "cv2", "rich", "tensorflow", "keras", "tf_keras", "ai_edge_litert", "av")


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Puts a command called `act` in the table that does what it is given."""

    def install(work: Callable[[], object]) -> None:
        module = types.ModuleType("acting_command")

        @click.command()
        @click.option("--count", type=click.IntRange(1, 3))
        def command(count: int | None) -> object:
            return work()

        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "acting_command", module)
        monkeypatch.setitem(door.COMMANDS, "act", door.Entry("acting_command", "command", "Does what it is given."))
        monkeypatch.setattr(door, "prepare_process", lambda log_level: None)

    return install


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    written = capsys.readouterr()
    assert written.out == ""
    message = written.err.removeprefix("\n")  # click ends the terminal's "^C" line before we speak
    assert message.count("\n") == 1
    assert message.startswith("edge-deeplab: ")
    return message


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


def test_help_lists_every_command_in_the_order_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n  {name} ") for name in door.COMMANDS]
    assert places == sorted(places)
    for entry in door.COMMANDS.values():
        assert entry.help in text, "the line is cut short"


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edge-deeplab {__version__}\n"


def test_no_command_shows_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(door.COMMANDS))
def test_command_is_there_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([name, "--help"]) == 0
    assert f"Usage: edge-deeplab {name}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from edge_deeplab.cli.main import main; code = main(['--help']);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_unknown_command_lists_the_valid_ones_and_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["trian"]) == 2
    message = one_line(capsys)
    assert "'trian'" in message
    assert "did you mean train?" in message


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--nothing"], "--nothing"),
        (["act", "--cuont", "2"], "--count"),
        (["act", "--count", "9"], "1<=x<=3"),
        (["act", "--count", "two"], "'two'"),
        (["act", "extra"], "extra"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str],
    part: str,
    act: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    act(lambda: None)
    assert door.main(arguments) == 2
    message = one_line(capsys)
    assert part in message
    assert "--help" in message


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (EdgeDeepLabError("broken", came="a\nb"), 1),
        (InputError("picture.jpg: empty"), 1),
        (UsageError("wrong"), 2),
        (GateError("person IoU too low"), 3),
        (PermissionError(13, "Permission denied", "videos/x.mp4"), 1),
        (ModuleNotFoundError("No module named 'av'", name="av.container"), 1),
        (KeyboardInterrupt(), door.INTERRUPTED),
    ],
)
def test_errors_meant_for_users_are_one_line(
    error: BaseException,
    exit_code: int,
    act: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    act(raising(error))
    assert door.main(["act"]) == exit_code
    one_line(capsys)


def test_missing_extra_names_the_pip_line(
    act: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    act(raising(ModuleNotFoundError("No module named 'tf_keras'", name="tf_keras")))
    assert door.main(["act"]) == 1
    assert "pip install 'edge-deeplab[train]'" in one_line(capsys)


def test_a_fault_of_ours_is_not_hidden(act: Callable[[Callable[[], object]], None]) -> None:
    act(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        door.main(["act"])
    act(raising(ModuleNotFoundError("No module named 'edge_deeplab.nothing'", name="edge_deeplab.nothing")))
    with pytest.raises(ModuleNotFoundError):
        door.main(["act"])


def test_traceback_flag_lets_the_error_through(act: Callable[[Callable[[], object]], None]) -> None:
    act(raising(InputError("picture.jpg: empty")))
    with pytest.raises(InputError):
        door.main(["--traceback", "act"])


def test_a_command_may_return_its_exit_code(act: Callable[[Callable[[], object]], None]) -> None:
    act(lambda: 3)
    assert door.main(["act"]) == 3
    act(lambda: {"not": "a code"})
    assert door.main(["act"]) == 0


def test_reader_that_closes_early_leaves_no_traceback() -> None:
    code = "from edge_deeplab.cli.main import main; import sys; sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
