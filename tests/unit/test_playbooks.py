# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml: what its tags run. image.yml: the same roles, and nobody at the end. reboot.yml.

prepare_upgrade.yml: nothing is changed unless asked for, and nothing that does not come back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _upgrades
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _service_files
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import services
from tools.tree import files

ROOT = Path(__file__).resolve().parents[2]
ROLES = (
    *("network_access", "build_tools", "python_versions", "publish_tools", "gitlab_runner"),
    "index_credentials",
)
WITH_PACKAGES = ROLES[1:5]


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Tasks in the order in which they run."""
    for task in tasks:
        parts = [part for key in ("block", "always") for part in task.get(key, [])]
        yield from flat(parts) if parts else [task]


WHOLE = ROOT / "roles" / "runner_host" / "tasks"


def whole(name: str) -> Iterator[dict[str, Any]]:
    """The tasks of a file of the role runner_host, with those of the files that it imports."""
    for task in flat(yaml.safe_load((WHOLE / f"{name}.yml").read_text(encoding="utf-8"))):
        part = task.get("ansible.builtin.import_tasks")
        yield from whole(part.removesuffix(".yml")) if part else [task]


def role_and_part(task: dict[str, Any]) -> tuple[str, str] | None:
    """What a task imports of another role."""
    part = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role")
    return (part["name"].rpartition(".")[2], part.get("tasks_from", "main")) if part else None


def steps() -> list[tuple[str, str, list[str]]]:
    """Role, entry point, and tags of each step of a whole host."""
    found = []
    for task in whole("main"):
        if one := role_and_part(task):
            found.append((*one, task["tags"]))
    return found


def test_each_role_has_its_tag_and_the_ways_out_are_set_up_with_every_tag() -> None:
    """What another role fetches on a fresh host must get there."""
    assert {role for role, _, _ in steps()} == set(ROLES)
    for role, part, tags in steps():
        always = role == "network_access"
        assert ("always" in tags) == always, (role, part)
        assert always or tags == [role], (role, part)


def test_everything_is_refused_before_anything_is_touched() -> None:
    """A plan of a later role that refuses must not find the host half provisioned."""
    parts = [part for _, part, _ in steps()]
    first = steps()[: parts.count("plan")]
    assert [role for role, part, _ in first if part == "plan"] == list(ROLES)


def test_the_installation_is_simulated_after_the_plans_and_before_any_change() -> None:
    """Of a host and of an image; each role alone does so too."""
    for name in ("main", "operations/image"):
        told = [
            "simulate" if task.get("runnerhost.toolkit.packages", {}).get("simulate")
            else (role_and_part(task) or ("", "other"))[1]
            for task in whole(name)
            if "ansible.builtin.import_role" in task or "runnerhost.toolkit.packages" in task
        ]  # fmt: skip
        assert told[: len(ROLES) + 1] == ["plan"] * len(ROLES) + ["simulate"]
    for role in WITH_PACKAGES:
        path = ROOT / "roles" / role / "tasks" / "main.yml"
        tasks = yaml.safe_load(path.read_text(encoding="utf-8"))
        parts = [t.get("ansible.builtin.include_tasks", t.get("ansible.builtin.import_tasks"))
                 for t in tasks]  # fmt: skip
        assert parts[:2] == ["plan.yml", "simulate.yml"]


def test_every_playbook_for_hosts_validates_the_variables_first() -> None:
    """A misspelt variable is named by each verb, and by none after it has changed anything."""
    for path in files("playbooks/*.yml"):
        (play,) = yaml.safe_load(path.read_text(encoding="utf-8"))
        first = play["tasks"][0]
        role, entry_point = role_and_part(first) or ("", "")
        if role == "runner_host":
            tasks = list(whole(entry_point))
            # Of verify: an earlier report goes in any case.
            first = next(t for t in tasks if "runnerhost.toolkit.differences" not in t)
        assert "runnerhost.toolkit.validate_variables" in first, path.name


def test_what_a_package_needs_is_there_before_the_one_transaction() -> None:
    """Pins and repositories, and the drop-in that keeps jobs alive."""
    own = {
        "runnerhost.toolkit.packages": ("runner_host", "packages"),
        "runnerhost.toolkit.file_set": ("runner_host", "files"),
    }
    order = [
        one
        for task in whole("main")
        for one in [role_and_part(task), *(own[key] for key in task if key in own)]
        if one
    ]
    assert order[order.index((ROLES[-1], "plan")) + 1 :] == [
        # The simulation.
        ("runner_host", "packages"),
        ("gitlab_runner", "user"),
        ("runner_host", "files"),
        ("gitlab_runner", "guard"),
        ("runner_host", "packages"),
        ("python_versions", "converge"),
        # A host that takes jobs has them.
        ("publish_tools", "converge"),
        ("gitlab_runner", "converge"),
    ]


def test_one_transaction_has_the_tag_of_each_role_with_packages() -> None:
    tagged = [task["tags"] for task in whole("main") if "runnerhost.toolkit.packages" in task]
    assert tagged == [list(WITH_PACKAGES)] * 2


def test_an_image_has_of_each_role_what_a_host_has() -> None:
    """A role or a part that site.yml gets must not be forgotten in the image."""
    parts = [one for task in whole("operations/image") if (one := role_and_part(task))]
    # The runner without its identity.
    hosts = [(role, part) for role, part, _ in steps()]
    assert parts == [
        (role, "operations/image") if (role, part) == ("gitlab_runner", "converge")
        else (role, part)
        for role, part in hosts
    ]  # fmt: skip
    texts = [(WHOLE / name).read_text("utf-8") for name in ("main.yml", "operations/image.yml")]
    for text in texts:
        assert "import_tasks: packages.yml" in text


def test_an_image_is_planned_and_prepared_as_one() -> None:
    """Without runners, tokens and what names the machine."""
    told = [
        (role_and_part(task), task["vars"]["gitlab_runner_image"])
        for task in whole("main")
        if "gitlab_runner_image" in task.get("vars", {})
    ]
    switch = "{{ __runner_host_image }}"
    assert told == [
        (("gitlab_runner", "plan"), switch),
        # The files.
        (None, switch),
    ]
    (block,) = yaml.safe_load((WHOLE / "operations" / "image.yml").read_text("utf-8"))
    assert block["vars"] == {"__runner_host_image": True}
    assert block["environment"] == {"SYSTEMD_OFFLINE": "1"}
    plan = (ROOT / "roles/gitlab_runner/tasks/plan.yml").read_text(encoding="utf-8")
    for name in ("runners", "isolated", "api_token"):
        assert re.search(
            rf"    {name}: .* if gitlab_runner_image else gitlab_runner_{name} ", plan
        ), name


def test_an_image_is_refused_first_and_made_nobody_last() -> None:
    tasks = list(whole("operations/image"))
    assert "ansible.builtin.assert" in tasks[2]
    last = tasks[-1]["runnerhost.toolkit.file_set"]
    paths = {item["path"]: item for item in last["files"]}
    for gone in (
        "/etc/gitlab-runner*/.runner_system_id",
        "/var/lib/dbus/machine-id",
        "/etc/apt/auth.conf.d/runnerhost.conf",
        "/etc/ssh/ssh_host_*_key",
    ):
        assert paths[gone]["state"] == "absent"
    assert paths["/etc/machine-id"]["content"] == ""
    assert list(paths)[-1].startswith("/etc/ssh/")


def test_what_an_image_loses_is_told() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for item in [*whole("operations/image")][-1]["runnerhost.toolkit.file_set"]["files"]:
        assert item["path"].replace("gitlab-runner*", "gitlab-runner").rpartition("/")[2] in text


def test_hosts_are_restarted_one_at_a_time_and_a_failure_ends_it() -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks" / "reboot.yml").read_text(encoding="utf-8"))
    assert play["serial"].endswith("default(1)) }}")
    assert play["max_fail_percentage"] == 0


def test_a_restart_is_drained_before_and_proven_after() -> None:
    path = ROOT / "roles/gitlab_runner/tasks/operations/reboot.yml"
    tasks = list(flat(yaml.safe_load(path.read_text(encoding="utf-8"))))
    kinds = [key for task in tasks for key in task if "." in key]
    assert kinds[2:] == [
        "ansible.builtin.include_tasks",
        "runnerhost.toolkit.runner_drain",
        # GitLab holds a request for up to 50 s, and a pause ends none that is under way: a stop
        # (SIGQUIT) waits for the job that it brings.
        "ansible.builtin.systemd_service",
        "ansible.builtin.reboot",
        "runnerhost.toolkit.runner_drain",
        "ansible.builtin.systemd_service",
        "runnerhost.toolkit.runner_package",
        "ansible.builtin.include_tasks",
    ]
    # Whatever the inventory says of upgrades: a restart would end what it does not wait for.
    assert tasks[3]["runnerhost.toolkit.runner_drain"]["at_deadline"] == "give_up"


def test_an_image_does_not_say_on_which_machine_it_was_baked() -> None:
    path = ROOT / "roles" / "gitlab_runner" / "vars" / "main.yml"
    text = path.read_text(encoding="utf-8")
    note = text[text.index('- path: "{{ __gitlab_runner_machine_path }}"') + 1 :]
    assert "'absent' if gitlab_runner_image" in note.partition("- path:")[0]
    for service in services({}):
        image = _service_files.written(service, "", "A=b", _service_files.HostChoices(image=True))
        (file,) = [item for item in image if item["path"].endswith("/env-file")]
        assert file["state"] == "absent"


def prepare_tasks() -> list[dict[str, Any]]:
    """The tasks that prepare an upgrade of the system."""
    return list(whole("operations/prepare_upgrade"))


def test_preparing_an_upgrade_changes_nothing_unless_asked_to() -> None:
    reads = (
        "runnerhost.toolkit.validate_variables",
        "runnerhost.toolkit.upgrade_info",
        "ansible.builtin.debug",
        "ansible.builtin.assert",
    )
    tasks = prepare_tasks()
    changing = [task for task in tasks if not any(name in task for name in reads)]
    assert [task["ansible.builtin.import_role"]["tasks_from"] for task in changing] == [
        "operations/disable",
        "operations/prepare_upgrade",
    ]
    assert {task["when"] for task in changing} == {"runner_host_prepare_upgrade_apply | bool"}
    # What it cannot take away is refused before the first of them.
    refused = next(i for i, task in enumerate(tasks) if "ansible.builtin.assert" in task)
    assert refused < tasks.index(changing[0])


def test_site_writes_anew_what_preparing_an_upgrade_removes() -> None:
    role = ROOT / "roles" / "python_versions"
    path = role / "tasks/operations/prepare_upgrade.yml"
    (removal,) = (
        task["runnerhost.toolkit.file_set"]["files"]
        for task in yaml.safe_load(path.read_text("utf-8"))
        if "runnerhost.toolkit.file_set" in task
    )
    variables = yaml.safe_load((role / "vars/main.yml").read_text("utf-8"))
    written = variables["python_versions_file_set"]["files"]
    assert {item["state"] for item in removal} == {"absent"}
    removed = {item["path"] for item in removal}
    assert removed == {item["path"] for item in written if "content" in item}


def test_the_variables_of_preparing_an_upgrade_are_told() -> None:
    text = (ROOT / "docs" / "os-upgrade.md").read_text(encoding="utf-8")
    specs = (ROOT / "roles/runner_host/meta/argument_specs.yml").read_text(encoding="utf-8")
    named = set(yaml.safe_load(specs)["argument_specs"]["operations/prepare_upgrade"]["options"])
    assert named
    told = set(re.findall(r"(?m)^\| `(runner_host_prepare_upgrade_\w+)` \|", text))
    assert told == named
    kinds = set(re.findall(r"(?m)^\| `([a-z]+)` \|", text))
    assert kinds == set(_upgrades.KINDS)


def test_included_task_files_are_named_from_the_tasks_folder() -> None:
    """Ansible looks there for what a `tasks_from` file includes, and only when it comes to it."""
    for path in files("roles/*/tasks/**/*.yml"):
        for task in flat(yaml.safe_load(path.read_text(encoding="utf-8"))):
            for name in ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks"):
                tasks = ROOT / "roles" / path.relative_to(ROOT).parts[1] / "tasks"
                assert name not in task or (tasks / task[name]).is_file(), (path, task[name])


def test_skipping_the_network_settings_leaves_out_no_other_file() -> None:
    """Without the runner's drop-in, its package would kill jobs."""
    variables = DataLoader().load_from_file(
        str(ROOT / "roles/runner_host/vars/main.yml"), trusted_as_template=True
    )
    sets = {f"{role}_file_set": {"files": [role]} for role in ROLES}
    plans: dict[str, dict[str, Any]] = {"python_versions_plan": {}, "gitlab_runner_plan": {}}
    for skipped, written in (
        ([], ["network_access", "python_versions", "gitlab_runner"]),
        (["network_access"], ["python_versions", "gitlab_runner"]),
    ):
        templar = Templar(
            DataLoader(),
            variables={**variables, **sets, **plans, "ansible_skip_tags": skipped},
        )
        found = templar.template(variables["__runner_host_file_sets"])
        assert [name for one in found for name in one["files"]] == written
    (task,) = (task for task in whole("main") if "runnerhost.toolkit.file_set" in task)
    assert task["tags"] == ["always"]
