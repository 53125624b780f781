# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that go wrong, each in its own way, and some that go well; for tests of the doctor."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.demo_release import with_version
from standins.index import tokens
from standins.index.pypi import RELEASE_DAYS, Rules
from standins.index.store import File
from tests.release.projects import Project

Change = Callable[[Path], object]
HOST = "doctor-index.test"
"""The index's name, for tokens."""
OWNER = "ada"


def pure(name: str) -> Change:
    """A project without compiled code."""

    def make(folder: Path) -> None:
        Project(folder).pure(name, "1.0.0")

    return make


def compiled(name: str) -> Change:
    """A project with a C extension."""

    def make(folder: Path) -> None:
        Project(folder).compiled(name, "1.0.0")

    return make


def two(name: str) -> Change:
    """Two packages in one repository."""

    def make(folder: Path) -> None:
        for part in ("one", "two"):
            (folder / part).mkdir()
            Project(folder / part).pure(f"{name}_{part}", "1.0.0")
            shutil.rmtree(folder / part / ".git")

    return make


PACKAGES = [{"name": part, "package": part, "tag_prefix": f"{part}-v"} for part in ("one", "two")]


@dataclass(frozen=True)
class Case:
    """A release.

    Attributes:
        finds: what the doctor is to say, the first cause first.
        make: what the project is, by the name of its package.
        tag: the tag; its version is the project's unless `change` says otherwise.
        change: what is changed in the commit that is tagged.
        message: of that commit.
        pipeline: whether make pipeline writes its file.
        inputs: of its pipeline, beside those of all.
        packages: several of them in its repository.
        protected: whether its tags are.
        token: the value of TWINE_PASSWORD: empty for none, `account`, `project`, `expired`, or a
            text as it is.
        environment: the scope of that variable.
        variables: set by hand, not by make project.
        index: `good`, `read_only` or `gone`.
        on_index: what the index has before.
        canceled: whether it is canceled once its tag was pushed.
        pushed: whether its tag is.
        says: what the verdict's evidence or causes say, too.
    """

    finds: tuple[str, ...]
    make: Callable[[str], Change] = pure
    tag: str = "v1.0.0"
    change: Change | None = None
    message: str = "A change"
    pipeline: bool = True
    inputs: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[Mapping[str, Any], ...] = ()
    protected: bool = True
    token: str = "account"
    environment: str = "pypi"
    variables: tuple[Mapping[str, Any], ...] = ()
    index: str = "good"
    on_index: Callable[[Rules, str], None] | None = None
    canceled: bool = False
    pushed: bool = True
    says: str = ""


def file(name: str, text: str) -> Change:
    """Writes a file."""

    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


