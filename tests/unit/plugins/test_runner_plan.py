# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals of the role gitlab_runner that need no host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import runner_plan
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _disk_space,
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import DROP_INS
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import PAIR
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import digest
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _job_scripts,
    _job_user,
    _network,
    _runner_checks,
    _runner_host,
    _runner_keys,
    _runner_lists,
    _runner_planning,
    _runner_settings,
    _runner_state,
    _runner_versions,
    _setting_warnings,
    _wanted_files,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_host import Logind
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_versions import Offer
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service, services
from tests.unit.plugins import host_file

TOKEN = "glrt-" + "a" * 20
GOOD: dict[str, Any] = {
    "gitlab_url": "https://gitlab.example.com",
    "runners": [{"name": "build", "token": TOKEN}],
    "isolated": [],
    "concurrent": 2,
    "settings": {},
    "environment": {},
    "path": [],
    "user": "gitlab-runner",
    "home": "/home/gitlab-runner",
    "pip_cache_dir": "/home/gitlab-runner/.cache/pip",
    "kill_leftover_processes": True,
    "user_manager": False,
    "hide_processes": True,
    "umask": "0022",
    "stop_timeout": 7200,
    "version": "17.5.5",
    "allow_downgrade": False,
    "url": "https://packages.example.com/ubuntu",
    "suite": "jammy",
    "components": ["main"],
    "paths": {
        "sources": "/etc/apt/sources.list.d/x.sources",
        "preferences": "/etc/apt/preferences.d/x",
        "logind": "/etc/systemd/logind.conf.d/x.conf",
        "machine": "/var/lib/x/machine.json",
        "job_users": "/var/lib/x/job-users.json",
    },
}
# What host_info answers of a host that has nothing yet.
BARE: dict[str, Any] = {
    "machine": "abc",
    "packages": {},
    "files": {},
    "users": {},
    "units": {},
    "globs": {DROP_INS: []},
    "missing_groups": [],
    "problems": [],
    "logind": {"kill": False, "only": []},
    "logind_foreign": {"kill": False, "only": []},
    "other_runners": {"daemons": [], "stopped": []},
}


def main_service(**more: Any) -> Service:
    """The package's own service, with these variables."""
    return services({**GOOD, **more})[0]


def host(**more: Any) -> _runner_host.HostFacts:
    """The facts of a host with these answers."""
    return _runner_host.facts({**BARE, **more})


def test_good() -> None:
    assert _runner_settings.problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "17.5"}, "gitlab_runner_version: invalid value '17.5'"),
        ({"version": "newest"}, "gitlab_runner_version"),
        ({"user": "root"}, "must not run as root"),
        ({"user": "Git Lab"}, "gitlab_runner_user"),
        ({"home": "home/x"}, "gitlab_runner_home"),
        ({"home": "/home/../etc"}, "gitlab_runner_home"),
        ({"umask": "22"}, "gitlab_runner_umask"),
        ({"stop_timeout": 0}, "gitlab_runner_stop_timeout"),
        ({"concurrent": 0}, "gitlab_runner_concurrent: invalid value 0"),
        ({"concurrent": "4"}, "gitlab_runner_concurrent"),
        ({"concurrent": True}, "gitlab_runner_concurrent"),
        ({"path": ["bin"]}, "gitlab_runner_path[0]"),
        ({"path": "/"}, "gitlab_runner_path: invalid value of type string; expected a list"),
        (
            {"components": "main"},
            "gitlab_runner_repository_components: invalid value of type string",
        ),
        ({"path": ["/a:/b"]}, "gitlab_runner_path[0]"),
        ({"path": ["/a/$HOME"]}, "gitlab_runner_path[0]"),
        ({"url": "ftp://x/y"}, "gitlab_runner_repository_url"),
        (
            {"url": "https://u:hunter2@x.example.com/y"},
            "gitlab_runner_repository_url: invalid value (hidden)",
        ),
        ({"suite": "jammy main"}, "gitlab_runner_repository_suite"),
        ({"gitlab_url": "gitlab.example.com"}, "gitlab_runner_url"),
        ({"gitlab_url": "https://u:hunter2@gitlab.example.com"}, "gitlab_runner_url"),
        ({"environment": {"PATH": "/x"}}, "gitlab_runner_path"),
        ({"settings": {"concurrent": 4}}, "gitlab_runner_settings"),
        ({"runners": {}}, "gitlab_runner_runners: invalid value of type mapping; expected a list"),
        ({"runners": ["build"]}, "[0]: invalid value of type string; expected a mapping"),
        ({"runners": [{"token": TOKEN}]}, ".name: missing; expected"),
        ({"runners": [{"name": "build"}]}, ".token: missing; expected"),
        ({"runners": [{"name": "a", "token": TOKEN, "env": {}}]}, "use environment"),
        ({"runners": [{"name": "a", "token": TOKEN, "builds_dir": "builds"}]}, "absolute path"),
        ({"runners": [{"name": "a", "token": TOKEN, "environment": ["A"]}]}, "without ="),
        ({"runners": [{"name": "a", "token": TOKEN, "environment": ["PATH=/x"]}]}, "$PATH"),
        (
            {"runners": [{"name": "a", "token": TOKEN, "environment": ["PYTHONPATH=/x"]}]},
            "PYTHONPATH does not belong",
        ),
        (
            {"runners": [{"name": "a", "token": TOKEN, "environment": ["X_PASSWORD=hunter2"]}]},
            "CI/CD variable",
        ),
        (
            {"runners": [{"name": "a", "token": TOKEN}, {"name": "b", "token": TOKEN}]},
            "gitlab_runner_runners[0] (a) and gitlab_runner_runners[1] (b): duplicate token",
        ),
        (
            {"runners": [{"name": "a", "token": TOKEN}, {"name": "a", "token": TOKEN + "b"}]},
            "duplicate name 'a'; expected another name",
        ),
    ],
)
def test_refused(change: dict[str, Any], says: str) -> None:
    found = _runner_settings.problems({**GOOD, **change})
    assert len(found) == 1, found
    assert says in found[0]
    assert "hunter2" not in found[0]
    assert TOKEN not in found[0]


