# SPDX-License-Identifier: GPL-3.0-or-later
"""The script of a stage, for bash."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from standins.gitlab_runner.log import GREEN, RESET
from standins.gitlab_runner.variables import Variables
from standins.gitlab_runner.version import version_tuple


class Script:
    """A stage's script, as the runner writes it for bash."""

    def __init__(self, tmp_dir: str) -> None:
        self._tmp = tmp_dir
        self._lines: list[str] = []

    def line(self, text: str) -> None:
        """Add a line as it is."""
        self._lines.append(text)

    def command(self, *words: str) -> None:
        """Add a command, quoted."""
        self.line(" ".join(shlex.quote(word) for word in words))

    def notice(self, text: str, colour: str = GREEN) -> None:
        """Add an echo in green (or another colour)."""
        self.line("echo " + shlex.quote(f"{colour}{text}{RESET}"))

    def remove(self, path: str) -> None:
        """Add the removal of a file."""
        self.command("rm", "-f", path)

    def remove_dir(self, path: str) -> None:
        """Add the removal of a folder, writable or not."""
        quoted = shlex.quote(path)
        self.line(f"if [ -d {quoted} ]; then chmod -R u+rwX {quoted}; fi")
        self.command("rm", "-r", "-f", path)

    def exports(self, variables: Variables) -> None:
        """Add the export of all variables, file variables written to their files."""
        tmp = shlex.quote(self._tmp)
        for item in variables.items:
            key = shlex.quote(item.key)
            if item.file:
                path = shlex.quote(f"{self._tmp}/{item.key}")
                self.line(f"mkdir -p {tmp}")
                self.line(f"printf '%s' {shlex.quote(item.value)} > {path}")
                self.line(f"export {key}={path}")
            else:
                self.line(f"export {key}={shlex.quote(item.value)}")
        env_file = shlex.quote(f"{self._tmp}/gitlab_runner_env")
        self.line(f"export GITLAB_ENV={env_file}")
        self.line(f"mkdir -p {tmp}")
        self.line(f"touch {env_file}")
        self.line(f'while read -r line; do export "$line"; done < {env_file}')

    def user_commands(self, commands: Iterable[str]) -> None:
        """Add a user's commands, each echoed before it runs."""
        for text in commands:
            command = text.strip()
            first, _, more = command.partition("\n")
            if not command:
                self.line("echo")
            elif more:
                self.notice(f"$ {first} # collapsed multi-line command")
            else:
                self.notice(f"$ {command}")
            self.line(command)

    def text(self, *, xtrace: bool) -> str:
        """Return the whole for the shell's standard input."""
        # Behind a pipe, so that a command that reads its input does not eat the script. That is
        # also why a failing command was reported as exit 1 until 19.1 put brackets around it.
        body = "\n".join(self._lines) + "\n"
        head = "set -o xtrace\n" if xtrace else ""
        evaluate = "(eval {0})" if version_tuple() >= (19, 1) else "eval {0}"
        return (
            f"#!/usr/bin/env bash\n\n{head}"
            "if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit\n"
            f"set +o noclobber\n: | {evaluate.format(shlex.quote(body))}\nexit 0\n"
        )
