# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that would work on no host, or do nothing of what was asked for, is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.tree import files

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]
# These work on the controller and in GitLab.
ON_CONTROLLER = ("doctor", "pipeline", "preflight", "project", "revoke", "watch")
PLAYBOOKS = [path for path in files("playbooks/*.yml") if path.stem not in ON_CONTROLLER]
SETS = (ROOT / "roles/runner_host/vars/main.yml").read_text(encoding="utf-8")
WHOLE_HOST = {"name": "runnerhost.toolkit.runner_host", "rolespec_validate": False}
HOSTS: dict[str, object] = {
    "runner_hosts": {"hosts": {"h1": {}, "h2": {}}},
    "others": {"hosts": {"web": {}}},
}


def inventory(folder: Path, **groups: object) -> str:
    """An inventory file of these groups."""
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"children": groups or HOSTS}}), encoding="utf-8")
    return str(path)


def listed(
    playbook: Path | str, *arguments: str, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """What a playbook says to this command line; no host is asked."""
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [str(program), str(playbook), "--list-hosts", *arguments], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=300,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "COLUMNS": "1000",
             "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections")},
    )  # fmt: skip


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_playbook_refuses_an_inventory_without_its_group(
    playbook: Path, tmp_path: Path
) -> None:
    done = listed(playbook, "-i", inventory(tmp_path, runner_host={"hosts": {"h1": {}}}))
    assert done.returncode != 0
    assert "no group runner_hosts (but runner_host); expected hosts under" in done.stdout


@pytest.mark.parametrize(
    ("playbook", "arguments", "said"),
    [
        ("site", ["-i", "{folder}/nowhere"], "nowhere' does not exist; expected an inventory"),
        ("verify", ["-i", "{good}", "-i", "{folder}/no/file.yml"], "file.yml' does not exist"),
        ("upgrade", ["-i", "web1,web2"], "web1,web2: no group runner_hosts; expected hosts"),
        ("reboot", ["-i", "{good}", "--limit", "web"],
         "--limit: invalid value 'web', which names no host of the group runner_hosts; "
         "expected any of h1, h2"),
        ("retire", ["-i", "{good}", "--limit", "all:!runner_hosts"], "no host of the group"),
        ("adopt", ["-i", "{good}", "--limit", "h3"], "no hosts to target"),
        ("site", ["-i", "{good}", "--tags", "gitlab-runner"],
         "--tags: invalid value 'gitlab-runner'; expected any of network_access, "),
        ("site", ["-i", "{good}", "--skip-tags", "pythons"], "--skip-tags: invalid value"),
        ("rotate", ["-i", "{good}", "--tags", "gitlab_runner"], "this playbook has no tags"),
    ],
)  # fmt: skip
def test_what_matches_nothing_is_refused(
    playbook: str, arguments: list[str], said: str, tmp_path: Path
) -> None:
    good = inventory(tmp_path)
    words = [word.format(folder=tmp_path, good=good) for word in arguments]
    done = listed(f"playbooks/{playbook}.yml", *words)
    assert done.returncode != 0, done.stdout
    assert said in " ".join(done.stdout.split())


def test_a_variable_that_has_lost_its_indentation_is_named(tmp_path: Path) -> None:
    """Ansible takes it for a host, and goes to whatever the host's own name leads to."""
    for value, said in (
        (None, "ansible_host is a host or a group there; indent this variable below"),
        ("10.0.0.7", "ansible_host stands below hosts: and is no host; a variable is indented"),
    ):
        hosts = {"h1": None, "ansible_host": value}
        good = inventory(tmp_path, runner_hosts={"hosts": hosts})
        done = listed("playbooks/site.yml", "-i", good)
        assert done.returncode != 0
        assert said in done.stdout


def test_names_that_only_begin_like_a_variable_of_the_connection(tmp_path: Path) -> None:
    others: dict[str, object] = {"ansible_controllers": {"hosts": {"ansible_one": {}}}}
    good = inventory(tmp_path, runner_hosts={"hosts": {"h1": {}}}, **others)
    done = listed("playbooks/site.yml", "-i", good)
    assert done.returncode == 0, done.stdout


def test_the_settings_of_an_inventory_plugin_are_no_hosts(tmp_path: Path) -> None:
    text = "plugin: ansible.builtin.generator\nhosts: {name: '{{ env }}-x', parents: []}\n"
    (tmp_path / "generated.yml").write_text(f"{text}layers: {{env: [dev]}}\n")
    arguments = ("-i", inventory(tmp_path), "-i", str(tmp_path / "generated.yml"))
    done = listed("playbooks/site.yml", *arguments)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("playbook", ON_CONTROLLER)
