# SPDX-License-Identifier: GPL-3.0-or-later
"""What check mode says before the host is touched is apt's own answer: real apt is asked here."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import locale
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.testing import patch_module_args

from ansible_collections.runnerhost.toolkit.plugins.action import packages
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_scratch,
    _apt_simulation,
    _apt_sources,
    _dpkg,
    _pythons,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_request import Request
from ansible_collections.runnerhost.toolkit.plugins.modules import apt_candidates_info
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _package_simulation
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import NETWORK_DEFAULTS
from lab.keys import Key, clearsign, ensure_key
from tests.unit.plugins import ubuntu_archive as archive
from tests.unit.plugins.ubuntu_archive import AptHost, Package

needed = [name for name in ("gpg", "apt-get", "apt-cache", "dpkg") if not shutil.which(name)]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(needed),
        reason=f"skipped: {', '.join(needed)} not installed; these tests run the real apt",
    ),
]

EXTRA = "build_tools_extra_packages"
INSTALLED = [Package("libc6", "2.39-1"), Package("ntp", "4"), Package("held", "1")]
MAIN = [
    *INSTALLED,
    Package("libffi-dev", "3.4.2", "libffi8"),
    Package("libffi8", "3.4.2"),
    Package("cmake", "3.22.1"),
    Package("held", "2"),
    Package("needs-held", "1", "held (>= 2)"),
    Package("stuck", "1", "libc6 (>= 99)"),
    Package("gitlab-runner", "9", "libc6"),
]
WITH = "\nConflicts: ntp"


class Repositories:
    """One server's repositories, each signed; what is odd about one is in its name."""

    def __init__(self, root: Path, url: str, key: Key, other: Key) -> None:
        self.root, self.url, self.key, self.other = root, url, key, other
        archive.publish(root / "ubuntu", "jammy", "Ubuntu", MAIN, key)
        # What the helper has no field for.
        index = next((root / "ubuntu").rglob("Packages"))
        text = index.read_text()
        for name, field in (("chrony", "Conflicts: ntp"), ("exim", "Provides: mail-server"),
                            ("postfix", "Provides: mail-server"),
                            ("huge", "Installed-Size: 123456789012")):  # fmt: skip
            stanza = Package(name, "1").stanza(archive.architecture())
            text += "\n" + stanza.replace("\nFilename", f"\n{field}\nFilename")
        archive.publish_index(root / "ubuntu", "jammy", "Ubuntu", text, key)
        archive.publish(root / "vendor", "stable", "Vendor", [Package("vendors", "1")], other)
        archive.publish(root / "new", "jammy", "New", [Package("newly", "5", "libffi8")], key)
        archive.publish(root / "expired", "stable", "Vendor", [], key)
        release = root / "expired/dists/stable/Release"
        past = datetime.now(UTC) - timedelta(days=2)
        release.write_text(f"{release.read_text()}Valid-Until: {past:%a, %d %b %Y %H:%M:%S} UTC\n")
        (release.parent / "InRelease").unlink()
        clearsign(key, release, release.parent / "InRelease")

    def text(self, name: str, suite: str = "jammy", key: Key | None = None) -> str:
        """A source file's text."""
        armour = (key or self.key).public.read_text()
        return _apt_sources.render_sources(f"{self.url}/{name}", suite, ["main"], armour, "x")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repositories]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("simulated")
        patch.setenv("RUNNERHOST_CACHE", str(root / "cache"))
        key = ensure_key("ppa", "Test", "never")
        other = ensure_key("other", "Somebody else", "never")
        with archive.served(root) as url:
            yield Repositories(root, url, key, other)


@pytest.fixture
def machine(repositories: Repositories) -> Iterator[AptHost]:
    """A host with Ubuntu's sources."""
    # Not in pytest's folder, which another run of pytest shuts to apt's user.
    with tempfile.TemporaryDirectory(prefix="runnerhost-test-apt-") as folder:
        made = AptHost(Path(folder), INSTALLED)
        made.source("ubuntu.sources", repositories.text("ubuntu"))
        yield made


