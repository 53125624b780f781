"""Which entry is which runner, and that no identity is ever lost or swapped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import digest
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_merge
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_merge import Known

URL = "https://gitlab.example.com"
WANTED = {"concurrent": 2}


def entry(name: str, token: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "url": URL, "token": token, "executor": "shell", **more}


def runner(name: str, token: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "url": URL + "/",
        "id": number,
        "token": token,
        "executor": "shell",
    } | more


def known(name: str, token: str, number: int) -> Known:
    return Known(name, digest(token), number, URL)


def merged(
    entries: list[dict[str, Any]],
    host: dict[str, Any],
    notes: list[Known],
    answers: dict[int, dict[str, Any]] | None = None,
) -> _runner_merge.Merged:
    plan = _runner_merge.plan(entries, host, notes)
    return _runner_merge.merge(WANTED, entries, host, plan, answers or {}, notes)


def test_rotated_token_survives_a_rename() -> None:
    host = {"runners": [runner("old", "rotated", 7, token_obtained_at="2026-01-01T00:00:00Z")]}
    notes = [known("old", "given", 7)]
    plan = _runner_merge.plan([entry("new", "given")], host, notes)
    assert plan.matches == {0: 0}
    assert plan.questions == {}
    result = merged([entry("new", "given")], host, notes)
    table = result.config["runners"][0]
    assert (table["name"], table["token"], table["id"]) == ("new", "rotated", 7)
    assert table["token_obtained_at"] == "2026-01-01T00:00:00Z"


def test_names_swapped_between_two_runners_keep_identities() -> None:
    host = {"runners": [runner("a", "ra", 1), runner("b", "rb", 2)]}
    notes = [known("a", "ta", 1), known("b", "tb", 2)]
    result = merged([entry("b", "ta"), entry("a", "tb")], host, notes)
    assert [(r["name"], r["token"], r["id"]) for r in result.config["runners"]] == [
        ("b", "ra", 1),
        ("a", "rb", 2),
    ]


def test_changed_token_is_asked_about_and_swapped_in() -> None:
    host = {"runners": [runner("a", "ra", 1)]}
    notes = [known("a", "ta", 1)]
    plan = _runner_merge.plan([entry("a", "fresh")], host, notes)
    assert plan.matches == {0: 0}
    assert "another than before" in plan.questions[0].reason
    assert plan.questions[0].fallback is None
    result = merged([entry("a", "fresh")], host, notes, {0: {"id": 9, "token": "fresh"}})
    assert [(r["token"], r["id"]) for r in result.config["runners"]] == [("fresh", 9)]
    assert [n.id for n in result.known] == [9]


def test_swapped_token_does_not_keep_the_old_runners_times() -> None:
    host = {"runners": [runner("a", "ra", 1, token_expires_at="2026-05-01T00:00:00Z")]}
    result = merged(
        [entry("a", "fresh")], host, [known("a", "ta", 1)], {0: {"id": 9, "token": "fresh"}}
    )
    assert "token_expires_at" not in result.config["runners"][0]


def test_emptied_file_is_asked_about_again() -> None:
    plan = _runner_merge.plan([entry("a", "ta")], {}, [known("a", "ta", 1)])
    assert plan.matches == {}
    assert plan.questions[0].fallback is None


def test_adopted_by_token_without_a_question() -> None:
    plan = _runner_merge.plan([entry("new", "ta")], {"runners": [runner("hand", "ta", 3)]}, [])
    assert (plan.matches, plan.questions) == ({0: 0}, {})


def test_adopted_by_name_falls_back_to_the_hosts_token() -> None:
    host = {"runners": [runner("a", "rotated", 3)]}
    plan = _runner_merge.plan([entry("a", "given")], host, [])
    assert plan.questions[0].fallback == 0
    result = merged([entry("a", "given")], host, [])
    assert result.config["runners"][0]["token"] == "rotated"
    assert result.known == [known("a", "given", 3)]


def test_foreign_runner_is_kept_whole_and_named() -> None:
    foreign = runner("hand-made", "rf", 5, limit=3, cache={"Type": "s3"})
    host = {"runners": [foreign, runner("a", "ra", 1)]}
    plan = _runner_merge.plan([entry("a", "ta")], host, [known("a", "ta", 1)])
    assert plan.foreign == ["hand-made"]
    result = merged([entry("a", "ta")], host, [known("a", "ta", 1)])
    assert result.config["runners"][0] == foreign


def test_same_id_on_two_gitlabs_is_two_runners() -> None:
    other = {**runner("x", "rx", 1), "url": "https://other.example.com"}
    host = {"runners": [other, runner("a", "ra", 1)]}
    plan = _runner_merge.plan([entry("a", "ta")], host, [known("a", "ta", 1)])
    assert plan.matches == {0: 1}


def test_defaults_that_the_daemon_writes_are_no_drift() -> None:
    """What `register` writes (gitlab-runner 17.4)."""
    written = {
        "concurrent": 2,
        "check_interval": 0,
        "connection_max_age": "15m0s",
        "shutdown_timeout": 0,
        "session_server": {"session_timeout": 1800},
        "runners": [
            {
                **runner("a", "ra", 1),
                "token_expires_at": "0001-01-01T00:00:00Z",
                "custom_build_dir": {},
                "cache": {"MaxUploadedArchiveSize": 0, "s3": {}, "gcs": {}, "azure": {}},
            }
        ],
    }
    ours = {"concurrent": 2, "runners": [runner("a", "ra", 1)]}
    assert _runner_merge.meaning(written) == _runner_merge.meaning(ours)
    assert _runner_merge.changed_keys(written, ours) == []


def test_drift_is_named() -> None:
    before = {"concurrent": 1, "log_level": "debug", "runners": [runner("a", "ra", 1, limit=2)]}
    after = {"concurrent": 2, "runners": [runner("a", "ra", 1, limit=3)]}
    assert _runner_merge.changed_keys(before, after) == [
        "concurrent",
        "log_level",
        "runners.a.limit",
    ]


def test_a_feature_flag_that_is_off_differs_from_none() -> None:
    off = {"runners": [runner("a", "ra", 1, feature_flags={"FF_X": False})]}
    none = {"runners": [runner("a", "ra", 1)]}
    assert _runner_merge.changed_keys(none, off) == ["runners.a.feature_flags"]


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
    entries: list[dict[str, Any]] = []
    parked: list[dict[str, Any]] = []
    host: dict[str, Any] = {}
    notes: list[Known] = []
    current: dict[int, str] = {}

    def add(number: int) -> None:
        token = f"given-{len(truth)}"
        truth[token] = len(truth) + 1
        current[truth[token]] = token
        entries.append(entry(f"n{number}-{len(truth)}", token))

    def converge() -> None:
        nonlocal host, notes
        plan = _runner_merge.plan(entries, host, notes)
        answers: dict[int, dict[str, Any]] = {}
        for index in plan.questions:
            token = entries[index]["token"]
            # GitLab knows a given token only while it has not been rotated.
            assert current[truth[token]] == token, "asked about a token that was rotated away"
            answers[index] = {"id": truth[token], "token": token}
        result = _runner_merge.merge(WANTED, entries, host, plan, answers, notes)
        host, notes = result.config, result.known

    add(0)
    converge()
    for what, number in steps:
        if what == "add":
            add(number)
        elif what == "rename" and entries:
            entries[number % len(entries)]["name"] += "x"
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
            found = by_name[wanted["name"]]
            assert found["id"] == truth[wanted["token"]]
            assert found["token"] == current[found["id"]]
        ids = [r["id"] for r in host["runners"]]
        assert len(ids) == len(set(ids))


def test_a_new_runner_and_a_new_identity_are_named_as_such() -> None:
    """Check mode, which asks GitLab nothing, can name them too."""
    before = {"runners": [runner("a", "ra", 1)]}
    after = {"runners": [runner("a", "fresh", 9), runner("b", "rb", 2)]}
    assert _runner_merge.changed_keys(before, after) == ["runners.a.identity", "runners.b"]


def test_durations_are_compared_by_length() -> None:
    ours = {"runners": [runner("a", "ra", 1, unhealthy_interval="60m")]}
    daemons = {"runners": [runner("a", "ra", 1, unhealthy_interval="1h0m0s")]}
    other = {"runners": [runner("a", "ra", 1, unhealthy_interval="61m")]}
    assert _runner_merge.changed_keys(ours, daemons) == []
    assert _runner_merge.changed_keys(ours, other) == ["runners.a.unhealthy_interval"]


def test_an_explicit_false_that_differs_from_nothing_is_written() -> None:
    none = {"runners": [runner("a", "ra", 1)]}
    off = {"runners": [runner("a", "ra", 1, safe_directory_checkout=False)]}
    assert _runner_merge.changed_keys(none, off) == ["runners.a.safe_directory_checkout"]


def stated(**more: Any) -> dict[str, Any]:
    return {"concurrent": 2, "runners": [runner("a", "ra", 1, **more)]}


ZEROS: list[tuple[dict[str, Any], str]] = [
    ({"cache": {"s3": {"DualStack": False}}}, "cache"),
    ({"cache": {"s3": {"PathStyle": False}}}, "cache"),
    ({"docker": {"services_privileged": False}}, "docker"),
    ({"docker": {"services_limit": 0}}, "docker"),
    ({"custom": {"prepare_exec_timeout": 0}}, "custom"),
    ({"kubernetes": {"allow_privilege_escalation": False}}, "kubernetes"),
    ({"kubernetes": {"privileged": False}}, "kubernetes"),
    # Of a table that the toolkit does not look into it cannot know.
    ({"docker": {"tls_verify": False}}, "docker"),
    ({"proxy_exec": False}, "proxy_exec"),
    ({"custom_build_dir": {"enabled": False}}, "custom_build_dir"),
]


@pytest.mark.parametrize(("zero", "key"), ZEROS)
def test_what_the_inventory_states_is_written_also_where_it_is_zero(
    zero: dict[str, Any], key: str
) -> None:
    assert _runner_merge.changed_keys(stated(), stated(**zero)) == [f"runners.a.{key}"]
    assert _runner_merge.changed_keys(stated(**zero), stated(**zero)) == []


def test_zeros_that_the_daemon_writes_or_leaves_out_are_no_drift() -> None:
    written = stated(
        limit=0,
        docker={"privileged": False, "shm_size": 0, "tls_verify": False, "image": "i"},
        cache={"MaxUploadedArchiveSize": 0, "s3": {"Insecure": False}},
    )
    wanted = stated(docker={"image": "i"})
    assert _runner_merge.changed_keys(written, wanted) == []
    # limit,omitzero: what it means is nothing, stated or not.
    assert _runner_merge.changed_keys(stated(), stated(limit=0, debug_trace_disabled=False)) == []


def test_a_diff_has_what_changes_and_nothing_else() -> None:
    daemons: dict[str, Any] = {
        "concurrent": 2,
        "check_interval": 0,
        "connection_max_age": "15m0s",
        "session_server": {"session_timeout": 1800},
        "runners": [
            {
                **runner("a", "ra", 1, unhealthy_interval="1h0m0s", limit=1, output_limit=9),
                "token_expires_at": "0001-01-01T00:00:00Z",
                "cache": {"MaxUploadedArchiveSize": 0, "s3": {}, "gcs": {}},
                "docker": {"tls_verify": False, "image": "old"},
            },
            runner("foreign", "rf", 9),
        ],
    }
    wanted: dict[str, Any] = {
        "concurrent": 2,
        "runners": [
            {
                **runner("a", "ra", 1, unhealthy_interval="60m", limit=2),
                "url": URL,
                "docker": {"image": "new"},
            },
            runner("foreign", "rf", 9),
        ],
    }
    shown = _runner_merge.spelled_alike(daemons, wanted)
    assert shown["runners"][1] == wanted["runners"][1]
    differing = {
        key: shown["runners"][0].get(key)
        for key in {*shown["runners"][0], *wanted["runners"][0]}
        if shown["runners"][0].get(key) != wanted["runners"][0].get(key)
    }
    assert differing == {"limit": 1, "output_limit": 9, "docker": {"image": "old"}}
    assert {key for key in shown if key != "runners"} == {"concurrent"}
    same = _runner_merge.spelled_alike(daemons, daemons)
    assert same == daemons


def test_keys_that_go_are_named() -> None:
    host = {
        "concurrent": 2,
        "log_level": "debug",
        "check_interval": 0,
        "session_server": {"session_timeout": 60, "listen_address": ":1"},
        "runners": [
            runner(
                "a",
                "ra",
                1,
                output_limit=9,
                token_obtained_at="2026-01-01T00:00:00Z",
                environment=["A=1", "B=2"],
                docker={"image": "i", "privileged": False, "memory": "1g"},
            ),
            runner("foreign", "rf", 9, limit=5),
        ],
    }
    wanted = {
        "concurrent": 3,
        "session_server": {"session_timeout": 90},
        "runners": [
            runner("a", "ra", 1, environment=["A=2"], docker={"image": "i"}),
            runner("foreign", "rf", 9, limit=5),
        ],
    }
    assert _runner_merge.dropped_keys(host, wanted) == {
        "": ["log_level", "session_server.listen_address"],
        "a": ["output_limit", "environment: B", "docker.memory"],
    }
    assert _runner_merge.dropped_keys(wanted, wanted) == {}
