"""Jobs under every shell a device may have: dash and bash of PCs, busybox of routers and boards, mksh of Android."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from loopback_ssh import running_with, wait_until

from edge_deeplab.errors import DeviceError
from edge_deeplab.remote.job import Job
from edge_deeplab.remote.shell import CALL_TIMEOUT_S, Answer, command_line

SHELLS = {"sh": ["sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}
LOGIN_SHELLS = {"sh": ["sh"], "bash": ["bash"], "tcsh": ["tcsh", "-f"], "fish": ["fish"], "zsh": ["zsh", "-f"]}


def present(shells: dict[str, list[str]]) -> list[str]:
    return [name for name, (program, *_) in shells.items() if shutil.which(program)]


class ShellHere:
    """A Shell without a way between: scripts run in this machine's shell of that name."""

    address = "here"

    def __init__(self, name: str, scratch: Path) -> None:
        self._argv, self.scratch = SHELLS[name], str(scratch)
        programs = scratch.parent / "programs"
        programs.mkdir()
        wrapper = programs / "sh"  # what the scripts themselves call sh
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which(self._argv[0])} {" ".join(self._argv[1:])} "$@"\n')
        wrapper.chmod(0o755)
        self._environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def run(self, script: str, *arguments: str, timeout_s: float = CALL_TIMEOUT_S) -> Answer:
        command = [*self._argv, "-c", command_line(script, *arguments)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False,
            env=self._environment, start_new_session=True,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr.decode())

    def send(self, data: bytes | Path, place: str) -> None:
        Path(place).write_bytes(data.read_bytes() if isinstance(data, Path) else data)

    def close(self) -> None: ...


@pytest.fixture(params=present(SHELLS))
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> ShellHere:
    scratch = tmp_path / "a scratch $(place)"
    scratch.mkdir()
    return ShellHere(request.param, scratch)


def test_a_job_runs_in_its_folder_and_goes_without_a_trace(shell: ShellHere) -> None:
    words = ("sh", "-c", 'echo "$1" >progress; cat data >answer; echo oh >&2; exit 4', "sh", "it's; $(here)\t!")
    said: list[str] = []
    with Job(shell, words) as job:
        job.send(b"\0 any \xff bytes\n", "data")
        assert job.finish(on_progress=said.append) == 4
        assert (job.fetch("answer"), job.complaint()) == (b"\0 any \xff bytes\n", "oh")
        assert said == ["it's; $(here)\t!"]
        assert Path(job.folder).stat().st_mode & 0o777 == 0o700
        folder = job.folder
    assert list(Path(shell.scratch).iterdir()) == []
    wait_until(lambda: not running_with(folder), 5, lambda: running_with(folder))


def test_the_lease_ends_a_job_whose_desk_is_gone(shell: ShellHere) -> None:
    job = Job(shell, ("sh", "-c", "echo on >progress; sleep 994 & sleep 993"), lease_s=1)
    job.__enter__()
    folder = Path(job.folder)
    shell.run('cd "$1" && : >go', job.folder)
    wait_until(lambda: (folder / "progress").exists(), 10)
    wait_until(lambda: not folder.exists(), 15, "the folder is still there")
    wait_until(lambda: not running_with(folder.name) + running_with("sleep 994") + running_with("sleep 993"), 5)


def test_a_job_that_never_began_goes_too(shell: ShellHere) -> None:
    with Job(shell, ("true",)) as job:
        assert Path(job.folder).is_dir()
    assert list(Path(shell.scratch).iterdir()) == []


def test_a_step_may_be_done_twice(shell: ShellHere) -> None:
    """A connection may break after a step was done and before its answer came."""
    counted = ("sh", "-c", "echo x >>../count")
    job = Job(shell, counted)
    with job:
        folder = job.folder
        job.__enter__()
        assert job.folder == folder
        assert job.finish() == 0
        assert job.finish() == 0
    assert (Path(shell.scratch) / "count").read_text() == "x\n"


def test_a_place_that_cannot_be_written_is_one_line(shell: ShellHere) -> None:
    shell.scratch += "/missing"
    with (
        pytest.raises(DeviceError, match=r"here: no folder can be made in .*/missing there") as caught,
        Job(shell, ("x",)),
    ):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("login", present(LOGIN_SHELLS))
def test_words_reach_a_script_unchanged_through_any_login_shell(login: str, tmp_path: Path) -> None:
    words = [
        "plain",
        "two words",
        "it's",
        '"quoted"',
        "$HOME",
        "$(touch pwned)",
        "`touch pwned`",
        "a;b|c&d",
        "-n",
        "*",
        "~",
    ]
    line = command_line('for w in "$@"; do printf "%s\\n" "$w"; done', *words)
    done = subprocess.run(
        [*LOGIN_SHELLS[login], "-c", line], capture_output=True, text=True, cwd=tmp_path, check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == words
    assert not list(tmp_path.rglob("pwned"))