class Action(packages.ActionModule):
    """The action, with apt_candidates_info run here in place of on a host."""

    host: AptHost
    asked: list[dict[str, Any]]

    def find_file(self, name: str) -> str:
        return name

    def network_values(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        values = yaml.safe_load(NETWORK_DEFAULTS.read_text(encoding="utf-8"))
        known = {name.removeprefix("network_access_"): value for name, value in values.items()}
        return {**known, "distribution_suites": ["suite"]}

    def _pipeline(self) -> None:
        """There is no connection."""

    def ask(
        self, module: str, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> dict[str, Any]:
        self.asked.append(dict(arguments))
        output = io.StringIO()
        before = locale.setlocale(locale.LC_ALL)
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
            # The tests' own interpreter is no host's.
            patch.setattr(_system, "system_python_problem", lambda: None)
            patch.setattr(_apt_scratch, "PLACE", str(self.host.root))
            for name in set(os.environ) - set(self.host.environment):
                patch.delenv(name)
            for name, value in self.host.environment.items():
                patch.setenv(name, value)
            # A host in German: apt's words are read all the same.
            patch.setenv("LC_ALL", "de_DE.UTF-8")
            patch.setenv("LANGUAGE", "de")
            with patch_module_args(dict(arguments)), pytest.raises(SystemExit):
                apt_candidates_info.main()
        # AnsibleModule has taken the environment's; gettext keeps what it translated until then.
        locale.setlocale(locale.LC_ALL, before)
        answer: dict[str, Any] = json.loads(output.getvalue())
        assert not answer.get("failed"), answer
        return answer


def simulate(machine: AptHost, *names: str, fresh: bool = True, **more: Any) -> dict[str, Any]:
    """The task's result; the host's files are as before it."""
    action = object.__new__(Action)
    action.host, action.asked = machine, []
    action._task = SimpleNamespace(
        args={"simulate": True, "wanted": {EXTRA: list(names)}, "fresh": fresh,
              "info": _dpkg.packages(["*"], str(machine.status)), **more},
        check_mode=True, async_val=0, action="packages",
    )  # fmt: skip
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))

    def files() -> dict[str, bytes]:
        kept = [p for p in machine.root.rglob("*") if p.is_file() and "cache" not in p.parts]
        return {str(path): path.read_bytes() for path in kept}

    before = files()
    try:
        return action.run(None, {})
    finally:
        assert files() == before


def refusal(machine: AptHost, *names: str, **more: Any) -> str:
    with pytest.raises(AnsibleActionFail) as caught:
        simulate(machine, *names, **more)
    text = str(caught.value)
    assert text.startswith("refused, nothing was changed: ")
    return text


def test_what_comes_with_it_is_told(machine: AptHost) -> None:
    result = simulate(machine, "libffi-dev", "chrony")
    found = result["simulated"]
    assert found["installs"] == {"libffi-dev": "3.4.2", "libffi8": "3.4.2", "chrony": "1"}
    assert (found["upgrades"], found["removes"]) == ({}, ["ntp"])
    (said,) = result["warnings"]
    assert said.endswith("apt removes ntp from the host, with which a wanted package conflicts")
    lines = _package_simulation.further(found, ["libffi-dev", "chrony"])
    assert lines == [
        "- ntp (removed by apt: it conflicts)", "+ 1 packages that these need: libffi8"
    ]  # fmt: skip


