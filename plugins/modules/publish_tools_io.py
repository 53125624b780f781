#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs the tools for publishing; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_tools_io
short_description: Installs the tools for publishing
description:
  - Used by the action publish_tools alone.
  - The environment is made beside the one in use, by pip from wheels alone, with the hashes of the
    lock. Each tool must start as an unprivileged user before the commands on PATH lead to it.
  - Environments that processes use stay until a later call.
version_added: 0.1.0
options:
  lock:
    description: SHA-256 of the lock; empty if there should be no tools.
    type: str
    required: true
  program:
    description: SHA-256 of the release program.
    type: str
    default: ""
  python:
    description: Path of the interpreter.
    type: str
    default: ""
  commands:
    description: The tools that are to be on PATH.
    type: list
    elements: str
    default: []
  texts:
    description:
      - The C(lock) and the C(program), to install what differs.
    type: dict
    required: true
  environment:
    description: Variables for pip, such as those of a proxy.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: full
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Remove the tools from a host
  runnerhost.toolkit.publish_tools_io:
    lock: ""
    texts: {}
"""

RETURN = r"""
changed_paths:
  description: The paths that were, or would be, changed.
  type: list
  elements: str
  returned: always
foreign:
  description: Paths of commands that are there and not the toolkit's; if any, nothing is changed.
  type: list
  elements: str
  returned: always
lines:
  description: What was, or would be, changed, in words.
  type: list
  elements: str
  returned: always
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _files,
    _package_index,
    _publish_tools,
    _pythons,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._publish_tools import (
    LOCK,
    PROGRAM,
    Due,
    Places,
    Wanted,
)

