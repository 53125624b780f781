"""The note that GitLab takes all tokens, as the module on the host writes it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.modules import runner_config_io

NOTE = "runnerhost.json"


def prove(folder: Path) -> str:
    """What stands in the note after a swap wrote ``doubted`` and GitLab called all valid."""
    runner_config_io.prove(
        str(folder),
        {
            "state_file": NOTE,
            "state_text": base64.b64encode(b"doubted").decode(),
            "proven_text": base64.b64encode(b"proven").decode(),
        },
    )
    return (folder / NOTE).read_text() if (folder / NOTE).exists() else ""


def test_note_of_this_swap_becomes_the_proven_one(tmp_path: Path) -> None:
    (tmp_path / NOTE).write_text("doubted")
    assert prove(tmp_path) == "proven"
    assert (tmp_path / NOTE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("found", ["of another controller", ""])
def test_note_of_another_controller_stays(tmp_path: Path, found: str) -> None:
    if found:
        (tmp_path / NOTE).write_text(found)
    assert prove(tmp_path) == found
