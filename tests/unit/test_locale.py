# SPDX-License-Identifier: GPL-3.0-or-later
"""A host, or a controller, that speaks another language: programs' words are read in English."""

from __future__ import annotations

import json
import locale
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _system
from tests.host import conftest

ASK = "echo $LC_ALL-$LANGUAGE-"


@pytest.fixture(autouse=True)
def german() -> Iterator[None]:
    """As sshd takes it over from a login, or the system has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "de_DE.UTF-8")
        patch.setenv("LANGUAGE", "de:fr")
        yield
    # gettext keeps what it has translated until the locale is set anew (dcgettext(3)).
    locale.setlocale(locale.LC_ALL, locale.setlocale(locale.LC_ALL))


def test_what_modules_run() -> None:
    assert _system.run(["sh", "-c", ASK]).stdout == "C.UTF-8--\n"


def test_what_verify_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = {
        "argv": ["sh", "-c"],
        "remote": ["sh", "-c", 'echo mark; echo mark >&2; exec sh -c "$1"', "sh"],
        "stdin": "",
        "mark": "mark",
        "password": "",
    }
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"host": "h"}))
    monkeypatch.setenv("RUNNERHOST_VERIFY", str(given))
    conftest.given.cache_clear()
    try:
        assert conftest.Root(ssh).run(ASK).stdout == "C.UTF-8--\n"
    finally:
        conftest.given.cache_clear()
