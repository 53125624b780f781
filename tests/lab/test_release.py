# SPDX-License-Identifier: GPL-3.0-or-later
"""From a pushed tag to the index: what is installed, what a desk builds, where the token shows."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest
import requests

from lab import demo_release, services
from lab.checkout import Checkout
from lab.hosts import ssh_command
from lab.inventory import read_pythons
from lab.jobs import project_at
from lab.pipelines import Job, Pipeline, find, follow
from lab.places import INDEXES
from lab.run import LabError
from lab.world import status
from standins.gitlab.client import LabGitLab, LabGitLabError, ProjectInfo
from tests.lab.leaks import Watch, leaks, watched
from tests.lab.site import ROOT, Site
from tests.release.projects import Project

pytestmark = pytest.mark.lab

SECONDS = 900
INDEX = "https://{}:{}".format(*INDEXES["index"])
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
Change = Callable[[Path], object]


@dataclass
class Demo:
    """A run of `make demo-release`."""

    code: int
    output: str
    watch: Watch | None = None

    @property
    def tag(self) -> str:
        """What it has released."""
        found = re.search(r"git push origin (v\S+)", self.output)
        assert found, self.output
        return found[1]


def run_demo(site: Site) -> Demo:
    """The demo, in the test's lab."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "demo-release"], cwd=ROOT, text=True, timeout=SECONDS,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env={**os.environ, "LAB_NAME": site.lab.name, "HOSTS": "jammy"},
    )  # fmt: skip
    site.outputs.append(done.stdout)
    return Demo(done.returncode, done.stdout)


@pytest.fixture(scope="module")
def released(site: Site) -> Demo:
    """The first release; processes and temporary files are watched all the while."""
    with watched(site) as watch:
        demo = run_demo(site)
    demo.watch = watch
    assert demo.code == 0, demo.output
    return demo


@pytest.fixture(scope="module")
def gitlab(site: Site, released: Demo) -> Iterator[LabGitLab]:
    with site.gitlab() as client:
        yield client


@pytest.fixture(scope="module")
def project(gitlab: LabGitLab) -> ProjectInfo:
    """The demo's project."""
    return gitlab.project(demo_release.PATH)


@pytest.fixture(scope="module")
def pythons(site: Site) -> tuple[str, ...]:
    return read_pythons(site.lab)["jammy"]


def tokens(site: Site) -> dict[str, str]:
    """The token for each environment."""
    known = json.loads(site.lab.secrets.read_text())
    return {"pypi": known["index_token"], "testpypi": known["test_index_token"]}


def on_host(site: Site, command: str, given: bytes = b"") -> bytes:
    """What a command of the host's administrator prints."""
    (host,) = status(site.lab).hosts
    argv = [*ssh_command(site.lab, host.address), command]
    return subprocess.run(argv, input=given, check=True, capture_output=True, timeout=300).stdout


def get(site: Site, path: str, which: str = "index") -> requests.Response:
    """An answer of an index."""
    network = status(site.lab).network
    assert network
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    url = services.index_url(str(network.gateway), which) + path
    return requests.get(url, headers=accept, verify=str(site.lab.ca_file), timeout=30)


def listed(site: Site, name: str = "lab-demo", which: str = "index") -> dict[str, bytes]:
    """The files of a project on an index, and their contents."""
    answer = get(site, f"/simple/{name}/", which)
    files = answer.json()["files"] if answer.ok else []
    paths = {file["filename"]: "/packages/" + file["url"].partition("/packages/")[2]
             for file in files}  # fmt: skip
    return {name: get(site, path, which).content for name, path in paths.items()}