@pytest.mark.parametrize(
    ("concurrent", "runners", "isolated", "named"),
    [
        (2, 2, None, []),
        (1, 2, None, ["gitlab_runner_concurrent: 1 is less than the number of runners, 2"]),
        (4, 2, 2, ["gitlab_runner_isolated (publish).concurrent: 1 is less"]),
    ],
)
def test_fewer_jobs_at_once_than_runners_are_warned_of(
    concurrent: int, runners: int, isolated: int | None, named: list[str]
) -> None:
    entries = [{"name": f"r{n}"} for n in range(runners)]
    entries.append({"name": "leaves", "state": "absent"})
    others = [{"name": "publish", "runners": [{"name": f"p{n}"} for n in range(isolated or 0)]}]
    args = {"concurrent": concurrent, "runners": entries, "isolated": others}
    found = _setting_warnings.too_few_jobs(services(args))
    assert [said.startswith(start) for said, start in zip(found, named, strict=True)] == [
        True for _ in named
    ]


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({}, []),
        ({"executor": "shell", "docker": {}}, []),
        ({"docker": {"image": "x"}, "machine": {"IdleCount": 1}}, ["docker, machine: no effect"]),
        ({"executor": "docker", "docker": {"image": "x"}}, ["executor is 'docker': the toolkit"]),
        (
            {"executor": "custom", "custom": {"run_exec": "/x"}, "ssh": {"host": "x"}},
            ["executor is 'custom'", "ssh: no effect with the executor custom"],
        ),
        ({"state": "absent", "executor": "docker"}, []),
    ],
)
def test_other_executors_and_their_tables_are_warned_of(
    entry: dict[str, Any], named: list[str]
) -> None:
    args = {
        "concurrent": 1,
        "runners": [{"name": "gone", "state": "absent"}, {"name": "a", **entry}],
    }
    told = _setting_warnings.warnings(services(args))
    found = [said for said in told if "takes no jobs" not in said]
    assert [part in said for said, part in zip(found, named, strict=True)] == [True for _ in named]
    assert all(said.startswith("gitlab_runner_runners[1] (a)") for said in found)


def test_each_other_executor_has_a_table_that_the_validation_knows() -> None:
    known = {executor for each in _runner_keys.EXECUTOR_TABLES.values() for executor in each}
    assert known == set(_runner_keys.CHOICES["executor"]) - {"shell"}
    assert set(_runner_keys.EXECUTOR_TABLES) <= set(_runner_keys.RUNNER)


def test_all_problems_at_once() -> None:
    assert (
        len(_runner_settings.problems({**GOOD, "version": "x", "user": "X", "concurrent": 0})) == 3
    )


OFFER = Offer(
    versions={
        "gitlab-runner": ["17.8.0-1", "17.7.5-1"],
        "gitlab-runner-helper-images": ["17.8.0-1"],
    }
)


def refusals(version: str, offer: Offer = OFFER, records: Any = None, **more: Any) -> list[str]:
    """Why a version cannot be installed on a host with these records."""
    wanted = _runner_settings.wanted_of({**GOOD, "version": version, **more})
    return _runner_versions.refusals(wanted, offer, records or {}, PAIR)


def test_half_a_pair_is_refused() -> None:
    (text,) = refusals("17.7.5")
    assert "does not have for both packages" in text
    assert "gitlab-runner-helper-images: 17.8.0-1" in text


def test_downgrade_is_refused_unless_asked_for() -> None:
    installed = {"gitlab-runner": {"version": "18.0.0-1", "status": "install ok installed"}}
    (text,) = refusals("17.8.0", records=installed)
    assert "lower than the installed 18.0.0-1" in text
    assert refusals("17.8.0", records=installed, allow_downgrade=True) == []


def test_held_package_is_refused() -> None:
    held = {"gitlab-runner": {"version": "17.7.5-1", "status": "hold ok installed"}}
    (text,) = refusals("17.8.0", records=held)
    assert "apt-mark unhold gitlab-runner" in text


def test_an_old_release_has_no_helper_images() -> None:
    assert refusals("17.5.5", Offer(versions={"gitlab-runner": ["17.5.5-1"]})) == []


@pytest.mark.parametrize(
    ("runner", "images", "pattern", "missing"),
    [
        ("", "", "", True),
        ("18.0.0-1", "18.0.0-1", "", False),
        ("18.0.0-1", "18.0.0-1", "18.0.0-*", False),
        ("18.0.0-1", "18.0.0-1", "18.1.0-*", True),
        ("18.0.0-1", "", "", True),
        ("18.0.0-1", "17.9.0-1", "", True),
        ("17.5.5-1", "", "", False),
        ("17.5.5-1", "", "17.5.5-1", False),
    ],
)
def test_what_is_missing_of_the_pair(runner: str, images: str, pattern: str, missing: bool) -> None:
    records = {
        name: {"version": version, "status": "install ok installed"}
        for name, version in zip(PAIR, (runner, images), strict=True)
        if version
    }
    assert bool(_runner_versions.missing(records, pattern)) is missing


def logind(foreign: dict[str, Any], **more: Any) -> Logind:
    """What logind should have in force where the host's other files say this."""
    settings = _runner_settings.settings_of({**GOOD, **more}, "host")
    return _runner_planning.wanted_logind(settings, host(logind_foreign=foreign).logind_foreign)


@pytest.mark.parametrize(
    ("foreign", "wanted"),
    [
        ({"kill": False, "only": []}, ["gitlab-runner"]),
        ({"kill": False, "only": ["bob"]}, ["gitlab-runner"]),
        ({"kill": True, "only": ["bob"]}, ["bob", "gitlab-runner"]),
        # All users already: naming one would narrow it.
        ({"kill": True, "only": []}, []),
    ],
)
def test_logind_is_never_narrowed(foreign: dict[str, Any], wanted: list[str]) -> None:
    assert [*logind(foreign).only] == wanted


def test_pin_fails_closed() -> None:
    text = _runner_versions.preferences("https://x.example.com/u", "17.5.5-*", 990)
    first, second = text.split("\n\n")
    assert "Pin: version 17.5.5-*" in first
    assert "Pin: version *\nPin-Priority: -1" in second


def test_apt_downgrades_only_if_it_may() -> None:
    """apt_preferences(5): above 1000 even a lower version is installed."""
    assert _runner_versions.PIN_PRIORITY < 1000 < _runner_versions.DOWNGRADE_PRIORITY


