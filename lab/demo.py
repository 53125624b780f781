# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: provisions a host, builds wheels on it with its own runner, and shows the result."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.hosts import ssh_command
from lab.images import real_image
from lab.inventory import read_pythons, read_tokens
from lab.jobs import connect, follow, push_folder
from lab.mirror import PYTHON_ORIGIN
from lab.packages import ITERATION
from lab.places import DEFAULT_NAME, Lab
from lab.platforms import UPSTREAM, Platform, upstream_world
from lab.progress import step
from lab.run import LabError, run
from lab.world import World, release_of, up
from standins.gitlab.client import JobInfo, LabGitLab, LabGitLabError

PROJECT = Path(__file__).parent / "projects" / "demo"
PLAYBOOK = "playbooks/site.yml"
WHEELS, TIMES = "wheels", "times.txt"
PROVISION_TIMEOUT = 900.0
JOB_TIMEOUT = 600

_RECAP = re.compile(r"^(?P<host>\S+)\s+: (?P<counts>ok=\d+.*)$")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def demo(lab: Lab, platforms: Sequence[Platform]) -> int:
    """Run the demo; 0 if every check passed."""
    clock = Clock.started()
    print(f"Runnerhost demo, lab {lab.name}", flush=True)
    if upstream_world():
        print("  real Ubuntu images, deadsnakes and GitLab's packages; GitLab is the lab's own,"
              " a stand-in", flush=True)  # fmt: skip
    with clock.part("lab"):
        world = up(lab, platforms)
    print(f"  gitlab-runner: {world.runner}", flush=True)
    with clock.part("provision"):
        changes = play(lab, PLAYBOOK)
    results: list[Result] = []
    with clock.part("job"), connect(lab) as gitlab:
        for platform in platforms:
            # A host may have been upgraded to another release (`lab.os_upgrade`).
            now = replace(release_of(lab, platform), name=platform.name, number=platform.number)
            results.append(build(world, gitlab, now))
    for result in results:
        print(table(result.table_rows))
    show_changes(changes)
    print(clock.told())
    return verdict([problem for result in results for problem in result.problems])


def show_changes(changes: Mapping[str, int]) -> None:
    """What the provision has changed, for each host."""
    for host, count in changes.items():
        said = "nothing changed" if count == 0 else f"{count} tasks changed something"
        print(f"provision of {host}: {said} (changed={count})")


def verdict(problems: Sequence[str]) -> int:
    """Show what is not as expected; the exit status."""
    sys.stdout.flush()
    for problem in problems:
        print(f"NOT SO: {problem}", file=sys.stderr)
    return 1 if problems else 0


@dataclass
class Clock:
    """How long each part took, in seconds, from the start of the command on.

    `make demo` sets RUNNERHOST_STARTED to its start (seconds since the epoch), because it also
    installs packages before this program.
    """

    parts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def started(cls) -> Clock:
        """A clock that already contains the preparation."""
        begun = os.environ.get("RUNNERHOST_STARTED", "")
        before = time.time() - int(begun) if begun.isdecimal() else -1.0
        return cls({"preparation": before} if before >= 0 else {})

    def told(self) -> str:
        """All parts and their sum."""
        parts = ", ".join(f"{name} {took:.1f} s" for name, took in self.parts.items())
        return f"times: {parts}; {sum(self.parts.values()):.1f} s in all"

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.parts[name] = time.monotonic() - start


# --- provisioning ----------------------------------------------------------------------------


