"""`profile --target ssh://...` against a real OpenSSH server: what comes back, and that nothing stays there."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from loopback_ssh import SshServer, free_port, running_with, wait_until

from edge_deeplab.cli.main import main
from edge_deeplab.errors import DeviceError
from edge_deeplab.remote.far_python import find_python
from edge_deeplab.remote.job import Job
from edge_deeplab.remote.openssh import OpenSsh
from edge_deeplab.runtime.bundled import bundled_model

QUICK = ["--runs", "3", "--warmup", "1", "--starts", "1", "--threads", "1"]


def arguments_for(server: SshServer, *, python: str | None = sys.executable) -> list[str]:
    return [
        "--target",
        str(server.target),
        "--ssh-config",
        str(server.config),
        *(["--python", python] if python else []),
    ]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def only_error(err: str) -> str:
    (line,) = [line for line in err.splitlines() if line.startswith("edge-deeplab: error: ")]
    return line


def test_a_model_is_measured_there_and_shown_as_here(
    server: SshServer, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "there.json"
    code, out, err = run(["profile", "portrait", *arguments_for(server), *QUICK, "--json", str(figures)], capsys)
    assert code == 0, err
    document: dict[str, Any] = json.loads(figures.read_text())
    assert document["model"]["file"] == "portrait.tflite"
    assert document["model"]["size_bytes"] == portrait.stat().st_size
    (row,) = document["latency"]
    assert row["latency"]["count"] == 3 and row["latency"]["warmup_count"] == 1 and row["latency"]["median_ms"] > 0
    assert document["model_start"]["ready_ms"] > 0
    assert set(document["vitals"]) == {"before", "after"}
    assert str(server.target) in document["target"]["place"]
    for words in ("Profile of portrait.tflite", "One inference, ms", "Start of a process", "The device", "governor"):
        assert words in out
    assert server.left_behind() == []


def test_names_are_data_never_words_of_a_shell(
    server: SshServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model, a Python and a configuration: were a shell to read their names, there would be a file called pwned."""
    monkeypatch.chdir(tmp_path)
    name = "-oProxyCommand=touch pwned;$(touch pwned)`touch pwned`'\"&|>pwned \n!.tflite"
    Path(name).write_bytes(bundled_model("portrait").read_bytes())
    folder = tmp_path / "a 'quoted' $(touch pwned);touch pwned"
    folder.mkdir()
    python = folder / "-python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    config = folder / "ssh config"
    config.write_text(server.config.read_text())
    where = ["--target", str(server.target), "--ssh-config", str(config), "--python", str(python)]
    code, out, err = run(["profile", *where, *QUICK, "--json", "-", "--", name], capsys)
    assert code == 0, err
    assert json.loads(out)["model"]["file"] == name
    assert list(tmp_path.rglob("pwned")) == [] and list(server.folder.rglob("pwned")) == []
    code, _, err = run(["profile", "portrait", *arguments_for(server, python="python3;touch pwned"), *QUICK], capsys)
    assert code == 1 and "is no Python there" in only_error(err)
    assert not (Path.home() / "pwned").exists()
    assert server.left_behind() == []


