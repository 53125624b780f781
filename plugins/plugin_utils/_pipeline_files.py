# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a repository are written, and which somebody else has changed.

What the toolkit has written it lists with its SHA-256 in STATE, beside the files. A file that is
there and is neither listed so nor as it should be is somebody else's, and is left alone.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import File

STATE = ".runnerhost.sha256"
"""As sha256sum writes it."""


@dataclass
class Plan:
    """What is to be done with the files of one repository.

    Attributes:
        write: the files that differ, with their new contents.
        found: what is there, of all files that were asked about.
        edited: the paths that somebody else has written.
    """

    write: dict[str, File] = field(default_factory=dict)
    found: Mapping[str, File | None] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """The paths to write, without the toolkit's own list, if they are not all."""
        return [path for path in self.write if path != STATE] or list(self.write)

    def actions(self) -> list[dict[str, Any]]:
        """The same for GitLab's commits API, which refuses what has changed since it was read."""
        actions: list[dict[str, Any]] = []
        for path, wanted in self.write.items():
            before = self.found.get(path)
            action = {
                "action": "update" if before else "create",
                "file_path": path,
                "content": base64.b64encode(wanted.content).decode(),
                "encoding": "base64",
            }
            if before:
                action["last_commit_id"] = before.commit
            actions.append(action)
            if wanted.executable and not (before and before.executable):
                mode = {"action": "chmod", "file_path": path, "execute_filemode": True}
                actions.append(mode)
        return actions

    def differences(self, where: str) -> list[dict[str, str]]:
        """Ansible's diff, without secrets; the toolkit's own list is not worth showing."""
        return [
            {
                "before_header": f"{where}: {path}",
                "after_header": f"{where}: {path}",
                "before": _text(self.found.get(path)),
                "after": _text(self.write[path]),
            }
            for path in self.paths
        ]


def plan(wanted: Mapping[str, File], found: Mapping[str, File | None]) -> Plan:
    """What is to be written.

    Args:
        wanted: path -> content.
        found: what is there of these paths, and of STATE.
    """
    state = found.get(STATE)
    ours = listed(state.content if state else b"")
    made = Plan(found=found)
    for path, file in wanted.items():
        before = found.get(path)
        if before is None or before.content != file.content:
            if before is not None and ours.get(path) != digest(before):
                made.edited.append(path)
            made.write[path] = file
    text = "".join(f"{digest(file)}  {path}\n" for path, file in sorted(wanted.items())).encode()
    if state is None or state.content != text:
        made.write[STATE] = File(text)
    return made


def digest(file: File) -> str:
    """A file's SHA-256, in hex."""
    return hashlib.sha256(file.content).hexdigest()


def listed(state: bytes) -> dict[str, str]:
    """Paths and digests of a STATE; a line that is none is left out."""
    lines = state.decode(errors="replace").splitlines()
    matches = (re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line) for line in lines)
    return {match[2]: match[1] for match in matches if match}


def unified(where: str, before: File | None, after: File) -> str:
    """A diff to read, without secrets."""
    lines: Iterable[str] = difflib.unified_diff(
        _text(before).splitlines(), _text(after).splitlines(), where, f"{where} (wanted)", "", "",
        lineterm="",
    )  # fmt: skip
    return "\n".join(lines)


def _text(file: File | None) -> str:
    if file is None:
        return ""
    return _secrets.redact_text(file.content.decode(errors="replace"))