def play(lab: Lab, playbook: str) -> dict[str, int]:
    """Run a playbook with its output shown; changed tasks by host."""
    program = Path(sys.executable).with_name("ansible-playbook")
    found = str(program) if program.exists() else shutil.which("ansible-playbook")
    if not found:
        raise LabError("ansible-playbook: not installed (make venv)")
    where = "inventories/lab" if lab.name == DEFAULT_NAME else str(lab.inventory.parent)
    command = [found, "-i", where, playbook]
    print(f"  {' '.join(['ansible-playbook', *command[1:]])}", flush=True)
    # Ansible itself must also find the programs of the venv.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path}
    if sys.stdout.isatty():
        environment["ANSIBLE_FORCE_COLOR"] = "1"
    deadline = time.monotonic() + PROVISION_TIMEOUT
    output = []
    with subprocess.Popen(
        ["timeout", f"{PROVISION_TIMEOUT:.0f}", *command],
        cwd=lab.checkout, env=environment, stdout=subprocess.PIPE, text=True, errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {line}", end="", flush=True)
            output.append(line)
    if process.returncode != 0:
        late = " (took too long)" if time.monotonic() > deadline else ""
        raise LabError(f"ansible-playbook: exit {process.returncode}{late}")
    recap = parse_recap(output)
    if not recap:
        raise LabError("ansible-playbook reached no host")
    return {host: counts["changed"] for host, counts in recap.items()}


def parse_recap(lines: Sequence[str]) -> dict[str, dict[str, int]]:
    """Ansible's PLAY RECAP: host to its counts."""
    found = {}
    for line in lines:
        if match := _RECAP.match(_ANSI.sub("", line).strip()):
            pairs = (pair.partition("=") for pair in match["counts"].split())
            found[match["host"]] = {name: int(count) for name, _, count in pairs}
    return found


# --- the job ---------------------------------------------------------------------------------


def job_script(pythons: Sequence[str]) -> list[str]:
    """The job's commands, one per line.

    A failing line ends the job; several commands in one line would not all be
    checked by the runner's bash.
    """
    lines = ["set -eu", f"mkdir -p {WHEELS}"]
    for version in pythons:
        python = f".venv-{version}/bin/python"
        lines += [
            f"date +'{version} start %s.%N' >> {WHEELS}/{TIMES}",
            f"python{version} -m venv --clear .venv-{version}",
            f"{python} -m pip --quiet wheel --no-deps --wheel-dir {WHEELS}/{version} .",
            f"{python} -m pip --quiet install --no-index {WHEELS}/{version}/*.whl",
            f"{python} -m unittest discover --verbose --start-directory tests",
            f"date +'{version} end %s.%N' >> {WHEELS}/{TIMES}",
        ]
    return lines


@dataclass(frozen=True)
class Wheel:
    """A wheel of the job's artifacts; `seconds` for its venv, build, install and test."""

    version: str
    file: str
    tags: str
    seconds: float


def read_artifacts(archive: bytes) -> list[Wheel]:
    """The wheels in the job's zip."""
    with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
        names = bundle.namelist()
        times = parse_times(bundle.read(f"{WHEELS}/{TIMES}").decode())
        found = []
        for name in sorted(names):
            if name.endswith(".whl"):
                version, file = name.split("/")[-2:]
                with zipfile.ZipFile(io.BytesIO(bundle.read(name))) as wheel:
                    # Read the metadata of the wheel, not its file name.
                    (info,) = (one for one in wheel.namelist() if one.endswith("dist-info/WHEEL"))
                    tags = re.findall(r"^Tag: (.*?)\s*$", wheel.read(info).decode(), re.MULTILINE)
                    if not any(one.endswith(".so") for one in wheel.namelist()):
                        tags = ["no extension"]
                found.append(Wheel(version, file, ",".join(tags), times.get(version, 0.0)))
    return sorted(found, key=lambda one: [int(part) for part in one.version.split(".")])


def parse_times(text: str) -> dict[str, float]:
    """Lines "3.9 start 12.5" and "3.9 end 14.0": version to seconds."""
    marks: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        version, mark, at = line.split()
        marks.setdefault(version, {})[mark] = float(at)
    return {
        version: both["end"] - both["start"]
        for version, both in marks.items()
        if {"start", "end"} <= both.keys()
    }


# --- what the host says of itself ------------------------------------------------------------

_PROBES = {
    "system": '. /etc/os-release && echo "$PRETTY_NAME"',
    "kernel": "uname -sr",
    "compiler": "cc --version | head -n 1",
    "cmake": "cmake --version | head -n 1",
    "ninja": "ninja --version",
    "runner": "gitlab-runner --version",
    "runner package": "dpkg-query -W -f '${Version}' gitlab-runner",
    "service": "systemctl is-active gitlab-runner.service",
    "archives": "apt-cache policy",
}


@dataclass(frozen=True)
class Interpreter:
    """A Python on the host: its full version and the origin of its package."""

    version: str
    full: str
    origin: str


def probe(command: Sequence[str], pythons: Sequence[str]) -> dict[str, str]:
    """Ask the host everything in one SSH call; `command` logs in. Name to answer."""
    probes = dict(_PROBES)
    for version in pythons:
        probes[f"full {version}"] = f"python{version} -c 'import sys; print(sys.version)'"
        probes[f"policy {version}"] = f"apt-cache policy python{version}"
    marker = "=====8<===== "
    script = "".join(f"echo '{marker}{name}'\n{{ {ask}; }} 2>&1\n" for name, ask in probes.items())
    said = run([*command, "sh", "-s"], stdin=script, check=False).stdout
    answers = {}
    for part in said.split(marker)[1:]:
        name, _, text = part.partition("\n")
        answers[name] = text.strip()
    return answers


def parse_origins(policy: str) -> dict[str, str]:
    """`apt-cache policy` without a name: "ADDRESS SUITE/COMPONENT" to origin."""
    found = {}
    source = ""
    for line in policy.splitlines():
        words = line.split()
        if len(words) >= 3 and words[0].lstrip("-").isdigit():
            source = " ".join(words[1:3])
        elif words[:1] == ["release"]:
            fields = dict(
                one.split("=", 1) for one in line.strip().removeprefix("release ").split(",")
                if "=" in one
            )  # fmt: skip
            found[source] = fields.get("o", "")
    return found


def installed_origin(policy: str, origins: Mapping[str, str]) -> str:
    """Origin of the installed version in `apt-cache policy NAME`; "" where it has none."""
    lines = policy.splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip().startswith("***")), None)
    if start is None:
        return ""
    for line in lines[start + 1 :]:
        words = line.split()
        if not words or not words[0].lstrip("-").isdigit():
            break
        if found := origins.get(" ".join(words[1:3])):
            return found
    return ""


