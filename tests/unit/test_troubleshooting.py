# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/troubleshooting.md: each message is one that the code has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.tree import files

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = (
    # Ansible, OpenSSH, sudo.
    "'vault_…' is undefined", "YAML parsing failed: …",
    "Attempting to decrypt but no vault secrets found",
    "Decryption failed (no vault secrets were found that could decrypt)",
    "Specified inventory, host pattern and/or --limit leaves us with no hosts to target",
    "Host key verification failed", "Missing sudo password",
    "sudo: sorry, you must have a tty to run sudo",
    "Connection closed", "Connection reset",
    # gitlab-runner, GitLab.
    "CONFIGURATION: Long polling issues detected",
    "The file has changed since you started editing it",
)  # fmt: skip
"""Messages of other programs."""
VALUES = re.compile(
    r"…|[;:,()\[\]]|'[^']*'|\b[A-Z]{4,}\b|\(hidden\)|\(float\)|\d[\d.]*|[\w.\[\]-]*\w_\w[\w.\[\]-]*|/\S+|\S+\.service"
    r"|\S+\.yml|runner_hosts|build|gitlab-runner|https?://|mirror|--[a-z-]+"
)
"""What stands in a message in the place of another value, and where the code joins texts."""
JOINED = (
    "the inventory has no group", "a token cut short or malformed", "N characters",
    "and its token in the inventory has changed", "expected the address of GitLab itself",
)  # fmt: skip
"""Parts that the code itself joins from texts and values."""
SHORTEST = 8
"""Characters of a part that is looked for."""


def shown() -> Iterator[str]:
    """The messages in the left column of the tables."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| Message"):
            for message in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
                if " " in message and message not in FOREIGN and not message.startswith("make "):
                    yield message


def texts(path: Path) -> Iterator[str]:
    """The texts of a file, a placeholder's place between the parts of a formatted one."""
    if path.suffix != ".py":
        yield path.read_text(encoding="utf-8")
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.fixture(scope="module", name="said")
def _said() -> str:
    """All that plugins, roles, playbooks, the lab, the mirror and the release program can say."""
    paths = [
        path
        for pattern in ("plugins/**/*.py", "roles/**/*.yml", "playbooks/*.yml", "mirror/*.py",
                        "lab/*.py", "tools/*", "tests/host/*.py", "release/*.py", "Makefile")
        for path in files(pattern)
    ]  # fmt: skip
    return re.sub(r"\s+", " ", "\n".join(text for path in paths for text in texts(path)))


@pytest.mark.parametrize("message", list(shown()))
def test_the_message_is_one_of_the_code(message: str, said: str) -> None:
    """Each of its parts between values and punctuation is, since the code joins such parts."""
    parts = re.split(VALUES, message)
    looked_for = [part.strip(" .,;:()") for part in parts]
    missing = [
        part
        for part in looked_for
        if len(part) >= SHORTEST and part not in said and part not in JOINED
    ]
    assert not missing


def test_a_message_that_nothing_says_is_found(said: str) -> None:
    with pytest.raises(AssertionError):
        test_the_message_is_one_of_the_code("…: no code says this of anything", said)
