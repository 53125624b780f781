#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of the `runner_config` action; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_config_io
short_description: Registers for the runner's config.toml, and swaps it
description:
  - Internal to the action M(runnerhost.toolkit.runner_config), which hides what passes here. Not
    for use in a playbook.
  - Texts come in base64 and go back in hex.
version_added: 0.1.0
options:
  op:
    description: What to do.
    type: str
    choices: [register, swap, wake]
    required: true
  folder:
    description: The folder of config.toml.
    type: str
    default: /etc/gitlab-runner
  unit:
    description: The service that is told to reload.
    type: str
    default: gitlab-runner.service
  requests:
    description: Runners to ask GitLab about, for C(register).
    type: list
    elements: dict
    default: []
  tokens:
    description: Their tokens, in the same order.
    type: list
    elements: str
    default: []
  environment:
    description: How GitLab is reached from the host, proxy variables for example.
    type: dict
    default: {}
  expected:
    description: The sha256 of the config.toml that was read, empty for none; for C(swap).
    type: str
    default: ""
  text:
    description: The new config.toml, in base64; empty leaves it as it is.
    type: str
    default: ""
  state_text:
    description: The new state file, in base64; empty leaves it as it is.
    type: str
    default: ""
  checked_text:
    description: >-
      The state file, in base64, once GitLab has called all of O(verify) valid; empty leaves it as
      it is. So a run that fails before asks again.
    type: str
    default: ""
  paused_text:
    description: The configuration without runners, in base64, for a pause by the host itself.
    type: str
    default: ""
  verify:
    description: >-
      Names of runners to have GitLab asked about after the swap, or before C(wake) has the daemon
      load its file anew.
    type: list
    elements: str
    default: []
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
- name: Have the daemon take up a runner again
  runnerhost.toolkit.runner_config_io:
    op: wake
    verify: [build]
"""

RETURN = r"""
read:
  description: >-
    The texts, the file's sha256, the host's time and whether the service is active; as they are
    after what was asked for.
  type: dict
  returned: always
answers:
  description: GitLab's answers about the tokens, by the request's index.
  type: dict
  returned: when O(op=register)
swapped:
  description: Whether the file was still the one that had been read.
  type: bool
  returned: when O(op=swap)
verified:
  description: What GitLab said of O(verify), by name.
  type: dict
  returned: for C(swap) and C(wake)
reasons:
  description: Why GitLab gave no answer, by name.
  type: dict
  returned: when O(op=wake)
woken:
  description: Names of runners that the daemon takes up again.
  type: list
  elements: str
  returned: when O(op=wake)
"""

import base64
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _files,
    _runner_cli,
    _runner_config_file,
    _runner_facts,
    _runner_health,
    _secrets,
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._full_disk import PAUSED_TEXT
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_config_file import (
    STATE_FILE,
)

SCRATCH_PREFIX = ".runnerhost-register-"


def decode(text: str) -> str:
    """A text that came in base64."""
    return base64.b64decode(text).decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Options:
    """The module's options; see DOCUMENTATION."""

    op: str
    folder: str = "/etc/gitlab-runner"
    unit: str = "gitlab-runner.service"
    requests: Sequence[Mapping[str, Any]] = ()
    tokens: Sequence[str] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    expected: str = ""
    text: str = field(default="", repr=False)
    state_text: str = field(default="", repr=False)
    checked_text: str = field(default="", repr=False)
    paused_text: str = field(default="", repr=False)
    verify: Sequence[str] = ()


class Registered(TypedDict, total=False):
    """GitLab's answer about one token: the runner's entry, or why there is none."""

    ok: bool
    text: str
    refused: bool
    said: str


class Result(TypedDict, total=False):
    """What an operation adds to what was read."""

    answers: dict[str, Registered]
    swapped: bool
    verified: dict[str, str]
    reasons: dict[str, str]
    woken: list[str]


def sweep(folder: str) -> None:
    """What a killed run left: scratch folders and temporary files, which hold tokens."""
    _files.remove_stale_temporaries(folder)
    _files.sweep_folders(SCRATCH_PREFIX, folder)


def register(
    folder: str, request: Mapping[str, Any], token: str, environment: Mapping[str, str]
) -> Registered:
    """GitLab's answer about one token, through the runner's own `register`.

    It writes into a scratch folder that is removed in any case. The token goes by the environment:
    arguments can be read by every user of the host.
    """
    handle, scratch = _files.scratch_folder(SCRATCH_PREFIX, folder)
    try:
        # The same system id as the daemon's: GitLab must not see a second manager.
        system_id = f"{folder}/.runner_system_id"
        if os.path.exists(system_id):
            shutil.copy2(system_id, f"{scratch}/.runner_system_id")
        path = f"{scratch}/config.toml"
        argv = ["register", "--non-interactive", "--leave-runner", "--config", path]
        given = {
            "CI_SERVER_URL": request["url"],
            "CI_SERVER_TOKEN": token,
            "RUNNER_NAME": request["name"],
            "RUNNER_EXECUTOR": "shell",
            **{name: path for name, path in request["tls"].items() if path},
            **environment,
        }
        done = _system.run([_runner_facts.BINARY, *argv], timeout=120, env=given)
        written = _drain.raw(path)
        if done.returncode == 0 and written:
            return {"ok": True, "text": _runner_config_file.encode(written.decode())}
        return failure(done.stderr + done.stdout, token)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(handle)