def test_env_file_has_what_the_ways_out_need_and_the_users_word_counts() -> None:
    def environment(network: _network.Network, **own: str) -> str:
        return _runner_planning.environment_of(main_service(environment=own), network)

    plain = environment(_network.Network(), A="1")
    assert plain.splitlines()[-2:] == ['A="1"', 'PIP_CACHE_DIR="/home/gitlab-runner/.cache/pip"']
    assert "PIP_CERT" not in plain
    network = _network.Network(authorities=(("/x/ca.crt", "pem"),))
    private = environment(network, PIP_CERT="/own.pem").splitlines()
    assert 'PIP_CERT="/own.pem"' in private
    assert f'REQUESTS_CA_BUNDLE="{_system.TRUST_BUNDLE}"' in private
    # In one case only: ours in the other would be what git or Go reads.
    network = _network.Network(https_proxy="http://ours:1")
    lines = environment(network, https_proxy="http://own:1").splitlines()
    assert [line for line in lines if line.lower().startswith("https_")] == [
        'https_proxy="http://own:1"'
    ]


@pytest.mark.parametrize(
    ("kill", "foreign", "in_force"),
    [
        (True, {"kill": False, "only": []}, (True, ["gitlab-runner"])),
        (True, {"kill": True, "only": []}, (True, [])),
        (False, {"kill": False, "only": []}, (False, [])),
        (False, {"kill": True, "only": ["b", "a"]}, (True, ["a", "b"])),
    ],
)
def test_what_logind_should_have_in_force(
    kill: bool, foreign: dict[str, Any], in_force: tuple[bool, list[str]]
) -> None:
    answer = logind(foreign, kill_leftover_processes=kill)
    assert (answer.kill, [*answer.only]) == in_force


DROP_IN = "/etc/systemd/system/gitlab-runner.service.d/zz-runnerhost.conf"
SETTLED: dict[str, str] = {
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "KillSignal": "3",
    "KillMode": "mixed",
    "DropInPaths": DROP_IN,
    "generation": "g1",
}


def planned(
    service: dict[str, str], manager: str = "x/zz-runnerhost.conf", **in_force: Any
) -> _runner_planning.Plan:
    """The plan for a host whose service has these properties."""
    settings = _runner_settings.settings_of({**GOOD, "image": False}, "host")
    (one,) = settings.services
    mark = _runner_planning.generation(
        one, False, _runner_planning.environment_of(one, _network.Network()), []
    )
    unit = {**SETTLED, **service}
    unit["generation"] = mark if unit["generation"] == "g1" else unit["generation"]
    facts = host(
        packages={name: {"version": "17.5.5-1", "status": "install ok installed"} for name in PAIR},
        units={
            one.unit: unit,
            _runner_host.manager_of(one): {"DropInPaths": manager},
        },
        logind={"kill": True, "only": ["gitlab-runner"], **in_force},
    )
    return _runner_planning.make(
        settings,
        facts,
        _network.Network(),
        _runner_versions.repository(settings.wanted, "KEY"),
        _runner_versions.packages(settings.wanted, facts, None),
        [],
    )


def converged(
    service: dict[str, str], manager: str = "x/zz-runnerhost.conf", **logind: Any
) -> bool:
    """Whether a host whose service has these properties has nothing left to do."""
    return planned(service, manager, **logind).converged


def test_a_verification_wants_the_files_of_the_plan() -> None:
    publish = {"name": "publish", "runners": [{"name": "p", "token": TOKEN}]}
    args = {**GOOD, "isolated": [publish], "environment": {"A": "b"}, "image": False}
    network = _network.Network()
    settings = _runner_settings.settings_of(args, "host")
    plan = _runner_planning.make(
        settings,
        host(),
        network,
        _runner_versions.repository(settings.wanted, "KEY"),
        _runner_versions.packages(settings.wanted, host(), None),
        [],
    ).public()
    wanted = _wanted_files.of_runner(args, "host", network)
    same = ("files", "job_users", "preferences")
    assert {key: wanted[key] for key in same} == {key: plan[key] for key in same}
    bare = [{k: v for k, v in one.items() if k != "unit_missing"} for one in plan["services"]]
    assert wanted["services"] == bare


def test_settled() -> None:
    assert converged({})


@pytest.mark.parametrize(
    "service",
    [
        {"ActiveState": "failed"},
        {"UnitFileState": "disabled"},
        {"NeedDaemonReload": "yes"},
        {"KillSignal": "15"},
        {"KillMode": "control-group"},
        {"DropInPaths": "/etc/other.conf"},
        {"generation": "g0"},
        {"steady": "no"},
    ],
    ids=lambda service: next(iter(service)),
)
def test_not_settled(service: dict[str, str]) -> None:
    assert not converged(service)


def test_not_settled_by_logind_or_the_user_manager() -> None:
    assert not converged({}, manager="")
    assert not converged({}, kill=False)
    assert not converged({}, only=["somebody"])


def test_generation_follows_what_only_a_restart_brings() -> None:
    def mark(**more: Any) -> str:
        return _runner_planning.generation(main_service(**more), False, "A=b", [])

    assert mark() == mark(concurrent=9, runners=[], settings={"log_level": "debug"})
    assert mark() != mark(settings={"listen_address": "127.0.0.1:9252"})
    assert mark() != mark(umask="0027")
    assert mark() != _runner_planning.generation(main_service(), False, "A=c", [])


def test_service_out_of_an_image_needs_a_restart() -> None:
    """It was started before its environment was there, whatever that is."""
    in_image = _runner_planning.generation(main_service(), True, "A=b", [])
    assert in_image == _runner_planning.generation(main_service(), True, "A=c", [])
    assert in_image != _runner_planning.generation(main_service(), False, "A=b", [])


def test_absent_entry_takes_a_name_alone() -> None:
    where = "gitlab_runner_runners"
    assert (
        _runner_lists.entries_problems("https://x", {where: [{"name": "a", "state": "absent"}]})
        == []
    )
    (said,) = _runner_lists.entries_problems(
        "https://x", {where: [{"name": "a", "state": "gone", "token": TOKEN}]}
    )
    assert "state: invalid value 'gone'; expected present or absent" in said


@pytest.mark.parametrize(
    ("limits_and_cleanup", "said"),
    [
        ({"job_limits": {"Memory": "1G"}}, "unknown limit 'Memory'"),
        ({"job_limits": {"CPUQuota": 2}}, "CPUQuota: invalid value 2"),
        ({"job_limits": ["x"]}, "takes a mapping"),
        ({"builds_max_age_days": -1}, "builds_max_age_days: invalid value -1"),
        ({"min_free_space_percent": "5%"}, "min_free_space_percent: invalid value '5%'"),
        ({"journal_max_use": "lots"}, "journal_max_use: invalid value 'lots'"),
        ({"journal_max_use": "1"}, "journal_max_use: invalid value '1'"),
        ({"metrics_file": "metrics.txt"}, "metrics_file: invalid value 'metrics.txt'"),
    ],
)
def test_fitness_that_cannot_be_is_refused(limits_and_cleanup: dict[str, Any], said: str) -> None:
    (problem,) = _runner_settings.limit_and_cleanup_problems(limits_and_cleanup)
    assert said in problem


