# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops releases of projects in an emergency, and takes tokens out; on the controller."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_settings,
    _project_settings,
    _revoke_note,
    _revoke_plan,
    _revoke_run,
    _revoke_settings,
    _revoke_undo,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import Settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_api import RevokeApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_incident import Incident
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_note import NoteProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_settings import Wanted

_INSIDE = re.compile(r"gitlab_project_(projects|groups)\[\d+\]\.")
"""Begins what is said of the inside of an entry."""


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns what was done, what is left to a person, and what has failed."""
        args, now = self._task.args, datetime.now(timezone.utc)
        settings, problems = _project_settings.settings_of({**args, "purge": False})
        wanted, wrong = _revoke_settings.wanted_of(args, now)
        if args["undo"]:
            problems = [*_project_settings.untyped(args), *problems]
        else:
            # A token that was made unfit in the inventory, in haste, keeps nobody from stopping.
            problems = [one for one in problems if not _INSIDE.match(one)]
        self.refuse_here(problems + wrong)
        try:
            api = RevokeApi(
                settings.url, settings.token, args["api_ca_certificate"], args["api_proxy"]
            )
            api.learn(one.value for place in settings.places for one in place.variables or ())
            self.refuse(_revoke_run.read_only(api))
            if args["undo"]:
                return self._undo(settings, api)
            return self._revoke(settings, wanted, api, now)
        except ApiProblem as problem:
            raise AnsibleActionFail(str(problem)) from None

    def _revoke(
        self, settings: Settings, wanted: Wanted, api: RevokeApi, now: datetime
    ) -> Mapping[str, object]:
        check = bool(self._task.check_mode)
        credentials, warnings = self._credentials()
        try:
            note = _revoke_note.find(str(self._task.args["note"]), settings.url, now)
            incident = Incident(settings, wanted, api, note, check)
            _revoke_run.run(incident, credentials, self._task.args)
        except NoteProblem as problem:
            self.refuse([f"{_revoke_settings.ROLE}_note: {problem}"])
            raise
        failed = incident.outcome.failed
        result = {
            "changed": incident.changed,
            "diff": incident.outcome.diffs(),
            "failures": failed,
            "note": "" if check and not note.there else str(note.path),
            "warnings": warnings,
            "msg": [
                *_revoke_run.lines(incident),
                f"GitLab gave {api.calls} answers" + ("" if check else f". Note: {note.path}"),
            ],
            "_ansible_verbose_always": not failed,
        }
        # Names of runners and branches may hold it too.
        leaked = frozenset(filter(_revoke_plan.random, incident.values.known))
        plain: Mapping[str, object] = _secrets.redact(result, leaked)
        return plain

    def _undo(self, settings: Settings, api: RevokeApi) -> Mapping[str, object]:
        try:
            note = _revoke_undo.note_of(str(self._task.args["undo"]), settings.url)
        except NoteProblem as problem:
            self.refuse([f"{_revoke_settings.ROLE}_undo: {problem}"])
            raise
        if not self._task.args.get("resume", True):
            return {"changed": False, "failures": [], "note": str(note.path), "msg": []}
        undo = _revoke_undo.Undo(settings, api, note, bool(self._task.check_mode))
        undo.run()
        return {
            "changed": undo.changed,
            "diff": undo.outcome.diffs(),
            "failures": undo.outcome.failed,
            "note": str(note.path),
            "warnings": undo.warnings,
            "msg": undo.lines or ["Nothing to undo in GitLab"],
            "_ansible_verbose_always": not undo.outcome.failed,
        }

    def _credentials(self) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
        """Passwords of indexes that the inventory holds for hosts, and whose cannot be read."""
        found: dict[str, list[tuple[str, str]]] = {}
        warnings = []
        hosts: Mapping[str, Mapping[str, object]] = self.variables.get("hostvars") or {}
        for host in hosts:
            try:
                entries = hosts[host].get(_index_settings.VARIABLE) or []
                found[str(host)] = [
                    (str(entry.get("name") or entry.get("kind")), str(entry.get("password")))
                    for entry in entries  # type: ignore[attr-defined]
                ]
            except Exception:
                # One host's mistake must not keep the emergency from being dealt with.
                warnings.append(
                    f"{_index_settings.VARIABLE} of {host} cannot be read: check it by hand"
                )
        return found, warnings
