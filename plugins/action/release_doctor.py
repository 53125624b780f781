# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says why a job of a release has failed, from its saved log; on the controller."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _symptoms
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction

LOG = "release_pipeline_doctor_log"
_LARGEST = 64 << 20
"""Bytes; GitLab keeps logs of up to 100 MB, of which the end matters."""


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns the verdicts, the first cause first."""
        args = self._task.args
        verdicts = _symptoms.diagnose(self._read(str(args["log"])))
        shown = _symptoms.shown(verdicts)
        if args["report"]:
            self._write(Path(args["report"]).expanduser(), {"verdicts": shown})
        return {
            "changed": False,
            "verdicts": shown,
            "healthy": verdicts[0].id == _symptoms.HEALTHY,
            "msg": [line for one in verdicts for line in one.lines()],
            "_ansible_verbose_always": verdicts[0].id == _symptoms.HEALTHY,
        }

    def _read(self, name: str) -> str:
        if not name:
            self.refuse([f"{LOG}: missing; expected a file with the log of a job"])
        try:
            with open(Path(name).expanduser(), "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                stream.seek(max(0, size - _LARGEST))
                return stream.read().decode(errors="replace")
        except OSError as error:
            self.refuse([f"{LOG}: {name} cannot be read: {error.strerror}"])
            raise

    def _write(self, path: Path, data: object) -> None:
        text = json.dumps(data, indent=2) + "\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            self.refuse([f"release_pipeline_doctor_report: {path}: {error.strerror}"])
