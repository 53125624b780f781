# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of the module host_info.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any

# What not every call needs is imported where it is used: a host compiles it anew in each call.
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _dpkg,
    _files,
    _system,
    _systemd,
)


def configs(pattern: str) -> dict[str, bool]:
    """The config.toml files, each with whether it names a runner; their text stays on the host."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_entries

    found = {}
    for path in sorted(glob.glob(pattern)):
        try:
            with open(path, "rb") as stream:
                found[path] = _runner_entries.has_runners(stream.read())
        except OSError:
            found[path] = True
    return found


def resolve(name: str) -> str:
    """A unit's name with its ``{uid:NAME}`` filled in; empty while that user does not exist."""
    user = re.search(r"\{uid:([^}]+)\}", name)
    if not user:
        return name
    entry = _system.user(user[1])
    return name.replace(user[0], str(entry["uid"])) if entry else ""


def units(asked: list[str]) -> dict[str, dict[str, str]]:
    """Properties of units, by the name that was asked for, each with its ``generation``.

    ``steady`` is ``no`` where systemd has started it again and it is not ready yet: it may end so
    each time.
    """
    real = {name: resolve(name) for name in asked}
    found = _systemd.units([name for name in real.values() if name])
    # One unit may be asked for by two names.
    answer = {name: dict(found.get(real[name], {})) for name in asked}
    for unit in answer.values():
        pid = int(unit.get("MainPID") or 0)
        unit["generation"] = _system.generation(pid)
        if int(unit.get("NRestarts") or 0) and pid:
            from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drain

            gone = _drain.age(pid) is None
            unit["steady"] = "no" if gone or not _drain.is_listening(pid) else "yes"
    return answer


def people(asked: dict[str, Any]) -> dict[str, Any]:
    """Users, groups, and paths as whoever uses them will find them."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drop_ins, _host_checks

    told = [
        (f"{check['label']}: {check['path']} {problem}", check.get("mild"))
        for check in asked["checks"]
        if (problem := _host_checks.path_problem(check))
    ]
    return {
        "users": {name: _host_checks.account(name) for name in asked["users"]},
        "missing_groups": _host_checks.missing_groups(asked["groups"]),
        "problems": [text for text, mild in told if not mild]
        + _drop_ins.problems(asked["drop_ins"]),
        "cautions": [text for text, mild in told if mild],
    }


def other_runners(beside: dict[str, Any] | None) -> Any:
    """Daemons that the toolkit does not manage."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes

    return _runner_processes.report(beside)


def publish_tools(asked: dict[str, Any]) -> dict[str, Any]:
    """What differs from the tools as they should be."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _publish_tools

    due = _publish_tools.due(_publish_tools.Wanted(**asked), _publish_tools.Places())
    return {"foreign": due.foreign, "lines": due.lines(), "make": due.make}


def package_index(known: dict[str, str], **asked: Any) -> list[str]:
    """What keeps the host from using an index; not asked where a file says that it does."""
    if known and known["line"] in _lines(known["path"]):
        return []
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _package_index

    return _package_index.problems(**asked)


def _lines(path: str) -> list[str]:
    try:
        return _files.read_text(path).splitlines()
    except OSError:
        return []


def runner_config(folder: str, unit: str, check: bool) -> Any:
    """A service's config.toml and what belongs to it."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_config_file

    path = _runner_config_file.true_path(folder, check)
    return _runner_config_file.read(path, unit, complaints=True)


def found(asked: dict[str, Any], check: bool) -> dict[str, Any]:
    """What the arguments ask for."""
    info: dict[str, Any] = {
        "system_python": _system.system_version(),
        "systemd": _systemd.has_systemd(),
        "machine": _system.machine(),
        "cpus": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "packages": _dpkg.packages(asked["packages"]),
        "files": {path: _files.file_info(path) for path in asked["files"]},
    }
    if asked["distribution"]:
        info |= {"distribution": _system.distribution(), "root": os.geteuid() == 0}
    if asked["packages"]:
        info["provided"] = _dpkg.provided(asked["packages"], info["packages"])
        by = {record["provided_by"] for record in info["provided"].values()}
        info["automatic"] = sorted(_dpkg.automatic().intersection({*info["packages"], *by}))
        info["unfinished"] = _dpkg.unfinished()
    info["globs"] = {pattern: sorted(glob.glob(pattern)) for pattern in asked["globs"]}
    if asked["configs"]:
        info["configs"] = configs(asked["configs"])
    for path in asked["texts"]:
        info["files"][path] = _files.file_info(path, want_text=True)
    if asked["users"] or asked["groups"] or asked["checks"]:
        info |= people(asked)
    if asked["units"]:
        info["units"] = units(asked["units"])
    if asked["logind"]:
        info["logind"] = _systemd.logind()
        info["logind_foreign"] = _systemd.logind_foreign(asked["logind_ours"])
    if asked["other_runners"] or asked["other_runners_beside"] is not None:
        info["other_runners"] = other_runners(asked["other_runners_beside"])
    if asked["publish_tools"]:
        info["publish_tools"] = publish_tools(asked["publish_tools"])
    if asked["disk"]:
        from ansible_collections.runnerhost.toolkit.plugins.module_utils import _disk_space

        info["full_disk"] = _disk_space.shortage(**asked["disk"])
    if asked["package_index"]:
        info["package_index"] = package_index(**asked["package_index"])
    if asked["gitlab"]:
        from ansible_collections.runnerhost.toolkit.plugins.module_utils import _gitlab_probe

        info["gitlab_problems"] = _gitlab_probe.problems(
            asked["gitlab"], asked["gitlab_authorities"]
        )
    if asked["credential_files"]:
        from ansible_collections.runnerhost.toolkit.plugins.module_utils import _credential_files

        info["credential_files"] = _credential_files.found(asked["credential_files"])
    if asked["runner_config"]:
        info["runner_config"] = runner_config(**asked["runner_config"], check=check)
    return info
