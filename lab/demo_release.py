# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo of a release: a pushed tag becomes wheels on an index, installed on each Python."""

from __future__ import annotations

import io
import re
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from lab import services
from lab.checkout import Checkout
from lab.demo import (
    PLAYBOOK,
    PROJECT,
    Clock,
    host_rows,
    play,
    probe,
    show_changes,
    table,
    verdict,
)
from lab.hosts import ssh_command
from lab.inventory import read_pythons, read_tokens
from lab.jobs import connect, project_at
from lab.pipeline_tools import ensure_pipeline_tools
from lab.pipelines import Job, find, follow
from lab.places import INDEXES, Lab
from lab.platforms import Platform, upstream_world
from lab.progress import step
from lab.publishing import read_publishing
from lab.run import LabError
from lab.world import up
from release.release import sums_of, wheel_of
from standins.gitlab.client import LabGitLab, LabGitLabError, ProjectInfo

PATH = "demo/lab-demo"
"""The project in GitLab."""
NAME = "lab-demo"
"""The project on the index."""
PLAYBOOKS = ("playbooks/project.yml", "playbooks/pipeline.yml")
"""What a user runs for a project: tokens and protected tags; the component and the pipeline."""
PIPELINE_TIMEOUT = 900.0


def demo_release(lab: Lab, platforms: Sequence[Platform]) -> int:
    """Run the demo on the first of the platforms; 0 if every check passed."""
    clock = Clock.started()
    platform = platforms[0]
    print(f"Runnerhost release demo, lab {lab.name}", flush=True)
    if upstream_world():
        print("  real Ubuntu images, deadsnakes and GitLab's packages; GitLab and the indexes are"
              " the lab's own, stand-ins", flush=True)  # fmt: skip
    with clock.part("lab"):
        ensure_pipeline_tools()
        world = up(lab, platforms, publishing=True)
    print(f"  gitlab-runner: {world.runner}", flush=True)
    with clock.part("provision"):
        changes = play(lab, PLAYBOOK)
    try:
        with connect(lab) as gitlab:
            with clock.part("project"):
                project = ensure_project(gitlab)
                written = [play(lab, playbook) for playbook in PLAYBOOKS]
            with clock.part("release"):
                release = make_release(lab, gitlab, project)
    except LabGitLabError as error:
        raise LabError(str(error)) from error
    pythons = read_pythons(lab)[platform.name]
    login = ssh_command(lab, world.network.address(platform.number))
    print(table([*host_rows(world, platform, probe(login, ())), *release_rows(release)]))
    show_changes(changes)
    changed = any(sum(counts.values()) for counts in written)
    print(f"variables, tags and pipeline in GitLab: {'written' if changed else 'nothing changed'}")
    print(clock.told())
    builders = {one["id"] for one in read_tokens(lab)[platform.name]}
    publishers = {one["id"] for one in read_publishing(lab)["runners"].values()}
    return verdict(judge(release, pythons, builders, publishers))


# --- the project in GitLab -------------------------------------------------------------------


def ensure_project(gitlab: LabGitLab) -> ProjectInfo:
    """The project, with its files."""
    with step(f"project {PATH} in GitLab"):
        project = project_at(gitlab, PATH)
        if gitlab.api("GET", f"/projects/{project.id}")["empty_repo"]:
            with tempfile.TemporaryDirectory(prefix="rh-demo-") as scratch:
                checkout = Checkout.copy_of(PROJECT, Path(scratch) / "project")
                checkout.commit("A small C extension")
                gitlab.push(project, checkout.folder, "HEAD:refs/heads/main")
    return project


# --- the release -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Release:
    """What was released, as GitLab and the index tell it.

    Attributes:
        tag, commit, pipeline, jobs: in GitLab; `jobs` of the tag's pipeline.
        checked: the files that the pipeline has checked, and their SHA-256 (SHA256SUMS).
        listed: the files of this version that the index lists, as its JSON describes them.
        installed: Python to the seconds that the installation from the index took.
        seconds: from the push to the end of the pipeline.
    """

    tag: str
    commit: str
    pipeline: int
    jobs: list[Job]
    checked: Mapping[str, str]
    listed: Mapping[str, Mapping[str, Any]]
    installed: Mapping[str, float]
    seconds: float

    @property
    def version(self) -> str:
        """The version."""
        return self.tag.removeprefix("v")

    def job(self, name: str) -> Job | None:
        """A job by its name."""
        return next((job for job in self.jobs if job.name == name), None)


def make_release(lab: Lab, gitlab: LabGitLab, project: ProjectInfo) -> Release:
    """Commit the next version, tag it, push both, and follow the pipeline of the tag."""
    with tempfile.TemporaryDirectory(prefix="rh-demo-") as scratch:
        checkout = Checkout(Path(scratch) / "project")
        gitlab.git("clone", "--quiet", gitlab.address(project), str(checkout.folder))
        version = next_version(checkout.git("tag", "--list").split())
        file = checkout.folder / "pyproject.toml"
        file.write_text(with_version(file.read_text(), version))
        if checkout.git("status", "--porcelain"):
            checkout.commit(f"Version {version}")
        tag = f"v{version}"
        checkout.git("tag", tag)
        # Without jobs of its own: the tag's are the same and more.
        print("  git push -o ci.skip origin main", flush=True)
        gitlab.push(project, checkout.folder, "--push-option=ci.skip", "HEAD:refs/heads/main")
        print(f"  git push origin {tag}", flush=True)
        start = time.monotonic()
        commit = gitlab.push(project, checkout.folder, f"refs/tags/{tag}")
    pipeline = find(gitlab, project, tag, commit)
    jobs = follow(pipeline, f"pipeline {pipeline.id} of {tag}", PIPELINE_TIMEOUT)
    seconds = time.monotonic() - start
    named = {job.name: job for job in jobs}
    return Release(
        tag, commit, pipeline.id, jobs,
        checked=read_sums(pipeline.artifacts(named["release-check"])),
        listed=listed(lab, gitlab, version),
        installed=read_installed(pipeline.trace(named["release-verify"])),
        seconds=seconds,
    )  # fmt: skip


