# SPDX-License-Identifier: GPL-3.0-or-later
"""The kept pair of runner packages, and the note of an upgrade that is not confirmed yet."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _dpkg,
    _drain,
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import PAIR
from ansible_collections.runnerhost.toolkit.plugins.modules import runner_package as module

ROOT = Path(__file__).parents[3]
OLD = "17.4.0-1"
INSTALLED, BROKEN = "install ok installed", "install ok half-configured"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toolkit's folder with a kept pair; apt's archives are empty, its repository is away."""
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in PAIR:
        (kept / f"{name}_{OLD}_amd64.deb").touch()
    monkeypatch.setattr(module, "FOLDER", str(kept))
    monkeypatch.setattr(module, "UNCONFIRMED", str(kept / "unproven.json"))
    monkeypatch.setattr(module, "ARCHIVES", str(tmp_path / "archives"))
    monkeypatch.setattr(_system, "run", lambda *_, **__: None)
    return kept


@pytest.mark.parametrize(
    "states",
    [(INSTALLED, INSTALLED), (INSTALLED, BROKEN), (BROKEN, INSTALLED), (BROKEN, BROKEN)],
)
def test_kept_pair_stays_in_the_middle_of_a_transaction(
    folder: Path, monkeypatch: pytest.MonkeyPatch, states: tuple[str, str]
) -> None:
    records = {
        name: {"version": "17.6.0-1", "status": state}
        for name, state in zip(PAIR, states, strict=True)
    }
    monkeypatch.setattr(_dpkg, "packages", lambda _: records)
    assert module.keep(OLD) == (True, False)
    assert len(list(folder.glob("*.deb"))) == 2


