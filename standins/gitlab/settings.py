# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the lab's GitLab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Settings of one lab GitLab.

    ``state_dir`` holds everything that survives a restart (made 0700).
    ``external_url`` is the address that job payloads name, without a trailing slash.
    ``lab_secret`` guards the control API, ``admin_token`` is a PAT with every scope.
    ``compiler`` is the command of gitlab-ci-local, which pipelines need.
    Sizes are in bytes, times in seconds.
    """

    state_dir: Path
    external_url: str
    lab_secret: str
    admin_token: str
    gitlab_version: str = "18.5.0"
    trace_update_interval: int = 3
    max_artifact_size: int = 1024 * 1024 * 1024
    request_log_body_limit: int = 4096
    compiler: tuple[str, ...] = ()
