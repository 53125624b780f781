# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entry is which runner, and that no identity is ever lost or swapped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import digest
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_match,
    _runner_merge,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_lists import WantedRunner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_state import StateEntry

URL = "https://gitlab.example.com"
WANTED = {"concurrent": 2}


def entry(name: str, token: str, **more: Any) -> WantedRunner:
    table = {"name": name, "url": URL, "token": token, "executor": "shell", **more}
    return WantedRunner(name, table)


def runner(name: str, token: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "url": URL + "/",
        "id": number,
        "token": token,
        "executor": "shell",
    } | more


def known(name: str, token: str, number: int) -> StateEntry:
    return StateEntry(name, digest(token), number, URL)


def merged(
    entries: list[WantedRunner],
    host: dict[str, Any],
    state_entries: list[StateEntry],
    answers: dict[int, dict[str, Any]] | None = None,
) -> _runner_merge.Merged:
    matches = _runner_match.match(entries, host, state_entries)
    return _runner_merge.merge(WANTED, entries, host, matches, answers or {}, state_entries)


def test_rotated_token_survives_a_rename() -> None:
    host = {"runners": [runner("old", "rotated", 7, token_obtained_at="2026-01-01T00:00:00Z")]}
    state_entries = [known("old", "given", 7)]
    matches = _runner_match.match([entry("new", "given")], host, state_entries)
    assert matches.positions == {0: 0}
    assert matches.questions == {}
    result = merged([entry("new", "given")], host, state_entries)
    table = result.config["runners"][0]
    assert (table["name"], table["token"], table["id"]) == ("new", "rotated", 7)
    assert table["token_obtained_at"] == "2026-01-01T00:00:00Z"


def test_names_swapped_between_two_runners_keep_identities() -> None:
    host = {"runners": [runner("a", "ra", 1), runner("b", "rb", 2)]}
    state_entries = [known("a", "ta", 1), known("b", "tb", 2)]
    result = merged([entry("b", "ta"), entry("a", "tb")], host, state_entries)
    assert [(r["name"], r["token"], r["id"]) for r in result.config["runners"]] == [
        ("b", "ra", 1),
        ("a", "rb", 2),
    ]


def test_changed_token_is_asked_about_and_swapped_in() -> None:
    host = {"runners": [runner("a", "ra", 1)]}
    state_entries = [known("a", "ta", 1)]
    matches = _runner_match.match([entry("a", "fresh")], host, state_entries)
    assert matches.positions == {0: 0}
    assert "has changed" in matches.questions[0].reason
    assert matches.questions[0].fallback is None
    result = merged([entry("a", "fresh")], host, state_entries, {0: {"id": 9, "token": "fresh"}})
    assert [(r["token"], r["id"]) for r in result.config["runners"]] == [("fresh", 9)]
    assert [one.id for one in result.state] == [9]


def test_swapped_token_does_not_keep_the_old_runners_times() -> None:
    host = {"runners": [runner("a", "ra", 1, token_expires_at="2026-05-01T00:00:00Z")]}
    result = merged(
        [entry("a", "fresh")], host, [known("a", "ta", 1)], {0: {"id": 9, "token": "fresh"}}
    )
    assert "token_expires_at" not in result.config["runners"][0]


def test_emptied_file_is_asked_about_again() -> None:
    matches = _runner_match.match([entry("a", "ta")], {}, [known("a", "ta", 1)])
    assert matches.positions == {}
    assert matches.questions[0].fallback is None


def test_adopted_by_token_without_a_question() -> None:
    matches = _runner_match.match([entry("new", "ta")], {"runners": [runner("hand", "ta", 3)]}, [])
    assert (matches.positions, matches.questions) == ({0: 0}, {})


def test_adopted_by_name_falls_back_to_the_hosts_token() -> None:
    host = {"runners": [runner("a", "rotated", 3)]}
    matches = _runner_match.match([entry("a", "given")], host, [])
    assert matches.questions[0].fallback == 0
    result = merged([entry("a", "given")], host, [])
    assert result.config["runners"][0]["token"] == "rotated"
    assert result.state == [known("a", "given", 3)]


def test_foreign_runner_is_kept_whole_and_named() -> None:
    foreign = runner("hand-made", "rf", 5, limit=3, cache={"Type": "s3"})
    host = {"runners": [foreign, runner("a", "ra", 1)]}
    matches = _runner_match.match([entry("a", "ta")], host, [known("a", "ta", 1)])
    assert matches.foreign == ["hand-made"]
    result = merged([entry("a", "ta")], host, [known("a", "ta", 1)])
    assert result.config["runners"][0] == foreign


def test_same_id_on_two_gitlabs_is_two_runners() -> None:
    other = {**runner("x", "rx", 1), "url": "https://other.example.com"}
    host = {"runners": [other, runner("a", "ra", 1)]}
    matches = _runner_match.match([entry("a", "ta")], host, [known("a", "ta", 1)])
    assert matches.positions == {0: 1}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["rename", "rotate", "add", "remove", "shuffle", "back"]),
        st.integers(0, 5),
    ),
    max_size=12,
)


@given(STEPS)
def test_any_order_of_changes_keeps_each_identity_with_its_runner(
    steps: list[tuple[str, int]],
) -> None:
    """GitLab's truth: given token -> id. Whatever happens, an entry's id is its token's."""
    truth: dict[str, int] = {}
    entries: list[WantedRunner] = []
    parked: list[WantedRunner] = []
    host: dict[str, Any] = {}
    state_entries: list[StateEntry] = []
    current: dict[int, str] = {}

    def add(number: int) -> None:
        token = f"given-{len(truth)}"
        truth[token] = len(truth) + 1
        current[truth[token]] = token
        entries.append(entry(f"n{number}-{len(truth)}", token))

    def converge() -> None:
        nonlocal host, state_entries
        matches = _runner_match.match(entries, host, state_entries)
        answers: dict[int, dict[str, Any]] = {}
        for index in matches.questions:
            token = entries[index].token
            # GitLab knows a given token only while it has not been rotated.
            assert current[truth[token]] == token, "asked about a token that was rotated away"
            answers[index] = {"id": truth[token], "token": token}
        result = _runner_merge.merge(WANTED, entries, host, matches, answers, state_entries)
        host, state_entries = result.config, result.state

    add(0)
    converge()
    for what, number in steps:
        if what == "add":
            add(number)
        elif what == "rename" and entries:
            at = number % len(entries)
            renamed = {**entries[at].table, "name": f"{entries[at].name}x"}
            entries[at] = replace(entries[at], table=renamed)
        elif what == "remove" and entries:
            parked.append(entries.pop(number % len(entries)))
        elif what == "back" and parked:
            entries.append(parked.pop())
        elif what == "shuffle":
            entries.reverse()
        elif what == "rotate" and host.get("runners"):
            target = host["runners"][number % len(host["runners"])]
            target["token"] = f"rotated-{target['id']}-{number}"
            current[target["id"]] = target["token"]
        converge()
        by_name = {r["name"]: r for r in host["runners"]}
        for wanted in entries:
            found = by_name[wanted.name]
            assert found["id"] == truth[wanted.token]
            assert found["token"] == current[found["id"]]
        ids = [r["id"] for r in host["runners"]]
        assert len(ids) == len(set(ids))