def push_tag(
    gitlab: LabGitLab, project: ProjectInfo, tag: str, change: Change | None = None
) -> Pipeline:
    """Pushes a tag of the default branch, or of a commit that changes it; its pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder) / "project")
        gitlab.git("clone", "--quiet", gitlab.address(project), str(checkout.folder))
        if change:
            change(checkout.folder)
            checkout.commit("A change")
        checkout.git("tag", tag)
        commit = gitlab.push(project, checkout.folder, f"refs/tags/{tag}")
    return find(gitlab, project, tag, commit)


def version(number: str) -> Change:
    """Gives a project a version."""

    def change(folder: Path) -> None:
        file = folder / "pyproject.toml"
        file.write_text(demo_release.with_version(file.read_text(), number))

    return change


def test_a_pushed_tag_is_installed_from_the_index_on_each_python(
    site: Site, released: Demo, pythons: tuple[str, ...]
) -> None:
    for python in pythons:
        assert re.search(rf"(?m)^python {python} .* installed from the index", released.output)
    assert re.search(r"(?m)^release-publish +[\d.]+ s on jammy publish", released.output)
    assert re.search(r"(?m)^release-verify +[\d.]+ s on jammy 1", released.output)
    # By another user, another program and from nowhere else.
    script = f"""
        set -eu
        cd $(mktemp -d)
        for version in {" ".join(pythons)}; do
          python$version -m venv $version
          $version/bin/python -m pip --quiet --isolated install --no-cache-dir --no-deps \\
            --cert {BUNDLE} --index-url {INDEX}/simple/ lab-demo=={released.tag[1:]}
          $version/bin/python -c 'import lab_demo; print(lab_demo.compiled_for)'
        done
    """
    said = on_host(site, "bash -s", script.encode()).decode()
    assert [line.rpartition(".")[0] for line in said.split()] == list(pythons)
    # A final release is on the main index alone.
    assert listed(site, which="test_index") == {}


def metadata_and_files(wheel: bytes) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    """A wheel's metadata, and the content of each of its files."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    return HeaderParser().parsestr(files[metadata].decode()).items(), files


def test_a_desk_builds_what_the_pipeline_has_published(
    site: Site,
    released: Demo,
    gitlab: LabGitLab,
    project: ProjectInfo,
    pythons: tuple[str, ...],
    tmp_path: Path,
) -> None:
    """The same project, by its own local-ci.sh, as another user in another folder."""
    desk = Checkout(tmp_path / "desk")
    gitlab.git("clone", "--quiet", gitlab.address(project), str(desk.folder))
    desk.git("checkout", "--quiet", "--detach", released.tag)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(desk.folder, "desk")
    on_host(site, "rm -rf desk && tar -x", packed.getvalue())
    index = f"--index lab --upload-url {INDEX}/legacy/ --simple-url {INDEX}/simple/"
    script = f"""
        set -eu
        cd ~/desk
        export SSL_CERT_FILE={BUNDLE}
        ./local-ci.sh all --python '{" ".join(pythons)}' --tag {released.tag} 2>&1
        ./local-ci.sh deploy --dry-run {index} --tag {released.tag} 2>&1
    """
    said = on_host(site, "bash -s", script.encode()).decode()
    published = listed(site)
    # The same bytes: there would be nothing to upload.
    assert f"lab: {len(published)} of {len(published)} files are there" in said
    built = {}
    with tarfile.open(fileobj=io.BytesIO(on_host(site, "tar -c -C desk/dist ."))) as archive:
        for member in archive.getmembers():
            if (file := archive.extractfile(member)) is not None:
                built[Path(member.name).name] = file.read()
    assert set(built) - {"SHA256SUMS"} == set(published)
    assert len(published) == len(pythons) + 1
    for name in (name for name in published if name.endswith(".whl")):
        assert metadata_and_files(built[name]) == metadata_and_files(published[name]), name


