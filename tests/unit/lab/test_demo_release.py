# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo of a release: versions, what is read from jobs, and what is not as it should be."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace

import pytest

from lab.demo_release import (
    Release,
    judge,
    next_version,
    read_installed,
    read_sums,
    release_rows,
    with_version,
)
from lab.pipelines import Job

JOB = Job(1, "release-sdist", "build", "success", 100.0, 101.0, 104.5, "jammy-build", 7, "")


@pytest.mark.parametrize(
    ("tags", "version"),
    [
        ((), "1.0.0"),
        (("v1.0.0",), "1.0.1"),
        (("v1.0.9", "v1.0.10", "v1.1.0rc1", "other"), "1.0.11"),
    ],
)
def test_the_next_version(tags: Sequence[str], version: str) -> None:
    assert next_version(tags) == version


def test_only_the_projects_version_is_changed() -> None:
    text = '[project]\nversion = "1.0.0"\n[tool.x]\nminimum-version = "0.10"\nversion = "3"\n'
    assert with_version(text, "1.0.1") == text.replace('"1.0.0"', '"1.0.1"')


VERIFIED = """\
  environment for 3.9: done, 0.0 s
  install from lab on 3.9: done, 0.2 s
  smoke command on 3.9: done, 0.0 s
  install from lab on 3.11: done, 1.5 s
"""


def test_only_what_was_tried_counts_as_installed() -> None:
    assert read_installed(VERIFIED) == {"3.9": 0.2}
    assert read_installed(VERIFIED + "  smoke command on 3.11: done, 0.1 s\n") == {
        "3.9": 0.2,
        "3.11": 1.5,
    }


def release() -> Release:
    names = [f"lab_demo-1.0.1-cp{tag}-cp{tag}-manylinux_2_17_x86_64.whl" for tag in ("39", "311")]
    names.append("lab_demo-1.0.1.tar.gz")
    sums = {name: f"{number}" * 64 for number, name in enumerate(names)}
    publish = replace(JOB, id=2, name="release-publish", runner="jammy publish", runner_id=8)
    return Release(
        "v1.0.1", "c" * 40, 3, [JOB, publish], sums,
        {name: {"size": 10, "hashes": {"sha256": sha}} for name, sha in sums.items()},
        {"3.9": 0.2, "3.11": 0.3}, 42.0,
    )  # fmt: skip


def found(changed: Release, pythons: Sequence[str] = ("3.9", "3.11")) -> list[str]:
    return judge(changed, pythons, {7}, {8})


def test_a_release_as_it_should_be() -> None:
    assert found(release()) == []
    rows = dict(release_rows(release()))
    assert rows["release-sdist"] == "3.5 s on jammy-build, began 1.0 s after the push"
    assert rows["python 3.11"] == "lab-demo 1.0.1, installed from the index in 0.3 s"
    assert rows["sdist"] == "lab_demo-1.0.1.tar.gz  10 bytes, sha256 2222222222222222…"


def test_what_is_not_as_it_should_be() -> None:
    good = release()
    job, publish = good.jobs
    assert "ran on jammy-build, not on the protected runner" in "".join(
        found(replace(good, jobs=[job, replace(publish, runner="jammy-build", runner_id=7)]))
    )
    assert "release-sdist ran on jammy publish, not on the host's" in "".join(
        found(replace(good, jobs=[replace(job, runner="jammy publish", runner_id=8), publish]))
    )
    assert "nothing was uploaded" in "".join(found(replace(good, jobs=[job])))
    assert "installed on ['3.9'], not on" in "".join(found(replace(good, installed={"3.9": 1.0})))
    assert "wheels of Python 3.12: []" in "".join(found(good, ("3.9", "3.11", "3.12")))
    other = {**good.checked, "lab_demo-1.0.1.tar.gz": "f" * 64}
    assert "the index lists" in "".join(found(replace(good, checked=other)))
    assert "the index lists []" in "".join(found(replace(good, listed={})))


def test_digests_from_a_jobs_artifacts() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("dist/SHA256SUMS", f"{'a' * 64}  demo-1.0.tar.gz\n")
    assert read_sums(archive.getvalue()) == {"demo-1.0.tar.gz": "a" * 64}