@pytest.mark.parametrize(
    ("text", "installed", "began"),
    [
        ('{"from": "17.4.0-1", "valid": []}', "17.5.0-1", "17.4.0-1"),
        # Nothing was replaced yet.
        ('{"from": "17.4.0-1", "valid": []}', "17.4.0-1", ""),
        ("", "17.5.0-1", ""),
        ("broken", "17.5.0-1", ""),
        ("[]", "17.5.0-1", ""),
    ],
)
def test_upgrade_that_was_cut_off_before_its_proof_is_seen(
    text: str, installed: str, began: str
) -> None:
    assert _runner_versions.unconfirmed(text, installed) == began


@pytest.mark.parametrize(
    ("installed", "missing", "began", "is_one"),
    [
        ("", ["gitlab-runner"], "", False),
        ("17.4.0-1", [], "", False),
        ("17.4.0-1", ["gitlab-runner"], "", True),
        ("17.6.0-1", [], "17.4.0-1", True),
        # Its controller died, and apt still works.
        ("", ["gitlab-runner"], "17.4.0-1", True),
    ],
)
def test_upgrade_goes_on_in_the_middle_of_its_transaction(
    installed: str, missing: list[str], began: str, is_one: bool
) -> None:
    assert _runner_versions.is_upgrade(installed, missing, began) is is_one


def test_a_copy_of_a_machine_is_named_with_what_to_do() -> None:
    note = json.dumps({"host": "one", "machine": "abc"})
    assert _runner_checks.copied(note, "one", "abc") == []
    # A new id under the same name is a rebuilt host, or one that has done as told.
    assert _runner_checks.copied(note, "one", "def") == []
    (same,) = _runner_checks.copied(note, "two", "abc")
    assert "was provisioned as one" in same
    assert "systemd-machine-id-setup" in same
    (other,) = _runner_checks.copied(note, "two", "def")
    assert "rm /etc/gitlab-runner/.runner_system_id on the copy" in other


def test_one_machine_under_two_names_is_refused_whatever_the_limit() -> None:
    note = json.dumps({"host": "one", "machine": "abc"})
    assert _runner_checks.provisioned_as(note, "abc") == "one"
    assert _runner_checks.provisioned_as(note, "def") == ""
    (said,) = _runner_checks.twin_problems("two", "one", "10.0.0.1", "10.0.0.1")
    assert said.startswith("two: this machine was provisioned as one, and the inventory has both")
    assert _runner_checks.twin_problems("two", "one", "10.0.0.1", "10.0.0.2") == []
    assert _runner_checks.twin_problems("one", "one", "10.0.0.1", "10.0.0.1") == []


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("if true; then echo a; fi", ""),
        ("shopt -s extglob; rm -f !(a|b)", ""),
        ("if true\nthen\n  echo a\nfi\n", ""),
        # As YAML's > joins the lines.
        ("if true then echo secret; fi", "bash cannot read it (line 1: syntax error near"),
        ("if true then echo secret fi", "bash cannot read it (line 2: syntax error"),
        ("echo 'secret", "bash cannot read it (line 1: unexpected EOF while looking for matching"),
    ],
)
def test_a_script_that_bash_cannot_read(script: str, says: str) -> None:
    runners = [{"name": "a", "pre_build_script": script, "shell": "bash"}]
    found = list(_job_scripts.warnings(services({**GOOD, "runners": runners})))
    assert says in " ".join(found)
    assert bool(found) == bool(says)
    assert "secret" not in str(found)
    assert not list(
        _job_scripts.warnings(services({**GOOD, "runners": [{**runners[0], "shell": "pwsh"}]}))
    )


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"host": "one"}', "null"])
def test_a_note_that_says_nothing_warns_of_nothing(note: str) -> None:
    assert _runner_checks.copied(note, "two", "abc") == []


@pytest.mark.parametrize(
    ("service", "there"),
    [
        ({}, False),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, False),
        ({"LoadState": "loaded", "ActiveState": "active"}, True),
        ({"LoadState": "loaded", "ActiveState": "inactive"}, True),
        ({"LoadState": "masked", "ActiveState": "active"}, True),
        # Its file was deleted, its process runs on.
        ({"LoadState": "not-found", "ActiveState": "active"}, True),
    ],
)
def test_a_service_that_may_have_jobs_is_looked_at_before_its_package_is_replaced(
    service: dict[str, str], there: bool
) -> None:
    assert _runner_planning.service_there(service) is there


@pytest.mark.parametrize(
    "more",
    [
        "/api/v4",
        "/api/v4/",
        "/api",
        "/gitlab/api/v4",
        "/g/p.git",
        "/g/p/-/runners",
        "/admin/runners",
    ],
)
def test_address_with_something_behind_the_gitlab_is_refused(more: str) -> None:
    (said,) = _runner_lists.url_problems("gitlab_runner_url", f"https://gitlab.example.com{more}")
    assert "expected the address of GitLab itself, without" in said