def failure(output: str, token: str) -> Registered:
    """What the output of a failed `register` says: GitLab's refusal, or no answer."""
    refused = "is not valid" in output or "is removed" in output or "forbidden" in output.lower()
    lines = output.splitlines()
    words = [line for line in lines if re.search("ERROR|FATAL|PANIC", line)]
    said = _runner_cli.plain("\n".join(words or lines[-3:]))
    # A traceback's first line alone, and the panic once.
    said = "; ".join(dict.fromkeys(said.splitlines()))
    return {"ok": False, "refused": refused, "said": _secrets.redact_text(said, {token})}


def swap(path: str, asked: Options) -> bool:
    """Writes the new texts if the file is still the one that was read.

    Returns:
        False if it is another one by now; nothing was written then.
    """
    folder = os.path.dirname(path)
    # Two controllers at once: one swap after the other.
    with _drain.locked(folder):
        content = _drain.raw(path)
        current = _drain.digest(content) if content is not None else ""
        if current != asked.expected:
            return False
        if asked.text:
            _files.write_atomic(path, decode(asked.text), 0o600)
        elif content is not None:
            os.chmod(path, 0o600)
            os.chown(path, 0, 0)
        if asked.state_text:
            _files.write_atomic(f"{folder}/{STATE_FILE}", decode(asked.state_text), 0o600)
        if asked.paused_text:
            _files.write_atomic(f"{folder}/{PAUSED_TEXT}", decode(asked.paused_text), 0o600)
        return True


def mark_checked(folder: str, asked: Options) -> None:
    """Notes in the state file that GitLab takes all tokens, unless another controller wrote one."""
    path = f"{folder}/{STATE_FILE}"
    with _drain.locked(folder):
        if _drain.raw(path) == decode(asked.state_text).encode("utf-8", "surrogateescape"):
            _files.write_atomic(path, decode(asked.checked_text), 0o600)


def do_register(asked: Options) -> Result:
    """Asks GitLab about each token."""
    sweep(asked.folder)
    return {
        "answers": {
            str(request["index"]): register(asked.folder, request, token, asked.environment)
            for request, token in zip(asked.requests, asked.tokens, strict=True)
        }
    }


def do_swap(path: str, asked: Options) -> Result:
    """Writes the new texts, has the daemon read them, and asks GitLab about new runners."""
    folder, unit = os.path.dirname(path), asked.unit
    sweep(folder)
    if not swap(path, asked):
        return {"swapped": False}
    # The daemon compares time stamps, and its own may be newer than our file: tell it.
    if asked.text and _systemd.units([unit]).get(unit, {}).get("ActiveState") == "active":
        _drain.reload(unit)
    if not asked.text and not asked.verify:
        return {"swapped": True}
    verified = _runner_cli.verify(path, asked.verify, asked.environment)
    if asked.checked_text and verified and set(verified.values()) == {"valid"}:
        mark_checked(folder, asked)
    return {"swapped": True, "verified": verified}


def do_wake(path: str, asked: Options, *, check: bool) -> Result:
    """Has the daemon take up those of the runners again that GitLab calls valid."""
    reasons: dict[str, str] = {}
    verified = _runner_cli.verify(path, asked.verify, asked.environment, reasons)
    woken = [name for name, said in verified.items() if said == "valid"]
    if woken and not check:
        _runner_health.wake(asked.unit, path)
    return {"verified": verified, "reasons": reasons, "woken": woken}


ARGUMENTS: dict[str, Any] = {
    "op": {"type": "str", "choices": ["register", "swap", "wake"], "required": True},
    "folder": {"type": "str", "default": "/etc/gitlab-runner"},
    "unit": {"type": "str", "default": "gitlab-runner.service"},
    "requests": {"type": "list", "elements": "dict", "default": []},
    # Apart from `requests`: every value of a no_log option is cut out of the answer.
    "tokens": {"type": "list", "elements": "str", "default": [], "no_log": True},
    # A proxy's password may be in it.
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "expected": {"type": "str", "default": ""},
    "text": {"type": "str", "default": "", "no_log": True},
    "state_text": {"type": "str", "default": "", "no_log": True},
    "checked_text": {"type": "str", "default": "", "no_log": True},
    # Without the runners, but a Sentry address with its key may be in it.
    "paused_text": {"type": "str", "default": "", "no_log": True},
    "verify": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    asked = Options(**module.params)
    if asked.op in ("register", "swap"):
        os.makedirs(asked.folder, mode=0o700, exist_ok=True)
    result = do_register(asked) if asked.op == "register" else Result()
    # Only now: GitLab was asked over the network.
    path = _runner_config_file.true_path(asked.folder, module.check_mode)
    if asked.op == "swap":
        result = do_swap(path, asked)
    elif asked.op == "wake":
        result = do_wake(path, asked, check=module.check_mode)
    found = _runner_config_file.read(path, asked.unit, complaints=asked.op == "register")
    changed = bool(result.get("swapped") or result.get("woken"))
    module.exit_json(changed=changed, read=found, **result)


if __name__ == "__main__":
    main()