SERIAL = "/var/lib/runnerhost/publish-tools.lock"
# A slow link takes minutes for sixty megabytes.
PIP_SECONDS = 1800
# pip from the wheel that comes with the interpreter: the environment has the lock's packages alone.
_PIP = (
    _pythons.PIP_WHEELS
    + """
import runpy
sys.path.insert(0, wheels[0])
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
)
# No code of a package runs as root.
_LOCKED = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement")
_INSTALL = (
    *("install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"),
    *_LOCKED,
)
_UV_INSTALL = ("pip", "install", "--quiet", "--no-cache", "--compile-bytecode", *_LOCKED)
_UV = re.compile(r"^uv==.*(?:\n[ \t].*)*\n?", re.M)


class Failed(Exception):
    """What could not be done; the text says why."""


def make(path: str, wanted: Wanted, lock: str, environment: Mapping[str, str]) -> None:
    """The environment at its place, whole or not at all."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        made = _system.run([wanted.python, "-I", "-m", "venv", "--without-pip", path], timeout=120)
        if made.returncode:
            raise Failed(
                f"{wanted.python}: no venv: {_system.last_words(made.stderr or made.stdout)}"
            )
        with tempfile.TemporaryDirectory(prefix="runnerhost-tools-") as folder:
            install(path, wanted, lock, folder, environment)
        check(path, wanted)
        # The last of all: what has it is whole.
        _files.write_atomic(f"{path}/{LOCK}", lock, 0o644)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def install(
    path: str, wanted: Wanted, lock: str, folder: str, environment: Mapping[str, str]
) -> None:
    """What the lock names: pip installs its uv, which installs the rest in a fraction of the time.

    pip reads a page of each package's files with the host's Python, for seconds each. It installs
    all where it has settings of its own, where the lock has no uv, and what uv could not.

    Args:
        path: the environment.
        wanted: what is to be in it.
        lock: requirements with hashes.
        folder: for temporary files.
        environment: the proxies, index and CAs of `network_access`.
    """
    network = {**environment, "TMPDIR": folder}

    def by_pip(text: str) -> None:
        listed = os.path.join(folder, LOCK)
        _files.write_atomic(listed, text, 0o644)
        argv = [f"{path}/bin/python", "-I", "-c", _PIP, *_INSTALL, listed]
        done = _system.run(argv, timeout=PIP_SECONDS, env=network)
        if done.returncode:
            raise Failed(explained(wanted, done.stderr or done.stdout))

    uv = _UV.search(lock)
    if uv and not _package_index.pip_has_settings(environment):
        by_pip(uv[0])
        listed = os.path.join(folder, "all.txt")
        _files.write_atomic(listed, lock, 0o644)
        argv = [f"{path}/bin/uv", *_UV_INSTALL, listed, "--python", f"{path}/bin/python"]
        known = os.path.exists(_system.TRUST_BUNDLE)
        trusted = {"SSL_CERT_FILE": _system.TRUST_BUNDLE} if known else {}
        # In an empty folder: uv reads a project's settings there.
        done = _system.run(argv, timeout=PIP_SECONDS, cwd=folder, env={**trusted, **network})
        # uv's own, which everybody may write.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}/.lock")
        if done.returncode == 0:
            return
    by_pip(lock)


def check(path: str, wanted: Wanted) -> None:
    """Starts each tool as whoever owns nothing."""
    lacking = [name for name in wanted.commands if not os.access(f"{path}/bin/{name}", os.X_OK)]
    if lacking:
        there = sorted(os.listdir(f"{path}/bin"))
        raise Failed(
            f"publish_tools_commands: the lock brings no {', '.join(lacking)}; "
            f"expected one or more of: {', '.join(there)}"
        )
    programs = [f"{path}/bin/{name}" for name in wanted.commands]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        said = zip(programs, pool.map(start, programs), strict=True)
    failed = [f"{program} does not start: {why}" for program, why in said if why]
    if failed:
        raise Failed("; ".join(failed))


def start(*program: str) -> str:
    """Why a command does not start, or an empty text."""
    why = ""
    # Not every tool knows the first.
    for option in ("--version", "--help"):
        done = _system.run(
            [*program, option],
            timeout=120,
            cwd="/",
            env={"HOME": "/nonexistent"},
            user="nobody",
            group="nogroup",
            extra_groups=[],
        )
        if done.returncode == 0:
            return ""
        why = why or _system.last_words(done.stderr or done.stdout)
    return why


def explained(wanted: Wanted, output: str) -> str:
    """pip's failure, with what to do."""
    if "ensurepip" in output or "IndexError" in output:
        remedy = "install its -venv package, or add its version to python_versions_wanted"
        return f"publish_tools_python: {wanted.python} brings no pip; {remedy}"
    reasons = (
        ("DO NOT MATCH THE HASHES", "the index has other files than the lock names"),
        (
            "(from versions: none)",
            "the index has no version of one of them; network_access_package_index_url takes the "
            "address of a simple index, which often ends in /simple",
        ),
        ("No matching distribution", "the index does not have all that the lock names"),
        ("certificate", "the index's certificate is not trusted: network_access_ca_certificates"),
        ("Tunnel connection failed: 407", "the proxy asks for a login: network_access_proxy_login"),
        ("No space left", "no space is left"),
    )
    found = (text for mark, text in reasons if mark.lower() in output.lower())
    reason = next(found, "the index cannot be used: network_access_package_index_url")
    said = _system.last_words(output)
    return f"publish_tools_lock: pip cannot install it; {reason}. pip says: {said}"


def apply(
    due: Due, wanted: Wanted, places: Places, texts: Mapping[str, str], network: Mapping[str, str]
) -> None:
    """Makes what differs as it should be."""
    if wanted.lock:
        os.makedirs(places.folder, mode=0o755, exist_ok=True)
        os.chown(places.folder, 0, 0)
        os.chmod(places.folder, 0o755)
    if due.make:
        make(due.environment, wanted, texts["lock"], network)
    if wanted.lock and (due.switch or places.program in due.files):
        try_program(due.environment, places, texts["program"])
    contents = {places.program: (texts.get("program", ""), 0o644)}
    contents[places.launcher] = (places.launcher_text, 0o755)
    for path in due.files:
        text, mode = contents[path]
        _files.write_atomic(path, text, mode)
    if due.switch:
        link(places.current, os.path.basename(due.environment))
    for path in due.links:
        link(path, places.target(os.path.basename(path)))
    due.spare_used(places)
    for path in due.stale:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    if not wanted.lock and os.path.isdir(places.folder) and not os.listdir(places.folder):
        os.rmdir(places.folder)


def try_program(environment: str, places: Places, text: str) -> None:
    """Starts the release program with the environment's Python, before anything leads to them."""
    path = f"{places.program}.runnerhost-new"
    _files.write_atomic(path, text, 0o644)
    try:
        why = start(f"{environment}/bin/python", "-I", path)
    finally:
        os.unlink(path)
    if why:
        raise Failed(f"{PROGRAM} does not start: {why}")


def link(path: str, target: str) -> None:
    """A symbolic link, in place of whatever link there is."""
    temporary = f"{path}.runnerhost-new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "lock": {"type": "str", "required": True},
            "program": {"type": "str", "default": ""},
            "python": {"type": "str", "default": ""},
            "commands": {"type": "list", "elements": "str", "default": []},
            "texts": {"type": "dict", "required": True},
            # The action keeps it quiet where it has a password.
            "environment": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    asked = module.params
    wanted = Wanted(asked["lock"], asked["program"], asked["python"], tuple(asked["commands"]))
    places = Places()
    os.umask(0o022)
    due = _publish_tools.due(wanted, places)
    texts = asked["texts"]
    if not module.check_mode and not due.foreign and due.paths():
        os.makedirs(os.path.dirname(SERIAL), mode=0o755, exist_ok=True)
        with open(os.open(SERIAL, os.O_CREAT | os.O_WRONLY, 0o600), "w") as serial:
            try:
                fcntl.flock(serial, fcntl.LOCK_EX | fcntl.LOCK_NB)
                due = _publish_tools.due(wanted, places)
                apply(due, wanted, places, texts, asked["environment"])
            except BlockingIOError:
                module.fail_json(
                    msg="publish_tools: another run installs the tools on this host; "
                    "run again when it has ended"
                )
            except Failed as failed:
                module.fail_json(msg=str(failed))
            except OSError as error:
                module.fail_json(msg=f"{error.filename}: {error.strerror}")
    lines = due.lines()
    module.exit_json(
        changed=bool(lines),
        changed_paths=due.paths(),
        foreign=due.foreign,
        lines=lines,
        diff={"prepared": "".join(f"{line}\n" for line in lines)},
    )


if __name__ == "__main__":
    main()
