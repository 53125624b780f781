# SPDX-License-Identifier: Apache-2.0
"""What the toolkit's action plugins share on the controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

from ansible_collections.runnerhost.toolkit.plugins.module_utils import openpgp

LOOK = "runnerhost.toolkit.host_look"
OFFER = "runnerhost.toolkit.apt_offer"
# Days before its expiry from which on a key is warned of.
KEY_WARNING_DAYS = 60


class ToolkitAction(ActionBase):  # type: ignore[misc]
    """Base of the action plugins: asks modules, refuses with one message, keeps secrets quiet."""

    _supports_check_mode = True
    _supports_diff = True

    def ask(
        self, module: str, arguments: Mapping[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        """A module's answer; its failure ends the task."""
        answer: dict[str, Any] = self._execute_module(
            module_name=module, module_args=dict(arguments), task_vars=task_vars
        )
        if answer.get("failed") or answer.get("unreachable"):
            raise AnsibleActionFail(str(answer.get("msg", "no answer")), result=answer)
        return answer

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """At -vvv the ssh plugin prints what a module answers: not while secrets are in it.

        Also keeps the call out of the host's syslog.
        """
        context = self._connection._play_context
        before = context.no_log, self._task.no_log
        context.no_log = True
        self._task.no_log = True
        try:
            yield
        finally:
            context.no_log, self._task.no_log = before

    @staticmethod
    def refuse(problems: list[str], untouched: str = "nothing was changed") -> None:
        """Ends the task if there is any problem, naming all of them at once."""
        if problems:
            lines = problems if len(problems) == 1 else [f"{len(problems)} problems:", *problems]
            raise AnsibleActionFail(f"refused, {untouched}: " + "\n- ".join(lines))

    def key(self, variable: str, source: str, fingerprint: str) -> tuple[str, list[str]]:
        """A repository key from a file or a URL, checked, and warnings about its expiry.

        Args:
            variable: name of the Ansible variable, for messages.
            source: path on the controller, or an http(s) address.
            fingerprint: the only one that is trusted.
        """
        now = datetime.now(timezone.utc)
        try:
            key = openpgp.read(self._fetch(source))
            openpgp.check(key, fingerprint, now)
        except openpgp.KeyProblem as problem:
            raise AnsibleActionFail(
                f"refused, nothing was changed: {variable}: the key from {source} {problem}"
            ) from None
        except (OSError, AnsibleActionFail) as error:
            raise AnsibleActionFail(
                f"refused, nothing was changed: {variable}: cannot read {source}: {error}"
            ) from None
        left = key.days_left(now)
        if left is not None and left < KEY_WARNING_DAYS:
            return key.armour, [
                f"{variable}: the key from {source} expires on {key.expires:%Y-%m-%d}, "
                f"in {left} days"
            ]
        return key.armour, []

    def _fetch(self, source: str) -> str:
        if source.startswith(("https://", "http://")):
            with open_url(source, timeout=30, http_agent="runnerhost.toolkit") as answer:
                return str(to_text(answer.read(), errors="surrogate_or_strict"))
        path = self._loader.path_dwim(source) if not source.startswith("/") else source
        with open(path, encoding="utf-8") as stream:
            return stream.read()