def test_where_nothing_is_missing_apt_is_not_asked(machine: AptHost) -> None:
    result = simulate(machine, "libc6", "ntp=4")
    assert (result["simulated"], result["changed"]) == ({}, False)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("libffi-devel", "'libffi-devel': no apt source of the host offers it; did you mean"),
        ("cmake:armhf", "'cmake:armhf': no apt source of the host offers it"),
        ("cmake=3.99", "'cmake=3.99': no apt source of the host offers this version"),
        ("mail-server", "'mail-server': it is a virtual package; name one of postfix, exim"),
        ("stuck", "stuck : Depends: libc6 (>= 99) but"),
        ("libc++1-dev", "'libc++1-dev': no apt source"),
    ],
)  # fmt: skip
def test_what_apt_refuses_is_refused(machine: AptHost, name: str, says: str) -> None:
    text = refusal(machine, "cmake", name, fresh=False)
    assert f"{EXTRA}: " in text
    assert says in text


def test_all_that_is_unknown_is_named_at_once(machine: AptHost) -> None:
    text = refusal(machine, "nothing-such", "cmake=3.99")
    assert text.startswith("refused, nothing was changed: 2 problems:")


def test_packages_for_which_the_disk_is_too_small_are_refused(machine: AptHost) -> None:
    said = refusal(machine, "huge")
    assert re.search(
        r"the disk of /usr has [\d.]+ [GM]B free, and the packages to be installed need "
        r"126419\.8 GB there: make room",
        said,
    ), said


def test_a_disk_too_full_for_apts_own_files_is_said(
    machine: AptHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_apt_scratch.Scratch, "_write", fail)
    said = refusal(machine, "cmake")
    assert "too little for apt's lists: make room" in said
    monkeypatch.undo()
    words = "E: Write error - write (28: No space left on device)\nE: IO Error saving source cache"
    monkeypatch.setattr(
        _apt_scratch.Scratch, "simulate", lambda *_: CompletedProcess([], 100, "", words)
    )
    assert refusal(machine, "cmake") == said


def test_a_package_that_is_held_is_named(machine: AptHost) -> None:
    text = machine.status.read_text()
    before, _, after = text.partition("Package: held\n")
    machine.status.write_text(
        before + "Package: held\n" + after.replace("install ok", "hold ok", 1)
    )
    assert "apt-mark unhold held" in refusal(machine, "needs-held", "held=2")


def test_a_repository_that_the_run_adds(machine: AptHost, repositories: Repositories) -> None:
    path = str(machine.root / "sources.list.d/runnerhost-new.sources")
    one = {
        "files": {path: repositories.text("new")},
        "duplicates": [{"uris": [f"{repositories.url}/new"], "suites": ["jammy"]}],
        "versions": {"newly": ["5"]},
    }
    refusal(machine, "newly")
    # Another file names it too, with another key: it goes with the run.
    duplicate = machine.root / "sources.list.d/theirs.sources"
    duplicate.write_text(repositories.text("new", key=repositories.other))
    found = simulate(machine, "newly", planned=[one])["simulated"]
    assert found["installs"] == {"newly": "5", "libffi8": "3.4.2"}
    assert found["unreadable"] == []
    # A version from elsewhere is not the wanted one.
    one["versions"] = {"newly": ["6"]}
    text = refusal(machine, "newly", planned=[one])
    assert "apt would install newly 5, which the configured repository does not offer (6)" in text


FOREIGN = {
    "down": ("deb http://127.0.0.1:9/x jammy stable\n", "Could not connect"),
    "no suite": ("deb {url}/vendor nowhere main\n", "does not have a Release file"),
    "missing key": ("deb {url}/vendor stable main\n", "NO_PUBKEY"),
    "expired": ("deb [trusted=yes] {url}/expired stable main\n", "expired"),
}


