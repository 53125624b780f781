# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's packages in the lab: several versions, with the same effects as the real ones.

`gitlab-runner` holds the real binaries that LAB_GITLAB_RUNNER names, oldest
first, else the stand-in. The maintainer scripts do what upstream's do (gitlab-runner 19.3,
magefiles/packages/create.go and packaging/): the user without a skeleton, the
0700 folder, stop, uninstall, install and start on every configure; stop and
uninstall on every removal *and* upgrade; `gitlab-runner-helper-images` in
lock-step by a hard dependency on the same version.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from lab.platforms import UPSTREAM, WORLD_VARIABLE, upstream_world
from lab.run import LabError, run
from standins.executable import gitlab_runner

STAND_IN_VERSIONS = ("19.3.0", "19.3.1")
STAND_IN_OLDER = ("17.4.0", "17.5.0")
BROKEN = "17.5.0"
"""Installs, but fails to start under systemd: both the real one and the stand-in."""
RUNNER_VARIABLE = "LAB_GITLAB_RUNNER"
ITERATION = "-1"


@dataclass(frozen=True)
class Runner:
    """The runner that goes into the packages."""

    kind: str
    """"real", "stand-in", or "upstream" for GitLab's own package, which the lab does not build."""
    program: Path
    """The binary; none for the stand-in, which is built."""
    version: str
    version_next: str
    fingerprint: str
    """Digest of the program, or of all."""
    older: tuple[str, ...] = ()
    """Further versions that the repository has, oldest first."""
    older_programs: tuple[Path, ...] = ()
    """Their programs; none for the stand-in."""

    def __str__(self) -> str:
        if self.kind == UPSTREAM:
            return f"GitLab's own package, {self.version}"
        older = f" (older: {', '.join(self.older)})" if self.older_programs else ""
        return f"{self.kind} {self.version}{older}"

    @property
    def old(self) -> str:
        """The oldest version that works, from which upgrades start."""
        return next((version for version in self.older if version != BROKEN), self.version)

    @property
    def broken(self) -> str:
        """A version after the old one that does not start; empty if there is none."""
        return BROKEN if BROKEN in self.older and self.older[0] != BROKEN else ""

    @property
    def package_versions(self) -> tuple[str, str]:
        """As `gitlab_runner_version` takes them."""
        if self.kind == UPSTREAM:
            return self.version, self.version_next
        return self.version + ITERATION, self.version_next + ITERATION

    def content(self, version: str) -> bytes:
        """What /usr/bin/gitlab-runner of the package of `version` is."""
        if self.kind == "real":
            programs = dict(zip(self.older, self.older_programs, strict=True))
            # The newest binary under the next number too: it is what a test of upgrades needs.
            return programs.get(version, self.program).read_bytes()
        return gitlab_runner(version)


def find_runner() -> Runner:
    """The real runner if one is configured, otherwise the stand-in; with WORLD=upstream neither."""
    named = os.environ.get(RUNNER_VARIABLE)
    if upstream_world():
        if named:
            raise LabError(f"{WORLD_VARIABLE}={UPSTREAM} takes GitLab's own package: "
                           f"unset {RUNNER_VARIABLE}")  # fmt: skip
        return Runner(UPSTREAM, Path(), "latest", "latest", "")
    if named:
        return real_runner([Path(path) for path in named.split(os.pathsep)])
    first, second = STAND_IN_VERSIONS
    made = hashlib.sha256(gitlab_runner(first)).hexdigest()
    return Runner("stand-in", Path(), first, second, made, STAND_IN_OLDER)


