# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a host a verification compares with the inventory, and what it says of them."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.runnerhost.toolkit.plugins.action import host_tests
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _network, _wanted_files

SLICE = "/etc/systemd/system/user-{uid:gitlab-runner}.slice.d/zz-runnerhost.conf"
DROP_IN = "/etc/systemd/system/gitlab-runner.service.d/zz-runnerhost.conf"


def items(**given: Any) -> dict[str, dict[str, Any]]:
    """The files of a host with these variables, by path."""
    action = object.__new__(host_tests.ActionModule)
    loader = DataLoader()
    action._loader, action._templar = loader, Templar(loader)
    action.variables = {
        "inventory_hostname": "h1",
        "ansible_facts": {"distribution_release": "jammy"},
        "gitlab_runner_url": "https://gitlab.example",
        **given,
    }
    network = _network.from_values(action.network_values(action.variables), [])
    return {str(one["path"]): one for one in action._files_of_runner(network)}


def host(files: dict[str, dict[str, Any]], **changed: Any) -> str:
    """A host's answer that has these files, but for what is changed."""
    return json.dumps(
        {
            path: {
                path: {
                    "owner": one.get("owner", "root"),
                    "mode": one.get("mode", "0644"),
                    "text": base64.b64encode(one["content"].encode()).decode(),
                    **(changed if path in (SLICE,) else {}),
                }
            }
            for path, one in files.items()
            if one.get("state", "file") == "file"
        }
    )


def said(before: dict[str, Any], after: dict[str, Any], *told: str) -> list[str]:
    """What differs on a host that was provisioned with other variables."""
    found = _wanted_files.differences(host(items(**before)), items(**after).values(), told)
    return [f"{one['what']}: expected {one['expected']}, found {one['found']}" for one in found]


def test_a_host_with_the_inventorys_files_does_not_differ() -> None:
    given = {"gitlab_runner_job_limits": {"MemoryMax": "5G"}, "gitlab_runner_umask": "0027"}
    assert said(given, given) == []


@pytest.mark.parametrize(
    ("name", "before", "after", "text"),
    [
        ("job_limits", {"MemoryMax": "6G"}, {"MemoryMax": "5G"},
         f"{SLICE.replace('{uid:gitlab-runner}', 'UID')}: expected MemoryMax=5G, "
         "found MemoryMax=6G"),
        ("stop_timeout", 7200, 60, f"{DROP_IN}: expected TimeoutStopSec=60, "
         "found TimeoutStopSec=7200"),
        ("journal_max_use", "1G", "",
         "/etc/systemd/journald.conf.d/zz-runnerhost.conf: expected no such file, found one"),
        ("min_free_space_percent", 5, 7, "/etc/systemd/system/runnerhost-disk.service: expected "
         "--space 7 --inodes 5, found --space 5 --inodes 5"),
        ("cache_max_age_days", 30, 9, "/etc/systemd/system/runnerhost-clean.service: expected "
         "--cache-days 9 \\, found --cache-days 30 \\"),
        ("path", [], ["/opt/bin"], "/etc/profile.d/zz-runnerhost.sh: expected "
         'PATH="/opt/bin:$PATH", export PATH, found nothing'),
        ("version", "18.5.0", "18.6.0",
         "/etc/apt/preferences.d/runnerhost-gitlab-runner: expected Pin: version 18.6.0-*, "
         "found Pin: version 18.5.0-*"),
        ("user_groups", [], ["kvm"], "/var/lib/runnerhost/job-users.json: expected a file, "
         "found nothing"),
    ],
)  # fmt: skip
def test_a_setting_that_the_host_has_otherwise_is_told(
    name: str, before: Any, after: Any, text: str
) -> None:
    variable = f"gitlab_runner_{name}"
    assert said({variable: before}, {variable: after}) == [text]


def test_of_the_environment_no_value_is_shown() -> None:
    one, two = ({"gitlab_runner_environment": {"PLACE": value}} for value in ("here", "there"))
    told = said(one, two)
    assert (
        "/etc/gitlab-runner/env-file: expected PLACE as in the inventory, found other values"
        in (told)
    )
    assert "here" not in "".join(told).replace("there", "here").split("env-file")[1]


def test_comments_do_not_count_and_modes_do() -> None:
    given = {"gitlab_runner_job_limits": {"MemoryMax": "5G"}}
    files = items(**given)
    text = f"# older\n{files[SLICE]['content']}".encode()
    answer = host(files, text=base64.b64encode(text).decode())
    assert _wanted_files.differences(answer, files.values()) == []
    (told,) = _wanted_files.differences(host(files, mode="0666"), files.values())
    assert (told["expected"], told["found"]) == ("root, mode 0644", "root, mode 0666")
    (told,) = _wanted_files.differences(host(files, text=None), files.values())
    assert told["found"] == "a link, a folder or a device"


def test_what_a_test_has_told_is_not_told_again() -> None:
    before, after = {"gitlab_runner_stop_timeout": 9}, {"gitlab_runner_stop_timeout": 8}
    assert said(before, after, f"drop-in {DROP_IN}") == []


def test_a_host_that_has_none_of_them_is_told_once() -> None:
    (told,) = _wanted_files.differences("{}", items().values())
    assert told["what"] == "files of the toolkit"
    assert told["found"] == "nothing"


def test_the_host_is_asked_in_one_command(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("b\n")
    (tmp_path / "a").chmod(0o600)
    (tmp_path / "link").symlink_to("a")
    wanted = [
        {"path": f"{tmp_path}/a"},
        {"path": f"{tmp_path}/link"},
        {"path": f"{tmp_path}/{{uid:nobody-of-this-name}}"},
        {"path": f"{tmp_path}/none"},
    ]
    text = _wanted_files.question(wanted).replace("/usr/bin/python3", "python3")
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert set(found) == {f"{tmp_path}/a", f"{tmp_path}/link"}
    here = found[f"{tmp_path}/a"][f"{tmp_path}/a"]
    assert (here["mode"], base64.b64decode(here["text"])) == ("0600", b"b\n")
    assert found[f"{tmp_path}/link"][f"{tmp_path}/link"]["text"] is None
