"""What may be typed as a target, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_deeplab.errors import UsageError
from edge_deeplab.remote.address import AdbTarget, LocalTarget, SshTarget, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("ssh://pi@camera.local", SshTarget("camera.local", "pi")),
        ("ssh://camera", SshTarget("camera")),
        ("ssh://pi@10.0.0.7:2222", SshTarget("10.0.0.7", "pi", 2222)),
        ("ssh://pi@[fe80::1%eth0]:22", SshTarget("fe80::1%eth0", "pi", 22)),
        ("adb:emulator-5554", AdbTarget("emulator-5554")),
        ("adb:192.168.1.5:5555", AdbTarget("192.168.1.5:5555")),
        ("local:reference", LocalTarget("reference")),
        ("local:auto", LocalTarget()),
    ],
)
def test_an_address_is_read_and_shown_as_it_was_typed(text: str, target: object) -> None:
    assert parse_target(text) == target
    assert str(parse_target(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "camera", "ssh:/camera", "ssh://", "ssh://@camera", "ssh://pi@", "http://camera", "adb:", "local:",
        "ssh://-oProxyCommand=x@h", "ssh://-oProxyCommand=x", "ssh://h/-oProxyCommand=x", "ssh://pi@-host",
        "ssh://pi@host;reboot", "ssh://pi@$(reboot)", "ssh://pi@host name", "ssh://pi@host\nreboot", "ssh://`x`@h",
        "ssh://pi:secret@host", "ssh://pi@host:0", "ssh://pi@host:65536", "ssh://pi@host:22:22", "ssh://pi@host:ssh",
        "ssh://pi@[::1", "ssh://pi@host/folder", "adb:-s", "adb:a b", "adb:a;reboot", "adb:$(x)", "local:fast",
        "local:missing.so",
    ],
)  # fmt: skip
def test_what_could_be_an_option_or_a_word_of_a_shell_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert "allowed: " in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_no_text_gives_words_with_spaces_or_leading_dashes(text: str) -> None:
    for form in (f"ssh://{text}", f"ssh://{text}@host", f"adb:{text}"):
        try:
            target = parse_target(form)
        except UsageError:
            continue
        words = [target.serial] if isinstance(target, AdbTarget) else []
        words += [target.host, target.user or "u"] if isinstance(target, SshTarget) else []
        assert all(
            word and word[0] != "-" and word.isascii() and not set(word) & set(" \t\n;&|$`'\"\\<>()") for word in words
        )


def test_a_delegate_is_a_file_that_is_there(tmp_path: Path) -> None:
    library = tmp_path / "delegate.so"
    library.touch()
    assert parse_target(f"local:{library}") == LocalTarget(delegate=library)


def test_a_password_gets_its_own_advice_and_is_not_shown_again() -> None:
    with pytest.raises(UsageError, match="log in by key") as caught:
        parse_target("ssh://pi:secret@host")
    assert "secret" not in str(caught.value)
