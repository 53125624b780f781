# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as a user installs it: outside of the checkout, without its ansible.cfg."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.site import BIN, PLAYBOOK_SECONDS, ROOT, Run, Site, parse
from tools import collection

pytestmark = pytest.mark.lab

VAULT_PASSWORD = "correct horse"


@dataclass(frozen=True)
class Project:
    """A user's own folder: an inventory, a vault, installed collections, and nothing else."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a user's shell has, and nothing that points into the checkout."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PYTHONPATH"))}
        return {
            **kept,
            # The user's own ~/.ansible.cfg does not belong into a test.
            "HOME": str(self.folder / "home"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_NOCOLOR": "1",
        }

    def run(self, *words: str, check: bool = True) -> Run:
        """Run a command in the folder; its whole output and, of a playbook, the counts."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PLAYBOOK_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return Run(done.returncode, done.stdout, 0.0, parse(done.stdout))

    def playbook(self, name: str, *arguments: str, check: bool = True) -> Run:
        """Run one of the collection's playbooks by its name."""
        vault = ["--vault-password-file", "vault-password"]
        return self.run(
            "ansible-playbook", "-i", "inventory", f"runnerhost.toolkit.{name}", *vault,
            *arguments, check=check,
        )  # fmt: skip


def write_inventory(folder: Path, site: Site) -> None:
    """What a user has: hosts, one file of variables, keys beside it. Nothing of the lab's own."""
    variables, mirror = site.variables, site.variables["lab_mirror_url"]
    files = folder / "files"
    files.mkdir(parents=True)
    for name, source in {
        "deadsnakes.asc": variables["lab_python_key_file"],
        "gitlab.asc": variables["lab_runner_key_file"],
        "ca.pem": variables["lab_gitlab_ca_file"],
    }.items():
        shutil.copyfile(source, files / name)
    data = yaml.safe_load((site.inventory / "hosts.yml").read_text(encoding="utf-8"))
    host = data["all"]["children"]["runner_hosts"]["hosts"]["jammy"]
    host["ansible_python_interpreter"] = "/usr/bin/python3"
    hosts = {"runner_hosts": {"hosts": {"jammy": host}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")
    main: dict[str, Any] = {
        "python_versions_wanted": variables["lab_pythons"]["jammy"],
        "python_versions_repository_url": f"{mirror}/deadsnakes/ppa/ubuntu",
        "python_versions_repository_key": "{{ inventory_dir }}/files/deadsnakes.asc",
        "python_versions_repository_key_fingerprint": variables["lab_python_key_fingerprint"],
        "gitlab_runner_url": variables["lab_gitlab_url"],
        "network_access_ca_certificates": ["{{ inventory_dir }}/files/ca.pem"],
        "gitlab_runner_version": variables["lab_runner_version"],
        "gitlab_runner_repository_url": f"{mirror}/runner/gitlab-runner/ubuntu/",
        "gitlab_runner_repository_key": "{{ inventory_dir }}/files/gitlab.asc",
        "gitlab_runner_repository_key_fingerprint": variables["lab_runner_key_fingerprint"],
        "gitlab_runner_environment": variables["lab_index_environment"],
        "gitlab_runner_runners": [
            {"name": "{{ inventory_hostname }} build", "token": "{{ vault_build_token }}"}
        ],
    }
    group = folder / "group_vars" / "runner_hosts"
    group.mkdir(parents=True)
    (group / "main.yml").write_text(yaml.safe_dump(main), encoding="utf-8")
    (group / "vault.yml").write_text(
        yaml.safe_dump({"vault_build_token": token(site)}), encoding="utf-8"
    )


def token(site: Site) -> str:
    """The runner's token."""
    found: str = site.variables["lab_runner_tokens"]["jammy"][0]
    return found


@pytest.fixture(scope="module")
def project(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The folder, with the collection installed from its artifact."""
    made = Project(tmp_path_factory.mktemp("project"))
    assert not made.folder.is_relative_to(ROOT)
    (made.folder / "home").mkdir()
    write_inventory(made.folder / "inventory", site)
    password = made.folder / "vault-password"
    password.touch(mode=0o600)
    password.write_text(VAULT_PASSWORD, encoding="utf-8")
    vault = "inventory/group_vars/runner_hosts/vault.yml"
    made.run("ansible-vault", "encrypt", "--vault-password-file", "vault-password", vault)
    artifact = collection.build(made.folder, committed=False)
    # With its dependencies: there are none, so that no Galaxy is asked.
    made.run("ansible-galaxy", "collection", "install", artifact.name)
    return made


def test_it_is_the_installed_one(project: Project) -> None:
    said = project.run("ansible-galaxy", "collection", "list", "runnerhost.toolkit").output
    assert f"# {project.folder}/collections/ansible_collections" in said
    assert str(ROOT) not in said.replace(str(BIN.parent), "")
    assert "CONFIG_FILE() = None" in project.run("ansible-config", "dump").output
    assert not (project.folder / "collections/ansible_collections/runnerhost/toolkit/lab").exists()


def test_check_mode_on_the_fresh_host_changes_nothing(project: Project, site: Site) -> None:
    before = site.sh("dpkg-query -W | sha256sum; find /etc -type f | sort | sha256sum")
    assert project.playbook("site", "--check", "--diff").counts()["changed"] > 0
    assert site.sh("dpkg-query -W | sha256sum; find /etc -type f | sort | sha256sum") == before


def test_files_that_ansible_would_keep_are_refused(
    project: Project, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Project,
        "environment",
        {**project.environment, "ANSIBLE_KEEP_REMOTE_FILES": "1"},
    )
    before = site.sh("dpkg-query -W | sha256sum")
    run = project.playbook("site", check=False)
    assert run.code != 0
    assert run.counts()["changed"] == 0
    assert site.sh("dpkg-query -W | sha256sum") == before
    said = re.sub(r"\s+", " ", run.output)
    assert "KEEP_REMOTE_FILES is set: it would leave the runners' tokens" in said
    assert site.sh(f"grep -rl {token(site)} /home/admin /root /tmp /var/tmp || true") == ""
    site.sh("rm -rf /home/admin/.ansible")


def test_the_whole_host_then_nothing_then_verified(project: Project, site: Site) -> None:
    first = project.playbook("site", "-vvv", "--diff")
    assert first.counts()["changed"] > 0
    # Nothing of ours was written into a file on the host to be run.
    assert "Using module file" in first.output
    assert (
        re.findall(r"PUT .*AnsiballZ_(?:runner_config_io|file_set|host_info)", first.output) == []
    )
    assert token(site) not in first.output
    assert "modules are not pipelined" not in first.output
    assert site.sh("find /home/admin/.ansible/tmp -type f 2>/dev/null || true") == ""
    second = project.playbook("site")
    assert second.counts()["changed"] == 0, second.output
    verified = project.playbook("verify")
    assert re.search(r"jammy: \d+ passed", verified.output), verified.output


def test_a_user_who_switched_pipelining_off_is_warned(project: Project, site: Site) -> None:
    run = project.playbook("site", "-e", "ansible_pipelining=false", "--tags", "gitlab_runner")
    said = re.sub(r"\s+", " ", run.output)
    assert "modules are not pipelined: the runners' tokens lie in the login user's" in said
    assert run.counts()["changed"] == 0
    assert site.sh("find /home/admin/.ansible/tmp -type f 2>/dev/null || true") == ""


def test_without_the_interpreters_line_the_run_is_refused(project: Project) -> None:
    """Left to itself, Ansible takes the newest Python on the host: here one that is in the way."""
    hosts = project.folder / "inventory" / "hosts.yml"
    text = hosts.read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    del data["runner_hosts"]["hosts"]["jammy"]["ansible_python_interpreter"]
    try:
        hosts.write_text(yaml.safe_dump(data), encoding="utf-8")
        run = project.playbook("site", check=False)
    finally:
        hosts.write_text(text, encoding="utf-8")
    assert run.code != 0
    assert "set ansible_python_interpreter" in re.sub(r"\s+", " ", run.output)


@pytest.mark.parametrize(
    ("playbook", "module"), [("site", "tomlkit"), ("verify", "pytest"), ("verify", "testinfra")]
)
def test_a_controller_that_lacks_a_package_is_told_before_anything_is_done(
    project: Project, monkeypatch: pytest.MonkeyPatch, playbook: str, module: str
) -> None:
    """In a venv as a user's is without the list: Python is started so that it finds no such one."""
    folder = project.folder / f"without-{module}"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules['{module}'] = None\n")
    monkeypatch.setattr(Project, "environment", {**project.environment, "PYTHONPATH": str(folder)})
    run = project.playbook(playbook, check=False)
    assert run.code != 0
    said = re.sub(r"\s+", " ", run.output)
    distribution = "pytest-testinfra" if module == "testinfra" else module
    assert re.search(rf"\b{distribution} is missing on the controller[:;] ", said)
    assert "/runnerhost/toolkit/meta/ee-requirements.txt" in said
    assert run.counts()["changed"] == 0