def unpacked(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Each file of a zip, and of the wheels and sdists in it."""
    with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
        for name in bundle.namelist():
            data = bundle.read(name)
            yield name, data
            if name.endswith(".whl"):
                yield from unpacked(data)
            elif name.endswith(".tar.gz"):
                with tarfile.open(fileobj=io.BytesIO(data)) as inner:
                    for member in inner.getmembers():
                        if (file := inner.extractfile(member)) is not None:
                            yield member.name, file.read()


def archive_of(pipeline: Pipeline, job: Job) -> bytes:
    """A job's artifacts; an empty archive where it has none."""
    try:
        return pipeline.artifacts(job)
    except LabGitLabError as error:
        if error.status != 404:
            raise
        empty = io.BytesIO()
        zipfile.ZipFile(empty, "w").close()
        return empty.getvalue()


def test_the_token_is_found_nowhere(
    site: Site, released: Demo, gitlab: LabGitLab, project: ProjectInfo
) -> None:
    """Neither while it was used, nor afterwards."""
    planted = set(tokens(site).values())
    assert released.watch is not None
    # Only the environment of the upload, in processes of the isolated user.
    assert released.watch.leaks(planted) <= {"environment on the host"}
    # What was printed, logs, GitLab's requests, the journal, files that everybody can read.
    assert leaks(site, planted) == set()
    read = 0
    for one in gitlab.api("GET", f"/projects/{project.id}/pipelines", params={"per_page": 100}):
        pipeline = Pipeline(gitlab, project, one["id"])
        for job in pipeline.jobs():
            texts = [("trace", pipeline.trace(job).encode()), *unpacked(archive_of(pipeline, job))]
            read += len(texts)
            for name, data in texts:
                assert not [one for one in planted if one.encode() in data], (job.name, name)
    assert read > 20
    # Every file of the host, homes and caches of the jobs' users among them, and every process.
    left = site.sh(
        "umask 077; p=$(mktemp -p /root); trap 'rm -f $p' EXIT\n"
        f"printf '%s\\n' {' '.join(sorted(planted))} > $p\n"
        "find / -xdev -type f -not -path '/proc/*' -not -path '/sys/*' -not -path $p -print0"
        " | xargs -0 grep -lFf $p 2>/dev/null || true\n"
        "for process in /proc/[0-9]*; do test ${process#/proc/} = $$ ||"
        " grep -lFf $p $process/environ $process/cmdline 2>/dev/null || true; done"
    )
    assert left == ""


def test_a_version_that_is_not_the_tags_is_refused_with_its_cure(
    site: Site, gitlab: LabGitLab, project: ProjectInfo
) -> None:
    before = set(listed(site))
    with pytest.raises(LabError) as error:
        follow(push_tag(gitlab, project, "v7.0.0"), "v7.0.0", 300)
    said = str(error.value)
    assert "release-sdist (script_failure) failed" in said
    assert "tag v7.0.0: the project's version is" in said
    assert "set the version to 7.0.0 and tag again" in said
    assert set(listed(site)) == before


def test_verify_lists_the_tokens_and_what_is_due(site: Site, released: Demo) -> None:
    """The demo's token may upload to all projects of its account, which a first release needs."""
    run = site.playbook("verify.yml")
    said = re.sub(r"\s+", " ", run.output)
    name = f"{demo_release.PATH}: TWINE_PASSWORD (pypi)"
    assert re.search(
        rf"{re.escape(name)}: token of an index, all projects of its account; set [\d-]+, 0 days "
        r"ago; published by job \d+ \(release-publish\)",
        said,
    ), run.output
    assert f"{name}: may upload to all projects of its account, which only a first" in said
    assert run.code == 2
    assert not [one for one in tokens(site).values() if one in run.output]


@pytest.mark.slow
def test_a_second_run_releases_the_next_version_in_two_minutes(
    site: Site, released: Demo, pythons: tuple[str, ...]
) -> None:
    demo = run_demo(site)
    assert demo.code == 0, demo.output
    assert demo.tag != released.tag
    assert "nothing changed (changed=0)" in demo.output
    assert "variables, tags and pipeline in GitLab: nothing changed" in demo.output
    seconds = re.search(r"; ([\d.]+) s in all", demo.output)
    assert seconds
    assert float(seconds[1]) < 120, demo.output
    new = [name for name in listed(site) if f"-{demo.tag[1:]}" in name]
    assert len(new) == len(pythons) + 1


@pytest.mark.slow
def test_a_pre_release_goes_to_the_test_index_alone(
    site: Site, gitlab: LabGitLab, project: ProjectInfo, pythons: tuple[str, ...]
) -> None:
    before = set(listed(site))
    pipeline = push_tag(gitlab, project, "v8.0.0rc1", version("8.0.0rc1"))
    jobs = {job.name: job for job in follow(pipeline, "v8.0.0rc1", 600)}
    assert jobs["release-publish-test"].runner == "jammy publish"
    assert set(demo_release.read_installed(pipeline.trace(jobs["release-verify-test"]))) == set(
        pythons
    )
    assert "release-publish" not in jobs
    assert len(listed(site, which="test_index")) == len(pythons) + 1
    assert set(listed(site)) == before


# --- other projects


def two(folder: Path) -> None:
    """Two pure packages in one repository."""
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        Project(folder / name).pure(f"{name}_demo", "1.0.0")
        shutil.rmtree(folder / name / ".git")


PACKAGES = [{"name": name, "package": name, "tag_prefix": f"{name}-v", "paths": [f"{name}/**/*"],
             "wheels": "one_job"} for name in ("one", "two")]  # fmt: skip
KINDS: dict[str, tuple[Change, dict[str, Any]]] = {
    "abi3": (
        lambda folder: Project(folder).compiled("abi3_demo", "1.0.0", abi3=True),
        {"inputs": {"wheels": "one_job"}},
    ),
    "pure": (
        lambda folder: Project(folder).pure("pure_demo", "1.0.0"),
        {"inputs": {"wheels": "one_job"}},
    ),
    "two": (two, {"packages": PACKAGES}),
    "broken": (lambda folder: Project(folder).compiled("broken_demo", "1.0.0"), {}),
}
"""What a project is, and its entry in `release_pipeline_projects`."""


@pytest.fixture(scope="module")
def kinds(site: Site, gitlab: LabGitLab, pythons: tuple[str, ...]) -> dict[str, ProjectInfo]:
    """A project of each kind in GitLab, as `make project` and `make pipeline` set it up."""
    made, entries, settings = {}, [], []
    for name, (make, entry) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source"
            source.mkdir()
            make(source)
            checkout = Checkout.copy_of(source, Path(folder) / "checkout")
            checkout.commit("A project")
            made[name] = project_at(gitlab, f"demo/{name}")
            gitlab.push(made[name], checkout.folder, "HEAD:refs/heads/main")
        variables = [{"key": "TWINE_PASSWORD", "environment": environment, "value": token}
                     for environment, token in tokens(site).items()]  # fmt: skip
        tags = [{"name": pattern} for pattern in ("v*", "one-v*", "two-v*")]
        settings.append({"project": f"demo/{name}", "protected_tags": tags, "variables": variables})
        inputs = {"build_tags": ["jammy"], "pythons": list(pythons),
                  "test_command": "python -m unittest discover -s tests",
                  **entry.get("inputs", {})}  # fmt: skip
        entries.append({"project": f"demo/{name}", **entry, "inputs": inputs})
    for playbook, extra in (
        ("project.yml", {"gitlab_project_projects": settings}),
        ("pipeline.yml", {"release_pipeline_projects": entries}),
    ):
        run = site.playbook(playbook, extra=extra)
        assert run.code == 0, run.output
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "tag", "wheel"),
    [
        ("abi3", "v1.0.0", r"abi3_demo-1\.0\.0-cp39-abi3-manylinux_\d+_\d+_x86_64\.whl"),
        ("pure", "v1.0.0", r"pure_demo-1\.0\.0-py3-none-any\.whl"),
        ("two", "two-v1.0.0", r"two_demo-1\.0\.0-py3-none-any\.whl"),
    ],
)
def test_other_kinds_of_projects_are_released(
    site: Site,
    gitlab: LabGitLab,
    kinds: dict[str, ProjectInfo],
    pythons: tuple[str, ...],
    kind: str,
    tag: str,
    wheel: str,
) -> None:
    pipeline = push_tag(gitlab, kinds[kind], tag)
    jobs = {job.name.partition("-")[2]: job for job in follow(pipeline, f"{kind} {tag}", 600)}
    assert set(demo_release.read_installed(pipeline.trace(jobs["verify"]))) == set(pythons)
    found = sorted(listed(site, f"{kind}-demo"))
    assert len(found) == 2
    assert re.fullmatch(wheel, found[0]), found
    assert found[1] == f"{kind}_demo-1.0.0.tar.gz"
    assert listed(site, "one-demo") == {}


