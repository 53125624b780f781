# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects of the lab's jobs, pushed into the lab's GitLab."""

from __future__ import annotations

from pathlib import Path

from lab.jobs import push_folder
from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab
from standins.gitlab.thread import bound_socket, serving


def test_a_changed_folder_replaces_what_was_pushed(tmp_path: Path) -> None:
    """Each push is a history of its own, and GitLab protects the main branch after the first."""
    folder = tmp_path / "project"
    folder.mkdir()
    with bound_socket() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = Settings(tmp_path / "gitlab", url, "lab-secret", "glpat-Administrator")
        with (
            serving(settings, listener),
            LabGitLab(url, settings.lab_secret, settings.admin_token) as gitlab,
        ):
            commits = []
            for text in ("one", "two", "two"):
                (folder / "file").write_text(text)
                project, sha = push_folder(gitlab, folder)
                commits.append(sha)
                path = f"/projects/{project.id}/repository/branches/main"
                assert gitlab.api("GET", path)["commit"]["id"] == sha
            assert commits[0] != commits[1] == commits[2]
            (rule,) = gitlab.api("GET", f"/projects/{project.id}/protected_branches")
            assert rule["name"] == "main"
