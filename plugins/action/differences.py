# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a verification has found on a host, in words and as data; and its report for all hosts."""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _pythons, _venvs
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _differences,
    _python_releases,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._unreachable import Obstacle


class ActionModule(ToolkitAction):
    """The task's controller side; no module runs on the host."""

    def act(self) -> Mapping[str, object]:
        """Returns what was found, as data and in words; writes or removes a report."""
        args = self._task.args
        if args.get("report"):
            self._report(Path(str(args["report"])).expanduser(), args.get("hosts"))
            return {"changed": False}
        asked = _results(args.get("gitlab") or [])
        if not any(one.get("failed") for one in asked):
            asked += _results([args.get("gitlab_ended_by") or {}])
        found = [
            *_differences.from_gitlab(asked),
            *_differences.from_tests(args.get("tests") or {}),
            *_differences.from_files((args.get("tests") or {}).get("files") or {}),
        ]
        # config.toml may hold one name twice.
        found = list(dict.fromkeys(found))
        tests = args.get("tests") or {}
        venvs = args.get("venvs") or {}
        obstacles = [
            dict(one["obstacle"])
            for one in (args.get("reached") or {}, tests)
            if isinstance(one, dict) and one.get("obstacle")
        ]
        for name, one in (
            ("the tests of the host", tests),
            ("virtual environments", venvs),
            ("files of the toolkit", tests.get("files") or {}),
        ):
            if one.get("failed"):
                said = f"{name}: {one.get('msg') or 'no answer'}"
                obstacles.append({"source": "connection", "found": said, "remedy": ""})
        unnamed = list(tests.get("unnamed_runners", []))
        notes = [
            *tests.get("notes", []),
            *([str(venvs["summary"])] if venvs.get("venvs") else []),
            *(one["text"] for one in venvs.get("venvs", []) if one["state"] != _venvs.ALIVE),
            *venvs.get("left_out", []),
            *_python_releases.warnings(
                [str(v) for v in args.get("wanted") or [] if _pythons.parse(str(v))],
                datetime.date.today(),
                int(args.get("end_of_life_warning_days", _python_releases.NEVER)),
                str(venvs.get("system_python", "")),
            ),
        ]
        words = [
            *(str(Obstacle(**one)) for one in obstacles),
            *(str(one) for one in found),
            *notes,
            _result_line(len(obstacles), len(found), len(unnamed)),
        ]
        if found and tests.get("failures"):
            by_hand = str(tests.get("by_hand", ""))
            more = " (NAME=VALUE stands for what you gave with -e)" if "=VALUE" in by_hand else ""
            words.append(f"the same tests by hand{more}: {by_hand}")
        return {
            "changed": False,
            "differences": [asdict(one) for one in found],
            "obstacles": obstacles,
            "unnamed_runners": unnamed,
            "notes": notes,
            "words": words,
        }

    @staticmethod
    def _report(path: Path, hosts: Mapping[str, Any] | None) -> None:
        """Writes the report in one step, or removes an earlier run's."""
        try:
            if hosts is None:
                path.unlink(missing_ok=True)
                return
            found = {name: one if one else None for name, one in hosts.items()}
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            text = json.dumps(_differences.report(found, now), indent=1, ensure_ascii=False) + "\n"
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    stream.write(text)
                os.replace(name, path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as problem:
            raise AnsibleActionFail(
                f"runner_host_verify_report: {path} cannot be written ({problem.strerror})"
            ) from None


def _result_line(obstacles: int, found: int, unnamed: int) -> str:
    """The one line that says how it ended."""
    if obstacles and not found:
        return "the host could not be checked; nothing is known of differences"
    if found:
        return f"{found} {'difference' if found == 1 else 'differences'} from the inventory"
    if unnamed:
        many = "1 runner" if unnamed == 1 else f"{unnamed} runners"
        return (
            f"what the inventory names is as it should be; {many} on the host "
            f"{'is' if unnamed == 1 else 'are'} not in the inventory"
        )
    return "nothing differs from the inventory"


def _results(given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Results of tasks, those of their loops too."""
    found: list[Mapping[str, Any]] = []
    for one in given:
        found += one["results"] if one.get("results") else [one]
    return [one for one in found if one]
