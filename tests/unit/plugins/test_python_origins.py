# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each Python comes from on jammy, noble and resolute: the plan's answer and apt's own.

The plan and its pins are the role's, and what they lead to is asked of the real apt, over indexes
as the table of deadsnakes' versions has them (`ubuntu_archive`).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.testing import patch_module_args

from ansible_collections.runnerhost.toolkit.plugins.action import python_plan
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_scratch,
    _apt_sources,
    _dpkg,
    _files,
    _pythons,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.modules import apt_candidates_info
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    CANDIDATES,
    HOST_INFO,
    NETWORK_DEFAULTS,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._python_plan import STAMP
from lab.keys import Key, ensure_key
from tests.unit.plugins import ubuntu_archive as archive
from tests.unit.plugins.ubuntu_archive import PPA, PPA_LABEL, PPA_ORIGIN, SYSTEM, AptHost, Package

needed = [name for name in ("gpg", "apt-get", "apt-cache", "dpkg") if not shutil.which(name)]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(needed),
        reason=f"skipped: {', '.join(needed)} not installed; these tests run the real apt",
    ),
]

PATTERNS = ("python{version}", "python{version}-venv", "python{version}-dev")
SUITES = tuple(SYSTEM)
FREE_THREADED = {"jammy": ("3.13", "3.14"), "noble": ("3.13", "3.14"), "resolute": ("3.13",)}
FROM_PPA = [(suite, version) for suite in SUITES for version in PPA[suite]] + [
    (suite, f"{version}-nogil") for suite in SUITES for version in FREE_THREADED[suite]
]
OWN = list(SYSTEM.items())


@dataclass(frozen=True)
class Repository:
    """One repository that is served, and the key that it is signed with."""

    url: str
    key: Key


@dataclass(frozen=True)
class World:
    """The repositories, by what is odd about them: ``ppa`` is as the real one."""

    ubuntu: Repository
    others: Mapping[str, Repository]


def replaced(packages: Sequence[Package], *more: Package) -> list[Package]:
    """The packages, with these in place of those of the same name."""
    names = {package.name for package in more}
    return [package for package in packages if package.name not in names] + list(more)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Every repository, on one server."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        root = tmp_path_factory.mktemp("archive")
        patch.setenv("RUNNERHOST_CACHE", str(root / "cache"))
        key = ensure_key("ppa", "Launchpad PPA for deadsnakes, test", "never")
        other = ensure_key("other", "Somebody else", "never")
        url = stack.enter_context(archive.served(root))
        jammy, noble = archive.ppa("jammy"), archive.ppa("noble")
        wrong = [p for p in jammy if "python3.11" not in p.name]
        odd = {
            # Without 3.11, of which jammy's universe has a release candidate.
            "without-3.11": {"jammy": wrong},
            "without-3.11-venv": {"jammy": [p for p in jammy if p.name != "python3.11-venv"]},
            # A mirror that lags behind: what it has of 3.11 is older than universe's candidate.
            "older-3.11": {
                "jammy": wrong
                + archive.family(
                    "3.11",
                    "3.11.0~b5-1+jammy1",
                    archive.ppa_names("jammy", "3.11"),
                    "python3-distutils",
                )
            },
            # A mirror of more than the PPA: newer libraries, and the system's own Python.
            "greedy": {
                "noble": replaced(
                    noble,
                    Package("libc6", "9.9-1"),
                    Package("libssl3", "9.9-1"),
                    Package("python3", "3.99-1"),
                    Package("python3-venv", "3.99-1"),
                    *archive.family(
                        "3.12", "3.12.99-1+noble1", archive.ppa_names("noble", "3.12"), ""
                    ),
                )
            },
        }
        others = {}
        for suite in SUITES:
            archive.publish(root / "ubuntu", suite, "Ubuntu", archive.ubuntu(suite), key)
            archive.publish(root / "ppa", suite, PPA_ORIGIN, archive.ppa(suite), key)
        for name, suites in odd.items():
            for suite, packages in suites.items():
                archive.publish(root / name, suite, PPA_ORIGIN, packages, key)
            others[name] = Repository(f"{url}/{name}", key)
        archive.publish(root / "company", "jammy", "Company Mirror", jammy, other)
        others["company"] = Repository(f"{url}/company", other)
        # One Origin for all that the company has, as some repository managers write it.
        archive.publish(root / "tools", "jammy", "Company Mirror", archive.ubuntu("jammy"), other)
        others["tools"] = Repository(f"{url}/tools", other)
        others["ppa"] = Repository(f"{url}/ppa", key)
        others["another-key"] = Repository(f"{url}/ppa", other)
        yield World(Repository(f"{url}/ubuntu", key), others)


