"""A run that would work on no host, or do nothing of what was asked for, is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lab.tree import files

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = files("playbooks/*.yml")
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
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60,
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


def test_the_syntax_is_checked_without_an_inventory() -> None:
    done = listed("playbooks/site.yml", "--syntax-check", "-i", "localhost,")
    assert done.returncode == 0, done.stdout


def test_the_tags_that_are_taken_are_those_of_the_tasks() -> None:
    for path in PLAYBOOKS:
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            tags = {tag for task in play.get("tasks", []) for tag in task.get("tags", [])}
            hosts = play["hosts"]
            assert hosts.startswith("{{ lookup('runnerhost.toolkit.target_hosts', 'runner_hosts'")
            named = set(yaml.safe_load(hosts.partition("tags=")[2].partition(")")[0] or "[]"))
            assert named == tags - {"always"}, path.name