@pytest.mark.parametrize("more", ["", "/", "/gitlab", "/ci", ":8443/sub/path/"])
def test_address_of_a_gitlab_is_taken(more: str) -> None:
    assert _runner_lists.url_problems("x", f"https://gitlab.example.com{more}") == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("gitlab.example.com", "expected https:// in front"),
        ("gitlab.example.com/", "expected https:// in front"),
        ("https://gitlab.example.com:8443/g/p/-/runners", "without '/g/p/-/runners'"),
        ("gitlab.example.com/groups/platform/-/runners", "expected https:// in front"),
        ("gitlab.example.com/groups/platform/-/runners", "without '/groups/platform/-/runners'"),
        ("https://gitlab.example.com/groups/a/-/runners", "without '/groups/a/-/runners'"),
        ("https://u:hunter2@gitlab.example.com", "without a user or password"),
        ("https://gitlab.example.com?x=1", "without '?x=1'"),
        ("", "expected the address of GitLab such as https://gitlab.example.com"),
        (None, "expected the address of GitLab such as https://gitlab.example.com"),
        ("ftp://gitlab.example.com", "expected the address of GitLab such as https://"),
    ],
)
def test_refused_address_says_what_is_wrong_with_it(url: Any, says: str) -> None:
    (said,) = _runner_lists.url_problems("gitlab_runner_url", url)
    assert said.startswith("gitlab_runner_url: invalid value ")
    assert says in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MemoryMax", "8 GB", "invalid value '8 GB'; expected a size such as 8G or 80%"),
        ("MemorySwapMax", "x", "expected a size such as 8G or 80%"),
        ("CPUQuota", 2, "invalid value 2; expected a share such as 200%"),
        ("CPUQuota", "0%", "expected a share such as 200%"),
        ("CPUWeight", "high", "expected a number from 1 to 10000, or idle"),
        ("CPUWeight", 0, "expected a number from 1 to 10000, or idle"),
        ("IOWeight", "1%", "expected a number from 1 to 10000"),
        ("IOWeight", 10001, "expected a number from 1 to 10000"),
        ("TasksMax", "many", "expected a number such as 4096, a share such as 80%, or infinity"),
        ("TasksMax", 0, "expected a number such as 4096"),
        ("MemoryMax", "150%", "expected a size such as 8G or 80%"),
        # Bytes, where gigabytes were meant.
        ("MemoryMax", 6, "invalid value 6, which is 6 bytes; expected at least 64M"),
        ("MemoryHigh", "512K", "which is 524288 bytes; expected at least 64M"),
    ],
)
def test_refused_limit_says_what_it_takes(name: str, value: Any, says: str) -> None:
    (said,) = _runner_settings.limit_and_cleanup_problems({"job_limits": {name: value}})
    assert said.startswith(f"gitlab_runner_job_limits.{name}: ")
    assert says in said


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"MemoryMax": "8G", "MemoryHigh": "8192M"}, ""),
        ({"MemoryMax": "80%", "MemoryHigh": "70G", "MemorySwapMax": 0}, ""),
        ({"MemoryMax": "64M", "CPUWeight": 10000, "TasksMax": "100%"}, ""),
        ({"MemoryMax": "8G", "MemoryHigh": "9G"}, "'9G'; expected at most MemoryMax, '8G'"),
    ],
)
def test_limits_that_contradict_each_other(limits: dict[str, Any], says: str) -> None:
    found = _runner_settings.limit_and_cleanup_problems({"job_limits": limits})
    assert len(found) == bool(says), found
    assert all(says in said for said in found)


@pytest.mark.parametrize(
    ("value", "warned"),
    [
        ("$HOME/.cache/uv", True), ("${HOME}/x", True), ("~/x", True), ("~", True),
        ("a:$PATH", True), ("$(nproc)", True),
        ("/srv/cache", False), ("costs 5$", False), ("^a$", False), ("a~b", False), (4, False),
    ],
)  # fmt: skip
def test_a_value_that_only_a_shell_would_change_is_warned_of(value: Any, warned: bool) -> None:
    found = _setting_warnings.warnings(services({**GOOD, "environment": {"UV_CACHE_DIR": value}}))
    said = [one for one in found if one.startswith("gitlab_runner_environment.UV_CACHE_DIR: ")]
    assert len(said) == warned


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("PIP_CACHE_DIR", "gitlab_runner_pip_cache_dir"),
        ("HTTPS_PROXY", "network_access_https_proxy"),
        ("no_proxy", "network_access_no_proxy"),
    ],
)
def test_what_has_a_variable_of_its_own_is_named_with_it(name: str, better: str) -> None:
    found = _setting_warnings.warnings(services({**GOOD, "environment": {name: "x"}}))
    assert [
        one for one in found if one.startswith(f"gitlab_runner_environment.{name}: set {better}")
    ]


@pytest.mark.parametrize(("limit", "warned"), [(4, False), (5, True), (0, False)])
def test_a_limit_above_that_of_the_service_is_warned_of(limit: int, warned: bool) -> None:
    runners = [{"name": "a", "token": TOKEN, "limit": limit}]
    found = _setting_warnings.warnings(services({**GOOD, "concurrent": 4, "runners": runners}))
    said = [one for one in found if one.startswith("gitlab_runner_runners[0] (a).limit: 5 is more")]
    assert len(said) == warned


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        (":9252", True),
        ("0.0.0.0:9252", True),
        ("[::]:9252", True),
        ("127.0.0.1:9252", False),
        ("localhost", False),
        # Where a Prometheus reads it.
        ("10.0.0.5:9252", False),
        ("", False),
    ],
)
def test_metrics_on_all_addresses_are_warned_of(address: str, warned: bool) -> None:
    found = _setting_warnings.open_addresses(
        services({**GOOD, "settings": {"listen_address": address}})
    )
    assert ["open to whoever reaches the host" in one for one in found] == [True] * warned


def test_where_the_daemons_listen_is_asked() -> None:
    # To the first, the runner adds a port.
    own = {"listen_address": "localhost", "session_server": {"listen_address": "[::]:8093"}}
    publish = {"name": "publish", "runners": [], "settings": {"listen_address": "127.0.0.1:9253"}}
    found = list(_runner_host.listeners(services({**GOOD, "settings": own, "isolated": [publish]})))
    assert [(one["label"], one["path"]) for one in found] == [
        ("gitlab_runner_settings.listen_address", "localhost:9252"),
        ("gitlab_runner_settings.session_server.listen_address", "[::]:8093"),
        ("gitlab_runner_isolated (publish).settings.listen_address", "127.0.0.1:9253"),
    ]


def test_a_host_that_would_pause_its_runners_is_warned_of() -> None:
    args = {"limits_and_cleanup": {"min_free_space_percent": 60, "min_free_inodes_percent": 0}}
    builds = [{"name": "a", "token": "glrt-abcdefghijklmnopqrst", "builds_dir": "/srv/builds"}]
    settings = _runner_settings.settings_of({**GOOD, **args, "runners": builds}, "host")
    asked = _runner_host.disk(settings)
    assert {"/home/gitlab-runner/builds", "/srv/builds", "/tmp", "/var/tmp"} <= {*asked["paths"]}
    assert (asked["space"], asked["inodes"]) == (60, 0)
    (said,) = _runner_checks.host_warnings(settings, host(full_disk="/srv has 40.0 % of its"))
    assert said.startswith("/srv has 40.0 % of its (gitlab_runner_min_free_space_percent, ")
    assert _disk_space.shortage(["/nowhere/at/all"], 100.1, 0).startswith("/ has ")
    assert _disk_space.shortage(["/nowhere/at/all"], 0, 0) == ""


