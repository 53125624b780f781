#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of the `runner_registration` action; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_registration_io
short_description: Asks GitLab about a service's runners, rotates and unregisters them
description:
  - Internal to the action M(runnerhost.toolkit.runner_registration). Not for use in a playbook.
version_added: 0.1.0
options:
  verb:
    description:
      - C(manager) takes this host off one runner by GitLab's API; the others are the verbs of
        gitlab-runner.
    type: str
    choices: [verify, reset-token, unregister, manager]
    required: true
  names:
    description: The runners, by name.
    type: list
    elements: str
    default: []
  read:
    description:
      - Whether C(verify) reads config.toml, too. It then asks about all runners where O(names) is
        empty.
    type: bool
    default: false
  other_runners:
    description: Whether RV(read) tells the host's daemons that the toolkit does not manage.
    type: bool
    default: false
  runner:
    description: Name, address and TLS files of the runner, for C(manager).
    type: dict
    default: {}
  token:
    description: That runner's token.
    type: str
    default: ""
  environment:
    description: How the host reaches GitLab.
    type: dict
    default: {}
  folder:
    description: The folder of config.toml.
    type: str
    default: /etc/gitlab-runner
  unit:
    description: The service that is told to reload.
    type: str
    default: gitlab-runner.service
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
- name: Ask
  runnerhost.toolkit.runner_registration_io:
    verb: verify
    names: [build]
"""

RETURN = r"""
answers:
  description: Of each runner C(valid), C(refused) or C(unanswered).
  type: dict
  returned: for C(verify) and C(reset-token)
reasons:
  description: Why GitLab gave no answer, by name.
  type: dict
  returned: when O(verb=verify)
read:
  description: config.toml and what belongs to it, as C(host_info) returns them.
  type: dict
  returned: with O(read)
problems:
  description: What went wrong, by name; empty where nothing did.
  type: dict
  returned: for C(reset-token) and C(unregister)
gone:
  description: Names of runners that GitLab no longer had.
  type: list
  elements: str
  returned: for C(reset-token) and C(unregister)
outcome:
  description: C(removed), C(gone) or C(failed).
  type: str
  returned: when O(verb=manager)
"""

import contextlib
import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _runner_cli,
    _runner_config_file,
    _runner_facts,
    _runner_managers,
    _secrets,
    _system,
    _systemd,
)

TLS = ("tls-ca-file", "tls-cert-file", "tls-key-file")
# More than any config.toml takes.
ROOM_BYTES = 1_000_000


def by_name(
    path: str, verb: str, names: list[str], environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Runs one of the runner's verbs for each name.

    Returns:
        Empty where it went well, else its words; and who was gone from GitLab before `unregister`.
    """
    problems = {}
    for name in names:
        done = _system.run(
            [_runner_facts.BINARY, verb, "--config", path, "--name", name],
            timeout=120,
            env=environment,
        )
        said = ""
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if re.search("ERROR|FATAL", line)]
            words = words or done.stderr.splitlines()[-2:]
            said = "; ".join(map(_runner_cli.plain, words)) or f"exit {done.returncode}"
        problems[name] = _secrets.redact_text(said)
    return forget(path, problems, environment) if verb == "unregister" else (problems, [])