PROVIDED = {"version": "", "status": "install ok installed", "provided_by": "libssl3t64"}


class Action(python_plan.ActionModule):
    """The action, with the modules run here in place of on a host."""

    host: AptHost
    system: str
    asked: list[str]
    note: str
    _templar = SimpleNamespace(template=lambda value: value)

    def find_file(self, name: str) -> str:
        return name

    def network_values(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The role's defaults: no proxy, no mirror of the distribution."""
        values = yaml.safe_load(NETWORK_DEFAULTS.read_text(encoding="utf-8"))
        known = {name.removeprefix("network_access_"): value for name, value in values.items()}
        # Their default is a template of the host's code name.
        return {**known, "distribution_suites": ["suite"]}

    def ask(
        self, module: str, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> dict[str, Any]:
        self.asked.append(module)
        if module == CANDIDATES:
            return run_module(self.host, arguments)
        return {
            "info": {
                "packages": _dpkg.packages(arguments["packages"], str(self.host.status)),
                "provided": {n: PROVIDED for n in arguments["packages"] if n == "libssl3"},
                "automatic": [],
                "unfinished": ["cut"],
                "files": {
                    **{p: _files.file_info(p, want_text=True) for p in arguments["texts"]},
                    STAMP: {"text": self.note},
                },
                "system_python": self.system,
            }
        }


def run_module(apt_host: AptHost, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What apt_candidates_info answers where apt is this host's."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        # It runs on whatever interpreter runs the tests, and the host's sources lie in a folder.
        # The tests' own interpreter is no host's.
        patch.setattr(_system, "system_python_problem", lambda: None)
        patch.setattr(_apt_scratch, "PLACE", str(apt_host.root))
        for name in set(os.environ) - set(apt_host.environment):
            patch.delenv(name)
        for name, value in apt_host.environment.items():
            patch.setenv(name, value)
        with patch_module_args(dict(arguments)), pytest.raises(SystemExit):
            apt_candidates_info.main()
    answer: dict[str, Any] = json.loads(output.getvalue())
    assert not answer.get("failed"), answer
    return answer


@dataclass
class Machine:
    """A host of one suite, and the plan that the role makes for it."""

    suite: str
    host: AptHost
    repository: Repository
    asked: Sequence[str] = ()
    note: str = ""
    warnings: Sequence[str] = ()

    def checked(self, plan: Mapping[str, Any]) -> None:
        """Has the note say what the host has now, as the plan's run does at its end."""
        records = _dpkg.packages(list(plan["interpreters"]), str(self.host.status))
        versions = {name: record["version"] for name, record in records.items()}
        self.note = json.dumps({"versions": versions, "source": plan["source"]})

    def plan(self, *wanted: Any, **changes: Any) -> dict[str, Any]:
        """The plan for these versions; raises AnsibleActionFail where it refuses them."""
        action = object.__new__(Action)
        action.host, action.system, action.asked = self.host, SYSTEM[self.suite], []
        action.note = self.note
        self.asked = action.asked
        action._task = SimpleNamespace(
            args={
                "wanted": list(wanted),
                "patterns": list(PATTERNS),
                "url": self.repository.url,
                "upstream": "https://ppa.example.com/x",
                "suite": self.suite,
                "components": ["main"],
                "origin": PPA_ORIGIN,
                "key": str(self.repository.key.public),
                "fingerprint": self.repository.key.fingerprint,
                "sources_path": str(self.host.root / "sources.list.d/ours.sources"),
                "preferences_path": str(self.host.root / "preferences.d/pin"),
                "venv_places": ["/home/gitlab-runner"],
                "end_of_life_warning_days": -1,
                **changes,
            },
            async_val=0,
            check_mode=False,
            action="python_plan",
        )
        action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
        result = action.run(None, {})
        self.warnings = result.get("warnings", [])
        plan: dict[str, Any] = result["plan"]
        return plan

    def refusal(self, *wanted: Any, **changes: Any) -> str:
        """What the role says to these versions."""
        with pytest.raises(AnsibleActionFail) as caught:
            self.plan(*wanted, **changes)
        text = str(caught.value)
        assert text.startswith("refused, nothing was changed: ")
        return text.removeprefix("refused, nothing was changed: ")

    def apply(self, plan: Mapping[str, Any]) -> None:
        """The plan's two files on the host, the pin first, as the role writes them."""
        self.host.pin(plan["preferences"])
        if plan["sources"]:
            self.host.source("ours.sources", plan["sources"])


@pytest.fixture(scope="module")
def machines(world: World) -> Iterator[dict[tuple[str, str], Machine]]:
    """Hosts by suite and repository, each made when it is first asked for."""
    with contextlib.ExitStack() as stack:

        class Machines(dict[tuple[str, str], Machine]):
            def __missing__(self, asked: tuple[str, str]) -> Machine:
                # Not in pytest's folder, which another run of pytest shuts to apt's user.
                folder = tempfile.TemporaryDirectory(prefix="runnerhost-test-apt-")
                machine = new_machine(world, Path(stack.enter_context(folder)), *asked)
                return self.setdefault(asked, machine)

        yield Machines()


@pytest.fixture
def machine(
    machines: dict[tuple[str, str], Machine], request: pytest.FixtureRequest
) -> Iterator[Machine]:
    """A host of the suite and with the repository given, as it was at first."""
    one = machines[request.param]
    one.host.reset()
    one.note = ""
    yield one
    for name in ("ours.sources", "other.sources", "runnerhost-distribution.sources"):
        (one.host.root / "sources.list.d" / name).unlink(missing_ok=True)


def new_machine(world: World, root: Path, suite: str, repository: str) -> Machine:
    """A host with its own Python and Ubuntu's sources."""
    known = {package.name: package for package in archive.ubuntu(suite)}
    own = SYSTEM[suite]
    names = ["libc6", "libssl3", "media-types", "python3", f"python{own}", f"python{own}-minimal"]
    names += [f"libpython{own}-minimal", f"libpython{own}-stdlib"]
    made = AptHost(root, [known[name] for name in names])
    key = world.ubuntu.key.public.read_text()
    text = _apt_sources.render_sources(world.ubuntu.url, suite, ["main"], key, "Ubuntu")
    made.source("ubuntu.sources", text)
    return Machine(suite, made, world.others[repository])


def of_version(version: str, name: str) -> bool:
    """Whether a package is one of this minor version's."""
    base = re.escape(version.removesuffix("-nogil"))
    return bool(re.match(rf"(?:lib|idle-)?python{base}(?:t64)?(?:-|\Z)", name))


def with_suite(cells: Sequence[tuple[str, str]], repository: str = "ppa") -> list[Any]:
    """Parameters ``machine, version`` of a cell of the table."""
    return [
        pytest.param((suite, repository), version, id=f"{suite}-{version}")
        for suite, version in cells
    ]


@pytest.mark.parametrize(("machine", "version"), with_suite(FROM_PPA), indirect=["machine"])
def test_from_the_ppa_and_nothing_else_is(machine: Machine, version: str) -> None:
    plan = machine.plan(version)
    base = version.removesuffix("-nogil")
    names = [pattern.replace("{version}", base) for pattern in PATTERNS]
    if version != base:
        names.insert(0, f"python{version}")
    assert plan["packages"] == plan["from_repository"] == plan["missing"] == names
    machine.apply(plan)
    full = f"{PPA[machine.suite][base]}-1+{machine.suite}1"
    # Everything of this version, and what its three packages pull in, by apt's own policy.
    everything = sorted(archive.ppa_names(machine.suite, base))
    assert machine.host.candidates(*everything) == dict.fromkeys(everything, full)
    steps = machine.host.simulate("install", *plan["packages"])
    assert {step.name for step in steps} >= {*names, f"libpython{base}-stdlib"}
    for step in steps:
        assert (step.what, step.old) == ("Inst", ""), step
        assert step.label == (PPA_LABEL if of_version(version, step.name) else "Ubuntu"), step
        assert not of_version(version, step.name) or step.new == full, step
    # And the repository alone changes nothing that is on the host.
    assert machine.host.simulate("dist-upgrade") == []


@pytest.mark.parametrize(("machine", "version"), with_suite(OWN), indirect=["machine"])
def test_the_systems_own_needs_no_repository(machine: Machine, version: str) -> None:
    plan = machine.plan(version)
    assert plan["source"].endswith(f"; system {version}")
    assert plan["sources"] == plan["preferences"] == ""
    assert plan["from_repository"] == []
    assert plan["missing"] == [f"python{version}-venv", f"python{version}-dev"]
    machine.apply(plan)
    steps = machine.host.simulate("install", *plan["packages"])
    assert {step.name for step in steps} >= set(plan["missing"])
    assert {(step.what, step.old, step.label) for step in steps} == {("Inst", "", "Ubuntu")}


@pytest.mark.parametrize("machine", [(suite, "ppa") for suite in SUITES], indirect=True, ids=SUITES)
def test_all_at_once(machine: Machine) -> None:
    """Every version that the suite can have, in one transaction beside the system's own."""
    suite = machine.suite
    plan = machine.plan(*PPA[suite], SYSTEM[suite])
    machine.apply(plan)
    steps = machine.host.simulate("install", *plan["packages"])
    assert {step.name for step in steps} >= set(plan["missing"])
    for step in steps:
        foreign = any(of_version(version, step.name) for version in PPA[suite])
        assert (step.what, step.old) == ("Inst", ""), step
        assert step.label == (PPA_LABEL if foreign else "Ubuntu"), step


@pytest.mark.parametrize("machine", [("jammy", "ppa")], indirect=True, ids=["jammy"])
def test_one_list_with_exceptions(machine: Machine) -> None:
    """Of jammy's 3.11 the PPA has neither distutils, nor tk, nor gdbm; 3.12 has no distutils."""
    parts = ("distutils", "tk", "gdbm")
    patterns = ["python{version}", "python{version}-venv?",
                *(f"python{{version}}-{part}?" for part in parts)]  # fmt: skip
    wanted = ("3.9", "3.10", "3.11", "3.12")
    plan = machine.plan(*wanted, patterns=patterns)
    names = ["python3.9", "python3.9-venv", *(f"python3.9-{part}" for part in parts),
             "python3.10", "python3.10-venv", "python3.11", "python3.11-venv", "python3.12",
             "python3.12-venv", "python3.12-tk", "python3.12-gdbm"]  # fmt: skip
    assert plan["packages"] == names
    assert plan["missing"] == [name for name in names if name != "python3.10"]
    known = {p.name: p for p in (*archive.ubuntu("jammy"), *archive.ppa("jammy"))}
    machine.host.reset(*(known[name] for name in plan["missing"]))
    machine.apply(plan)
    machine.checked(plan)
    again = machine.plan(*wanted, patterns=patterns)
    assert (again["packages"], again["missing"], again["moved"]) == (names, [], False)
    # What has none is not asked for again.
    assert CANDIDATES not in machine.asked
    # Another list is.
    assert machine.plan(*wanted, patterns=patterns[:2])["moved"]
    assert CANDIDATES in machine.asked
    text = machine.refusal("3.11", patterns=[*patterns[:2], "python{version}-tk"])
    assert "in python_versions_packages, python{version}-tk? takes the package for" in text


@pytest.mark.parametrize("machine", [("noble", "greedy")], indirect=True, ids=["noble"])
def test_a_mirror_of_more_replaces_nothing(machine: Machine) -> None:
    plan = machine.plan("3.11", "3.12")
    assert plan["from_repository"] == ["python3.11", "python3.11-venv", "python3.11-dev"]
    machine.apply(plan)
    # The trap is there: without the pin apt would take all of it.
    machine.host.pin("")
    taken = {step.name for step in machine.host.simulate("dist-upgrade")}
    assert taken >= {"libc6", "libssl3", "python3", "python3.12"}
    machine.host.pin(plan["preferences"])
    assert machine.host.simulate("dist-upgrade") == []
    for step in machine.host.simulate("install", *plan["packages"], "python3-venv"):
        foreign = of_version("3.11", step.name)
        assert (step.what, step.old) == ("Inst", ""), step
        assert step.label == (PPA_LABEL if foreign else "Ubuntu"), step


@pytest.mark.parametrize("machine", [("jammy", "older-3.11")], indirect=True, ids=["jammy"])
def test_jammys_release_candidate_does_not_win_by_its_number(machine: Machine) -> None:
    plan = machine.plan("3.11")
    machine.apply(plan)
    machine.host.pin("")
    unpinned = machine.host.candidates("python3.11")
    assert unpinned == {"python3.11": "3.11.0~rc1-1~22.04"}
    machine.host.pin(plan["preferences"])
    names = sorted(archive.ppa_names("jammy", "3.11"))
    assert set(machine.host.candidates(*names).values()) == {"3.11.0~b5-1+jammy1"}
    # With all that belongs to it, however it is asked for.
    steps = machine.host.simulate("install", *plan["packages"], "python3.11-full")
    labels = {step.name: step.label for step in steps if of_version("3.11", step.name)}
    assert set(labels.values()) == {PPA_LABEL}
    assert "idle-python3.11" in labels


@pytest.mark.parametrize("machine", [("jammy", "ppa")], indirect=True, ids=["jammy"])
def test_a_release_candidate_on_the_host_is_replaced(machine: Machine) -> None:
    names = ["python3.11", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"]
    machine.host.reset(*(p for p in archive.ubuntu("jammy") if p.name in names))
    plan = machine.plan("3.11")
    full = f"{PPA['jammy']['3.11']}-1+jammy1"
    assert plan["packages"] == [f"python3.11={full}", "python3.11-venv", "python3.11-dev"]
    machine.apply(plan)
    steps = machine.host.simulate("install", *plan["packages"])
    moved = {step.name: step.new for step in steps if step.old}
    assert moved == dict.fromkeys(names, full)
    assert {step.what for step in steps} == {"Inst"}


@pytest.mark.parametrize("machine", [("noble", "ppa")], indirect=True, ids=["noble"])
def test_a_repository_that_is_there_is_not_asked_again(machine: Machine) -> None:
    plan = machine.plan("3.12")
    assert CANDIDATES in machine.asked
    known = {package.name: package for package in [*archive.ubuntu("noble"), *archive.ppa("noble")]}
    plan = machine.plan("3.11", "3.12")
    machine.host.reset(*(known[name] for name in plan["missing"]))
    machine.apply(plan)
    # A run that was killed before its end has noted nothing: the next one asks again.
    assert machine.plan("3.11", "3.12")["moved"]
    assert CANDIDATES in machine.asked
    machine.checked(plan)
    plan = machine.plan("3.11", "3.12")
    assert plan["missing"] == plan["unchecked"] == []
    assert CANDIDATES not in machine.asked
    # Nothing is said of what nobody has asked for.
    assert machine.warnings == []


@pytest.mark.parametrize("machine", [("noble", "ppa")], indirect=True, ids=["noble"])
def test_one_call_serves_a_later_task_too(machine: Machine) -> None:
    git = Package("git", "1:2.43-1")
    machine.host.reset(git)
    plan = machine.plan("3.12", info_also=["git=1:2.43-1", "cmake", "libssl3"])
    assert plan["info_all"]["git"]["version"] == "1:2.43-1"
    assert "cmake" not in plan["info_all"]
    assert plan["unfinished"] == ["cut"]
    # The plan itself goes by Pythons alone.
    assert plan["info_all"]["libssl3"] == PROVIDED
    assert not {"git", "libssl3"} & set(plan["info"])
    assert set(plan["info"]) == {name for name in plan["info_all"] if "python3." in name}


def upgraded(suite: str, version: str, *parts: str) -> list[Package]:
    """What the PPA of a suite has brought of a version, with these parts beside the three."""
    known = {package.name: package for package in archive.ppa(suite)}
    python = f"python{version}"
    names = {python, f"{python}-venv", f"{python}-dev", f"lib{python}", f"lib{python}-dev"}
    names |= {f"lib{python}-stdlib", *(f"{python}-{part}" for part in parts)}
    names |= {f"{python}-{part}" for part in ("minimal", "distutils", "lib2to3")}
    names |= {f"lib{python}-minimal"}
    return [known[name] for name in sorted(names & known.keys())]


@pytest.mark.parametrize("machine", [("noble", "ppa")], indirect=True, ids=["noble"])
def test_after_a_release_upgrade_everything_of_the_old_suite_is_replaced(machine: Machine) -> None:
    before = upgraded("jammy", "3.9", "tk", "gdbm")
    machine.host.reset(*before)
    plan = machine.plan("3.9", "3.12")
    full = f"{PPA['noble']['3.9']}-1+noble1"
    assert plan["packages"][:3] == [f"python3.9{part}={full}" for part in ("", "-venv", "-dev")]
    assert plan["unchecked"] == ["python3.9", "python3.12"]
    machine.apply(plan)
    asked = ["--allow-downgrades", *plan["packages"], *plan["companions"]]
    steps = {step.name: step for step in machine.host.simulate("install", *asked)}
    assert {name: steps[name].new for name in sorted(p.name for p in before)} == dict.fromkeys(
        sorted(p.name for p in before), full
    )
    assert {step.what for step in steps.values()} == {"Inst"}


@pytest.mark.parametrize("machine", [("noble", "ppa")], indirect=True, ids=["noble"])
def test_what_the_new_suite_has_not_is_named(machine: Machine) -> None:
    odd = Package("python3.9-odd", "3.9.25-1+jammy1")
    machine.host.reset(*upgraded("jammy", "3.9"), odd)
    plan = machine.plan("3.9")
    assert not [name for name in plan["packages"] + plan["companions"] if "odd" in name]
    (text,) = machine.warnings
    assert text.startswith("the host has python3.9-odd, which no source offers for this release")


@pytest.mark.parametrize("machine", [("noble", "ppa")], indirect=True, ids=["noble"])
def test_an_end_of_life_is_warned_of(machine: Machine) -> None:
    machine.plan("3.9", "3.12", end_of_life_warning_days=0)
    (text,) = machine.warnings
    assert "Python 3.9 reached its end of life on 2025-10-31" in text


@pytest.mark.parametrize("machine", [("noble", "ppa")], indirect=True, ids=["noble"])
@pytest.mark.parametrize("named", [True, False], ids=["by its version", "by the note"])
def test_the_ppas_build_of_the_systems_own_gives_way(machine: Machine, named: bool) -> None:
    """deadsnakes' 3.12 of jammy is newer than noble's own (deadsnakes/issues#297).

    The upgrade has taken what could not stay beside it, without a word.
    """
    gone = ("python3.12-venv", "python3.12-dev")
    theirs = [package for package in upgraded("jammy", "3.12") if package.name not in gone]
    if not named:
        # As a company's own builds may be called.
        theirs = [
            replace(p, version=p.version.replace("+jammy1", "+co1"),
                    depends=p.depends.replace("+jammy1", "+co1"))
            for p in theirs
        ]  # fmt: skip
    own = [p for p in machine.host.installed if not of_version("3.12", p.name)]
    machine.host.status_of(*own, *theirs)
    if not named:
        assert machine.plan("3.12")["companions"] == []
        old = f"{machine.repository.url} jammy main; system 3.10"
        machine.note = json.dumps({"versions": {"python3.12": theirs[-1].version}, "source": old})
        assert theirs[-1].version.startswith("3.12.13")
    plan = machine.plan("3.12")
    full = "3.12.3-1ubuntu0.8"
    assert plan["allow_downgrade"]
    machine.apply(plan)
    # The harm is there: apt does not come to terms with it by itself.
    with pytest.raises(
        AssertionError, match=r"python3\.12-venv : Depends: python3\.12 \(= 3\.12\.3"
    ):
        machine.host.simulate("install", "python3-venv")
    steps = machine.host.simulate(
        "install", "--allow-downgrades", *plan["packages"], *plan["companions"], "python3-venv"
    )
    new = {step.name: step.new for step in steps if step.what == "Inst"}
    assert {new[name] for name in ("python3.12", *gone)} == {full}
    assert new["libpython3.12-stdlib"] == full
    assert "python3-venv" in new
    # Nothing goes but what the distribution has not.
    assert {step.name for step in steps if step.what == "Remv"} <= {
        "python3.12-lib2to3", "python3.12-distutils", "libpython3.12",
    }  # fmt: skip


@pytest.mark.parametrize("machine", [("noble", "ppa")], indirect=True, ids=["noble"])
def test_the_distributions_own_newer_build_is_left_alone(machine: Machine) -> None:
    """A mirror that lags behind is no reason to put the system's own Python back."""
    newer = [
        replace(p, version=p.version.replace("0.8", "0.9"), depends=p.depends.replace("0.8", "0.9"))
        for p in machine.host.installed
    ]
    machine.host.status_of(*newer)
    plan = machine.plan("3.12")
    assert plan["packages"] == ["python3.12", "python3.12-venv", "python3.12-dev"]
    assert plan["companions"] == []


REFUSED = [
    ("resolute", "ppa", "3.7", "3.7 is not available", "offer there: 3.9, 3.10, 3.11, 3.12, 3.13"),
    ("resolute", "ppa", "3.8", "python3.8, python3.8-venv, python3.8-dev missing", "suite resol"),
    (
        "noble",
        "ppa",
        "3.16",
        "3.16 is not available",
        "3.7, 3.8, 3.9, 3.10, 3.11, 3.13, 3.13-nogil",
    ),
    ("jammy", "ppa", "3.12-nogil", "python3.12-nogil missing", "3.14, 3.14-nogil, 3.15"),
    ("resolute", "ppa", "3.14-nogil", "3.14-nogil builds on 3.14, which is this system's own", ""),
    # What universe has of it is no answer.
    ("jammy", "without-3.11", "3.11", "3.11 is not available", "python3.11, python3.11-venv"),
    ("jammy", "without-3.11-venv", "3.11", ": python3.11-venv missing;", "offer there: 3.7, 3.8"),
    ("jammy", "company", "3.9", "states the origin 'Company Mirror'", f"inventory '{PPA_ORIGIN}'"),
    ("jammy", "another-key", "3.9", "signed by another key than the one given", "apt says: "),
]


@pytest.mark.parametrize(
    ("machine", "version", "says", "and_says"),
    [
        pytest.param((suite, name), version, *says, id=f"{suite}-{name}-{version}")
        for suite, name, version, *says in REFUSED
    ],
    indirect=["machine"],
)
def test_refused(machine: Machine, version: str, says: str, and_says: str) -> None:
    text = machine.refusal(version, SYSTEM[machine.suite])
    assert text.startswith("python_versions_")
    assert says in text
    assert and_says in text


@pytest.mark.parametrize("machine", [("jammy", "ppa")], indirect=True, ids=["jammy"])
class TestRefusedOnJammy:
    """What one host is enough for."""

    def test_suite_that_is_not_there(self, machine: Machine) -> None:
        text = machine.refusal("3.9", suite="jammi")
        assert f"{machine.repository.url} (suite jammi) cannot be used" in text
        assert "there is no such suite" in text
        assert "does not have a Release file" in text

    def test_nothing_answers(self, machine: Machine) -> None:
        text = machine.refusal("3.9", url="http://127.0.0.1:9/x")
        assert "nothing answers at its address" in text

    def test_options_for_the_hosts_own_sources_reach_no_other(self, machine: Machine) -> None:
        conf = machine.host.root / "conf.d/99host"
        archives = machine.host.root / "elsewhere"
        conf.write_text(
            'APT::Default-Release "jammy-updates";\nAcquire::AllowInsecureRepositories "true";\n'
            f'Dir::Cache::archives "{archives}";\nDir::Cache::pkgcache "{archives}/x.bin";\n'
        )
        try:
            assert machine.plan("3.9")["from_repository"]
        finally:
            conf.unlink()
        assert not archives.exists()

    def test_key_with_another_fingerprint(self, machine: Machine) -> None:
        text = machine.refusal("3.9", fingerprint="F" * 40)
        assert text.startswith("python_versions_repository_key: ")
        assert machine.asked == [HOST_INFO]

    def test_number_in_the_list(self, machine: Machine) -> None:
        text = machine.refusal("3.9", 3.10)
        assert text.startswith("python_versions_wanted[1]: invalid value 3.1 (float); expected")
        assert "3.10 becomes 3.1" in text
        assert machine.asked == []

    def test_all_at_once(self, machine: Machine) -> None:
        text = machine.refusal("3.16", "3.9", "3.17")
        assert text.startswith("2 problems:\n- ")
        assert text.count("is not available from") == 2

    def test_distribution_without_its_own(self, machine: Machine) -> None:
        patterns = [*PATTERNS, "python{version}-tk"]
        text = machine.refusal("3.10", patterns=patterns)
        assert "3.10 is this system's own, and its own sources do not offer python3.10-tk" in text


@pytest.mark.parametrize("machine", [("jammy", "company")], indirect=True, ids=["jammy"])
def test_an_origin_that_another_source_states_too_is_refused(
    machine: Machine, world: World
) -> None:
    """Its pin would hold that one's updates back as well."""
    pinned = {"origin": "Company Mirror"}
    assert machine.plan("3.9", **pinned)["sources"]

    def source(name: str, repository: str, suite: str = "jammy") -> None:
        one = world.others[repository]
        text = _apt_sources.render_sources(
            one.url, suite, ["main"], one.key.public.read_text(), "x"
        )
        machine.host.source(name, text)

    # The repository itself, under another name and under its own, is no other.
    source("other.sources", "company")
    assert machine.plan("3.9", **pinned)["sources"]
    source("ours.sources", "tools")
    (machine.host.root / "sources.list.d/other.sources").unlink()
    assert machine.plan("3.9", **pinned)["sources"]
    (machine.host.root / "sources.list.d/ours.sources").unlink()
    source("other.sources", "tools")
    text = machine.refusal("3.9", **pinned)
    assert "python_versions_repository_origin: 'Company Mirror' is the Origin of another" in text


@pytest.mark.parametrize("machine", [("jammy", "ppa")], indirect=True, ids=["jammy"])
class TestDistributionsMirror:
    """What is asked of a mirror of the distribution that the host does not have yet."""

    def ask(self, machine: Machine, url: str, key: str, patch: pytest.MonkeyPatch) -> Any:
        own = str(machine.host.root / "sources.list.d/ubuntu.sources")
        patch.setattr(_apt_sources, "DISTRIBUTION_FILES", (own,))
        asked = {
            "sources": "",
            "distribution_packages": ["python3.10-venv"],
            "distribution_sources": _apt_sources.render_sources(url, "jammy", ["main"], key, "x"),
            "distribution_suites": ["jammy"],
        }
        answer = run_module(machine.host, asked)
        assert answer["error"] == ""
        return answer["missing_from_distribution"], answer["distribution_error"]

    def test_the_one_of_before_with_another_key_is_no_obstacle(
        self, machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url, key = world.ubuntu.url, world.ubuntu.key.public.read_text()
        other = world.others["tools"].key.public.read_text()
        parts = machine.host.root / "sources.list.d"
        before = _apt_sources.render_sources(url, "jammy", ["main"], other, "x")
        (parts / "runnerhost-distribution.sources").write_text(before)
        assert self.ask(machine, url, key, monkeypatch) == ([], "")

    def test_what_the_hosts_lists_know_of_others_does_not_count(
        self, machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Not its lists, nor the mirror that it has had until now.
        ppa, tools = world.others["ppa"], world.others["tools"]
        key = tools.key.public.read_text()
        before = _apt_sources.render_sources(tools.url, "jammy", ["main"], key, "x")
        machine.host.source("runnerhost-distribution.sources", before)
        asked = self.ask(machine, ppa.url, ppa.key.public.read_text(), monkeypatch)
        assert asked == (["python3.10-venv"], "")

    def test_apts_words_are_told(
        self, machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = world.others["tools"].key.public.read_text()
        missing, error = self.ask(machine, world.ubuntu.url, key, monkeypatch)
        assert missing
        assert error
        answer = {"missing_from_distribution": missing, "distribution_error": error}
        where = {"url": "x", "suite": "x", "origin": "x"}
        (text,) = _pythons.refusals([], "3.10", PATTERNS, answer, where)
        assert "python3.10-venv; it is signed by another key" in text