@dataclass(frozen=True)
class Result:
    """What was found on one host."""

    host: str
    rows: tuple[tuple[str, str], ...]
    wheels: tuple[Wheel, ...]
    problems: tuple[str, ...]

    @property
    def table_rows(self) -> list[tuple[str, str]]:
        """All that the table shows."""
        wheels = (
            (f"wheel {one.version}", f"{one.file}  [{one.tags}]  {one.seconds:.1f} s")
            for one in self.wheels
        )
        return [*self.rows, *wheels]


def build(world: World, gitlab: LabGitLab, platform: Platform) -> Result:
    """Build the demo project on a host of `platform` and read the host's state."""
    pythons = read_pythons(world.lab)[platform.name]
    title = f"job on {platform.name}: wheels for Python {', '.join(pythons)}"
    with step(title):
        try:
            project, sha = push_folder(gitlab, PROJECT)
            number = gitlab.queue_job(
                project.path, job_script(pythons), name="wheels", ref="main", sha=sha,
                tags=[platform.name], timeout=JOB_TIMEOUT,
                artifacts=[{"paths": [f"{WHEELS}/"], "name": "wheels"}],
            )  # fmt: skip
            job = follow(gitlab, number, JOB_TIMEOUT, _quiet)
            trace = gitlab.trace(number)
            if job.state != "success":
                raise LabError(f"job {number} {job.state} ({job.failure_reason})\n{trace[-3000:]}")
            wheels = read_artifacts(gitlab.artifacts(number))
        except LabGitLabError as error:
            raise LabError(str(error)) from error
    login = ssh_command(world.lab, world.network.address(platform.number))
    answers = probe(login, pythons)
    return judge(world, platform, pythons, job, trace, wheels, answers)


def _quiet(_: JobInfo) -> None:
    """Wait for a job; its log is shown only if it fails."""


