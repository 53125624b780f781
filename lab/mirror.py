# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's package repositories: static, signed, in their upstreams' layouts.

- `/deadsnakes/ppa/ubuntu`: the deadsnakes PPA's layout, with Pythons of older
  Debian releases repacked the way the PPA splits its packages. They are real
  interpreters; only `-venv`, `-distutils` and `-lib2to3` are put together here.
- `/runner/gitlab-runner/ubuntu`: GitLab's layout, with the packages of `lab.packages`.
- `/company/deadsnakes`, `/company/gitlab-runner`: a company's mirror of both, signed anew by
  its own key and with its own Origin, as some mirror programs write them.

Each repository is a folder in the cache, named after a digest of its sources.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.apt_sources import Mirror
from lab.engine import Engine
from lab.images import debian_mirror
from lab.keys import Key, clearsign, ensure_key
from lab.packages import Runner, architecture, build_runner_packages, pack
from lab.places import cache_dir, digest, locked, new_folder
from lab.platforms import PLATFORMS, ForeignPython, Platform
from lab.progress import step
from lab.run import run

PYTHON_PATH = "/deadsnakes/ppa/ubuntu"
RUNNER_PATH = "/runner/gitlab-runner/ubuntu"
PYTHON_ORIGIN = "LP-PPA-deadsnakes"
"""The Origin in the PPA's Release files, which pins match."""
PYTHON_LABEL = "New Python Versions"
"""Their Label, which apt shows in a simulation."""
RUNNER_ORIGIN = "packages.gitlab.com/runner/gitlab-runner"
COMPANY_PYTHON_PATH = "/company/deadsnakes"
COMPANY_RUNNER_PATH = "/company/gitlab-runner"
COMPANY_ORIGIN = "Company Mirror"
FORMAT = 1
"""Increase to rebuild every repository."""

WHEELS = "/usr/share/python-wheels"
"""Where Debian 12 and newer keep the wheels that ensurepip installs."""
ENSUREPIP = ForeignPython("3.11", "bookworm", ())
"""The Python whose ensurepip all others get: the oldest that accepts all versions of the wheels."""


@dataclass(frozen=True)
class Repository:
    """A finished repository: its folder, the path under which it is served, and its key."""

    folder: Path
    path: str
    key: Key


def ensure_python_repository(engine: Engine, platforms: Sequence[Platform]) -> Repository:
    """The deadsnakes-like repository, with a suite for each of `platforms`."""
    key = ensure_key("deadsnakes", "Runnerhost lab PPA for deadsnakes", "never")
    with locked(cache_dir() / "mirror.lock", wait_message="  waiting for another lab's mirror"):
        suites = [_ensure_python_suite(engine, platform, key) for platform in platforms]
        folder = suites[0]
        if len(suites) > 1:
            name = digest([suite.name for suite in suites])
            folder = cache_dir() / "mirror" / f"python-{name}"
            if not folder.exists():
                with new_folder(folder) as scratch:
                    join_suites(suites, scratch)
    return Repository(folder, PYTHON_PATH, key)


def _ensure_python_suite(engine: Engine, platform: Platform, key: Key) -> Path:
    """A repository of the platform's suite alone: making one takes 10 to 20 s."""
    code = Path(__file__).read_bytes()
    name = digest(FORMAT, platform.name, repr(platform.foreign_pythons), key.fingerprint, code)
    folder = cache_dir() / "mirror" / f"python-{platform.name}-{name}"
    if not folder.exists():
        versions = ", ".join(python.version for python in platform.foreign_pythons)
        title = f"package mirror: Python {versions} for {platform.name}"
        with step(title), new_folder(folder) as scratch:
            pool = scratch / "pool" / platform.name
            pool.mkdir(parents=True)
            for python in platform.foreign_pythons:
                build_python(debian_mirror(engine, platform), platform, python, pool)
            publish(scratch, platform.name, "main", PYTHON_ORIGIN, PYTHON_LABEL, key)
    return folder


def join_suites(suites: Sequence[Path], target: Path) -> None:
    """One repository of several, each with suites and pools of its own; their files are shared."""
    for suite in suites:
        shutil.copytree(suite, target, copy_function=os.link, dirs_exist_ok=True)


def ensure_runner_repository(runner: Runner) -> Repository:
    """GitLab's repository with two versions of the runner, a suite for every platform."""
    key = ensure_key("gitlab", "Runnerhost lab GitLab package repository signing key", "2y")
    code = [(Path(__file__).parent / name).read_text() for name in ("mirror.py", "packages.py")]
    name = digest(FORMAT, list(PLATFORMS), runner.kind, runner.package_versions, runner.older,
                  runner.fingerprint, key.fingerprint, code)  # fmt: skip
    folder = cache_dir() / "mirror" / f"runner-{name}"
    with locked(cache_dir() / "mirror.lock", wait_message="  waiting for another lab's mirror"):
        if not folder.exists():
            title = f"package mirror: gitlab-runner ({runner})"
            with step(title), new_folder(folder) as scratch:
                pool = scratch / "pool" / "main"
                pool.mkdir(parents=True)
                build_runner_packages(runner, pool)
                for platform in PLATFORMS:
                    publish(scratch, platform, "main", RUNNER_ORIGIN, "gitlab-runner", key, pool)
    return Repository(folder, RUNNER_PATH, key)


