# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shell of tests/host, with this machine's own sh in place of ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from root_shell import LostError, RootShell

MARK = "runnerhost-0123456789abcdef"
# As the action host_tests begins a command on the host.
BEGIN = f'echo {MARK}; echo {MARK} >&2; exec /bin/sh -c "$1"'


def ssh(**more: Any) -> dict[str, Any]:
    return {
        "argv": ["/bin/sh", "-c"],
        "remote": ["/bin/sh", "-c", BEGIN, "sh"],
        "mark": MARK,
        "stdin": "",
        "password": "",
        **more,
    }


@pytest.fixture
def shell() -> Iterator[RootShell]:
    found = RootShell(ssh())
    yield found
    found.close()


def test_output_is_exact_and_streams_are_apart(shell: RootShell) -> None:
    done = shell.run("printf 'a\\nb'; printf 'c ' >&2; exit 7", 10)
    assert (done.code, done.out, done.err) == (7, b"a\nb", b"c ")
    done = shell.run("printf 'line\\n'", 10)
    assert (done.code, done.out, done.err) == (0, b"line\n", b"")


def test_commands_share_one_shell_and_nothing_else(shell: RootShell) -> None:
    assert shell.run("cd /; X=1; export X; exit 3", 10).code == 3
    done = shell.run('echo "$X"; echo $PPID', 10)
    first = done.out.split()
    assert shell.run('echo "$X"; echo $PPID', 10).out.split() == first
    assert len(first) == 1, "X of an earlier command is still set"


def test_a_command_has_no_input_of_the_shell(shell: RootShell) -> None:
    assert shell.run("cat; echo end", 10).out == b"end\n"
    assert shell.run("echo next", 10).out == b"next\n"


def test_quotes_and_lines_arrive_as_they_are(shell: RootShell) -> None:
    assert shell.run('echo "it\'s"\nif true; then\n  echo $((1+1))\nfi', 10).out == b"it's\n2\n"


def test_output_is_english(shell: RootShell) -> None:
    assert shell.run("echo $LC_ALL:$LANGUAGE", 10).out == b"C.UTF-8:\n"


def test_more_than_a_pipe_holds(shell: RootShell) -> None:
    done = shell.run("head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2", 20)
    assert (len(done.out), len(done.err)) == (300000, 200000)


def test_what_the_login_prints_is_dropped() -> None:
    begin = f"echo Welcome; echo notice >&2; {BEGIN}"
    shell = RootShell(ssh(remote=["/bin/sh", "-c", begin, "sh"]))
    done = shell.run("echo x", 10)
    shell.close()
    assert (done.out, done.err) == (b"x\n", b"")


def test_a_password_that_sudo_does_not_read_is_no_command() -> None:
    shell = RootShell(ssh(stdin="echo hunter2\n"))
    done = shell.run("echo x", 10)
    shell.close()
    assert (done.out, done.err) == (b"x\n", b"")


def test_a_connection_that_ends_is_told_with_its_words() -> None:
    shell = RootShell(ssh(remote=["/bin/sh", "-c", "echo 'Permission denied' >&2; exit 255"]))
    with pytest.raises(LostError) as lost:
        shell.run("echo x", 10)
    assert (lost.value.code, lost.value.err) == (255, b"Permission denied\n")


def test_a_connection_that_ends_during_a_command(shell: RootShell) -> None:
    with pytest.raises(LostError) as lost:
        shell.run("echo half; kill -9 $PPID", 10)
    assert lost.value.out == b"half\n"
    assert shell.run("echo again", 10).out == b"again\n"


def test_a_command_that_does_not_end_in_time(shell: RootShell) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        shell.run("sleep 3", 0.2)
    assert shell.run("echo again", 10).out == b"again\n"


def test_a_login_that_waits_for_another_password_is_told_with_its_words() -> None:
    ask = "echo 'Sorry, try again.' >&2; while read -r line; do :; done"
    shell = RootShell(ssh(remote=["/bin/sh", "-c", ask]))
    with pytest.raises(LostError) as lost:
        shell.run("echo x", 0.5)
    assert lost.value.err == b"Sorry, try again.\n"