def test_a_playbook_of_the_controller_takes_no_limit(playbook: str, tmp_path: Path) -> None:
    """Ansible would do nothing, and end well."""
    done = listed(f"playbooks/{playbook}.yml", "-i", inventory(tmp_path), "--limit", "h1")
    assert done.returncode != 0
    assert "--limit: invalid value 'h1'; expected no limit, since this playbook" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["-i", "{folder}/nowhere"], "nowhere' does not exist; expected an inventory"),
     (["-i", "{good}", "--tags", "project"], "this playbook has no tags")],
)  # fmt: skip
def test_nor_what_matches_nothing(arguments: list[str], said: str, tmp_path: Path) -> None:
    words = [word.format(folder=tmp_path, good=inventory(tmp_path)) for word in arguments]
    done = listed("playbooks/project.yml", *words)
    assert done.returncode != 0
    assert said in " ".join(done.stdout.split())


@pytest.mark.parametrize("sources", [["localhost,"], ["{good}"]])
def test_the_controller_needs_no_group(sources: list[str], tmp_path: Path) -> None:
    words = [word.format(good=inventory(tmp_path, web={"hosts": {"w": {}}})) for word in sources]
    done = listed("playbooks/doctor.yml", "-i", *words)
    assert done.returncode == 0, done.stdout
    assert "      localhost\n" in done.stdout


def test_an_empty_group_is_refused(tmp_path: Path) -> None:
    done = listed("playbooks/site.yml", "-i", inventory(tmp_path, runner_hosts={"hosts": {}}))
    assert done.returncode != 0
    assert "no hosts in the group runner_hosts" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--limit", "h1"],
        ["--limit", "h*:!h2"],
        ["--tags", "build_tools,python_versions"],
        ["--skip-tags", "gitlab_runner"],
        # Of every run of Molecule's.
        ["--skip-tags", "molecule-notest,notest"],
    ],
)
def test_what_names_hosts_and_tasks_is_taken(arguments: list[str], tmp_path: Path) -> None:
    done = listed("playbooks/site.yml", "-i", inventory(tmp_path), *arguments)
    assert done.returncode == 0, done.stdout
    assert "      h1\n" in done.stdout
    assert ("      h2\n" in done.stdout) is ("--limit" not in arguments)


def test_a_playbook_of_a_users_own_may_have_tags_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text("- import_playbook: runnerhost.toolkit.site\n  tags: [hosts_of_ours]\n")
    hosts = inventory(tmp_path)
    assert listed(own, "-i", hosts, "--tags", "hosts_of_ours").returncode == 0
    assert listed("runnerhost.toolkit.site", "-i", hosts, cwd=tmp_path).returncode == 0
    done = listed("runnerhost.toolkit.site", "-i", hosts, "--tags", "hosts_of_ours", cwd=tmp_path)
    assert done.returncode != 0


WORKERS: dict[str, object] = {"runner_hosts": {"hosts": {"ci-worker-07": {}, "web1": {}}}}
SLIPS = [
    ("group_vars/runner-hosts", "has no group runner-hosts; did you mean runner_hosts?"),
    ("group_vars/runner_host.yml", "no group runner_host; did you mean runner_hosts.yml?"),
    ("group_vars/Runner_Hosts.yaml", "did you mean runner_hosts.yaml?"),
    ("group_vars/runer_hsots.json", "did you mean runner_hosts.json?"),
    ("group_vars/All", "did you mean all?"),
    ("host_vars/ci-worker7.yml", "no host ci-worker7; did you mean ci-worker-07.yml?"),
    ("host_vars/ci_worker_07", "did you mean ci-worker-07?"),
    ("host_vars/wbe1.yml", "did you mean web1.yml?"),
]  # fmt: skip


def variable_file(path: Path) -> None:
    """A file of variables, in a folder of its own where the name has no ending."""
    path = path if path.suffix else path / "main.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("gitlab_runner_concurrent: 4\n", encoding="utf-8")


