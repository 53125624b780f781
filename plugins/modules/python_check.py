#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that interpreters work; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_check
short_description: Checks that interpreters make venvs with pip and have their modules
description:
  - For each interpreter, makes a venv in a temporary folder and imports ssl, sqlite3, lzma and
    ctypes in it. A state file records the checked version of the package, so that each version is
    checked once.
  - pip is not unpacked, which takes four seconds, if ensurepip's wheel of it is found, is complete
    and can be imported in the venv. Otherwise C(python -m venv) installs pip.
version_added: 0.1.0
options:
  interpreters:
    description: Paths of interpreters by the name of the package that carries them.
    type: dict
    required: true
  source:
    description: The source of their packages, which the state file records.
    type: str
    default: ""
  due:
    description: Names to check even if they are recorded, because their packages were replaced.
    type: list
    elements: str
    default: []
  stamp:
    description: The state file.
    type: str
    default: /var/lib/runnerhost/pythons.json
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: none
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Check one
  runnerhost.toolkit.python_check:
    interpreters:
      python3.12: /usr/bin/python3.12
"""

RETURN = r"""
checked:
  description: Interpreters that were checked, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _dpkg,
    _files,
    _pythons,
    _system,
)

_NO_VENV = " (python_versions_packages must bring the -venv package of each version)"
_MODULES = "import ssl, sqlite3, lzma, ctypes; ssl.create_default_context(); "
_WITH_PIP = _MODULES + "import pip"
_WITH_WHEEL = (
    _MODULES
    + _pythons.PIP_WHEELS
    + """
import zipfile
if zipfile.ZipFile(wheels[0]).testzip() is not None:
    raise SystemExit("damaged: " + wheels[0])
sys.path.insert(0, wheels[0])
import pip
if not pip.__file__.startswith(wheels[0]):
    raise SystemExit("imported from elsewhere: " + pip.__file__)
"""
)


def check(executable: str) -> str:
    """Why the interpreter does not work; empty if it does."""
    # Without unpacking, the check also fails if the wheel is elsewhere: then unpack it.
    return _try(executable, ["--without-pip"], _WITH_WHEEL) and _try(executable, [], _WITH_PIP)


def _try(executable: str, options: list[str], script: str) -> str:
    """Why a venv cannot be made or cannot run a script; empty if it can."""
    folder = tempfile.mkdtemp(prefix="runnerhost-check-")
    try:
        venv = os.path.join(folder, "venv")
        made = _system.run([executable, "-m", "venv", *options, venv], timeout=120)
        if made.returncode:
            said = made.stderr or made.stdout
            hint = _NO_VENV if "ensurepip" in said else ""
            return f"no venv{hint}: {_system.last_words(said)}"
        done = _system.run([os.path.join(venv, "bin", "python"), "-I", "-c", script])
        return _system.last_words(done.stderr) if done.returncode else ""
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "interpreters": {"type": "dict", "required": True},
            "source": {"type": "str", "default": ""},
            "due": {"type": "list", "elements": "str", "default": []},
            "stamp": {"type": "str", "default": "/var/lib/runnerhost/pythons.json"},
        },
        supports_check_mode=True,
    )
    interpreters: dict[str, str] = module.params["interpreters"]
    stamp: str = module.params["stamp"]
    records = _dpkg.packages(list(interpreters))
    noted = _pythons.noted(_files.read_text(stamp) if os.path.isfile(stamp) else "")
    versions = {name: records.get(name, {}).get("version", "") for name in interpreters}
    due = set(module.params["due"])
    open_names = [
        name
        for name in interpreters
        if name in due or not versions[name] or noted.versions.get(name) != versions[name]
    ]
    paths = [interpreters[name] for name in open_names]
    changed = bool(open_names) or noted.source != module.params["source"]
    if module.check_mode or not changed:
        module.exit_json(changed=changed, checked=paths)
    # Each check uses one core.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        said = zip(paths, pool.map(check, paths), strict=True)
    failed = {path: why for path, why in said if why}
    if failed:
        module.fail_json(
            msg="; ".join(f"{path} does not work: {why}" for path, why in failed.items())
        )
    os.makedirs(os.path.dirname(stamp), mode=0o755, exist_ok=True)
    state = {"versions": versions, "source": module.params["source"]}
    _files.write_atomic(stamp, json.dumps(state, indent=1, sort_keys=True) + "\n", 0o644)
    module.exit_json(changed=True, checked=paths)


if __name__ == "__main__":
    main()
