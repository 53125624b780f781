# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench's own arithmetic: what counts as a remote call, and when a limit is missed."""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path

import pytest

import bench.__main__
from bench.__main__ import at_once, demo_times, in_turn, positive, pythons, report, runners
from bench.cold import added, check_fetched, compare
from bench.marks import CALLS, COLD, MARKS, NOOP, RUNNERS, VERIFY, Figure, table, verdict
from bench.playbooks import Host, Run, modules_of, read_times, slowest
from lab.places import Lab
from lab.run import LabError

# As ansible-core 2.19 prints it at -vvv.
OUTPUT = """\
TASK [Gather facts] ***
Using module file /venv/lib/python3.11/site-packages/ansible/modules/setup.py
Pipelining is enabled.
<10.0.0.2> ESTABLISH SSH CONNECTION FOR USER: admin
TASK [runnerhost.toolkit.build_tools : packages | Install] ***
Using module file /checkout/plugins/modules/host_info.py
Using module file /checkout/plugins/modules/host_info.py
"""


def test_every_module_sent_counts() -> None:
    assert modules_of(OUTPUT) == ("setup", "host_info", "host_info")


@pytest.mark.parametrize(
    ("seconds", "says"), [(2.8, "met"), (3.0, "met, aim missed"), (3.01, "MISSED")]
)
def test_verdict_of_one_run(seconds: float, says: str) -> None:
    figure = Figure(NOOP, seconds, 1.0)
    assert figure.verdict == says
    assert figure.met == (says != "MISSED")


@pytest.mark.parametrize(("seconds", "met"), [(51.0, True), (51.1, False), (40.0, True)])
def test_cold_provision_has_seconds_on_top_of_its_ratio(seconds: float, met: bool) -> None:
    """1.15 times 40 s, and 5 s."""
    assert Figure(COLD, seconds, 40.0).met is met


def test_every_mark_is_one_of_the_list() -> None:
    """As the limits were set: a limit is moved in sight of all."""
    limits = {mark.name: (mark.limit, mark.slack) for mark in MARKS}
    expected = [(3.0, 0), (1.1, 0), (1.1, 0), (1.2, 0), (1.15, 5.0), (0.4, 0), (7, 0)]
    # Of releases.
    expected += [(1.1, 0), (2.5, 0)]
    assert list(limits.values()) == expected


def test_a_mark_that_is_missed_once_is_missed() -> None:
    figures = [Figure(VERIFY, seconds, 1.0) for seconds in (1.0, 2.5, 1.2)]
    assert verdict(figures) == "MISSED, met in 2 of 3"
    assert verdict(figures[::2]) == "met in 2 of 2"
    assert verdict([Figure(NOOP, 2.9, 1.0)]) == "met in 1 of 1, aim missed"


def test_table_has_the_ratio_of_each_run() -> None:
    runs = [[Figure(COLD, 50.0, 40.0), Figure(VERIFY, 1.0, 1.0)], [Figure(COLD, 80.0, 40.0)]]
    head, cold, verify = table(runs).splitlines()
    assert " ".join(head.split()) == ("mark limit aim ratio of each run median seconds verdict")
    assert cold.startswith(COLD.name)
    assert "1.15 + 5 s  1.15  1.25  2.00 " in cold
    assert cold.endswith("65.00 : 40.00   MISSED, met in 1 of 2")
    assert verify.endswith("met in 1 of 1")


def test_one_remote_call_more_is_a_mark_missed() -> None:
    figures = [Figure(CALLS, 7), Figure(CALLS, 8)]
    assert [figure.met for figure in figures] == [True, False]
    line = table([figures[:1], figures[1:]]).splitlines()[1]
    assert " ".join(line.removeprefix(CALLS.name).split()) == "7 5 7 8 MISSED, met in 1 of 2"


def test_plays_take_turns_and_each_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    played = []

    def play(host: Host, playbook: str) -> Run:
        played.append(f"{host.platform} {playbook}")
        return Run(float(len(played)))

    monkeypatch.setattr(bench.__main__, "quiet_run", play)
    a, b = Host(Lab("x"), "a"), Host(Lab("x"), "b")
    first, second = in_turn((a, "site"), (b, "site"))
    assert played[:6] == ["a site", "b site", "a site", "b site", "b site", "a site"]
    assert [run.seconds for run in first] == [3, 6, 7, 10, 11, 14, 15]
    assert [run.seconds for run in second] == [4, 5, 8, 9, 12, 13, 16]


def test_plays_at_once_never_have_the_machine_to_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow_may_end = threading.Event()
    played = {"slow": 0, "fast": 0}

    def play(host: Host, playbook: str) -> Run:
        played[host.platform] += 1
        if host.platform == "slow" and played["slow"] > 1:
            assert slow_may_end.wait(30)
        if host.platform == "fast" and played["fast"] == 6:
            slow_may_end.set()
        return Run(float(played[host.platform]))

    monkeypatch.setattr(bench.__main__, "quiet_run", play)
    slow, fast = Host(Lab("x"), "slow"), Host(Lab("x"), "fast")
    ours, theirs = at_once((slow, "site"), (fast, "site"), runs=2)
    assert [run.seconds for run in ours] == [2, 3]
    # The others went on, and count no more.
    assert [run.seconds for run in theirs] == [2, 3]
    assert played["fast"] >= 6


