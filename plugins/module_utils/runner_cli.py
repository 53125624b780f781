# SPDX-License-Identifier: Apache-2.0
"""The runner's own command line, as the modules on a host call it.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

from ansible_collections.runnerhost.toolkit.plugins.module_utils import host

BINARY = "/usr/bin/gitlab-runner"


def verify(path: str, names: list[str], way: dict[str, str]) -> dict[str, str]:
    """What GitLab says of runners, by name: ``valid``, ``refused`` or ``unanswered``.

    `verify`'s exit code alone does not tell: it is 0 when GitLab is down.
    """
    answers = {}
    for name in names:
        done = host.run(
            [
                BINARY,
                "--log-format",
                "json",
                "verify",
                "--config",
                path,
                "--name",
                name,
            ],
            timeout=60,
            env=way,
        )
        said = done.stderr + done.stdout
        if done.returncode == 0 and ("is valid" in said or "is alive" in said):
            answers[name] = "valid"
        elif "is not valid" in said or "is removed" in said:
            answers[name] = "refused"
        else:
            answers[name] = "unanswered"
    return answers
