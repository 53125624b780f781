# SPDX-License-Identifier: Apache-2.0
"""What the toolkit's action plugins share on the controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    apt_sources,
    openpgp,
    secrets,
)

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
            if self._connection._play_context.no_log:
                # The raw answer may hold tokens, and hex passes every filter.
                raise AnsibleActionFail(secrets.redact_text(str(answer.get("msg", "no answer"))))
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

    def key(
        self, variable: str, source: str, fingerprint: str, deployed: str = ""
    ) -> tuple[str, list[str]]:
        """A repository key, checked, and warnings about its expiry.

        An address is asked only if the host does not hold the key yet or it nears its end: a
        no-op needs no internet. A file is read always.

        Args:
            variable: name of the Ansible variable, for messages.
            source: path on the controller, or an http(s) address.
            fingerprint: the only one that is trusted.
            deployed: the text of the host's source file, in which a key may stand.
        """
        now = datetime.now(timezone.utc)
        shown = secrets.redact_text(source)
        remote = source.startswith(("https://", "http://"))
        held = self._held(deployed, fingerprint, now) if remote else None
        if held is not None:
            days = held.days_left(now)
            if days is None or days >= KEY_WARNING_DAYS:
                return held.armour, []
        warnings = []
        try:
            key = openpgp.read(self._fetch(source))
            openpgp.check(key, fingerprint, now)
        except openpgp.KeyProblem as problem:
            self.refuse([f"{variable}: the key from {shown} {problem}"])
        except (OSError, AnsibleError) as error:
            if held is None:
                self.refuse([f"{variable}: cannot read {shown}: {secrets.redact_text(str(error))}"])
                raise
            key = held
            warnings.append(f"{variable}: cannot read {shown}; the host's own copy is used")
        left = key.days_left(now)
        if left is not None and left < KEY_WARNING_DAYS:
            warnings.append(
                f"{variable}: the key from {shown} expires on {key.expires:%Y-%m-%d}, "
                f"in {left} days"
            )
        return key.armour, warnings

    @staticmethod
    def _held(deployed: str, fingerprint: str, now: datetime) -> openpgp.Key | None:
        """The key inside a host's source file, if it is the trusted one and still valid."""
        try:
            key = openpgp.read(apt_sources.without_indent(deployed))
            openpgp.check(key, fingerprint, now)
        except openpgp.KeyProblem:
            return None
        return key

    def find_file(self, name: str) -> str:
        """A controller's file: absolute, or searched for as Ansible's file lookup does."""
        return str(self._find_needle("files", name))

    def _fetch(self, source: str) -> str:
        if source.startswith(("https://", "http://")):
            with open_url(source, timeout=30, http_agent="runnerhost.toolkit") as answer:
                return str(to_text(answer.read(), errors="surrogate_or_strict"))
        with open(self.find_file(source), encoding="utf-8") as stream:
            return stream.read()
