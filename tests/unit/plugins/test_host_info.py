# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of its units."""

from __future__ import annotations

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _host_info,
    _system,
    _systemd,
)

UNIT = "gitlab-runner.service"


@pytest.mark.parametrize(
    ("restarts", "age", "ready", "steady"),
    [
        ("0", 0.3, False, None),
        ("51", 0.3, False, "no"),
        ("51", None, True, "no"),
        ("51", 0.3, True, "yes"),
    ],
)
def test_a_daemon_that_was_started_again_and_is_not_ready_is_not_steady(
    monkeypatch: pytest.MonkeyPatch,
    restarts: str,
    age: float | None,
    ready: bool,
    steady: str | None,
) -> None:
    """One that has never ended is not asked about: that is most hosts."""
    monkeypatch.setattr(
        _systemd,
        "units",
        lambda names: {n: {"MainPID": "17", "NRestarts": restarts} for n in names},
    )
    monkeypatch.setattr(_system, "generation", lambda _: "g")
    monkeypatch.setattr(_drain, "age", lambda _: age)
    monkeypatch.setattr(_drain, "is_listening", lambda _: ready)
    assert _host_info.units([UNIT])[UNIT].get("steady") == steady