def ensure_company_mirror(upstream: Repository, path: str) -> Repository:
    """A mirror of `upstream` under `path`: the same packages, another key and Origin."""
    key = ensure_key("company", "Runnerhost lab company mirror", "never")
    # The name of the upstream folder covers its content and this code.
    name = digest(upstream.folder.name, key.fingerprint)
    folder = cache_dir() / "mirror" / f"company-{name}"
    with locked(cache_dir() / "mirror.lock", wait_message="  waiting for another lab's mirror"):
        if not folder.exists():
            with new_folder(folder) as scratch:
                mirror_repository(upstream.folder, scratch, key)
    return Repository(folder, path, key)


def mirror_repository(upstream: Path, target: Path, key: Key) -> None:
    """Index and sign every suite of `upstream` again in `target`; the packages are shared."""
    shutil.copytree(upstream / "pool", target / "pool", copy_function=os.link)
    for dist in sorted((upstream / "dists").iterdir()):
        own = target / "pool" / dist.name
        pool = own if own.exists() else target / "pool" / "main"
        publish(target, dist.name, "main", COMPANY_ORIGIN, COMPANY_ORIGIN, key, pool)


def publish(
    root: Path,
    suite: str,
    component: str,
    origin: str,
    label: str,
    key: Key,
    pool: Path | None = None,
) -> None:
    """Index the packages of `pool` (default: pool/SUITE) as `suite` of the repository `root`."""
    pool = pool or root / "pool" / suite
    arch = architecture()
    dist = root / "dists" / suite
    index = dist / component / f"binary-{arch}"
    index.mkdir(parents=True)
    packages = run(
        ["apt-ftparchive", "packages", str(pool.relative_to(root))], cwd=root, timeout=120
    ).stdout
    (index / "Packages").write_text(packages)
    (index / "Packages.gz").write_bytes(gzip.compress(packages.encode(), mtime=0))
    # No sources, but their index: vendors' scripts write a deb-src line.
    (dist / component / "source").mkdir()
    (dist / component / "source" / "Sources").touch()
    fields = {
        "Origin": origin, "Label": label, "Suite": suite, "Codename": suite,
        "Architectures": arch, "Components": component,
    }  # fmt: skip
    options = [
        word for name, value in fields.items()
        for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")
    ]  # fmt: skip
    release = run(["apt-ftparchive", *options, "release", str(dist)], timeout=120).stdout
    (dist / "Release").write_text(release)
    clearsign(key, dist / "Release", dist / "InRelease")


# --- Pythons of older Debian releases --------------------------------------------------------


def build_python(mirror: Mirror, platform: Platform, python: ForeignPython, pool: Path) -> None:
    """Add the packages of one other Python for `platform` to `pool`."""
    version, suffix = python.version, f"+{platform.name}1"
    plain = [f"python{version}", f"python{version}-minimal", f"python{version}-dev",
             f"libpython{version}", f"libpython{version}-minimal", f"libpython{version}-stdlib",
             f"libpython{version}-dev", *python.libraries]  # fmt: skip
    venv, donor = f"python{version}-venv", f"python{ENSUREPIP.version}-venv"
    split = {"python3-distutils": f"python{version}-distutils",
             "python3-lib2to3": f"python{version}-lib2to3"}  # fmt: skip
    work = pool / "work"
    download(
        mirror, list(dict.fromkeys([python.suite, ENSUREPIP.suite])), work,
        [*plain, *dict.fromkeys([venv, donor]), *(f"{name}/{python.suite}" for name in split)],
    )  # fmt: skip
    names = [*plain, venv, *split]
    trees = {name: _unpack(work, name) for name in dict.fromkeys([*names, donor])}
    control = {name: (tree / "DEBIAN/control").read_text() for name, tree in trees.items()}
    python_version = field(control[f"python{version}"], "Version")
    ours = {field(control[name], "Version") for name in names}

    # It works for others too, once it knows where the wheels are (a variable of the build
    # that theirs lacks).
    target = trees[venv] / f"usr/lib/python{version}/ensurepip"
    if venv != donor:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(trees[donor] / f"usr/lib/python{ENSUREPIP.version}/ensurepip", target)
    script = target / "__init__.py"
    script.write_text(point_at_wheels(script.read_text()))
    control[venv] = set_fields(control[venv], {
        "Depends": f"python{version} (= {python_version}), python{version}-distutils, "
                   "python3-pip-whl, python3-setuptools-whl",
        "Breaks": "", "Replaces": "", "Recommends": "",
    })  # fmt: skip

    # These come from packages of the whole release's python3: they get the version's name,
    # keep the version's files and depend on nothing but the version.
    for old, new in split.items():
        keep = trees[old] / f"usr/lib/python{version}"
        library = trees[old] / "usr/lib"
        for other in library.glob("python3*"):
            if other != keep:
                shutil.rmtree(other)
        for share in ("doc", "lintian"):
            shutil.rmtree(trees[old] / "usr/share" / share, ignore_errors=True)
        # Their scripts byte-compile for the distribution's own Python.
        _drop_scripts(trees[old])
        control[old] = set_fields(control[old], {
            "Package": new, "Source": "", "Depends": f"python{version} (= {python_version})",
            "Breaks": "", "Replaces": "", "Conflicts": "", "Provides": "",
        })  # fmt: skip

    for name in names:
        tree = trees[name]
        text = control[name] if name in python.libraries else suffixed(control[name], ours, suffix)
        (tree / "DEBIAN/control").write_text(text)
        # Outdated, because files were moved; dpkg does not need it.
        (tree / "DEBIAN/md5sums").unlink(missing_ok=True)
        parts = (field(text, name) for name in ("Package", "Version", "Architecture"))
        # File names cannot contain the colon of an epoch.
        pack(tree, pool / f"{'_'.join(parts).replace(':', '%3a')}.deb")
    shutil.rmtree(work)