def test_a_component_that_a_repository_does_not_have(repositories: Repositories) -> None:
    """apt itself goes on, with nothing of that component."""
    text = repositories.text("new").replace("Components: main", "Components: main univrese")
    request = Request(sources=text, packages=["newly"])
    said = _pythons.explain(apt_candidates_info.candidates(request)["error"])
    assert said.startswith("a component that the inventory names does not exist there")
    assert "univrese" in said
    good = Request(sources=repositories.text("new"), packages=["newly"])
    answer = apt_candidates_info.candidates(good)
    assert (answer["error"], answer["offer"]) == ("", {"newly": ["5"]})


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_source_that_fails_is_a_warning(
    machine: AptHost, repositories: Repositories, kind: str
) -> None:
    line, says = FOREIGN[kind]
    path = machine.root / "sources.list.d/vendor.list"
    path.write_text("# theirs\n" + line.format(url=repositories.url))
    result = simulate(machine, "cmake")
    assert result["simulated"]["installs"] == {"cmake": "3.22.1"}
    (text,) = result["warnings"]
    assert f"{path}, line 2: " in text
    assert says in text
    # What may be there alone is refused, and the source is named.
    text = refusal(machine, "vendors")
    assert "cannot install 'vendors'" in text
    assert f"apt cannot read {path}, line 2" in text


def test_a_source_that_stops_apt_is_refused(machine: AptHost, repositories: Repositories) -> None:
    parts = machine.root / "sources.list.d"
    stops = {
        "vendor.list": ("deb http://x.test\n", "vendor.list"),
        "odd.list": ("dep http://x.test jammy main\n", "odd.list"),
        "broken.sources": ("Types: deb\nURIs: http://x.test\n", "broken.sources"),
        # One repository with two keys.
        "second.sources": (
            repositories.text("ubuntu", key=repositories.other), "second.sources, line 3"
        ),
    }  # fmt: skip
    for name, (text, says) in stops.items():
        (parts / name).write_text(text)
        said = refusal(machine, "cmake")
        assert "apt can do nothing on this host until its configuration is corrected" in said
        assert str(parts / says) in said
        (parts / name).unlink()
    for folder, name in (("conf.d", "99odd"), ("preferences.d", "odd")):
        path = machine.root / folder / name
        path.write_text('APT::x "1\n' if folder == "conf.d" else "Package: *\nPin: odd\n")
        if folder == "preferences.d":
            path.write_text("Pin: release o=x\nPin-Priority: 1\n")
        assert str(path) in refusal(machine, "cmake")
        path.unlink()
    simulate(machine, "cmake")


def test_a_pin_of_the_host_that_keeps_it_away_is_named(machine: AptHost) -> None:
    pin = machine.root / "preferences.d/company"
    pin.write_text("Package: cmake\nPin: release o=Ubuntu\nPin-Priority: -1\n")
    assert f"a pin of the host's apt keeps it away (pins of the host: {pin})" in refusal(
        machine, "cmake"
    )


def test_the_hosts_own_release_is_its_own(machine: AptHost) -> None:
    """APT::Default-Release counts for the host's sources, and is invalid without them."""
    conf = machine.root / "conf.d/20release"
    conf.write_text('APT::Default-Release "jammy";\n')
    assert simulate(machine, "cmake")["simulated"]["installs"] == {"cmake": "3.22.1"}
    conf.write_text('APT::Default-Release "nowhere";\n')
    assert "Default-Release" in refusal(machine, "cmake")


def test_what_dpkg_has_left_is_finished_before(machine: AptHost) -> None:
    text = machine.status.read_text()
    machine.status.write_text(text.replace("install ok installed", "install ok unpacked", 1))
    found = simulate(machine, "cmake", unfinished=["libc6"])["simulated"]
    assert found["installs"] == {"cmake": "3.22.1"}


def test_a_conflict_with_the_runner_is_refused() -> None:
    found = {**_apt_simulation.NOTHING, "installs": {"x": "1"}, "removes": ["gitlab-runner"]}
    (text,), _ = _package_simulation.judge(found, {EXTRA: ["x"]}, {})
    assert text.startswith(f"{EXTRA}: apt would remove gitlab-runner")


def test_places_are_told_without_a_login() -> None:
    files = {"/a.list": "deb https://me:pw@x.test/apt jammy main\n# deb https://x.test/apt y z\n"}
    said = "E: The repository 'https://x.test/apt jammy Release' is not signed."
    assert _apt_simulation.unreadable(said, files) == [f"/a.list, line 1: {said}"]