@pytest.mark.parametrize(
    ("zone", "says"),
    [
        ("Europe/Berln", "there is no time zone Europe/Berln, and jobs would have UTC; did you"),
        ("Europe/Berlin", ""),
        ("UTC", ""),
        ("CET-1CEST,M3.5.0/2,M10.5.0/3", ""),
        (":/etc/localtime", ""),
    ],
)
def test_a_time_zone_that_is_none(zone: str, says: str) -> None:
    found = _setting_warnings.warnings(services({**GOOD, "environment": {"TZ": zone}}))
    assert says in " ".join(found)
    assert bool(found) == bool(says)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"MemoryMax": "64G"}, "MemoryMax: 64G is more than the host's memory, 8192M"),
        ({"MemoryHigh": "9000M", "MemoryMax": "infinity"}, "MemoryHigh: 9000M is more"),
        ({"CPUQuota": "800%"}, "CPUQuota: 800% is more than all of the host's CPUs, 200%"),
        ({"MemoryMax": "8G", "CPUQuota": "200%", "MemoryHigh": "80%"}, ""),
    ],
)
def test_a_limit_that_the_host_cannot_reach(limits: dict[str, str], says: str) -> None:
    args = {**GOOD, "limits_and_cleanup": {"job_limits": limits}}
    settings = _runner_settings.settings_of(args, "host")
    found = _runner_checks.host_warnings(settings, host(cpus=2, memory=8 << 30))
    assert says in " ".join(found)
    assert bool(found) == bool(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"output_limit": 4}, "gitlab_runner_runners[0] (a).output_limit: 4 are kilobytes"),
        ({"output_limit": 4096}, ""),
        ({"output_limit": 0}, ""),
    ],
)
def test_a_log_that_ends_early(change: dict[str, Any], says: str) -> None:
    runners = [{"name": "a", **change}]
    found = _setting_warnings.warnings(services({**GOOD, "runners": runners}))
    assert says in " ".join(found)
    assert bool(found) == bool(says)


@pytest.mark.parametrize(("limits", "warned"), [((1, 2), True), ((2, 2), False), ((1, 0), False)])
def test_limits_that_keep_a_service_from_its_jobs(limits: tuple[int, ...], warned: bool) -> None:
    runners = [{"name": str(number), "limit": limit} for number, limit in enumerate(limits)]
    found = _setting_warnings.warnings(services({**GOOD, "concurrent": 4, "runners": runners}))
    assert ["gitlab_runner_concurrent: 4 is more than the limit" in one for one in found] == [
        True
    ] * warned


def test_seldom_questions_are_warned_of() -> None:
    (said,) = _setting_warnings.warnings(services({**GOOD, "settings": {"check_interval": 300}}))
    assert said.startswith("gitlab_runner_settings.check_interval: 300 are seconds: each job may")
    assert _setting_warnings.warnings(services({**GOOD, "settings": {"check_interval": 3}})) == []


@pytest.mark.parametrize(
    ("gitlab", "says"),
    [
        ({"tag_list": ["publish"], "run_untagged": True}, "set run_untagged: false"),
        (
            {"tag_list": ["publish"], "run_untagged": True, "access_level": "not_protected"},
            "set access_level: ref_protected and run_untagged: false",
        ),
        # An isolated runner is protected unless the inventory says otherwise.
        ({"tag_list": ["publish"]}, ""),
        ({"tag_list": ["docs"], "access_level": "not_protected"}, ""),
    ],
)
def test_a_publishing_runner_for_any_branch(gitlab: dict[str, Any], says: str) -> None:
    isolated = [{"name": "p", "runners": [{"name": "a", "gitlab": gitlab}]}]
    found = _setting_warnings.warnings(services({**GOOD, "isolated": isolated}))
    assert says in " ".join(found)
    assert bool(found) == bool(says)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("LDFLAGS=-Wl,-rpath,$ORIGIN/../lib", ["ORIGIN"]),
        ("LDFLAGS=-Wl,-rpath,$$ORIGIN/../lib", []),
        ("CACHE=${CI_PROJECT_DIR}/.cache", []),
        ("A=$B", []),
        ("A=${MY_OWN} $MY_OWN", ["MY_OWN"]),
    ],
)
def test_what_gitlab_replaces_in_a_runners_environment(line: str, names: list[str]) -> None:
    runners = [{"name": "a", "environment": ["B=1", line]}]
    found = _setting_warnings.warnings(services({**GOOD, "runners": runners}))
    key = line.partition("=")[0]
    assert [one.partition(" is replaced")[0] for one in found] == [
        f"gitlab_runner_runners[0] (a).environment: ${name} in {key}" for name in names
    ]


@pytest.mark.parametrize(
    ("gitlab", "says"),
    [
        (
            {"paused": True},
            "gitlab_runner_runners[0] (a).gitlab.paused is true: GitLab gives it no",
        ),
        ({"access_level": "ref_protected"}, "gitlab_runner_runners: each has access_level: ref_"),
        ({"access_level": "ref_protected", "tag_list": ["publish"]}, ""),
        ({"paused": False}, ""),
    ],
)
def test_runners_that_get_no_jobs(gitlab: dict[str, Any], says: str) -> None:
    given = services({**GOOD, "concurrent": 1, "runners": [{"name": "a", "gitlab": gitlab}]})
    found = _setting_warnings.warnings(given)
    assert says in " ".join(found)
    assert bool(found) == bool(says)


def test_jobs_that_a_stop_would_kill_and_services_without_runners() -> None:
    found = services({**GOOD, "isolated": [{"name": "p", "runners": []}]})
    said = _setting_warnings.warnings(found, 120)
    assert said[-1].startswith("gitlab_runner_stop_timeout: 120 are seconds: a job that is not")
    assert "gitlab_runner_isolated (p).runners: empty: this service takes no jobs" in said
    assert not [one for one in _setting_warnings.warnings(found, 7200) if "stop_timeout" in one]
    long = services({**GOOD, "runners": [{"name": "a", "gitlab": {"maximum_timeout": 9000}}]})
    (text,) = _setting_warnings.warnings(long, 7200)
    assert "7200 seconds are less than gitlab.maximum_timeout, 9000" in text
    assert _setting_warnings.warnings(long, 9000) == []