def download(mirror: Mirror, suites: Sequence[str], work: Path, packages: Sequence[str]) -> None:
    """Fetch packages of any suite with a separate apt configuration."""
    for folder in ("lists/partial", "cache/archives/partial", "etc", "debs"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    lines = [
        line for suite in suites
        for line in (f"deb {mirror.main} {suite} main", *mirror.security_lines(suite))
    ]  # fmt: skip
    (work / "sources.list").write_text("\n".join(lines) + "\n")
    apt = ["apt-get", "-q", "-o", f"Dir::State={work}", "-o", f"Dir::State::Lists={work}/lists",
           "-o", f"Dir::State::Status={work}/status", "-o", f"Dir::Cache={work}/cache",
           "-o", f"Dir::Etc::SourceList={work}/sources.list",
           "-o", f"Dir::Etc::SourceParts={work}/etc",
           "-o", f"Dir::Etc::PreferencesParts={work}/etc",
           "-o", f"Dir::Etc::Preferences={work}/none", "-o", "APT::Update::Error-Mode=any",
           # Root's downloads need not be readable by _apt here.
           "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3",
           # Old releases are kept, but their indexes are no longer renewed.
           "-o", "Acquire::Check-Valid-Until=false"]  # fmt: skip
    run([*apt, "update"], timeout=300)
    run([*apt, "download", *packages], cwd=work / "debs", timeout=300)


def _unpack(work: Path, package: str) -> Path:
    (deb,) = (work / "debs").glob(f"{package}_*.deb")
    tree = work / "trees" / package
    tree.parent.mkdir(exist_ok=True)
    run(["dpkg-deb", "-R", str(deb), str(tree)], timeout=120)
    return tree


def _drop_scripts(tree: Path) -> None:
    for name in ("preinst", "postinst", "prerm", "postrm", "triggers"):
        (tree / "DEBIAN" / name).unlink(missing_ok=True)


def field(control: str, name: str) -> str:
    """The first line of a field; empty if it is missing."""
    found = re.search(rf"^{re.escape(name)}: *(.*)$", control, re.MULTILINE)
    return found.group(1) if found else ""


def set_fields(control: str, values: dict[str, str]) -> str:
    """`control` with these fields set; an empty value removes the field."""
    for name, value in values.items():
        control = re.sub(rf"^{re.escape(name)}:.*\n(?:[ \t].*\n)*", "", control, flags=re.MULTILINE)
        if value:
            line = f"{name}: {value}\n"
            control = line + control if name == "Package" else control.rstrip("\n") + "\n" + line
    return control


def suffixed(control: str, versions: set[str], suffix: str) -> str:
    """`control` with `suffix` on its version and on every exact dependency on one of `versions`.

    Because each suite has its own version, a change of suite is an upgrade, as in the real PPA.
    """
    for version in versions:
        control = re.sub(rf"\(= {re.escape(version)}\)", f"(= {version}{suffix})", control)
    return re.sub(r"^(Version: .*)$", rf"\1{suffix}", control, count=1, flags=re.MULTILINE)


def point_at_wheels(ensurepip: str) -> str:
    """ensurepip's source with the folder of its wheels written into it."""
    text, count = re.subn(
        r"^_WHEEL_PKG_DIR = .*$", f"_WHEEL_PKG_DIR = {WHEELS!r}", ensurepip, flags=re.MULTILINE
    )
    if count != 1:
        raise ValueError("ensurepip has no line for the folder of its wheels")
    return text
