"""The bench's own arithmetic: what counts as a remote call, and when a limit is missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import Claim, report, runners
from bench.playbooks import Run, modules_of, read_times, slowest
from lab.run import LabError

# As ansible-core 2.19 prints it at -vvv.
OUTPUT = """\
TASK [Gathering Facts] ***
Using module file /venv/lib/python3.11/site-packages/ansible/modules/setup.py
Pipelining is enabled.
<10.0.0.2> ESTABLISH SSH CONNECTION FOR USER: admin
TASK [runnerhost.toolkit.build_tools : packages | Install] ***
Using module file /checkout/plugins/modules/host_look.py
Using module file /checkout/plugins/modules/host_look.py
"""


def test_every_module_sent_counts() -> None:
    assert modules_of(OUTPUT) == ("setup", "host_look", "host_look")


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(3.0, "met"), (3.5, "met, aim missed"), (4.01, "MISSED")]
)
def test_verdict(seconds: float, verdict: str) -> None:
    assert Claim("no-op", 4.0, 3.0, seconds, 1.0).verdict == verdict


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


def test_report_shows_claims_calls_and_tasks() -> None:
    text = report(
        [Claim("verify : no-op", 2.0, 2.0, 5.0, 2.0)],
        {
            "remote_calls": {"setup": 1, "host_look": 3},
            "remote_calls_10_runners": {"setup": 1, "host_look": 3},
            "provision_seconds": 60.0,
            "tasks": [("plan", 0.5)],
        },
    )
    assert "MISSED" in text
    assert "4 (setup 1, host_look 3)" in text
    assert "0.50  plan" in text
