# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gitlab_runner: what it reads of a plan, what it writes, and what retire takes away."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.runnerhost.toolkit.plugins.filter.service_place import service_place
from ansible_collections.runnerhost.toolkit.plugins.filter.services_to_remove import (
    services_to_remove,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _network,
    _runner_host,
    _runner_planning,
    _runner_settings,
    _runner_versions,
    _service_files,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service
from tests.unit.plugins.test_runner_plan import BARE, GOOD

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "gitlab_runner"
# Names under which the plan is read.
PLANS = ("__gitlab_runner_planned.plan", "gitlab_runner_plan", "__runner_host_runner")
ISOLATED = [
    {"name": "publish", "runners": [{"name": "pypi", "token": "glrt-" + "p" * 20}]},
    {"name": "docs", "runners": [], "user": "docs"},
]
KEYS = [{"name": "deploy", "key": "text", "hosts": ["git.example.com"]}]


def plan(**more: Any) -> dict[str, Any]:
    """The plan of a host that has nothing yet, as tasks read it."""
    settings = _runner_settings.settings_of({**GOOD, "isolated": ISOLATED, **more}, "host")
    facts = _runner_host.facts(BARE)
    made = _runner_planning.make(
        settings,
        facts,
        _network.Network(),
        _runner_versions.repository(settings.wanted, "KEY"),
        _runner_versions.packages(settings.wanted, facts, None),
        [],
    )
    return made.public()


def returned() -> dict[str, Any]:
    """What RETURN of the module runner_plan documents of the plan."""
    path = ROOT / "plugins" / "modules" / "runner_plan.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RETURN":
            assert isinstance(node.value, ast.Constant)
            found: dict[str, Any] = yaml.safe_load(str(node.value.value))["plan"]["contains"]
            return found
    raise LookupError(path)


def test_tasks_and_templates_read_of_a_plan_what_is_documented_and_no_less() -> None:
    names = "|".join(map(re.escape, PLANS))
    used: set[str] = set()
    for folder in ("roles", "playbooks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".yml", ".j2"):
                used |= {*re.findall(rf"\b(?:{names})\.(\w+)", path.read_text(encoding="utf-8"))}
    assert used == set(returned())
    assert used == set(plan())


def test_what_is_documented_of_a_service_is_what_it_has() -> None:
    told = " ".join(returned()["services"]["description"])
    for service in plan()["services"]:
        assert set(re.findall(r"C\((\w+)\)", told)) == set(service)


def test_a_plan_is_plain_data() -> None:
    """What Ansible keeps of a result: no tuple, and no class of ours."""
    found = plan(ssh_keys=KEYS, groups=["docker"])
    assert json.loads(json.dumps(found)) == found


def test_a_plan_shows_no_token() -> None:
    assert "glrt-" not in str(plan())


# --- what is written and removed


def variables(**more: Any) -> dict[str, Any]:
    """The role's variables with their defaults, and a plan."""
    loader = DataLoader()
    found: dict[str, Any] = {}
    for name in ("defaults", "vars"):
        found |= loader.load_from_file(str(ROLE / name / "main.yml"), trusted_as_template=True)
    return {
        **found,
        "gitlab_runner_isolated": ISOLATED,
        "gitlab_runner_job_limits": {"MemoryMax": "8G"},
        "gitlab_runner_journal_max_use": "1G",
        "gitlab_runner_metrics_file": "/var/lib/node_exporter/ci.prom",
        "gitlab_runner_ssh_keys": KEYS,
        "ansible_facts": {"distribution_release": "jammy"},
        "role_path": str(ROLE),
        **more,
    }


def argument(tasks: str, name: str, **more: Any) -> Any:
    """The argument of the one task of that name's end, as Ansible hands it to file_set."""
    loader = DataLoader()
    listed = loader.load_from_file(str(ROLE / "tasks" / tasks), trusted_as_template=True)
    (task,) = [
        one
        for block in listed
        for one in [block, *block.get("block", [])]
        if "runnerhost.toolkit.file_set" in one
    ]
    templar = Templar(loader=loader, variables=variables(**{**task.get("vars", {}), **more}))
    return templar.template(task["runnerhost.toolkit.file_set"][name])


def services() -> tuple[Service, ...]:
    """The host's services."""
    return _runner_settings.settings_of({**GOOD, "isolated": ISOLATED}, "host").services


def written() -> list[dict[str, Any]]:
    """All items of files.yml that put something there, but for the toolkit's code."""
    planned = {"plan": plan(ssh_keys=KEYS, groups=["docker"])}
    items = argument("files.yml", "files", __gitlab_runner_planned=planned, __gitlab_runner_code=[])
    return [item for item in items if item.get("state", "file") in ("file", "directory")]


def removed() -> list[str]:
    """All paths that retire takes away; there is no plan then."""
    own = [item for one in services() for item in _service_files.files_to_remove(one)]
    return [str(item["path"]) for item in own + argument("operations/retire.yml", "files")]


def test_retire_removes_all_that_files_yml_writes_but_for_what_jobs_have_made() -> None:
    gone = [path.rstrip("*") for path in removed()]
    stays = {
        str(item["path"]): str(item.get("owner", "root"))
        for item in written()
        if not any(f"{item['path']}/".startswith(path) for path in gone)
    }
    # Homes and caches are the job users', whose accounts stay too: docs/operations.md, "Retire".
    assert set(stays.values()) == {one.user for one in services()}
    assert set(stays) == {path for one in services() for path in (one.home, one.pip_cache_dir)}


def test_retire_removes_what_the_host_writes_itself() -> None:
    gone = removed()
    assert "/var/lib/node_exporter/ci.prom" in gone
    assert "/etc/systemd/journald.conf.d/zz-runnerhost.conf" in gone
    commands = [one["argv"] for one in argument("operations/retire.yml", "commands")]
    assert ["systemctl", "restart", "systemd-journald"] in commands


def test_a_removal_begins_with_the_token_and_ends_with_what_tells_of_it() -> None:
    """A run that was cut off finds the service by its drop-in."""
    for one in services():
        paths = [item["path"] for item in _service_files.files_to_remove(one)]
        assert (paths[0], paths[-1]) == (one.folder, one.drop_in)
        assert len(paths) == len({*paths})


def test_services_of_an_older_inventory_go_too() -> None:
    drop_ins = [f"/etc/systemd/system/{name}.service.d/zz-runnerhost.conf" for name in (
        "gitlab-runner", "gitlab-runner-old", "gitlab-runner-publish", "other"
    )]  # fmt: skip
    found = services_to_remove(drop_ins, user="ci", home="/home/ci", isolated=ISOLATED)
    assert [one["name"] for one in found] == ["", "publish", "docs", "old"]
    assert {"path": "/etc/gitlab-runner-old", "state": "absent"} in found[-1]["files"]
    # The user is the inventory's.
    assert "user@{uid:docs}.service.d" in str(found[2]["files"])


def test_operations_have_the_same_list_of_services_without_a_plan() -> None:
    templar = Templar(loader=DataLoader(), variables=variables())
    names = templar.template(variables()["__gitlab_runner_isolated_names"])
    found = [service_place(name) for name in ("", *names)]
    keys = ("name", "service", "unit", "drop_in", "folder", "resume", "clean")
    assert found == [{key: getattr(one, key) for key in keys} for one in services()]


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Tasks, those of blocks too."""
    for task in tasks:
        yield task
        for key in ("block", "rescue", "always"):
            yield from flat(task.get(key, []))


def test_no_task_is_there_twice_for_isolated_runners() -> None:
    """One list of services: a task is for all of them."""
    for path in (ROLE / "tasks").rglob("*.yml"):
        for task in flat(yaml.safe_load(path.read_text(encoding="utf-8"))):
            assert "isolated" not in task.get("name", ""), path
            assert "isolated" not in task.get("register", ""), path
