# SPDX-License-Identifier: GPL-3.0-or-later
"""The name and version of this program."""

from __future__ import annotations

import platform
import re

VERSION = "19.3.0"
REVISION = "standin0"
BUILT = "1970-01-01T00:00:00Z"

NAME = "gitlab-runner"
ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(
    platform.machine(), platform.machine()
)


def version_tuple() -> tuple[int, ...]:
    """Return the version as numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", VERSION)[:3])