def test_a_model_that_does_not_work_there_is_one_line_with_its_name(
    server: SshServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(bundled_model("portrait").read_bytes()[:5000])
    code, _, err = run(["profile", str(broken), *arguments_for(server), *QUICK], capsys)
    assert code == 1
    assert "broken.tflite" in only_error(err) and "model.tflite" not in err
    assert server.left_behind() == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"user_key": "stranger"}, ("refuses to let this user in", "ssh-copy-id")),
        ({"known": "nobody"}, ("host key", "ssh -p")),
    ],
)
def test_a_server_that_does_not_let_us_in_or_is_not_known(
    server: SshServer, config: dict[str, str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = server.folder / "stranger"
    if not stranger.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    server.write_config(**config)
    try:
        code, out, err = run(["profile", "portrait", *arguments_for(server), *QUICK], capsys)
    finally:
        server.write_config()
    assert (code, out) == (1, "")
    assert all(word in only_error(err) for word in words), err


def test_a_machine_that_is_not_there(server: SshServer, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--target", f"ssh://127.0.0.1:{free_port()}", "--ssh-config", str(server.config)]
    code, _, err = run(["profile", "portrait", *where, *QUICK], capsys)
    assert code == 1
    assert "cannot be reached" in only_error(err) and "Connection refused" in err


def test_without_an_ssh_client(
    server: SshServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run(["profile", "portrait", *arguments_for(server), *QUICK], capsys)
    assert code == 1
    assert "ssh is not installed on this machine" in only_error(err) and "openssh-client" in err


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Python without packages."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def test_a_python_without_the_interpreter_gets_the_line_to_type_there(
    server: SshServer, bare_python: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(["profile", "portrait", *arguments_for(server, python=str(bare_python)), *QUICK], capsys)
    line = only_error(err)
    assert code == 1
    assert "has no ai-edge-litert and no numpy" in line
    assert f"{bare_python} -m venv ~/.venv && ~/.venv/bin/pip install ai-edge-litert numpy" in line
    assert "nothing is installed from here" in line


def test_a_python_may_be_named_from_the_home_folder_there(server: SshServer) -> None:
    """Where a login begins; the job itself runs in a folder of its own."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    named = os.path.relpath(sys.executable, home)
    with closing(OpenSsh(server.target, config=server.config)) as shell:
        python = find_python(shell, named)
        assert Path(python.path).is_absolute() and Path(python.path).samefile(sys.executable)
        assert python.engine[0] == "ai-edge-litert"


@pytest.mark.parametrize("python", ["/bin/true", "/nowhere/python", "cat"])
def test_what_is_no_python(server: SshServer, python: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["profile", "portrait", *arguments_for(server, python=python), *QUICK], capsys)
    assert code == 1
    assert f"--python {python}: is no Python there" in only_error(err)


def test_the_first_python_that_will_do_is_found(
    tmp_path: Path, bare_python: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """python3 on the PATH there has no packages, python3.11 is too old, ~/.venv/bin/python has what it takes."""
    home, programs, server_folder = tmp_path / "home", tmp_path / "bin", tmp_path / "server"
    (home / ".venv" / "bin").mkdir(parents=True)
    programs.mkdir(), server_folder.mkdir()
    (programs / "python3").symlink_to(bare_python)
    wrapper = home / ".venv" / "bin" / "python"
    old = programs / "python3.11"
    old.write_text('#!/bin/sh\necho \'[[3, 7, 1], "2.3.0", null, "1.21"]\'\n')
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    for program in (old, wrapper):
        program.chmod(0o755)
    path = f"{programs}:/usr/bin:/bin"
    with SshServer(server_folder, environment={"HOME": str(home), "PATH": path}) as server:
        nameless = arguments_for(server, python=None)
        code, out, err = run(["profile", "portrait", *nameless, *QUICK, "--json", "-"], capsys)
        assert code == 0, err
        assert f"at {wrapper}" in json.loads(out)["target"]["place"]
        wrapper.unlink()
        code, _, err = run(["profile", "portrait", *nameless, *QUICK], capsys)
        assert code == 1 and str(programs / "python3") in only_error(err)
        assert server.left_behind() == []


def test_a_full_disk_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The far side's `cat` writes to /dev/full: the kernel's own error, in cat's own words."""
    programs, folder = tmp_path / "bin", tmp_path / "server"
    programs.mkdir(), folder.mkdir()
    cat = programs / "cat"
    cat.write_text('#!/bin/sh\nif [ "$#" -eq 0 ]; then exec /bin/cat >/dev/full; fi\nexec /bin/cat "$@"\n')
    cat.chmod(0o755)
    with SshServer(folder, environment={"PATH": f"{programs}:{os.environ['PATH']}"}) as server:
        code, _, err = run(["profile", "portrait", *arguments_for(server), *QUICK], capsys)
        assert code == 1
        assert "the disk is full there" in only_error(err) and "No space left on device" in err
        assert server.left_behind() == []


SLOW = ("sh", "-c", 'for i in 1 2 3 4; do echo "step $i" >progress; sleep 0.5; done; echo done >answer')


def test_a_connection_lost_mid_run_is_taken_up_again(server: SshServer) -> None:
    said: list[str] = []
    cut: list[int] = []

    def cut_once(text: str) -> None:
        said.append(text)
        if not cut:
            threading.Timer(0.1, lambda: cut.append(server.cut_connections())).start()

    with closing(OpenSsh(server.target, config=server.config)) as shell, Job(shell, SLOW, say=said.append) as job:
        folder = job.folder
        assert job.finish(on_progress=cut_once) == 0
        assert job.fetch("answer") == b"done\n"
    assert cut and cut[0] > 0, "nothing was cut"
    assert any("connecting again" in text for text in said), said
    assert any("connected again" in text for text in said), said
    assert server.left_behind() == []
    wait_until(lambda: running_with(folder) == [], 5, lambda: running_with(folder))


def test_a_server_that_is_away_for_a_while_is_waited_for(server: SshServer) -> None:
    """The job goes on while the whole server is down, and its result is fetched when that is back."""
    said: list[str] = []
    with closing(OpenSsh(server.target, config=server.config)) as shell, Job(shell, SLOW, say=said.append) as job:
        job.send(b"0" * 100_000, "data")
        server.stop()
        restart = threading.Timer(1.5, server.start)
        restart.start()
        assert job.finish() == 0
        restart.join()
        assert job.fetch("answer") == b"done\n"
    assert any("connection" in text for text in said), said
    assert server.left_behind() == []


def test_a_desk_that_never_comes_back_leaves_nothing_there(tmp_path: Path) -> None:
    """Patience ends here with one line, and the lease there with the job, its children and its folder."""
    with SshServer(tmp_path) as server:
        shell = OpenSsh(server.target, config=server.config)
        job = Job(shell, ("sh", "-c", "sleep 997 & sleep 998"), lease_s=3, patience_s=1.0)
        with pytest.raises(DeviceError) as caught, job:
            folder = Path(job.folder)
            threading.Timer(0.8, server.stop).start()
            job.finish()
        assert "did not come back within 1 s" in str(caught.value) and "removes itself 3 s after" in str(caught.value)
        shell.close()
        wait_until(lambda: not folder.exists(), 15, "the folder is still there")
        wait_until(lambda: not running_with("sleep 997") + running_with("sleep 998") + running_with(folder.name), 5)


def test_an_interrupt_here_ends_the_job_there(server: SshServer) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    command = ("sh", "-c", "echo on >progress; sleep 996")
    with closing(OpenSsh(server.target, config=server.config)) as shell:
        with pytest.raises(KeyboardInterrupt), Job(shell, command) as job:
            job.finish(on_progress=interrupt)
        assert server.left_behind() == []
    wait_until(lambda: not running_with("sleep 996"), 5)


def test_a_guard_that_was_killed_is_noticed(server: SshServer) -> None:
    """As the kernel does when memory runs out."""
    command = ("sh", "-c", "echo on >progress; sleep 5")
    with closing(OpenSsh(server.target, config=server.config)) as shell:
        with pytest.raises(DeviceError, match="ended there before it was done"), Job(shell, command) as job:
            job.finish(on_progress=lambda _: os.kill(int((Path(job.folder) / "guard").read_text()), signal.SIGKILL))
        assert server.left_behind() == []


def test_a_job_that_fails_says_what_it_said_last(server: SshServer) -> None:
    command = ("sh", "-c", "echo one >&2; echo two >&2; exit 7")
    with closing(OpenSsh(server.target, config=server.config)) as shell, Job(shell, command) as job:
        assert job.finish() == 7
        assert job.complaint() == "two"
        with pytest.raises(DeviceError, match="was not written there"):
            job.fetch("answer")
    assert server.left_behind() == []


def test_nothing_stays_on_this_side(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="here-") as name:  # not tmp_path: too long for a Unix socket
        here = Path(name)
        monkeypatch.setattr("tempfile.tempdir", name)
        shell = OpenSsh(server.target, config=server.config)
        assert shell.run('echo "$1"', "a  b; c").text == "a  b; c\n"
        assert list(here.glob("edge-deeplab-ssh-*/s-*")), "no shared connection"
        shell.close()
        shell.close()
        assert list(here.iterdir()) == []
        wait_until(lambda: not running_with(f"{here}/edge-deeplab-ssh"), 5)


def test_a_folder_too_deep_for_a_socket_is_no_hindrance(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with closing(OpenSsh(server.target, config=server.config)) as shell:
        assert shell.run("echo here").text == "here\n"
    assert list(deep.iterdir()) == []


def test_options_that_need_a_target_or_another_one(server: SshServer, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--python", "x"], "--python: goes with --target"),
        (["--target", "adb:x", "--python", "x"], "--python: Android has no"),
        (["--target", "ssh://h", "--runner", "x"], "--runner: is for adb"),
        (["--target", "adb:x", "--ssh-config", "x"], "--ssh-config: is for ssh"),
        (["--target", "ssh://h", "--frame-size", "64x64"], "--frame-size: is measured on this machine alone"),
        (["--target", "local:reference"], "use --kernels"),
        (["--target", "ssh://-oProxyCommand=x@h"], "is no user name"),
        (["--target", "telnet://h"], "unknown kind of target"),
        (["--target", "ssh://h", "--ssh-config", "/nowhere"], "no such file"),
    ):
        code, _, err = run(["profile", "portrait", *arguments], capsys)
        assert code == 2 and words in only_error(err), (arguments, err)