def test_a_renamed_host_is_told_of_runners_that_gitlab_has_under_its_old_name() -> None:
    note = json.dumps({"host": "one", "machine": "abc"})
    runners = [
        {"name": "two made", "gitlab": {"runner_type": "instance_type"}},
        {"name": "named", "gitlab": {"id": 4}},
        {"name": "given", "gitlab": {}, "token": TOKEN},
    ]
    settings = _runner_settings.settings_of({**GOOD, "runners": runners}, "two")
    (said,) = _runner_checks.renamed(note, settings, "abc")
    assert said.startswith("two made: GitLab has the runners that were created for one under that")
    assert list(_runner_checks.renamed(note, settings, "def")) == []
    same = _runner_settings.settings_of({**GOOD, "runners": runners}, "one")
    assert list(_runner_checks.renamed(note, same, "abc")) == []


def test_more_jobs_than_a_host_can_run_are_warned_of() -> None:
    settings = _runner_settings.settings_of({**GOOD, "concurrent": 40}, "host")
    (said,) = _runner_checks.host_warnings(settings, host(cpus=2))
    assert said == "gitlab_runner_concurrent: 40 jobs at once are many for the host's 2 CPUs"
    assert _runner_checks.host_warnings(settings, host(cpus=8)) == []


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PIP_USER": "1"}, "gitlab_runner_environment.PIP_USER: breaks pip in the virtual"),
        (
            {"GIT_SSL_NO_VERIFY": "true"},
            "GIT_SSL_NO_VERIFY: switches the check of certificates",
        ),
        ({"A": "\u201cx\u201d"}, "gitlab_runner_environment.A: has typographic quotes"),
        ({"LDFLAGS": "-Wl,-rpath,$ORIGIN/../lib"}, ""),
        ({"A": "it's"}, ""),
    ],
)
def test_values_of_the_environment_that_do_harm(environment: dict[str, str], says: str) -> None:
    found = _setting_warnings.warnings(services({**GOOD, "environment": environment}))
    assert says in " ".join(found)
    assert bool(found) == bool(says)


def test_a_group_that_voids_isolation_is_warned_of() -> None:
    isolated = [{"name": "p", "runners": [{"name": "x"}]}]
    (said,) = _setting_warnings.warnings(
        services({**GOOD, "groups": ["docker", "kvm"], "isolated": isolated})
    )
    assert said.startswith("gitlab_runner_user_groups: who is in the group docker may become root")
    assert _setting_warnings.warnings(services({**GOOD, "groups": ["docker"]})) == []


@pytest.mark.parametrize(
    ("script", "warned"),
    [
        ("[ -f pyproject.toml ] || exit 0", True),
        ("set -e\nexit", True),
        ("if true; then echo exiting; fi", False),
        ("exitcode=0", False),
        ("if ! x; then exit 0; fi", True),
        ("command -v x || { echo no; exit 1; }", False),
        ("x || exit 1", False),
        ("(cd /srv && exit 0)", False),
        ("(exit 0)", False),
        ("command -v cmake || exit", False),
        ("command -v cmake && exit", True),
        ("command -v cmake || exit\nexit 0", True),
    ],
)
def test_a_script_that_ends_the_job(script: str, warned: bool) -> None:
    runners = [{"name": "a", "pre_build_script": script}]
    found = list(_job_scripts.warnings(services({**GOOD, "runners": runners})))
    assert ["exit ends the job itself" in one for one in found] == [True] * warned


def test_tokens_of_two_entries_that_are_exchanged_are_refused() -> None:
    other = "glrt-" + "b" * 20

    def noted(**runners: str) -> str:
        return _runner_state.state_text([
            _runner_state.StateEntry(name, digest(token), number, "https://gitlab.example.com")
            for number, (name, token) in enumerate(runners.items())
        ])  # fmt: skip

    def told(first: str, second: str, name: str = "build") -> list[str]:
        isolated = [{"name": "p", "runners": [{"name": "publish", "token": second}]}]
        runners = [{"name": name, "token": first}]
        given = {**GOOD, "runners": runners, "isolated": isolated}
        settings = _runner_settings.settings_of(given, "host")
        files = {
            "/etc/gitlab-runner/runnerhost.json": {"text": noted(build=TOKEN), "kind": "file"},
            "/etc/gitlab-runner-p/runnerhost.json": {"text": noted(publish=other), "kind": "file"},
        }
        return list(_runner_checks.exchanged(settings, host(files=files)))

    assert told(TOKEN, other) == []
    assert told(other, TOKEN) == [
        "gitlab_runner_runners (build).token: the host has this token for gitlab_runner_isolated "
        "(p).runners (publish): are the tokens of the two exchanged?",
        "gitlab_runner_isolated (p).runners (publish).token: the host has this token for "
        "gitlab_runner_runners (build): are the tokens of the two exchanged?",
    ]
    # A new name for the same runner, and a new token.
    assert told(TOKEN, other, "renamed") == []
    assert told("glrt-" + "c" * 20, other) == []


@pytest.mark.parametrize(
    ("text", "user", "before"),
    [
        ("[Service]\nExecStart=\nExecStart=/usr/bin/gitlab-runner run --user ci\n", "build", "ci"),
        ("[Service]\n", "build", "gitlab-runner"),
        ("[Service]\n", "gitlab-runner", ""),
        ("[Service]\nExecStart=/usr/bin/gitlab-runner run --service x --user ci\n", "ci", ""),
        (None, "build", ""),
    ],
)
def test_another_user_of_jobs_leaves_a_home(text: str | None, user: str, before: str) -> None:
    settings = _runner_settings.settings_of({**GOOD, "user": user, "home": "/srv/x"}, "host")
    path = settings.services[0].drop_in
    files = {} if text is None else {path: {"text": text, "kind": "file"}}
    found = list(_runner_checks.moved_users(settings, host(files=files)))
    assert [one.partition(" until")[0] for one in found] == [
        f"gitlab_runner_user: jobs ran as {before}"
    ] * bool(before)


def test_a_script_that_is_a_path_is_looked_for_on_the_host() -> None:
    scripts = {"pre_build_script": ". /opt/ci/prepare.sh\n", "post_build_script": "echo /opt/x"}
    (service,) = services({**GOOD, "runners": [{"name": "a", **scripts}]})
    (asked,) = [one for one in _job_user.checks(service, set()) if "script" in one["label"]]
    assert (asked["path"], asked["kind"], asked["mild"]) == ("/opt/ci/prepare.sh", "file", True)