def next_version(tags: Sequence[str]) -> str:
    """1.0.0, or the version after the newest tag."""
    numbers = [[int(part) for part in match[1].split(".")]
               for tag in tags if (match := re.fullmatch(r"v(\d+\.\d+\.\d+)", tag))]  # fmt: skip
    if not numbers:
        return "1.0.0"
    major, minor, patch = max(numbers)
    return f"{major}.{minor}.{patch + 1}"


def with_version(text: str, version: str) -> str:
    """A pyproject.toml with another version."""
    return re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', text, count=1)


def read_sums(archive: bytes) -> dict[str, str]:
    """File names and digests of the SHA256SUMS in a job's artifacts."""
    with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
        return sums_of(bundle.read("dist/SHA256SUMS").decode(), "SHA256SUMS")


def read_installed(trace: str) -> dict[str, float]:
    """Pythons on which a job has installed and tried the release, and the seconds it took."""
    took = dict(re.findall(r"install from \S+ on ([\d.]+t?): done, ([\d.]+) s", trace))
    tried = re.findall(r"smoke command on ([\d.]+t?): done", trace)
    return {python: float(took[python]) for python in tried if python in took}


def listed(lab: Lab, gitlab: LabGitLab, version: str) -> dict[str, dict[str, Any]]:
    """The files of a version on the lab's index."""
    address = gitlab.base_url.partition("://")[2].partition(":")[0]
    url = f"{services.index_url(address, 'index')}/simple/{NAME}/"
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                url, timeout=30, verify=str(lab.ca_file),
                headers={"Accept": "application/vnd.pypi.simple.v1+json"},
            )  # fmt: skip
        if answer.status_code == 404:
            return {}
        answer.raise_for_status()
    except requests.RequestException as error:
        raise LabError(f"the lab's index: {error}") from error
    beginning = f"{NAME.replace('-', '_')}-{version}"
    return {
        file["filename"]: file
        for file in answer.json()["files"]
        if file["filename"].startswith((f"{beginning}-", f"{beginning}.tar."))
    }


# --- what was found --------------------------------------------------------------------------


def release_rows(release: Release) -> list[tuple[str, str]]:
    """The table's rows about a release."""
    rows = [
        ("gitlab", "the lab's own, a stand-in"),
        ("index", f"{INDEXES['index'][0]}, the lab's own, with PyPI's rules"),
        ("release", f"{PATH} {release.tag}, commit {release.commit[:12]}"),
        ("pipeline", f"{release.pipeline} success, {release.seconds:.1f} s after the push"),
    ]
    for job in release.jobs:
        began = f"began {job.started - job.created:.1f} s after the push"
        rows.append((job.name, f"{job.seconds:.1f} s on {job.runner}, {began}"))
    for name, file in sorted(release.listed.items()):
        kind = "wheel" if name.endswith(".whl") else "sdist"
        about = f"{file.get('size', 0)} bytes, sha256 {file['hashes']['sha256'][:16]}…"
        rows.append((kind, f"{name}  {about}"))
    what = f"{NAME} {release.version}, installed from the index in"
    rows += [(f"python {python}", f"{what} {took:.1f} s")
             for python, took in release.installed.items()]  # fmt: skip
    return rows


def judge(
    release: Release, pythons: Sequence[str], builders: set[int], publishers: set[int]
) -> list[str]:
    """What is not as expected."""
    problems = []
    tag = release.tag
    for job in release.jobs:
        upload = job.name == "release-publish"
        if job.runner_id not in (publishers if upload else builders):
            wanted = "the protected runner" if upload else "the host's runner for builds"
            problems.append(f"{tag}: {job.name} ran on {job.runner or '?'}, not on {wanted}")
    if not release.job("release-publish"):
        problems.append(f"{tag}: nothing was uploaded")
    there = {name: file["hashes"]["sha256"] for name, file in release.listed.items()}
    if there != release.checked:
        problems.append(
            f"{tag}: the index lists {sorted(there)}; checked were {sorted(release.checked)}"
        )
    wheels = [wheel_of(Path(name)) for name in release.listed if name.endswith(".whl")]
    for python in pythons:
        own = f"cp{python.replace('.', '')}"
        mine = [one for one in wheels if one.pythons == (own,) and one.abis == (own,)]
        if len(mine) != 1 or not mine[0].platforms[0].startswith("manylinux_"):
            problems.append(f"{tag}: wheels of Python {python}: {[one.path.name for one in mine]}")
    if set(release.installed) != set(pythons):
        problems.append(
            f"{tag}: installed on {sorted(release.installed)}, not on {sorted(pythons)}"
        )
    return problems
