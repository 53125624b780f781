# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a host's own drop-ins is in the way of a runner's service."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drop_ins, _systemd

CONFIG = "/etc/gitlab-runner-publish/config.toml"
OURS = "etc/systemd/system/gitlab-runner-publish.service.d/zz-runnerhost.conf"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        _drop_ins, "ROOTS", [f"{tmp_path}/{name}" for name in ("lib", "run", "etc")]
    )
    return tmp_path


def told(
    root: Path, files: dict[str, str], home: str = "/home/publish", command: str = ""
) -> list[str]:
    """The problems of a host with these files, by their path behind ``systemd/system/``."""
    ours = root / OURS
    for path, text in {f"etc/{OURS.split('/', 1)[1]}": "[Service]\nKillMode=control-group\n", **{
        name.replace("/", "/systemd/system/", 1): text for name, text in files.items()
    }}.items():  # fmt: skip
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    service = {"drop_in": str(ours), "home": home, "config": CONFIG, "command": command}
    return _drop_ins.problems({"gitlab-runner-publish.service": service})


UNIT = "etc/gitlab-runner-publish.service.d"


def test_a_link_that_leads_nowhere(root: Path) -> None:
    place = root / "etc/systemd/system/gitlab-runner-publish.service.d"
    place.mkdir(parents=True)
    (place / "zzz.conf").symlink_to(root / "nowhere")
    assert told(root, {}) == []


@pytest.mark.parametrize(
    ("path", "setting", "says"),
    [
        (f"{UNIT}/zzz.conf", "KillMode=control-group", "would kill its jobs"),
        (f"{UNIT}/zzz.conf", "KillSignal = SIGTERM", "would kill its jobs"),
        (f"{UNIT}/a.conf", "User=ci", "must run as root"),
        (f"{UNIT}/a.conf", "DynamicUser=yes", "must run as root"),
        (f"{UNIT}/a.conf", "PrivateUsers=true", "the job user would not exist"),
        (f"{UNIT}/a.conf", "ProtectHome=read-only", "could not use their home, /home/publish"),
        (
            f"{UNIT}/zzz.conf",
            "ExecStart=/usr/bin/gitlab-runner run --config /srv/config.toml",
            f"the service would not read {CONFIG}",
        ),
        (f"{UNIT}/zzz.conf", "ExecStart=/usr/bin/gitlab-runner run", "would not read"),
        # Of all services, and of all whose names begin alike.
        ("run/service.d/a.conf", "ProtectHome=yes", "could not use their home"),
        ("lib/gitlab-runner-.service.d/a.conf", "User=ci", "must run as root"),
        ("etc/gitlab-.service.d/a.conf", "User=ci", "must run as root"),
    ],
)
def test_named_with_file_and_value(root: Path, path: str, setting: str, says: str) -> None:
    (found,) = told(root, {path: f"# x\n[Unit]\nUser=no\n[Service]\n{setting}\n"})
    assert found.startswith(f"{root}/{path.replace('/', '/systemd/system/', 1)}: ")
    assert setting.replace(" = ", "=") in found
    assert says in found
    assert found.endswith("remove this setting of gitlab-runner-publish.service")


@pytest.mark.parametrize(
    ("path", "setting"),
    [
        # Read before the toolkit's, which says otherwise.
        (f"{UNIT}/a.conf", "KillMode=control-group"),
        (f"{UNIT}/zzz.conf", "KillMode=mixed"),
        (f"{UNIT}/zzz.conf", "KillSignal=SIGQUIT"),
        (f"{UNIT}/zzz.conf", "User=root"),
        (f"{UNIT}/zzz.conf", "User=ci\nUser="),
        (f"{UNIT}/zzz.conf", "#User=ci"),
        (f"{UNIT}/zzz.conf", "ProtectHome=no"),
        (f"{UNIT}/zzz.conf", "MemoryMax=4G"),
        (f"{UNIT}/zzz.conf", f"ExecStart=\nExecStart=/usr/bin/gitlab-runner run --config={CONFIG}"),
        (f"{UNIT}/zzz.conf", f'ExecStart=/usr/bin/gitlab-runner "run" "--config" "{CONFIG}" "-x"'),
        (f"{UNIT}/zzz.conf", "ExecStart="),
        ("etc/gitlab.service.d/zzz.conf", "User=ci"),
        ("etc/gitlab-runner.service.d/zzz.conf", "User=ci"),
    ],
)
def test_what_is_in_nobodys_way(root: Path, path: str, setting: str) -> None:
    assert told(root, {path: f"[Service]\n{setting}\n"}) == []


def test_homes_elsewhere_are_not_hidden(root: Path) -> None:
    text = "[Service]\nProtectHome=yes\n"
    assert told(root, {f"{UNIT}/a.conf": text}, home="/srv/publish") == []


def test_of_one_name_the_nearest_file_counts(root: Path) -> None:
    files = {
        "etc/service.d/a.conf": "[Service]\nUser=ci\n",
        "lib/gitlab-runner-publish.service.d/a.conf": "[Service]\nUser=ci\n",
        f"{UNIT}/a.conf": "",
    }
    assert told(root, files) == []


@pytest.mark.parametrize(
    ("name", "value", "undone"),
    [("zzz.conf", "no", True), ("zzz.conf", "yes", False), ("a.conf", "no", False)],
)
def test_a_file_that_undoes_logind_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, undone: bool
) -> None:
    path = tmp_path / "logind.conf.d" / name
    path.parent.mkdir()
    path.write_text(f"[Login]\nKillUserProcesses={value}\n")
    monkeypatch.setattr(
        glob, "glob", lambda pattern: [str(path)] if pattern.startswith("/etc") else []
    )
    found = _systemd.logind_foreign("/etc/systemd/logind.conf.d/zz-runnerhost.conf")
    assert found["undone_by"] == (str(path) if undone else "")


def test_a_command_that_the_toolkits_own_will_replace(root: Path) -> None:
    """On a host that does not have the toolkit's drop-in yet."""
    text = "[Service]\nExecStart=/usr/bin/gitlab-runner run\n"
    assert told(root, {f"{UNIT}/a.conf": text}, command="publish") == []
    (_,) = told(root, {f"{UNIT}/a.conf": text})
    (_,) = told(root, {f"{UNIT}/a.conf": "[Service]\n", f"{UNIT}/zzz.conf": text}, command="x")
