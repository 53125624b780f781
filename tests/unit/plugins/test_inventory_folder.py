# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays on the controller read `{{ inventory_dir }}` in group_vars/all as the hosts do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
# A variable whose type the folder does not have: the refusal shows it, and nothing is asked.
SHOWING = {
    "doctor": "release_pipeline_issuer_onboarded",
    "pipeline": "release_pipeline_issuer_onboarded",
    "preflight": "release_pipeline_issuer_onboarded",
    "project": "gitlab_project_purge",
    "revoke": "gitlab_project_purge",
    "watch": "gitlab_project_purge",
}


def played(playbook: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What a playbook says."""
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [str(program), playbook, *arguments], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=300,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "COLUMNS": "1000",
             "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections")},
    )  # fmt: skip


def inventory(folder: Path, variable: str, hosts: dict[str, object]) -> Path:
    """An inventory whose group_vars/all names a file of it."""
    (folder / "group_vars" / "all").mkdir(parents=True)
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    (folder / "group_vars" / "all" / "main.yml").write_text(
        yaml.safe_dump({variable: "{{ inventory_dir }}/files/ca.pem"})
    )
    return folder


@pytest.mark.long
@pytest.mark.parametrize("playbook", sorted(SHOWING))
def test_a_playbook_of_the_controller_knows_the_inventorys_folder(
    playbook: str, tmp_path: Path
) -> None:
    folder = inventory(tmp_path / "mine", SHOWING[playbook], {"h1": {}})
    done = played(f"playbooks/{playbook}.yml", "-i", str(folder / "hosts.yml"))
    said = " ".join(done.stdout.split())
    assert f"{SHOWING[playbook]}: invalid value '{folder}/files/ca.pem'; expected true" in said
    assert "WARNING" not in said


@pytest.mark.long
@pytest.mark.parametrize(
    ("sources", "hosts"),
    [(["mine"], {}), (["mine/hosts.yml"], {"localhost": {}}), (["h7,", "mine"], {"h1": {}})],
    ids=["folder, no hosts", "localhost listed", "behind a list of hosts"],
)
def test_whatever_the_inventory_is_made_of(
    sources: list[str], hosts: dict[str, object], tmp_path: Path
) -> None:
    folder = inventory(tmp_path / "mine", "gitlab_project_purge", hosts)
    named = [word for source in sources for word in ("-i", source)]
    done = played(str(ROOT / "playbooks/project.yml"), *named, cwd=tmp_path)
    assert f"invalid value '{folder}/files/ca.pem'" in " ".join(done.stdout.split())


@pytest.mark.long
def test_a_list_of_hosts_has_no_folder_and_needs_none(tmp_path: Path) -> None:
    words = ["-i", "localhost,", "-e", "gitlab_project_purge=maybe"]
    done = played(str(ROOT / "playbooks/project.yml"), *words, cwd=tmp_path)
    assert "gitlab_project_purge: invalid value 'maybe'" in done.stdout
    words = ["-i", "h1,", "-e", '{"gitlab_project_url": "{{ inventory_dir }}"}']
    done = played(str(ROOT / "playbooks/project.yml"), *words, cwd=tmp_path)
    assert "inventory_dir: the inventory is no file or folder; expected one" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("playbook", "variable"),
    [("project", "gitlab_project_projects"), ("pipeline", "release_pipeline_projects"),
     ("revoke", "gitlab_project_url"), ("preflight", "release_pipeline_api_token"),
     ("watch", "release_pipeline_projects")],
)  # fmt: skip
def test_what_is_set_for_hosts_alone_is_told(playbook: str, variable: str, tmp_path: Path) -> None:
    folder = inventory(tmp_path / "mine", "some_other", {"h1": {}})
    hosts: Any = {"all": {"children": {"runner_hosts": {"hosts": {"h1": {}, "h2": {}}}}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (folder / "group_vars" / "runner_hosts.yml").write_text(
        yaml.safe_dump({variable: "{{ vault_that_is_not_there }}"})
    )
    said = played(f"playbooks/{playbook}.yml", "-i", str(folder)).stdout
    assert "for localhost; it is set for the group runner_hosts: move it to group_vars/all" in said
    assert said.count(f"- {variable}: ") > 0