def test_a_play_that_fails_ends_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    played = {"bad": 0, "good": 0}

    def play(host: Host, playbook: str) -> Run:
        played[host.platform] += 1
        if host.platform == "bad" and played["bad"] > 1:
            raise LabError("it broke")
        return Run(1.0)

    monkeypatch.setattr(bench.__main__, "quiet_run", play)
    with pytest.raises(LabError, match="it broke"):
        at_once((Host(Lab("x"), "good"), "site"), (Host(Lab("x"), "bad"), "site"))


def test_what_apt_alone_installs_is_what_was_added() -> None:
    before = {"a": "1", "b": "1", "gone": "1"}
    after = {"a": "1", "b": "2", "c": "3"}
    assert added(before, after) == ("b=2", "c=3")


@pytest.mark.parametrize(
    ("said", "warm"),
    [
        ("Need to get 0 B/123 MB of archives.\n", True),
        ("Need to get 0 B of archives.\n", True),
        ("Need to get 1,234 kB/123 MB of archives.\n", False),
        ("Need to get 50.3 MB of archives.\n", False),
        ("Reading package lists...\n", False),
    ],
)
def test_a_cold_cache_is_no_comparison(said: str, warm: bool) -> None:
    if warm:
        check_fetched(f"Reading…\n{said}After this operation\n")
    else:
        with pytest.raises(LabError, match="not warm"):
            check_fetched(said)


def test_other_packages_are_no_comparison() -> None:
    compare({"a": "1"}, {"a": "1"}, "apt")
    with pytest.raises(LabError, match=r"apt installed other packages .*\['a', 'b'\]"):
        compare({"a": "1", "c": "1"}, {"a": "2", "b": "1", "c": "1"}, "apt")


def test_times_of_the_demo_are_read() -> None:
    text = "x\ntimes: lab 77.7 s, provision 49.7 s, job 18.9 s; 146.4 s in all\n"
    assert demo_times(text) == {"lab": 77.7, "provision": 49.7, "job": 18.9, "all": 146.4}
    with pytest.raises(LabError):
        demo_times("Runnerhost demo, lab demo\n")


def test_number_of_runs() -> None:
    assert positive("3") == 3
    for text in ("0", "-1", "three", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            positive(text)


def test_one_python_leaves_no_other_on_the_host() -> None:
    assert pythons("3.9")["python_versions_wanted"] == ["3.9"]
    assert pythons("3.9")["python_versions_remove_unlisted"] is True
    assert len(pythons("3.9")["gitlab_runner_runners"]) == 1


def test_tokens_are_references_to_the_labs_inventory() -> None:
    tokens = [entry["token"] for entry in runners(2)["gitlab_runner_runners"]]
    assert tokens == [f"{{{{ lab_runner_tokens[inventory_hostname][{n}] }}}}" for n in range(2)]


def test_times_and_changes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    with pytest.raises(LabError):
        read_times(path)
    path.write_text(
        json.dumps(
            [
                {"task": "one", "seconds": 1.0, "changed": False},
                {"task": "two", "seconds": 2.0, "changed": True},
            ]
        )
    )
    assert read_times(path) == (("two",), (("one", 1.0), ("two", 2.0)))


def test_slowest_tasks_are_medians_in_order() -> None:
    runs = [Run(3.0, (), (("one", one), ("two", 2.0))) for one in (1.0, 9.0, 3.0)]
    assert slowest(runs, 5) == [("one", 3.0), ("two", 2.0)]
    assert slowest(runs, 1) == [("one", 3.0)]


def test_report_shows_marks_calls_tasks_and_demos() -> None:
    text = report(
        [[Figure(VERIFY, 5.0, 2.0), Figure(RUNNERS, 2.0, 2.0)]],
        {
            "remote_calls": {"setup": 1, "host_info": 3},
            "remote_calls_10_runners": {"setup": 1, "host_info": 4},
            "tasks": [(f"task {number}", 0.5) for number in range(9)],
            "provision_tasks": [("install", 30.0)],
            "demo": {"first": {"lab": 7.0, "all": 70.0}, "second": {"lab": 2.0, "all": 28.0}},
        },
    )
    assert "MISSED, met in 0 of 1" in text
    assert "4 (setup 1, host_info 3)" in text
    assert "with 10 runners: 5" in text
    assert "0.50  task 4" in text
    assert "task 5" not in text
    assert "30.0  install" in text
    assert "first  lab 7.0, all 70.0" in text
    assert "second lab 2.0, all 28.0" in text
