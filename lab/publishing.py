# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab's hosts and its GitLab need to publish: runners for uploads, and the user's token.

Only a lab that was asked for it has them (`make demo-release`): its hosts get an isolated runner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab.places import INDEXES, Lab, write

if TYPE_CHECKING:
    from standins.gitlab.client import LabGitLab

TAG = "publish"
"""What the jobs that upload ask for."""


def read_publishing(lab: Lab) -> dict[str, Any]:
    """`api_token`, and `runners`: host to id and token; {} where none were made."""
    path = lab.state / "publishing.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def ensure_publishing(lab: Lab, gitlab: LabGitLab, hosts: Sequence[str]) -> None:
    """Create a runner for uploads for each host, and an access token of the lab's user."""
    known = {"api_token": "", "runners": {}, **read_publishing(lab)}
    if not known["api_token"]:
        known["api_token"] = gitlab.create_token("api")
    for host in hosts:
        if host not in known["runners"]:
            made = gitlab.create_runner(
                description=f"{host} {TAG}",
                tag_list=TAG,
                run_untagged=False,
                # Jobs of protected branches and tags only.
                access_level="ref_protected",
            )
            known["runners"][host] = {"id": made.id, "token": made.token}
    if known != read_publishing(lab):
        write(lab.state / "publishing.json", json.dumps(known), 0o600)


def publishing_variables(lab: Lab, gitlab_url: str, secrets: Mapping[str, str]) -> dict[str, Any]:
    """The variables for the inventory; {} for a lab that does not publish."""
    known = read_publishing(lab)
    if not known:
        return {}
    return {
        "lab_publish_tokens": {host: one["token"] for host, one in known["runners"].items()},
        # Which the controller reaches by its address.
        "lab_gitlab_api_url": gitlab_url,
        "lab_gitlab_api_token": known["api_token"],
        **{f"lab_{which}_token": secrets[f"{which}_token"] for which in INDEXES},
    }