def test_folders_of_programs_are_looked_for() -> None:
    # Packages bring what is below /usr.
    path = ["/opt/company/bin", "/home/gitlab-runner/.local/bin", "/usr/lib/ccache"]
    settings = _runner_settings.settings_of({**GOOD, "path": path}, "host")
    (asked,) = _runner_host.programs(settings)
    assert asked["label"] == "gitlab_runner_path[0]"
    assert asked["mild"]


def test_an_index_that_jobs_cannot_use_is_warned_of() -> None:
    settings = _runner_settings.settings_of(GOOD, "host")
    assert _runner_checks.host_warnings(settings, host(package_index=["said"])) == ["said"]


def test_temporary_folder_of_the_jobs_is_looked_for() -> None:
    (service,) = services({**GOOD, "environment": {"TMPDIR": "/scratch"}})
    found = [one for one in _job_user.checks(service, set()) if one["path"] == "/scratch"]
    assert [(one["label"], one["kind"]) for one in found] == [
        ("gitlab_runner_environment.TMPDIR", "directory")
    ]
    caches = {"CCACHE_DIR": "/scratch/c", "UV_CACHE_DIR": "/scratch/u", "X": "/scratch/x"}
    more = {"XDG_CACHE_HOME": "/home/gitlab-runner/x", "PIP_CACHE_DIR": "relative"}
    (service,) = services({**GOOD, "environment": {**caches, **more}})
    found = [one for one in _job_user.checks(service, set()) if one["kind"] == "writable"]
    assert [(one["path"], one["mild"]) for one in found] == [
        ("/scratch/c", True), ("/scratch/u", True),
    ]  # fmt: skip
    assert not [one for one in _job_user.checks(service, None) if one["path"] == "/scratch"]
    # In a folder that is made for the jobs.
    runners = [{"name": "a", "cache_dir": "/scratch"}]
    more = {"TMPDIR": "/scratch/tmp"}
    (service,) = services({**GOOD, "runners": runners, "environment": {**caches, **more}})
    found = _job_user.checks(service, set())
    assert not [one for one in found if one["kind"] == "writable"]
    assert [one["path"] for one in found if one["kind"] == "directory"] == ["/scratch/tmp"]


def test_a_shell_that_this_run_brings_is_not_looked_for() -> None:
    (service,) = services({**GOOD, "shell": "/usr/bin/zsh"})
    kinds = [
        [one["kind"] for one in _job_user.checks(service, made)]
        for made in (set(), {"/usr/bin/zsh"})
    ]
    assert ["program" in one for one in kinds] == [True, False]


def test_the_login_of_ansible_runs_no_jobs() -> None:
    publish = {"name": "publish", "user": "ops", "runners": []}
    found = services({**GOOD, "isolated": [publish]})
    (said,) = _job_user.login_problems(found, "ops")
    assert said.startswith("gitlab_runner_isolated (publish).user: invalid value 'ops'")
    assert _job_user.login_problems(found, "") == []


@pytest.mark.parametrize(
    ("args", "account"),
    [({"groups": ["kvm", "sudo"]}, None), ({}, {"may_be_root": True}), ({}, None)],
)
def test_a_job_user_that_may_become_root_is_warned_of(
    args: dict[str, Any], account: dict[str, Any] | None
) -> None:
    settings = _runner_settings.settings_of({**GOOD, **args}, "host")
    facts = host(users={"gitlab-runner": account})
    found = [
        said
        for said in _runner_checks.host_warnings(settings, facts)
        if said.startswith("gitlab-runner, the user of jobs, may become root by sudo")
    ]
    assert len(found) == bool(args or account)


@pytest.mark.parametrize("umask", ["0777", "0100", "22", 22])
def test_a_umask_that_shuts_the_job_user_out_is_refused(umask: Any) -> None:
    (said,) = _runner_settings.problems({**GOOD, "umask": umask})
    assert said.startswith("gitlab_runner_umask: invalid value ")
    assert "the job user's own, is 0" in said


class HostWithLegacyRunner(runner_plan.ActionModule):
    """The plan of a host whose config.toml has a runner of the legacy registration."""

    asked = 0

    def ask(self, *_: Any) -> dict[str, Any]:
        self.asked += 1
        text = (
            '[[runners]]\nname = "old"\nurl = "https://h"\nid = 3\ntoken = "aBcDeFgHiJkLmNoPqRsT"\n'
        )
        return {"info": {"runner_config": host_file.read(text)}}

    @contextmanager
    def quiet(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    ("runners", "refused", "asked"),
    [
        ([{"name": "old", "token": "aBcDeFgHiJkLmNoPqRsT"}], [], 1),
        ([{"name": "new name", "token": "aBcDeFgHiJkLmNoPqRsT"}], [], 1),
        ([{"name": "old", "token": "another-token-of-20c"}], ["[0] (old)"], 1),
        (
            [{"name": "gone", "state": "absent"}, {"name": "x", "token": "glrtr-" + "b" * 20}],
            ["[1] (x)"],
            1,
        ),
        ([{"name": "build", "token": "glrt-" + "b" * 20}], [], 0),
    ],
)
def test_legacy_token_of_no_runner_of_the_host_is_refused_first(
    runners: list[dict[str, Any]], refused: list[str], asked: int
) -> None:
    action = object.__new__(HostWithLegacyRunner)
    action.variables = {}
    settings = _runner_settings.settings_of(
        {**GOOD, "runners": runners, "gitlab_url": "https://h"}, "host"
    )
    found: list[str] = []
    try:
        action.refuse_legacy(settings)
    except AnsibleActionFail as failure:
        found = str(failure.message).split("gitlab_runner_runners")[1:]
    assert [text.split(".token")[0] for text in found] == refused
    assert action.asked == asked


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("masked", "systemctl unmask gitlab-runner.service"),
        ("masked-runtime", "systemctl unmask --runtime gitlab-runner.service"),
        # An empty unit file.
        ("", "systemctl unmask gitlab-runner.service"),
    ],
)
def test_masked_unit_is_named_with_its_cure(state: str, command: str) -> None:
    name = "gitlab-runner.service"
    found = {
        name: {"Id": name, "LoadState": "masked", "UnitFileState": state},
        "other.service": {"Id": "other.service", "LoadState": "loaded"},
    }
    (said,) = _systemd.masked(found)
    assert said.startswith("gitlab-runner.service is masked on the host")
    assert command in said
