# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says why there is no release, from GitLab's API or a saved log; on the controller."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _symptoms
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor import Doctor
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor_api import DoctorApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import (
    pipelines_of,
)

_ROLE = "release_pipeline"
_NAME = f"{_ROLE}_doctor"
_LARGEST = 64 << 20
"""Bytes; GitLab keeps logs of up to 100 MB, of which the end matters."""


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns the verdicts, the first cause first."""
        args = self._task.args
        self.refuse_here(_problems(args))
        calls, unseen = 0, list[str]()
        if args["log"]:
            verdicts = _symptoms.diagnose(self._read(str(args["log"])))
        else:
            verdicts, calls, unseen = self._ask(args)
        healthy = verdicts[0].id == _symptoms.HEALTHY
        shown = {"healthy": healthy, "verdicts": _symptoms.shown(verdicts), "unseen": unseen}
        if args["report"]:
            self._write(Path(args["report"]).expanduser(), {**shown, "calls": calls})
        lines = [line for one in verdicts for line in one.lines()]
        lines += [f"not seen, for lack of a right of the access token: {one}" for one in unseen]
        return {
            "changed": False,
            **shown,
            "calls": calls,
            "msg": [*lines, *([f"asked GitLab {calls} times"] if calls else [])],
            "_ansible_verbose_always": healthy,
        }

    def _ask(self, args: Mapping[str, Any]) -> tuple[list[_symptoms.Verdict], int, list[str]]:
        """What GitLab shows, the number of its answers, and what the token may not see."""
        try:
            api = DoctorApi(
                str(args["url"]).rstrip("/"), str(args["api_token"]), args["api_ca_certificate"],
                args["api_proxy"], variable=f"{_ROLE}_api_token",
            )  # fmt: skip
            path = str(args["project"])
            details = api.project_details(path)
            if details is None:
                raise AnsibleActionFail(
                    f"{_NAME}_project: {api.url} has no project {path} that this token may see; "
                    "check the path, and that the token's user is a member"
                )
            owner = Owner(
                "projects", int(details["id"]), str(details["path_with_namespace"]),
                str(details.get("ci_config_path") or ""),
            )  # fmt: skip
            known = pipelines_of(args["projects"], args["inputs"])
            doctor = Doctor(api, owner, details, known)
            tag, job = str(args["tag"]), int(args["job"])
            verdicts = doctor.of_job(job) if job else doctor.of_tag(tag)
        except ApiProblem as problem:
            raise AnsibleActionFail(str(problem)) from None
        return verdicts, api.calls, api.unseen

    def _read(self, name: str) -> str:
        try:
            with open(Path(name).expanduser(), "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                stream.seek(max(0, size - _LARGEST))
                return stream.read().decode(errors="replace")
        except OSError as error:
            self.refuse([f"{_NAME}_log: {name} cannot be read: {error.strerror}"])
            raise

    def _write(self, path: Path, data: object) -> None:
        text = json.dumps(data, indent=2) + "\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            self.refuse([f"{_NAME}_report: {path}: {error.strerror}"])


def _problems(args: Mapping[str, Any]) -> list[str]:
    """What is wrong with what was asked."""
    asked = [name for name in ("log", "tag", "job") if args[name]]
    if len(asked) != 1:
        found = " and ".join(f"{_NAME}_{name}" for name in asked) or "none"
        return [
            f"{_NAME}_log, {_NAME}_tag, {_NAME}_job: {found} set; expected one of them: a file "
            "with the log of a job, a tag, or the number of a job"
        ]
    if args["log"]:
        return []
    return [
        f"{name}: missing; expected {what}"
        for name, value, what in (
            (f"{_NAME}_project", args["project"], "the path of the project in GitLab"),
            (f"{_ROLE}_url", args["url"], "the URL of your GitLab"),
            (f"{_ROLE}_api_token", args["api_token"], "an access token with the scope read_api"),
        )
        if not value
    ]
