# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans and installs the tools for publishing, from a lock on the controller."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _publish_lock
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import (
    NO_FILE,
    ROOT,
    unreadable,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    HOST_INFO,
    ToolkitAction,
)

MODULE = "runnerhost.toolkit.publish_tools_io"
OWN_LOCK = ROOT / "requirements-release.txt"
PROGRAM = ROOT / "release" / "release.py"


class ActionModule(ToolkitAction):
    """The task's controller side."""

    variables_of: ClassVar[list[str]] = ["publish_tools"]

    def act(self) -> Mapping[str, object]:
        """Returns ``plan``, or what was changed; fails with every refusal at once."""
        args = self._task.args
        warnings: list[str] = []
        if args["simulate"]:
            found = _publish_lock.problems(args)
            warnings = self.validate(self.variables_of, self.variables, found)
        texts = self._texts() if args["state"] == "present" else {}
        wanted = {
            "lock": _digest(texts.get("lock", "")),
            "program": _digest(texts.get("program", "")),
            "python": args["python"],
            "commands": args["commands"],
        }
        if not args["simulate"]:
            return self._install(wanted, texts)
        # With the module that the run has built and sent before.
        answer = self.ask(HOST_INFO, {"publish_tools": wanted}, self.variables)["info"][
            "publish_tools"
        ]
        self.refuse(_publish_lock.foreign_problems(answer["foreign"]))
        if answer["make"]:
            warnings += _publish_lock.command_warnings(args["commands"], texts["lock"])
            self.refuse(self._index_problems(texts["lock"]))
        plan = {"changes": answer["lines"], "packages": self._packages()}
        return {"changed": False, "plan": plan, **({"warnings": warnings} if warnings else {})}

    def _install(self, wanted: dict[str, Any], texts: dict[str, str]) -> Mapping[str, object]:
        network = self.network(self.variables)
        arguments = {**wanted, "texts": texts, "environment": network.environment()}
        with self.quiet() if network.secrets() else nullcontext():
            answer = self.ask(MODULE, arguments, self.variables)
        self.refuse(_publish_lock.foreign_problems(answer["foreign"]))
        result = {key: answer[key] for key in ("changed", "changed_paths", "diff")}
        if answer["changed"]:
            verb = "would change" if self._task.check_mode else "changed"
            result["msg"] = f"{verb}: {', '.join(answer['lines'])}"
        return result

    def _index_problems(self, lock: str) -> list[str]:
        """Why the host cannot get what the lock names; a call more where it is to be installed."""
        network = self.network(self.variables)
        url = network.index_url or _publish_lock.pips_index()
        question = {
            "url": url,
            "environment": network.index_question(),
            "authorities": [text for __, text in network.authorities],
            "pins": _publish_lock.pins(lock),
        }
        if not url:
            return []
        with self.quiet() if network.secrets() else nullcontext():
            answer = self.ask(HOST_INFO, {"package_index": question}, self.variables)["info"]
        return list(answer["package_index"])

    def _texts(self) -> dict[str, str]:
        """The lock, checked, and the release program."""
        source = self._task.args["lock"]
        try:
            path = Path(self.find_file(source)) if source else OWN_LOCK
            # As they are, line ends too: their digests are compared.
            lock, program = (one.read_bytes().decode() for one in (path, PROGRAM))
        except (AnsibleError, OSError, UnicodeDecodeError) as error:
            said = unreadable("publish_tools_lock", str(source or OWN_LOCK), error)
            lacks = said.endswith(NO_FILE)
            self.refuse([said if lacks else f"{said}; expected a lock of pip with hashes"])
            raise
        self.refuse(_publish_lock.lock_problems(lock, str(path)))
        return {"lock": lock, "program": program}

    def _packages(self) -> list[str]:
        """What the interpreter needs to make an environment with pip."""
        own = self._task.args["python"] == "/usr/bin/python3"
        return ["python3-venv"] if own and self._task.args["state"] == "present" else []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""