def judge(
    world: World,
    platform: Platform,
    pythons: Sequence[str],
    job: JobInfo,
    trace: str,
    wheels: Sequence[Wheel],
    answers: Mapping[str, str],
) -> Result:
    """Compare what was found with what is expected."""
    problems = []
    origins = parse_origins(answers.get("archives", ""))
    interpreters = []
    for version in pythons:
        full = answers.get(f"full {version}", "").split(" ")[0]
        origin = installed_origin(answers.get(f"policy {version}", ""), origins)
        interpreters.append(Interpreter(version, full, origin))
        if not full.startswith(f"{version}."):
            problems.append(f"{platform.name}: python{version} says {full!r}")
        foreign = version != platform.system_python
        if not origin or (origin == PYTHON_ORIGIN) != foreign:
            wanted = PYTHON_ORIGIN if foreign else "the distribution"
            problems.append(
                f"{platform.name}: python{version} is from {origin!r}, not from {wanted}"
            )
        tag = f"cp{version.replace('.', '')}"
        mine = [wheel for wheel in wheels if wheel.version == version]
        if len(mine) != 1 or not mine[0].tags.startswith(f"{tag}-{tag}-linux_"):
            problems.append(f"{platform.name}: wheels of Python {version}: "
                            f"{[wheel.tags for wheel in mine]}, not one {tag}")  # fmt: skip
    version = runner_version(answers)
    package = answers.get("runner package", "")
    # The newest upstream version is not known in advance: compare package and program instead.
    wanted_runner = version if world.runner.kind == UPSTREAM else world.runner.version
    if package.removesuffix(ITERATION) != wanted_runner:
        problems.append(f"{platform.name}: package gitlab-runner {package!r},"
                        f" not {wanted_runner}")  # fmt: skip
    if answers.get("service") != "active":
        problems.append(f"{platform.name}: gitlab-runner.service is {answers.get('service')!r}")
    if job.runner_id not in {one["id"] for one in read_tokens(world.lab).get(platform.name, [])}:
        problems.append(
            f"{platform.name}: job {job.id} ran on runner {job.runner_id}, not the host's"
        )
    if f"gitlab-runner {version}" not in trace:
        problems.append(f"{platform.name}: the job's log does not name gitlab-runner {version}")
    for name in ("system", "compiler", "cmake", "ninja"):
        if not answers.get(name) or "not found" in answers[name]:
            problems.append(f"{platform.name}: {name}: {answers.get(name, 'no answer')}")
    host, system, runner = host_rows(world, platform, answers)
    rows = [
        host,
        system,
        *((f"python {one.version}", f"{one.full} from {one.origin}") for one in interpreters),
        ("compiler", answers.get("compiler", "?")),
        ("cmake", f"{answers.get('cmake', '?')}, ninja {answers.get('ninja', '?')}"),
        runner,
        ("gitlab", "the lab's own, a stand-in"),
        ("job", f"{job.id} {job.state} in {(job.finished_at or 0) - (job.started_at or 0):.1f} s,"
                f" waited {(job.started_at or 0) - job.created_at:.1f} s"),
    ]  # fmt: skip
    return Result(platform.name, tuple(rows), tuple(wheels), tuple(problems))


def runner_version(answers: Mapping[str, str]) -> str:
    """What the host's gitlab-runner says that it is."""
    said = re.search(r"^Version:\s+(\S+)", answers.get("runner", ""), re.MULTILINE)
    return said.group(1) if said else "?"


def host_rows(
    world: World, platform: Platform, answers: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Three rows of the table: the host, its system, its gitlab-runner."""
    kind = "GitLab's own package" if world.runner.kind == UPSTREAM else world.runner.kind
    address = world.network.address(platform.number)
    package = answers.get("runner package", "")
    return [
        ("host", f"{platform.name}, {address}, {answers.get('kernel', '')}"),
        ("system", f"{answers.get('system', '?')} (userland: {_userland(platform)})"),
        ("gitlab-runner", f"{runner_version(answers)} ({kind}), package {package}"),
    ]


def _userland(platform: Platform) -> str:
    named = real_image(platform)
    return f"the real one, {named}" if named else f"Debian {platform.debian}, a stand-in"


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Rows as a table for a terminal."""
    width = max(len(name) for name, _ in rows)
    rule = "-" * (width + 2 + max(len(text) for _, text in rows))
    body = "\n".join(f"{name:<{width}}  {text}" for name, text in rows)
    return f"\n{rule}\n{body}\n{rule}"