def several(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def added_to(name: str, text: str) -> Change:
    """Appends to a file."""

    def change(folder: Path) -> None:
        with (folder / name).open("a") as stream:
            stream.write(text)

    return change


def version(number: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "pyproject.toml"
        path.write_text(with_version(path.read_text(), number))

    return change


def no_header_in_the_sdist(folder: Path) -> None:
    (folder / "MANIFEST.in").unlink()
    text = (folder / "setup.py").read_text()
    (folder / "setup.py").write_text(re.sub(r", depends=\[.*?\]", "", text))


def _sdist(name: str, content: bytes = b"other contents") -> File:
    return File(f"{name}-1.0.0.tar.gz", "sdist", "1.0.0", content)


def taken(rules: Rules, name: str) -> None:
    """Another file of the name is there."""
    rules.projects.make(name, OWNER).add(_sdist(name))


def used(rules: Rules, name: str) -> None:
    """A file of the name was deleted."""
    rules.projects.make(name, OWNER).used.update(
        {f"{name}-1.0.0.tar.gz", f"{name}-1.0.0-py3-none-any.whl"}
    )


def old(rules: Rules, name: str) -> None:
    """The release is an old one, and lacks files."""
    project = rules.projects.make(name, OWNER)
    project.add(File(f"{name}-1.0.0-cp39-cp39-win32.whl", "bdist_wheel", "1.0.0", b"a wheel"))
    project.age("1.0.0", RELEASE_DAYS + 6)


def job_beside(tag: str, script: str, more: str = "") -> Change:
    """A job of the project's own."""
    text = f"\nmine:\n  needs: []\n  tags: [{tag}]\n  script: [{script!r}]\n{more}"
    return added_to(".gitlab-ci.yml", text)


BAD_README = file("README.rst", ".. nothing::\n\n   `unclosed\n")
FULL = "python -c \"open('/dev/full', 'w').write('x' * 99999)\""
MISSING = {"pythons": ["3.99"]}
ONLY_BRANCHES = """\
workflow: {rules: [{if: $CI_COMMIT_BRANCH}]}
publish: {tags: [jammy], script: [echo]}
"""


def own(job: str) -> Change:
    """A pipeline that nobody of the toolkit has written."""
    return file(".gitlab-ci.yml", f"publish:\n  tags: [jammy]\n  script:\n    - {job}\n")


BROKEN = {
    "no_tag": Case(("no_tag",), pushed=False, says="has no tag v1.0.0"),
    "no_file": Case(("no_ci_file",), pipeline=False),
    "skipped": Case(("pipeline_skipped",), message="A change [ci skip]"),
    "invalid": Case(
        ("configuration_invalid",), change=added_to(".gitlab-ci.yml", "\nmine: {scrpt: [x]}\n")
    ),
    "branches": Case(
        ("no_pipeline",), pipeline=False, change=file(".gitlab-ci.yml", ONLY_BRANCHES)
    ),
    "no_version": Case(("nothing_publishes",), tag="v1.0.0-x1", change=version("1.0.0-x1")),
    "manual": Case(("waits_for_person",), inputs={"publish_when": "manual"}),
    "nowhere": Case(("no_runner",), inputs={"build_tags": ["nowhere"]}, says="tags: nowhere"),
    "paused": Case(("runner_paused",), inputs={"build_tags": ["paused"]}),
    "offline": Case(("runner_offline",), inputs={"build_tags": ["offline"]}),
    "version": Case(("tag_is_another_version",), change=version("1.0.1")),
    "python": Case(("missing_python",), inputs=MISSING, says="3.99"),
    "readme": Case(("readme",), change=BAD_README),
    "sdist": Case(("sdist_incomplete",), make=compiled, change=no_header_in_the_sdist),
    "tests": Case(("tests_failed",), inputs={"test_command": "python -c 'raise SystemExit(1)'"}),
    "build": Case(("build_failed",), change=file("setup.py", "raise SystemExit('no')\n")),
    "disk": Case(("disk_full",), inputs={"test_command": FULL}),
    "no_variable": Case(("variable_empty",), token="", says="GitLab has no variable"),
    "scope": Case(("variable_empty",), environment="staging", says="set for other environments"),
    "redirected": Case(
        ("repository_redirected",),
        variables=({"key": "TWINE_REPOSITORY_URL", "value": "https://index.test/legacy/"},),
    ),
    "blank": Case(
        ("white_space_in_token",), token="",
        variables=({"key": "TWINE_PASSWORD", "value": "a-token-and-a-line-end\n", "raw": True},),
    ),
    "refused": Case(("token_refused",), token="a.token~that+nobody=knows"),
    "other_project": Case(("token_of_another_project",), token="project"),
    "expired": Case(("token_expired",), token="expired"),
    "taken": Case(("file_exists",), on_index=taken),
    "used": Case(("name_used_before",), on_index=used),
    "old": Case(("release_too_old",), on_index=old),
    "read_only": Case(("read_only",), index="read_only"),
    "gone": Case(("no_connection",), index="gone"),
    "canceled": Case(("canceled",), canceled=True),
    "unprotected": Case(("tag_not_protected",), protected=False),
    # Two at once.
    "unprotected_readme": Case(
        ("tag_not_protected", "readme"), protected=False, change=BAD_README
    ),
    "unprotected_python": Case(
        ("tag_not_protected", "missing_python"), protected=False, inputs=MISSING
    ),
    "unprotected_runner": Case(
        ("tag_not_protected", "runner_protected"), protected=False,
        inputs={"build_tags": ["publish"]},
    ),
    "readme_and_disk": Case(
        ("readme", "disk_full"),
        change=several(BAD_README, job_beside("jammy", "echo full >/dev/full")),
    ),
    "python_and_nowhere": Case(
        ("missing_python", "no_runner"), inputs=MISSING, change=job_beside("nowhere", "echo"),
    ),
}  # fmt: skip
"""Each by the name of its project."""

HEALTHY = {
    "fine": Case(()),
    "fine_extension": Case((), make=compiled),
    "fine_pre_release": Case((), tag="v1.0.0rc1", change=version("1.0.0rc1")),
    "fine_two": Case((), make=two, tag="one-v1.0.0", packages=tuple(PACKAGES)),
    "fine_but_lint": Case((), change=job_beside("jammy", "exit 1", "  allow_failure: true\n")),
}

UNKNOWN = {
    "strange_exit": Case((), pipeline=False, change=own("exit 3")),
    "strange_words": Case((), pipeline=False, change=own("\"echo 'the moon is wrong'; false\"")),
    "strange_target": Case((), pipeline=False, change=own("make -f /dev/null publish")),
}


def token_of(case: Case, rules: Rules) -> str:
    """The value of a case's variable, known to the index."""
    if case.token not in ("account", "project", "expired"):
        return case.token
    projects = ("quite-another",) if case.token == "project" else ()
    made = tokens.make(HOST, OWNER, projects, seconds=1 if case.token == "expired" else 0)
    rules.tokens[made.text] = made
    return made.text