def missing_python(folder: Path) -> None:
    file = folder / ".gitlab-ci.yml"
    text = file.read_text()
    assert '"3.11"]' in text, text
    file.write_text(text.replace('"3.11"]', '"3.11", "3.99"]'))


def no_readme_that_renders(folder: Path) -> None:
    (folder / "README.rst").write_text(".. nothing::\n\n   `unclosed\n")


def no_header_in_the_sdist(folder: Path) -> None:
    (folder / "MANIFEST.in").unlink()
    text = (folder / "setup.py").read_text()
    (folder / "setup.py").write_text(re.sub(r", depends=\[.*?\]", "", text))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "change", "job", "words"),
    [
        ("1.0.1", missing_python, "release-sdist",
         'no python3.99 on this machine; on a runner host, add "3.99" to python_versions_wanted'),
        ("1.0.2", no_readme_that_renders, "release-check",
         "give the project a README that renders"),
        ("1.0.3", no_header_in_the_sdist, "release-wheel",
         "lacks these files of the repository: src/broken_demo/answer.h"),
    ],
    ids=["missing-python", "readme", "sdist"],
)  # fmt: skip
def test_what_cannot_be_released_is_refused_with_its_cure(
    site: Site,
    gitlab: LabGitLab,
    kinds: dict[str, ProjectInfo],
    number: str,
    change: Change,
    job: str,
    words: str,
) -> None:
    def both(folder: Path) -> None:
        version(number)(folder)
        change(folder)

    with pytest.raises(LabError) as error:
        follow(push_tag(gitlab, kinds["broken"], f"v{number}", both), f"broken {number}", 600)
    assert f": {job}" in str(error.value)
    assert words in str(error.value)
    assert listed(site, "broken-demo") == {}
