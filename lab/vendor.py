# SPDX-License-Identifier: GPL-3.0-or-later
"""What GitLab's script.deb.sh leaves on a host: its source file and its keyring.

Its source file names the same repository as the role, with another `Signed-By`. Alone it
is harmless; beside the role's own file it makes apt fail on the whole host (sources.list(5)).
"""

from __future__ import annotations

from lab.engine import PutFile
from lab.keys import dearmor
from lab.mirror import Repository
from lab.places import MIRROR_NAME, MIRROR_PORT
from lab.platforms import Platform

LIST = "/etc/apt/sources.list.d/runner_gitlab-runner.list"
KEYRING = "/usr/share/keyrings/runner_gitlab-runner-archive-keyring.gpg"


def vendor_files(platform: Platform, repository: Repository) -> list[PutFile]:
    """The files for a host of this platform: none where the script was never run."""
    if not platform.vendor_source:
        return []
    address = f"http://{MIRROR_NAME}:{MIRROR_PORT}{repository.path}"
    line = f"[signed-by={KEYRING}] {address}/ {platform.name} main\n"
    text = f"# for the repository at {address}\n\ndeb {line}deb-src {line}"
    return [
        PutFile(LIST, text),
        PutFile(KEYRING, dearmor(repository.key.public.read_text(encoding="ascii"))),
    ]
