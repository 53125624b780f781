# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers the facts that the roles take, or says what keeps Ansible from the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    HOST_INFO,
    ToolkitAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._unreachable import (
    CONNECTION,
    Obstacle,
    of_module,
    recognised,
)


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def act(self) -> Mapping[str, object]:
        """Returns the facts; or fails with the obstacle, or returns it with ``keep_going``."""
        told = self._task.args.get("obstacle")
        if told:
            # Ansible's exit code 4, and not the 2 of a difference.
            raise AnsibleConnectionFailure(str(Obstacle(**told)))
        answer: Mapping[str, Any] = {}
        unreachable = False
        try:
            # Not setup, which is one more module to be built and sent.
            answer = self._execute_module(
                HOST_INFO, {"distribution": True}, task_vars=self.variables
            )
        except AnsibleError as error:
            said = _secrets.redact_text(str(error))
            unreachable = isinstance(error, AnsibleConnectionFailure)
            obstacle = recognised(said) or Obstacle(CONNECTION, " ".join(said.split()), "")
        else:
            if answer.get("info", {}).get("root") is False:
                answer = {"failed": True}
                obstacle = Obstacle(
                    CONNECTION,
                    "the tasks do not run as root",
                    "remove ansible_become: false, or set ansible_become_user to root",
                )
            elif not answer.get("failed") and not answer.get("unreachable"):
                # With the interpreter that Ansible has found, and its warnings about it.
                facts = dict(answer.get("ansible_facts", {}))
                # By setup's own names: else a fact cache would hold both, and the older might win.
                facts |= {f"ansible_{key}": v for key, v in answer["info"]["distribution"].items()}
                more = {key: value for key, value in answer.items() if key != "info"}
                return {**more, "ansible_facts": facts, "changed": False}
            else:
                obstacle = of_module(answer) or Obstacle(
                    CONNECTION, _secrets.redact_text(str(answer.get("msg") or "no answer")), ""
                )
        if self._task.args.get("keep_going"):
            told = {"source": obstacle.source, "found": obstacle.found, "remedy": obstacle.remedy}
            return {"changed": False, "obstacle": _secrets.redact(told)}
        if unreachable or answer.get("unreachable"):
            raise AnsibleConnectionFailure(_secrets.redact_text(str(obstacle)))
        raise AnsibleActionFail(_secrets.redact_text(str(obstacle)))
