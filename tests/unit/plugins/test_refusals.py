# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals and warnings show no secret, wherever in the inventory it stands."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from tests.unit.plugins.test_runner_plan import GOOD, TOKEN

SECRET = "glrt-Zs3cretTOKENabcdef12"
PYPI = "pypi-AgEIcHlwaS5vcmcCJDU2"


def entry(**more: Any) -> dict[str, Any]:
    return {"runners": [{"name": "build", "token": TOKEN, **more}]}


@pytest.mark.parametrize(
    ("change", "secret", "says"),
    [
        (
            entry(environment=[f"TWINE_PASSWORD: {PYPI}"]),
            PYPI,
            "expected NAME=value, with = after TWINE_PASSWORD",
        ),
        (entry(environment=["TWINE_PASSWORD: hunter2"]), "hunter2", "= after TWINE_PASSWORD"),
        (entry(environment=["TWINE_PASSWORD:hunter2="]), "hunter2", "= after TWINE_PASSWORD"),
        (entry(environment=["TWINE_PASSWORD hunter2"]), "hunter2", "expected NAME=value"),
        (entry(environment=["hunter2"]), "hunter2", "environment[0]: invalid value (hidden)"),
        (entry(environment=["A=b", "hunter2: x"]), "x'", "environment[1]"),
        (entry(environment=[{"TWINE_PASSWORD": "hunter2="}]), "hunter2", "environment"),
        (entry(environment=[SECRET]), SECRET, "expected NAME=value"),
        (entry(name=SECRET, token="ci-worker-07 release"), SECRET, "(hidden)).token"),
        (entry(**{SECRET: 1}), SECRET, "unknown key '(hidden)'"),
        ({"settings": {SECRET: 1}}, SECRET, "gitlab_runner_settings: unknown key '(hidden)'"),
        ({"isolated": [{"name": SECRET}]}, SECRET, "gitlab_runner_isolated[0].name"),
        ({"user": SECRET}, SECRET, "gitlab_runner_user"),
        (
            {"limits_and_cleanup": {"job_limits": {SECRET: "8G"}}},
            SECRET,
            "gitlab_runner_job_limits",
        ),
    ],
)
def test_no_refusal_shows_a_secret(change: dict[str, Any], secret: str, says: str) -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        ToolkitAction.refuse(_runner_settings.problems({**GOOD, **change}))
    assert says in str(caught.value)
    assert secret not in str(caught.value)


class Action(ToolkitAction):
    """Does whatever a test wants."""

    def act(self) -> Mapping[str, object]:
        """Fails or warns with the texts of the task's arguments."""
        args = self._task.args
        if "fail" in args:
            raise AnsibleActionFail(args["fail"], result={"rc": 3, "msg": args["fail"]})
        return {"warnings": [args["warn"]], "changed": False}


def action(**args: Any) -> Action:
    made = object.__new__(Action)
    made._task = SimpleNamespace(args=args, check_mode=False, async_val=0)
    made._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    made._templar = SimpleNamespace(template=lambda value: value)
    return made


@pytest.mark.parametrize(
    ("args", "variables"),
    [
        ({}, {"network_access_proxy_password": "correct horse"}),
        ({}, {"gitlab_runner_isolated": [{"runners": [{"token": "correct horse"}]}]}),
        ({"api_token": "correct horse"}, {}),
        ({"runners": [{"token": "correct horse"}]}, {}),
        ({"runners": [{"environment": ["TWINE_PASSWORD=correct horse"]}]}, {}),
        ({"environment": {"TWINE_PASSWORD": "correct horse"}}, {}),
    ],
)
def test_the_inventorys_own_secrets_are_in_no_message(
    args: dict[str, Any], variables: dict[str, Any]
) -> None:
    text = f"cannot do it: correct horse, {SECRET}"
    with pytest.raises(AnsibleActionFail) as caught:
        action(fail=text, **args).run(None, variables)
    assert str(caught.value) == "cannot do it: (hidden), (hidden)"
    assert caught.value.result["rc"] == 3
    assert "correct horse" not in repr(caught.value.result)
    assert caught.value.__context__ is None
    result = action(warn=text, **args).run(None, variables)
    assert result["warnings"] == ["cannot do it: (hidden), (hidden)"]


@pytest.mark.parametrize(
    "text",
    [
        "gitlab_runner_api_token: GitLab answered 401: the token is not valid any more",
        "refused, nothing was changed: gitlab_runner_api_token: it cannot make runners",
        "2 problems:\n- network_access_proxy_password: invalid value of type list; expected text",
        "gitlab_runner_runners[1] (build).token: invalid value of type number; expected text",
        "gitlab_runner_user: invalid value 'Git Lab'; expected a Unix user name",
    ],
)
def test_messages_stay_readable(text: str) -> None:
    assert _secrets.redact_message(text) == text
