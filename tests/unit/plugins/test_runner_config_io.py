# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file once GitLab has called all tokens valid, as the module on the host writes it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.modules import runner_config_io

STATE = "runnerhost.json"


def mark_checked(folder: Path) -> str:
    """What is in the state file after a swap wrote ``doubted`` and GitLab called all valid."""
    runner_config_io.mark_checked(
        str(folder),
        runner_config_io.Options(
            op="swap",
            state_text=base64.b64encode(b"doubted").decode(),
            checked_text=base64.b64encode(b"checked").decode(),
        ),
    )
    return (folder / STATE).read_text() if (folder / STATE).exists() else ""


def test_state_of_this_swap_becomes_the_checked_one(tmp_path: Path) -> None:
    (tmp_path / STATE).write_text("doubted")
    assert mark_checked(tmp_path) == "checked"
    assert (tmp_path / STATE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("found", ["of another controller", ""])
def test_state_of_another_controller_stays(tmp_path: Path, found: str) -> None:
    if found:
        (tmp_path / STATE).write_text(found)
    assert mark_checked(tmp_path) == found
