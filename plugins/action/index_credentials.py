# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans, before the host is changed, its files with credentials of indexes; shows no token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.errors import AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_plan,
    _index_settings,
    _services,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    HOST_INFO,
    ToolkitAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._index_plan import User


class ActionModule(ToolkitAction):
    """The task's controller side."""

    variables_of: ClassVar[list[str]] = ["index_credentials"]

    def act(self) -> Mapping[str, object]:
        """Returns ``plan``; fails with every refusal at once. Asks the host only if it is used."""
        entries = self._value(_index_settings.VARIABLE) or []
        wrong = _index_settings.problems(entries)
        warnings = self.validate(self.variables_of, self.variables, wrong)
        image = self._task.args["image"]
        indexes = [] if image else [_index_settings.index_of(entry) for entry in entries]
        services = self._services()
        self.refuse(_index_plan.user_problems(services, indexes))
        warnings += _index_plan.open_tokens(services, indexes)
        users = _index_plan.users(services, indexes)
        url = str(self.network_values(self.variables)["package_index_url"] or "")
        self.refuse(
            [
                problem
                for user in users
                for problem in (
                    *_index_plan.order_problems(user, url),
                    *_index_plan.login_problems(user),
                )
            ]
        )
        if indexes:
            warnings += self.no_file_on_host("the credentials of package indexes")
            warnings += self._ask_host([user for user in users if user.indexes])
        result: dict[str, Any] = {
            "changed": False,
            "plan": {"files": [item for user in users for item in _index_plan.files(user)]},
        }
        if warnings:
            result["warnings"] = warnings
        if indexes:
            self.hide(result)
        return result

    def _ask_host(self, users: list[User]) -> list[str]:
        """Refuses what is in the way there; returns warnings of other files with secrets."""
        homes = [user.service.home for user in users]
        question = {"credential_files": homes, "users": [user.service.user for user in users]}
        info = self.ask(HOST_INFO, question, self.variables)["info"]
        found = info["credential_files"]
        problems = [p for user in users for p in _index_plan.host_problems(user, found)]
        # In a play with the role gitlab_runner, it makes the users before the files are written.
        if "gitlab_runner_plan" not in self.variables:
            problems += [
                f"{user.service.variable('user')}: the host has no user {user.service.user}; "
                "run the role gitlab_runner first"
                for user in users
                if not info["users"][user.service.user]
            ]
        self.refuse(list(dict.fromkeys(problems)))
        return [text for user in users for text in _index_plan.strays(user, found)]

    def _services(self) -> list[_services.Service]:
        """The host's runner services, as far as the inventory names them."""
        names = ("user", "home", "environment", "runners", "isolated")
        values = {name: self._value(f"gitlab_runner_{name}") for name in names}
        if self._task.args["image"]:
            values["isolated"] = []
        return _services.services(values)

    def _value(self, name: str) -> Any:
        """A variable's value; nothing if the play does not have it."""
        try:
            return self._templar.template(self.variables.get(name))
        except AnsibleError as error:
            self.refuse([f"{name}: {error}"])
            raise
