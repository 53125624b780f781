# SPDX-License-Identifier: GPL-3.0-or-later
"""The release of a package by GitHub Actions: its workflow, and what the jobs run of it.

The job with the token checks nothing out. It runs the release program and its tools from files of
an earlier job, if they have the digests that stand in the workflow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _pipeline_template
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_template import (
    COMPONENT,
    ROOT,
    Input,
)

TEMPLATE = COMPONENT / "github" / "workflow.yml"
FOLDER = ".github/workflows"
PROGRAM = ROOT / "release" / "release.py"
LOCK = ROOT / "requirements-release.txt"
TOOLS = "release-tools.txt"
"""The lock of the tools, as a project has it."""


def inputs() -> dict[str, Input]:
    """What a project may say of its workflow."""
    return _pipeline_template.parts(TEMPLATE.read_text(encoding="utf-8"))[0]


def known(common: Mapping[str, Any], declared: Mapping[str, Input]) -> dict[str, Any]:
    """Of the inputs of all projects those that a workflow has: the others are for runners."""
    return {name: value for name, value in common.items() if name in declared}


def files(packages: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """The workflow of each package by its path, without what it copies into the project."""
    declared, body = _pipeline_template.parts(TEMPLATE.read_text(encoding="utf-8"))
    return {
        f"{FOLDER}/{given.get('name', declared['name'].default)}.yml": _pipeline_template.rendered(
            declared, body, {**given, **_derived(declared, given)}
        ).encode()
        for given in packages
    }


def _derived(declared: Mapping[str, Input], given: Mapping[str, Any]) -> dict[str, str]:
    """What follows from the inputs and stands in the text like one."""
    trusted = given.get("auth", declared["auth"].default) == "trusted"
    secret = given.get("token_variable", declared["token_variable"].default)
    pythons = [str(version) for version in given["pythons"]]
    return {
        "id_token": "write" if trusted else "none",
        "password": "" if trusted else f"${{{{ secrets.{secret} }}}}",
        # An input of several lines, in the depth of the text.
        "python_lines": f"\n{' ' * 12}".join(pythons),
        "python_words": " ".join(pythons),
        "program_digest": hashlib.sha256(PROGRAM.read_bytes()).hexdigest(),
        "tools_digest": hashlib.sha256(LOCK.read_bytes()).hexdigest(),
    }
