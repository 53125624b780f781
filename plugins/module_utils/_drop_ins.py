# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a host's own drop-ins with which a runner's service could not do its work.

Read from files (systemd.unit(5)): on a new host systemd does not know the service yet.
Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterator, Mapping

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files, _secrets

ROOTS = ("/usr/lib", "/usr/local/lib", "/run", "/etc")
# What gitlab-runner reads as root without --config.
DEFAULT = "/etc/gitlab-runner/config.toml"
_NO = ("", "0", "no", "n", "false", "f", "off")


def problems(services: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The settings that are in the way, one message each.

    Args:
        services: by unit, each with the ``drop_in`` that the toolkit writes, the job user's
            ``home``, the ``config`` that the service reads, and ``command``, which is empty where
            that drop-in sets none.
    """
    return [
        f"{path}: {key}={_secrets.redact_text(value)}: {why}; remove this setting of {unit}"
        for unit, service in services.items()
        for key, (value, path) in effective(unit, service).items()
        if (why := _wrong(key, value, service))
    ]


def effective(unit: str, service: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What the host's own files set for a service, each with its file.

    Of what the toolkit's drop-in sets too, only what is read after it.
    """
    ours = service["drop_in"]
    files = {os.path.basename(path): path for path in _paths(unit) if path != ours}
    own = os.path.basename(ours)
    overridden = {"KillMode", "KillSignal"}
    if service.get("command"):
        overridden.add("ExecStart")
    if os.path.isfile(ours):
        overridden |= {key for key, _value in _settings(_files.read_text(ours))}
    found: dict[str, tuple[str, str]] = {}
    for name in sorted(files):
        text = ""
        # A link that leads nowhere is none.
        with contextlib.suppress(OSError):
            text = _files.read_text(files[name])
        for key, value in _settings(text):
            if name > own or key not in overridden:
                found[key] = value, files[name]
    return found


def _paths(unit: str) -> Iterator[str]:
    """All drop-ins of a unit; of those with one name, the last counts."""
    words = unit.removesuffix(".service").split("-")
    prefixes = ["-".join(words[:count]) + "-" for count in range(1, len(words))]
    for name in ("", *prefixes, unit.removesuffix(".service")):
        folder = f"{name}.service.d" if name else "service.d"
        for root in ROOTS:
            yield from glob.glob(f"{root}/systemd/system/{folder}/*.conf")


def _settings(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        key, mark, value = line.partition("=")
        if mark and section == "[Service]" and not line.startswith(("#", ";")):
            yield key.strip(), value.strip()


def _wrong(key: str, value: str, service: Mapping[str, str]) -> str:
    home = service["home"]
    if key == "ExecStart" and value:
        # `gitlab-runner install` writes each word in quotes.
        words = re.sub(r"[\"']", "", value)
        match = re.search(r"\s(?:--config|-c)[ =]\s*(\S+)", words)
        read = match[1] if match else DEFAULT
        return (
            "" if read == service["config"] else f"the service would not read {service['config']}"
        )
    on = value.lower() not in _NO
    if (key == "KillMode" and value != "mixed") or (
        key == "KillSignal" and value.removeprefix("SIG") not in ("QUIT", "3")
    ):
        return "a stop of the service would kill its jobs"
    if (key == "User" and value not in ("", "root", "0")) or (key == "DynamicUser" and on):
        return "gitlab-runner must run as root, which starts each job as the job user"
    if key == "PrivateUsers" and on:
        return "the job user would not exist for the service"
    if key == "ProtectHome" and on and home.startswith(("/home/", "/root/")):
        return f"jobs could not use their home, {home}"
    return ""
