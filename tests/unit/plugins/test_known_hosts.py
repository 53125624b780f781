# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that jobs reach by ssh and whose keys they must know; the real ssh is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _known_hosts
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _job_user
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import services
from tests.unit.plugins.test_runner_plan import GOOD

missing = [name for name in ("ssh", "ssh-keygen") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"skipped: {', '.join(missing)} not installed"
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZ6cGZ6cGZ6cGZ6cGZ6cGZ6cGZ6cGZ6cGZ6cGZ6cGZ6"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_known_hosts, "SYSTEM", (str(tmp_path / "ssh_known_hosts"),))
    monkeypatch.setattr(_known_hosts, "CONFIG", str(tmp_path / "ssh_config"))
    (tmp_path / "ssh_config").touch()
    (tmp_path / ".ssh").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        f"git.example.com {KEY}",
        f"other.example.com,git.example.com {KEY}",
        f"*.example.com {KEY}",
        # Which port a job uses is not known here.
        f"[git.example.com]:2222 {KEY}",
    ],
)
def test_known_by_the_inventory_the_host_or_the_user(files: Path, line: str) -> None:
    told = _known_hosts.problem("git.example.com", str(files), "")
    assert told.startswith("has no host key that jobs know, and each clone")
    assert _known_hosts.problem("git.example.com", str(files), line) == ""
    for name in ("ssh_known_hosts", ".ssh/known_hosts"):
        (files / name).write_text(f"{line}\n")
        assert _known_hosts.problem("git.example.com", str(files), "") == ""
        assert _known_hosts.problem("git.example.org", str(files), "") != ""
        (files / name).unlink()


def test_hashed_names(files: Path) -> None:
    place = files / "hashed"
    place.write_text(f"git.example.com {KEY}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(place)], check=True, capture_output=True)
    assert "example" not in place.read_text()
    assert _known_hosts.problem("git.example.com", str(files), place.read_text()) == ""


@pytest.mark.parametrize(("value", "told"), [("accept-new", False), ("no", False), ("yes", True)])
def test_a_host_that_ssh_takes_unasked(files: Path, value: str, told: bool) -> None:
    (files / "ssh_config").write_text(f"Host *\n  StrictHostKeyChecking {value}\n")
    assert bool(_known_hosts.problem("git.example.com", str(files), "")) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Host git.example.com\n  StrictHostKeyChecking accept-new\n", False),
        ("Host git.example.org\n  StrictHostKeyChecking accept-new\n", True),
        ("KnownHostsCommand /usr/bin/sss_ssh_knownhosts %H\n", False),
        ("KnownHostsCommand none\n", True),
        ("VerifyHostKeyDNS yes\n", False),
        ("UserKnownHostsFile ~/.ssh/of_the_company\n", False),
        ("GlobalKnownHostsFile {home}/.ssh/of_the_company\n", False),
    ],
)
@pytest.mark.parametrize("place", ["ssh_config", ".ssh/config"])
def test_what_ssh_is_told_of_known_hosts(files: Path, place: str, text: str, told: bool) -> None:
    (files / ".ssh/of_the_company").write_text(f"git.example.com {KEY}\n")
    (files / place).write_text(text.format(home=files))
    assert bool(_known_hosts.problem("git.example.com", str(files), "")) == told


def test_which_hosts_are_asked_about() -> None:
    keys = [{"name": "deploy", "key": "x", "hosts": ["git.example.com", "*.example.org"]}]
    given = {**GOOD, "ssh_keys": keys, "known_hosts": [f"# x\na.example {KEY}"]}
    (service,) = services(given)
    (asked,) = [one for one in _job_user.checks(service, set()) if one["kind"] == "host_key"]
    assert asked["label"] == "gitlab_runner_ssh_keys (deploy).hosts"
    assert (asked["path"], asked["lines"]) == ("git.example.com", f"a.example {KEY}")
    assert asked["mild"]
    own = {"GIT_SSH_COMMAND": "ssh -o StrictHostKeyChecking=accept-new"}
    (service,) = services({**given, "environment": own})
    assert not [one for one in _job_user.checks(service, set()) if one["kind"] == "host_key"]
