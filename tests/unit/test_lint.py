# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab or a user leaves in a clone turns no lint red."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "import os;x=1\n"
YAML = "all:\n      hosts:\n         h1:   {}\n"
LEFT = {
    "inventories/lab/hosts.yml": YAML,
    "inventories/production/hosts.yml": YAML,
    "inventories/production/group_vars/all/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n3132\n",
    "inventories/production/dynamic.py": PYTHON,
    "inventories/example/group_vars/runner_hosts/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n3132\n",
    "mirror.yml": YAML,
    "bench/results/result.yml": YAML,
    "dist/unpacked/playbook.yml": "- hosts: all\n  tasks:\n   - shell: ls\n",
    "my own.yml": "- hosts: all\n  tasks:\n   - shell: ls\n",
    "playbooks/ours.yml": "- hosts: all\n  tasks:\n   - shell: ls\n",
    "lab/ours.py": PYTHON,
    "plugins/filter/ours.py": PYTHON,
    "tests/host/test_ours.py": PYTHON,
    "try.py": PYTHON,
    "umlaut-ä.py": PYTHON,
}


def test_only_what_git_tracks_is_linted(tmp_path: Path) -> None:
    """With programs in place of the linters, which say what they are told to leave out."""
    source = tmp_path / "clone"
    (source / "tools").mkdir(parents=True)
    (source / "tools" / "lint").write_bytes((ROOT / "tools/lint").read_bytes())
    (source / "tools" / "lint").chmod(0o755)
    (source / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    example = source / "inventories" / "example" / "group_vars" / "runner_hosts"
    example.mkdir(parents=True)
    (example / "main.yml").write_text("---\n")
    (source / "playbooks").mkdir()
    (source / "playbooks" / "site.yml").write_text("---\n")
    python = {
        "plugins/modules/a b.py",
        "tools/tree.py",
        "tests/host/conftest.py",
        "lab/projects/p.py",
    }
    for name in python:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(PYTHON)
    git = ["git", "-C", str(source), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "all"], check=True)
    for name, text in LEFT.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("ansible-lint", "ruff", "mypy"):
        (tools / name).write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}: $1" "$@"\n')
        (tools / name).chmod(0o755)
    said = subprocess.run(
        [str(source / "tools/lint"), str(tools)], check=True, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"]}, timeout=300,
    ).stdout  # fmt: skip
    linted, *typed = said.split("mypy: ")
    typed = [line for call in typed for line in call.splitlines()[1:]]
    link = ".ansible/collections/ansible_collections/runnerhost/toolkit/"
    assert {line.removeprefix(link) for line in typed} == python - {"lab/projects/p.py"}
    for call in linted.split("ansible-lint: ")[1].split("ruff: "):
        excluded = [
            line.removeprefix("--exclude=")
            for line in call.splitlines()
            if line.startswith("--exclude=")
        ]
        for name in LEFT:
            inside = [one for one in excluded if name == one or name.startswith(one.rstrip("/"))]
            assert inside, (name, excluded)
        tracked = ("playbooks/site.yml", "inventories/example/group_vars/runner_hosts/main.yml")
        for name in tracked:
            assert not [one for one in excluded if name == one or name.startswith(one)]
