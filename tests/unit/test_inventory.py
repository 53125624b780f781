# SPDX-License-Identifier: GPL-3.0-or-later
"""Files beside an inventory (CAs, keys of mirrors, deploy keys) are not read as inventories."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "company-ca.pem": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "company.crt": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "mirror.asc": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n",
    "deploy": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n",
    "known_hosts": "git.example.com ssh-ed25519 AAAA\n",
    "keys/other.gpg": "\x99\x01\n",
}
CLONE = (ROOT / "ansible.cfg").read_text(encoding="utf-8")
INSTALLED = re.search(
    r"(?ms)^ +```ini\n(.*?)^ +```", (ROOT / "docs/installed.md").read_text(encoding="utf-8")
)


@pytest.fixture(name="inventory")
def _inventory(tmp_path: Path) -> Path:
    """A copy of the example, with files of its own as the README names them."""
    copied = tmp_path / "production"
    shutil.copytree(ROOT / "inventories" / "example", copied)
    for name, text in FILES.items():
        path = copied / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1")
    return copied


def listed(inventory: Path, config: str) -> tuple[dict[str, object], str]:
    """What ansible-inventory finds with this ansible.cfg, and what it complains of."""
    path = inventory.parent / "ansible.cfg"
    path.write_text(config, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "inventory", "-i", str(inventory), "--list"],
        cwd=inventory.parent, capture_output=True, text=True, check=True, timeout=300,
        env={**os.environ, "ANSIBLE_CONFIG": str(path), "NO_COLOR": "1"},
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found, done.stderr


@pytest.mark.parametrize("source", ["", "hosts.yml"])
@pytest.mark.parametrize("config", [CLONE, INSTALLED and INSTALLED[1]], ids=["clone", "installed"])
def test_no_file_beside_the_inventory_is_taken_for_one(
    inventory: Path, config: str, source: str
) -> None:
    found, complaints = listed(inventory / source, re.sub(r"(?m)^ +", "", config))
    assert complaints == ""
    assert {"_meta", "all", "runner_hosts"} <= set(found)


def test_with_ansibles_own_settings_they_are(inventory: Path) -> None:
    """What docs/installed.md says of a project without these lines."""
    _, complaints = listed(inventory, "[defaults]\n")
    assert re.search(r"Unable to parse \S+company-ca\.pem as an inventory source", complaints)