def real_runner(paths: list[Path]) -> Runner:
    """The runner from real binaries, oldest first; hosts get the last one."""
    programs: dict[str, Path] = {}
    for path in paths:
        program = path.resolve()
        if not program.is_file():
            raise LabError(f"{RUNNER_VARIABLE}: no such file: {path}")
        programs[parse_version(run([str(program), "--version"]).stdout)] = program
    versions = list(programs)
    if len(versions) < len(paths) or versions != sorted(versions, key=_numbers):
        raise LabError(
            f"{RUNNER_VARIABLE}: found {', '.join(versions)}; expected different versions, "
            "the oldest first"
        )
    *older, version = versions
    *older_programs, program = programs.values()
    fingerprint = " ".join(map(_fingerprint, programs.values()))
    return Runner(
        "real",
        program,
        version,
        next_patch(version),
        fingerprint,
        tuple(older),
        tuple(older_programs),
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _fingerprint(program: Path) -> str:
    with program.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_version(said: str) -> str:
    """The version in the output of `gitlab-runner --version`.

    Builds of a checkout call themselves "19.3.0~pre.1.gabc" or
    "development version": the first is cut to its number, the second refused.
    """
    found = re.search(r"^Version:\s+v?(\d+\.\d+\.\d+)", said, re.MULTILINE)
    if not found:
        line = said.strip().splitlines()[0] if said.strip() else "nothing"
        raise LabError(f"{RUNNER_VARIABLE}: --version says {line!r}, not a version X.Y.Z")
    return found.group(1)


def next_patch(version: str) -> str:
    """19.3.0 → 19.3.1."""
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def architecture() -> str:
    """Debian's name of this machine's architecture."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = platform.machine()
    if machine not in names:
        raise LabError(f"no lab packages for {machine} machines (only {' '.join(names)})")
    return names[machine]


def build_runner_packages(runner: Runner, folder: Path) -> list[Path]:
    """Write both packages in every version into `folder`."""
    made = []
    for version in (*runner.older, runner.version, runner.version_next):
        made.append(_build(folder, runner_files(runner.content(version)),
                           runner_control(version + ITERATION, architecture())))  # fmt: skip
        made.append(_build(folder, HELPER_FILES, helper_control(version + ITERATION)))
    return made


def runner_control(version: str, arch: str) -> str:
    return f"""\
Package: gitlab-runner
Version: {version}
Architecture: {arch}
Maintainer: Runnerhost lab <lab@runnerhost.test>
Section: admin
Priority: optional
Depends: gitlab-runner-helper-images (= {version}), git, curl, tar, ca-certificates
Suggests: docker-engine
Conflicts: gitlab-runner-beta, gitlab-ci-multi-runner, gitlab-ci-multi-runner-beta
Provides: gitlab-ci-multi-runner
Replaces: gitlab-ci-multi-runner
Description: GitLab Runner, as the lab packs it
"""


def helper_control(version: str) -> str:
    return f"""\
Package: gitlab-runner-helper-images
Version: {version}
Architecture: all
Maintainer: Runnerhost lab <lab@runnerhost.test>
Section: admin
Priority: optional
Description: GitLab Runner helper images, empty: the shell executor uses none
"""


HELPER_FILES: dict[str, tuple[bytes, int]] = {
    "usr/share/doc/gitlab-runner-helper-images/README": (
        b"The real package holds container images. The lab's hosts use none.\n", 0o644,
    ),
}  # fmt: skip

_POSTINST = """\
#!/bin/sh
# configure: (re)install the service. Everything else needs nothing.
set -e
[ "$1" = configure ] || exit 0
exec /usr/share/gitlab-runner/post-install
"""

_PRERM = """\
#!/bin/sh
# Whatever the argument: an upgrade stops and uninstalls the service as well.
set -e
exec /usr/share/gitlab-runner/pre-remove
"""

_SERVICES = """\
# Whether there is anything that manages services (not so while an image is built).
has_services() {
  ! gitlab-runner status 2>&1 | grep -q "executable file not found"
}
"""

_POST_INSTALL = f"""\
#!/bin/sh
set -e
{_SERVICES}
user=gitlab-runner
if id -u gitlab_ci_multi_runner >/dev/null 2>&1; then user=gitlab_ci_multi_runner; fi

if id -u "$user" >/dev/null 2>&1; then
  echo "GitLab Runner: detected user $user"
else
  echo "GitLab Runner: creating $user..."
  if [ "${{GITLAB_RUNNER_DISABLE_SKEL:-true}}" = true ]; then
    echo "Home directory skeleton not used"
    set -- --skel /dev/null
  else
    set --
  fi
  useradd --system --shell /bin/bash --comment "GitLab Runner" --create-home "$@" "$user"
fi
home=$(getent passwd "$user" | cut -d: -f6)

mkdir -p /etc/gitlab-runner
chmod 0700 /etc/gitlab-runner

if ! has_services; then
  echo "GitLab Runner: no service manager here, the service is left alone"
  exit 0
fi

gitlab-runner stop >/dev/null 2>&1 || :
gitlab-runner uninstall >/dev/null 2>&1 || :
if [ -z "${{USE_INIT_USER:-}}" ]; then
  gitlab-runner install --user="$user" --working-directory="$home"
else
  gitlab-runner install --init-user="$user" --working-directory="$home"
  if [ ! -f "$home/config.toml" ] && [ -f /etc/gitlab-runner/config.toml ]; then
    cp /etc/gitlab-runner/config.toml "$home/config.toml"
    chown "$user:$user" "$home/config.toml"
  fi
fi
gitlab-runner start || :
"""

_PRE_REMOVE = f"""\
#!/bin/sh
{_SERVICES}
has_services || exit 0
gitlab-runner stop >/dev/null 2>&1 || :
gitlab-runner uninstall >/dev/null 2>&1 || :
"""


def runner_files(program: bytes) -> dict[str, tuple[bytes, int]]:
    """Files of the gitlab-runner package, maintainer scripts included: path to content, mode."""
    return {
        "DEBIAN/postinst": (_POSTINST.encode(), 0o755),
        "DEBIAN/prerm": (_PRERM.encode(), 0o755),
        "usr/bin/gitlab-runner": (program, 0o755),
        "usr/share/gitlab-runner/post-install": (_POST_INSTALL.encode(), 0o755),
        "usr/share/gitlab-runner/pre-remove": (_PRE_REMOVE.encode(), 0o755),
    }


def _build(folder: Path, files: dict[str, tuple[bytes, int]], control: str) -> Path:
    fields = dict(line.split(": ", 1) for line in control.splitlines() if ": " in line)
    name = f"{fields['Package']}_{fields['Version']}_{fields['Architecture']}.deb"
    tree = folder / f"{name}.tree"
    for path, (content, mode) in {**files, "DEBIAN/control": (control.encode(), 0o644)}.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
    return pack(tree, folder / name)


def pack(tree: Path, target: Path) -> Path:
    """Make a .deb of `tree` (with its DEBIAN folder) and remove the tree."""
    # The controller's umask must not change the modes of a package's folders.
    run(["find", str(tree), "-type", "d", "-exec", "chmod", "0755", "{}", "+"])
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", str(tree), str(target)],
        timeout=300)  # fmt: skip
    run(["rm", "-rf", str(tree)])
    return target
