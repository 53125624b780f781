# SPDX-License-Identifier: GPL-3.0-or-later
"""The workflow for GitHub: what its jobs may do, where each push goes, and what is not published.

GitHub's schema and zizmor judge it in tests/pipelines.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _github_workflow,
    _pipeline_settings,
)

ROOT = Path(__file__).resolve().parents[3]
PYTHONS = ["3.10", "3.14t"]
PATH = ".github/workflows/release.yml"
PUBLISH = ("publish", "publish-test")
ARGS: dict[str, Any] = {
    "url": "", "api_token": "", "form": "component", "component": "a/b",
    "component_visibility": "internal", "inputs": {"pythons": PYTHONS, "build_tags": ["build"]},
}  # fmt: skip


def workflow(**inputs: Any) -> dict[str, Any]:
    (text,) = _github_workflow.files([{"pythons": PYTHONS, **inputs}]).values()
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def steps(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in found["jobs"].items():
        for step in job["steps"]:
            yield name, step


def step(found: Mapping[str, Any], job: str, name: str) -> dict[str, Any]:
    return next(one for one in found["jobs"][job]["steps"] if one["name"] == name)


@pytest.mark.parametrize("auth", ["trusted", "token"])
def test_each_job_may_do_what_it_must_and_no_more(auth: str) -> None:
    found = workflow(auth=auth)
    assert found["permissions"] == {}
    wanted: dict[str, Any] = {"plan": None}
    for name in ("build", "test", "verify", "verify-test"):
        wanted[name] = {"contents": "read"}
    for name in PUBLISH:
        wanted[name] = {"id-token": "write" if auth == "trusted" else "none"}
    assert {name: job.get("permissions") for name, job in found["jobs"].items()} == wanted
    environments = {name: job.get("environment") for name, job in found["jobs"].items()}
    assert {name: value for name, value in environments.items() if value} == {
        "publish": "pypi",
        "publish-test": "testpypi",
    }


def test_only_the_upload_has_the_secret_and_only_with_token() -> None:
    texts = [str(one) for _, one in steps(workflow(auth="token", token_variable="COMPANY"))]
    holders = [text for text in texts if "secrets." in text]
    assert len(holders) == 2
    assert all("'COMPANY': '${{ secrets.COMPANY }}'" in text for text in holders)
    assert all("'name': 'Upload'" in text for text in holders)
    assert "secrets." not in str(workflow())


def test_an_upload_runs_no_code_of_the_project() -> None:
    found = workflow()
    for name in PUBLISH:
        used = [one["uses"] for one in found["jobs"][name]["steps"] if "uses" in one]
        assert all(one.startswith("actions/download-artifact@") for one in used)
        ran = [one["run"] for one in found["jobs"][name]["steps"] if "run" in one]
        assert sum("release.py publish --settings -" in text for text in ran) == 1
        order = [one["name"] for one in found["jobs"][name]["steps"]]
        assert order.index("Compare both with what is expected") < order.index("Install the tools")


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    text = _github_workflow.TEMPLATE.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    assert len(used) > 10
    for one in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one
    # One version of each.
    assert len(set(used)) == len({one.partition("@")[0] for one in used})


def test_no_expression_is_part_of_a_script() -> None:
    for _, one in steps(workflow(auth="token")):
        assert "${{" not in one.get("run", "")


def decided(name: str, event: str = "push", kind: str = "tag", **inputs: Any) -> str:
    """Where a push goes, by the script of the job that decides it."""
    one = step(workflow(**inputs), "plan", "Read the tag")
    given = {"GITHUB_EVENT_NAME": event, "GITHUB_REF_TYPE": kind, "GITHUB_REF_NAME": name,
             "GITHUB_OUTPUT": os.devnull}  # fmt: skip
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", one["run"]], env={**os.environ, **given, **one["env"]},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip().removeprefix("index=")


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("v1.2.3", {}, "main"),
        ("v1", {}, "main"),
        ("v1.2.3.post1", {}, "main"),
        ("v1.2.3rc1", {}, "test"),
        ("v2.0a1.dev3", {}, "test"),
        ("v1.2.dev3", {}, "test"),
        ("v1.2-final", {}, "none"),
        ("v1.2.3; id", {}, "none"),
        ("v1.2.3", {"index": ""}, "none"),
        ("v1.2.3rc1", {"test_index": ""}, "none"),
        ("one-v1.2", {"tag_prefix": "one-v"}, "main"),
        ("main", {"kind": "branch"}, "none"),
        ("main", {"kind": "branch", "publish_dev": True}, "test"),
        ("main", {"kind": "branch", "publish_dev": True, "test_index": ""}, "none"),
        ("1/merge", {"kind": "branch", "publish_dev": True, "event": "pull_request"}, "none"),
    ],
)
def test_where_a_push_goes(name: str, more: dict[str, Any], expected: str) -> None:
    assert decided(name, **more) == expected


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """What the job with the token gets from the others."""
    (tmp_path / "program").mkdir()
    shutil.copy(ROOT / "release" / "release.py", tmp_path / "program")
    shutil.copy(ROOT / "requirements-release.txt", tmp_path / "program" / "release-tools.txt")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "SHA256SUMS").write_text("0  demo.whl\n")
    return tmp_path


@pytest.mark.parametrize(
    "changed", ["", "program/release.py", "program/release-tools.txt", "dist/SHA256SUMS"]
)
def test_what_a_later_job_has_changed_is_not_run_or_published(kept: Path, changed: str) -> None:
    sums = hashlib.sha256((kept / "dist" / "SHA256SUMS").read_bytes()).hexdigest()
    if changed:
        with (kept / changed).open("a", encoding="utf-8") as stream:
            stream.write("\n")
    one = step(workflow(), "publish", "Compare both with what is expected")
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", one["run"]], cwd=kept, check=False,
                          env={**os.environ, "SUMS": sums}, capture_output=True)  # fmt: skip
    assert (done.returncode != 0) == bool(changed)


def test_a_file_for_each_package() -> None:
    given = [{"name": "one", "pythons": PYTHONS}, {"name": "two", "pythons": PYTHONS}]
    assert list(_github_workflow.files(given)) == [
        ".github/workflows/one.yml",
        ".github/workflows/two.yml",
    ]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"folder": "/x"}, ""),
        ({"folder": "/x", "inputs": {"auth": "token", "runs_on": "ubuntu-22.04"}}, ""),
        ({"project": "a/b"}, "projects[0].project: not for platform github"),
        ({"folder": "/x", "file": "a.yml"}, "projects[0].file: not for platform github"),
        ({"folder": "/x", "programs": False}, "projects[0].programs: not for platform github"),
        ({"folder": "/x", "platform": "gitea"}, "invalid value 'gitea'; expected gitlab or github"),
        ({"folder": "/x", "inputs": {"build_tags": ["x"]}}, "build_tags: unknown input"),
        ({"folder": "/x", "inputs": {"index": "gitlab"}}, "index: invalid value 'gitlab'"),
        ({"folder": "/x", "inputs": {"branch": "a'b"}}, "branch: invalid value"),
    ],
)
def test_an_entry_is_checked(entry: dict[str, Any], says: str) -> None:
    args = {**ARGS, "projects": [{"platform": "github", **entry}]}
    settings, problems = _pipeline_settings.settings_of(args, {})
    assert says in " ".join(problems)
    assert bool(problems) == bool(says), problems
    if not says:
        # No component, and so no GitLab.
        assert not settings.needs_gitlab
