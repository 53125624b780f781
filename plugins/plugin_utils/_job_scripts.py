# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts that the inventory gives to runners, read by the controller's bash as the jobs' will."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service, present

SECONDS = 10
# As a command of the script's own, and not of a subshell; exit 1 is meant so.
_ENDS = re.compile(r"(?:^|[;&|\n]|\b(?:then|do|else)\s)\s*exit(?:\s+0)?\s*(?:$|[;&|\n])")
# This ends the job as failed.
_FAILS = re.compile(r"\|\|\s*exit\s*(?=$|[;&|\n])")


def warnings(services: Iterable[Service]) -> Iterator[str]:
    """Warnings for scripts that bash cannot read: each job would fail at once."""
    bash = shutil.which("bash")
    for service in services if bash else ():
        for index, runner in enumerate(service.runners):
            if not present([runner]) or str(runner.get("shell") or "bash") not in ("bash", "sh"):
                continue
            if _ENDS.search(_FAILS.sub("", str(runner.get("pre_build_script") or ""))):
                yield (
                    f"{service.variable('runners')}[{index}] ({runner['name']}).pre_build_script: "
                    "exit ends the job itself, and exit 0 makes it a success that has run nothing; "
                    "use if … fi"
                )
            for key in (key for key in runner if key.endswith("_script")):
                if said := _refusal(str(bash), str(runner[key])):
                    yield (
                        f"{service.variable('runners')}[{index}] ({runner['name']}).{key}: bash "
                        f"cannot read it ({said}), and each job would fail; a script of several "
                        "lines takes | in YAML, since > joins its lines"
                    )


def _refusal(bash: str, script: str) -> str:
    """What is wrong with a script, without its text; empty if nothing is."""
    try:
        # The runner's prelude lets job scripts use extended patterns.
        done = subprocess.run(
            [bash, "-O", "extglob", "-n"], input=script, text=True, capture_output=True,
            check=False, timeout=SECONDS, env={"LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    if done.returncode == 0:
        return ""
    # bash repeats the line; secrets may be in it.
    found = re.search(r"line (\d+): (syntax error|unexpected EOF)[^`'\n]*", done.stderr)
    return f"line {found[1]}: {found[0].partition(': ')[2].strip()}" if found else "syntax error"