def test_nothing_is_kept_where_nothing_can_be_had(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in folder.glob("*.deb"):
        path.unlink()
    monkeypatch.setattr(_dpkg, "packages", lambda _: {})
    assert module.keep(OLD) == (False, True)


def has(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """The host has these packages, by the last word of their names."""
    records = {
        name: {"version": versions[name.rpartition("-")[2]], "status": INSTALLED}
        for name in PAIR
        if name.rpartition("-")[2] in versions
    }
    monkeypatch.setattr(_dpkg, "packages", lambda _: records)


@pytest.fixture
def repository(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the repository offers, as ``name=version``; nothing is kept yet."""
    offer: list[str] = []

    def download(argv: list[str], cwd: str = "", **_: object) -> None:
        """Like apt-get: all of it or nothing."""
        asked = argv[argv.index("download") + 1 :]
        if set(asked) <= set(offer):
            for one in asked:
                (Path(cwd) / f"{one.replace('=', '_')}_amd64.deb").touch()

    for path in folder.glob("*.deb"):
        path.unlink()
    monkeypatch.setattr(_system, "run", download)
    return offer


def test_older_runner_without_an_images_package_stays_kept(
    folder: Path, repository: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a newer one's images came, and stayed after the runner itself was put back."""
    repository.append("gitlab-runner=17.5.5-1")
    has(monkeypatch, runner="17.5.5-1")
    assert module.keep("17.5.5-1") == (True, True)
    has(monkeypatch, runner="17.5.5-1", images="18.5.0-1")
    assert module.keep("17.5.5-1") == (True, False)
    assert [path.name for path in folder.iterdir()] == ["gitlab-runner_17.5.5-1_amd64.deb"]


def test_older_runner_that_has_an_images_package_is_kept_with_it(
    folder: Path, repository: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository += [f"{name}={OLD}" for name in PAIR]
    has(monkeypatch, runner=OLD, images=OLD)
    assert module.keep(OLD) == (True, True)
    assert len(list(folder.glob("*.deb"))) == 2


def test_kept_files_stay_until_the_new_ones_are_there(
    folder: Path, repository: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository += [f"{name}=18.5.0-1" for name in PAIR]
    has(monkeypatch, runner="18.5.0-1", images="18.5.0-1")
    assert module.keep("18.5.0-1") == (True, True)
    kept = sorted(path.name for path in folder.iterdir())
    assert len(kept) == 2
    has(monkeypatch, runner="18.6.0-1", images="18.6.0-1")
    repository.append("gitlab-runner=18.6.0-1")
    assert module.keep("18.6.0-1") == (False, True)
    assert sorted(path.name for path in folder.iterdir()) == kept
    repository.append("gitlab-runner-helper-images=18.6.0-1")
    assert module.keep("18.6.0-1") == (True, True)
    assert all("_18.6.0-1_" in path.name for path in folder.iterdir())


def test_note_stays_as_it_began_until_the_upgrade_is_over(folder: Path) -> None:
    assert module.begin(OLD, ["build"], []) == ["build"]
    assert module.begin("17.6.0-1", [], []) == ["build"]
    assert module.begun()["from"] == OLD
    module.end()
    assert module.begun() == {}


def test_note_of_an_upgrade_that_gave_up_is_written_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner that was taken away since must not count as lost."""
    monkeypatch.setattr(
        _dpkg, "packages", lambda _: {PAIR[0]: {"version": OLD, "status": INSTALLED}}
    )
    assert module.begin(OLD, ["build", "gone"], []) == ["build", "gone"]
    assert module.begin(OLD, ["build"], []) == ["build"]


@pytest.fixture
def rolled_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old pair is back, but its own proof failed too."""
    monkeypatch.setattr(
        _dpkg, "packages", lambda _: {PAIR[0]: {"version": OLD, "status": INSTALLED}}
    )
    note = {"from": OLD, "valid": ["build", "wheels"], "restored": True}
    Path(module.UNCONFIRMED).write_text(json.dumps(note), encoding="utf-8")


@pytest.mark.usefixtures("rolled_back")
def test_note_of_a_rollback_stays_until_it_is_proven() -> None:
    assert module.begin(OLD, ["build", "wheels"], []) == ["build", "wheels"]
    assert module.begun()["restored"]


@pytest.mark.usefixtures("rolled_back")
def test_runner_that_was_deleted_since_a_rollback_is_not_waited_for() -> None:
    """It would fail every run, before config.toml could get its new token."""
    assert module.begin(OLD, ["build"], []) == ["build"]
    assert module.begun() == {"from": OLD, "valid": ["build"], "restored": True}


@pytest.mark.usefixtures("rolled_back")
def test_silent_gitlab_takes_no_runner_from_the_note_of_a_rollback() -> None:
    assert module.begin(OLD, [], ["build", "wheels"]) == ["build", "wheels"]


def test_entry_that_is_not_in_config_toml_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(argv: list[str], **_: object) -> CompletedProcess[str]:
        why = {"gone": "no runner matches the filtering parameters", "away": "no route to host"}
        line = json.dumps({"level": "fatal", "msg": why[argv[-1]]})
        return CompletedProcess(argv, 1, "", line)

    note = {"entries": [{"name": "gone"}, {"name": "away"}]}
    (tmp_path / "runnerhost.json").write_text(json.dumps(note), encoding="utf-8")
    monkeypatch.setattr(_system, "run", verify)
    monkeypatch.setattr(_systemd, "units", lambda _: {})
    assert module.ask_gitlab([(str(tmp_path), "x.service")], ours=False) == {"away": "unanswered"}


class Services:
    """A host whose services are up at once; keeps what was run, and how long it might take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limits: dict[str, float] = {}
        monkeypatch.setattr(_system, "run", self.run)
        monkeypatch.setattr(module, "uptime_problem", lambda *_: "")

    def run(self, argv: list[str], timeout: float = 60, **_: object) -> CompletedProcess[str]:
        self.limits[" ".join(argv)] = timeout
        return CompletedProcess(argv, 0, "", "")


def test_restart_of_an_isolated_runner_may_wait_for_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services(monkeypatch)
    places = [(str(tmp_path), "a.service"), (str(tmp_path), "b.service")]
    assert module.check_health(places, 0, [], 3600) == ""
    assert services.limits["systemctl restart b.service"] > 3600
    assert "systemctl restart a.service" not in services.limits


def test_role_says_how_long_a_stop_may_take() -> None:
    text = (ROOT / "roles/gitlab_runner/tasks/operations/replace.yml").read_text(encoding="utf-8")
    proofs = text.count("op: check_health")
    assert text.count('stop_timeout: "{{ gitlab_runner_stop_timeout }}"') == proofs == 2


class Pause:
    """A paused runner whose lease is nearly over: each question takes its last seconds."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 0.0
        self.until = 15.0
        self.renewals = 0
        note = {"entries": [{"name": "build"}, {"name": "wheels"}]}
        (folder / "runnerhost.json").write_text(json.dumps(note), encoding="utf-8")
        (folder / _drain.KEPT).touch()
        monkeypatch.setattr(_drain, "renew", self.renew)
        monkeypatch.setattr(_drain, "lease_left", lambda _: max(0.0, self.until - self.now))
        monkeypatch.setattr(_systemd, "units", lambda _: {})
        monkeypatch.setattr(_system, "run", self.run)
        monkeypatch.setattr(module, "uptime_problem", lambda *_: self.takes(20))

    def takes(self, seconds: float) -> str:
        self.now += seconds
        if self.now > self.until and _drain.is_paused(str(self.folder)):
            (self.folder / _drain.KEPT).rename(self.folder / _drain.CONFIG)
        return ""

    def renew(self, folder: str, seconds: float) -> None:
        assert folder == str(self.folder)
        self.renewals += 1
        self.until = self.now + seconds

    def run(self, argv: list[str], **_: object) -> CompletedProcess[str]:
        path = Path(argv[argv.index("--config") + 1])
        done = CompletedProcess(argv, 0, "", "is valid" if path.exists() else "")
        self.takes(100)
        return done


def test_pause_lasts_until_gitlab_was_asked_about_each_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it ended meanwhile, a good release would be taken back."""
    pause = Pause(tmp_path, monkeypatch)
    assert module.check_health([(str(tmp_path), "a.service")], 0, ["build", "wheels"], 60) == ""
    assert _drain.is_paused(str(tmp_path))
    assert pause.renewals == 3


def test_pause_of_another_one_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends in the middle of the questions, which go on with the file that it leaves."""
    pause = Pause(tmp_path, monkeypatch)
    told = module.ask_gitlab([(str(tmp_path), "a.service")], ours=False)
    assert told == {"build": "valid", "wheels": "valid"}
    assert pause.renewals == 0


def test_no_lease_is_made_where_no_pause_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Pause(tmp_path, monkeypatch)
    (tmp_path / _drain.KEPT).rename(tmp_path / _drain.CONFIG)
    assert module.check_health([(str(tmp_path), "a.service")], 0, ["build", "wheels"], 60) == ""
    assert pause.renewals == 0


@pytest.mark.parametrize(("version", "over"), [("17.5.5-1", True), ("17.7.0-1", False)])
def test_older_runner_may_take_the_images_back(
    version: str, over: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own package has the files that a newer version's package of images holds now."""
    asked: list[list[str]] = []

    def run(argv: list[str], **_: object) -> CompletedProcess[str]:
        asked.append(argv)
        return CompletedProcess(argv, 0, "", "")

    (folder / f"gitlab-runner_{version}_amd64.deb").touch()
    monkeypatch.setattr(_system, "run", run)
    assert module.restore(version) == ""
    assert ("Dpkg::Options::=--force-overwrite" in asked[0]) is over