@pytest.mark.parametrize(("name", "said"), SLIPS, ids=lambda value: value.partition(";")[0])
def test_variables_of_a_misspelt_group_or_host_are_refused(
    name: str, said: str, tmp_path: Path
) -> None:
    hosts = inventory(tmp_path, **WORKERS)
    variable_file(tmp_path / name)
    for source in (hosts, str(tmp_path)):
        done = listed("playbooks/site.yml", "-i", source)
        assert done.returncode != 0, done.stdout
        assert f"{tmp_path / name}: the inventory has no" in done.stdout
        assert said in done.stdout


def test_every_inventory_and_the_playbooks_folder_are_looked_at(tmp_path: Path) -> None:
    own = tmp_path / "mine" / "own.yml"
    variable_file(own.parent / "group_vars" / "runner-hosts.yml")
    own.write_text(
        "- hosts: \"{{ lookup('runnerhost.toolkit.target_hosts', 'runner_hosts') }}\"\n"
        "  gather_facts: false\n"
    )
    (tmp_path / "second").mkdir()
    second = inventory(tmp_path / "second", others={"hosts": {"db": {}}})
    variable_file(tmp_path / "second" / "host_vars" / "ci-worker-7.yml")
    done = listed(own, "-i", inventory(tmp_path, **WORKERS), "-i", second)
    assert done.returncode != 0
    assert "refused, nothing was changed: 2 problems:" in done.stdout
    for name in ("mine/group_vars/runner-hosts.yml", "second/host_vars/ci-worker-7.yml"):
        assert f"{tmp_path / name}: the inventory has no" in done.stdout
    assert "runnerhost_unknown_variables: warn accepts" in done.stdout


@pytest.mark.parametrize("where", ["command line", "group_vars"])
def test_a_misspelt_name_can_be_accepted(where: str, tmp_path: Path) -> None:
    hosts = inventory(tmp_path, **WORKERS)
    variable_file(tmp_path / "group_vars" / "runner-hosts.yml")
    switch = "runnerhost_unknown_variables"
    if where == "group_vars":
        (tmp_path / "group_vars" / "runner_hosts.yml").write_text(f"{switch}: warn\n")
    more = ["-e", f"{switch}=warn"] if where == "command line" else []
    done = listed("playbooks/site.yml", "-i", hosts, *more)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]: " in done.stdout
    assert "has no group runner-hosts; did you mean runner_hosts.yml?" in done.stdout


def test_variables_of_other_groups_and_hosts_are_left_alone(tmp_path: Path) -> None:
    hosts = inventory(tmp_path, **WORKERS, us_east_1={}, builders_a={})
    for name in (
        "group_vars/all.yml", "group_vars/runner_hosts", "group_vars/ungrouped.yml",
        "group_vars/staging.yml", "group_vars/us_west_1.yml", "group_vars/builders_b.yml",
        "group_vars/.runner_hosts.swp", "group_vars/runner_hosts.yml~", "group_vars/al.yml",
        "host_vars/ci-worker-07", "host_vars/ci-worker-08.yml", "host_vars/web2.yml",
        "host_vars/localhost.yml", "host_vars/db1",
    ):  # fmt: skip
        variable_file(tmp_path / name)
    for source in (hosts, str(tmp_path)):
        done = listed("playbooks/site.yml", "-i", source)
        assert done.returncode == 0, done.stdout
        assert "did you mean" not in done.stdout


def test_the_syntax_is_checked_without_an_inventory() -> None:
    done = listed("playbooks/site.yml", "--syntax-check", "-i", "localhost,")
    assert done.returncode == 0, done.stdout


def test_the_tags_that_are_taken_are_those_of_the_tasks() -> None:
    for path in PLAYBOOKS:
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            tasks = play["tasks"]
            if tasks[0].get("ansible.builtin.import_role") == WHOLE_HOST:
                # An image is baked whole: its tasks are some of these.
                tasks = [
                    task
                    for file in files("roles/runner_host/tasks/*.yml")
                    for task in yaml.safe_load(file.read_text(encoding="utf-8"))
                ]
            tags = {tag for task in tasks for tag in task.get("tags", [])}
            hosts = play["hosts"]
            assert hosts.startswith("{{ lookup('runnerhost.toolkit.target_hosts', 'runner_hosts'")
            named = set(yaml.safe_load(hosts.partition("tags=")[2].partition(")")[0] or "[]"))
            if tasks is not play["tasks"]:
                # Its files are written with those of the others, in a task of every tag.
                assert "'network_access' in ansible_skip_tags" in SETS
                tags.add("network_access")
            assert named == tags - {"always"}, path.name