def forget(
    path: str, problems: dict[str, str], environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Drops the entries that could not be unregistered because GitLab no longer has such a runner.

    Only the 403 of `unregister` keeps the entry for ever; `verify --delete` drops that one alone.

    Returns:
        What is left of the problems, and the names that are gone.
    """
    left = dict(problems)
    told = _runner_cli.verify(path, [name for name, said in problems.items() if said], environment)
    refused = [name for name, answer in told.items() if answer == "refused"]
    for name in refused:
        argv = [_runner_facts.BINARY, "verify", "--delete", "--config", path, "--name", name]
        # It exits 0 too where GitLab gave no answer, and kept the entry then.
        done = _system.run(argv, timeout=120, env=environment)
        if done.returncode == 0 and re.search("is not valid|is removed", done.stderr + done.stdout):
            left[name] = ""
    return left, [name for name in refused if not left[name]]


def remove_manager(
    folder: str, path: str, asked: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Takes this host off one runner, without gitlab-runner's `unregister`.

    Returns:
        ``outcome``: removed, gone (GitLab has no such runner) or failed; and GitLab's words.
    """
    # urllib has its proxies from here.
    os.environ.update(environment)
    id_file = f"{folder}/.runner_system_id"
    if not os.path.exists(id_file):
        # Asking creates it again, and a host keeps its id.
        _runner_cli.verify(path, [asked["name"]], environment)
    system_id = (_drain.raw(id_file) or b"").decode().strip()
    tls = {name: str(asked.get(name) or "") for name in TLS}
    status, said = _runner_managers.remove(asked["url"], asked["token"], system_id, tls, folder)
    if not said:
        return {"outcome": "removed", "said": ""}
    # A proxy may answer 403 to a DELETE: what GitLab says of the token counts.
    if status == 403 and _runner_cli.verify(path, [asked["name"]], environment) == {
        asked["name"]: "refused"
    }:
        return {"outcome": "gone", "said": ""}
    return {"outcome": "failed", "said": _runner_cli.unanswered(said)}


def no_room(folder: str) -> str:
    """Why the runner must not write its file now; empty if it may.

    It truncates the file and writes it again (gitlab-runner 19.3, common/config.go): on a full disk
    nothing of it would be left, and GitLab tells no token twice.
    """
    free = os.statvfs(folder)
    if free.f_bfree * free.f_frsize >= ROOM_BYTES:
        return ""
    return (
        f"{folder} has no room: gitlab-runner writes config.toml in place, and all its runners "
        "could be lost. Nothing was changed; make room first"
    )


def version() -> str:
    """The installed runner's version; empty without one."""
    if not os.path.exists(_runner_facts.BINARY):
        return ""
    found = re.search(
        r"^Version:\s+(\S+)", _system.run([_runner_facts.BINARY, "--version"]).stdout, re.M
    )
    return found[1] if found else ""


def named(text: str) -> list[str]:
    """The runners' names in a config.toml, as gitlab-runner writes it: this Python has no TOML.

    Names that are written in another way are left out.
    """
    found: list[str] = []
    for entry in re.split(r"(?m)^[ \t]*\[\[[ \t]*runners[ \t]*\]\]", text)[1:]:
        # Not those of its tables.
        own = re.split(r"(?m)^[ \t]*\[", entry)[0]
        name = re.search(r'(?m)^[ \t]*name[ \t]*=[ \t]*("(?:[^"\\\n]|\\.)*")', own)
        with contextlib.suppress(TypeError, ValueError):
            found.append(str(json.loads(name[1] if name else "")))
    return list(dict.fromkeys(found))


def with_file(
    asked: Mapping[str, Any], path: str, environment: Mapping[str, str]
) -> Mapping[str, object]:
    """config.toml and what belongs to it, and what GitLab says of its runners."""
    # First: asking may write the host's id.
    read: dict[str, Any] = dict(_runner_config_file.read(path, asked["unit"], complaints=True))
    if asked["other_runners"]:
        from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes

        read["other_runners"] = _runner_processes.report(None)
    text = (_drain.raw(path) or b"").decode("utf-8", "replace")
    names = [name for name in named(text) if not asked["names"] or name in asked["names"]]
    return {"read": read, **verified(asked["folder"], path, names, environment)}


def verified(
    folder: str, path: str, names: list[str], environment: Mapping[str, str]
) -> Mapping[str, object]:
    """What GitLab says of each runner, and of which host and version."""
    reasons: dict[str, str] = {}
    with ThreadPoolExecutor(1) as beside:
        told = beside.submit(version)
        answers = _runner_cli.verify(path, names, environment, reasons)
    return {
        "answers": answers,
        "reasons": reasons,
        "version": told.result(),
        # Asking creates it again if it was lost.
        "system_id": (_drain.raw(f"{folder}/.runner_system_id") or b"").decode().strip(),
    }


def changed(
    path: str, asked: Mapping[str, Any], environment: Mapping[str, str]
) -> Mapping[str, object]:
    """What came of the runner's own command for each name."""
    folder, unit, names = asked["folder"], asked["unit"], asked["names"]
    # The runner writes the file in place: no other call of the toolkit meanwhile.
    with _drain.locked(folder):
        problems, gone = by_name(path, asked["verb"], names, environment)
    if _systemd.units([unit]).get(unit, {}).get("ActiveState") == "active":
        _drain.reload(unit)
    answers = {}
    if asked["verb"] == "reset-token":
        answers = _runner_cli.verify(path, [n for n in names if not problems[n]], environment)
    return {
        "changed": any(not said for said in problems.values()),
        "problems": problems,
        "answers": answers,
        "gone": gone,
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "verb": {
                "type": "str",
                "choices": ["verify", "reset-token", "unregister", "manager"],
                "required": True,
            },
            "names": {"type": "list", "elements": "str", "default": []},
            "read": {"type": "bool", "default": False},
            "other_runners": {"type": "bool", "default": False},
            "runner": {"type": "dict", "default": {}},
            # Apart from `runner`: every value of a no_log option is cut out of the answer.
            "token": {"type": "str", "default": "", "no_log": True},
            # A proxy's password may be in it.
            "environment": {"type": "dict", "default": {}, "no_log": True},
            "folder": {"type": "str", "default": "/etc/gitlab-runner"},
            "unit": {"type": "str", "default": "gitlab-runner.service"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    folder, names, environment = asked["folder"], asked["names"], asked["environment"]
    if module.check_mode and _drain.is_paused(folder):
        path = f"{folder}/{_drain.KEPT}"
    else:
        path = _drain.full_config_path(folder)
    if asked["verb"] == "verify" and asked["read"]:
        module.exit_json(changed=False, **with_file(asked, path, environment))
    if asked["verb"] == "verify":
        module.exit_json(changed=False, **verified(folder, path, names, environment))
    if asked["verb"] == "manager":
        runner = {**asked["runner"], "token": asked["token"]}
        module.exit_json(changed=False, **remove_manager(folder, path, runner, environment))
    full = no_room(folder) if names else ""
    if full:
        module.fail_json(msg=full)
    if module.check_mode:
        module.exit_json(changed=bool(names), problems={})
    module.exit_json(**changed(path, asked, environment))


if __name__ == "__main__":
    main()
