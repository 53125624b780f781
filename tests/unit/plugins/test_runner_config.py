# SPDX-License-Identifier: GPL-3.0-or-later
"""The compare-and-swap of config.toml against a host in memory."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import runner_config
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import digest
from ansible_collections.runnerhost.toolkit.plugins.modules import runner_config as documentation
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_convergence,
    _runner_file,
    _runner_toml,
)
from tests.unit.plugins import host_file

URL = "https://gitlab.example.com"
GIVEN = "glrt-given-" + "a" * 20
NOW = 1_800_000_000.0


class Host:
    """A config.toml, a note and a GitLab that knows some tokens."""

    def __init__(self, text: str | None = None, note: dict[str, Any] | None = None) -> None:
        self.text = text
        self.note = json.dumps(note) if note else ""
        self.paused = ""
        self.gitlab: dict[str, int] = {}
        self.before_swap: list[Callable[[Host], None]] = []
        self.after_swap: list[Callable[[Host], None]] = []
        self.on_read: list[Callable[[Host], None]] = []
        self.while_registering: list[Callable[[Host], None]] = []
        self.swaps = 0
        self.registered: list[str] = []
        self.asked: list[str] = []
        self.verified = "valid"
        self.complaints: list[tuple[float, str]] = []
        self.wakes: list[list[str]] = []

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(asked["op"])
        if asked["op"] == "register":
            answers = {}
            for request, token in zip(asked["requests"], asked["tokens"], strict=True):
                self.registered.append(token)
                answers[str(request["index"])] = self._register(token)
            if self.while_registering:
                self.while_registering.pop(0)(self)
            return {"answers": answers, "read": self._read()}
        if asked["op"] == "swap":
            if self.before_swap:
                self.before_swap.pop(0)(self)
            swapped = asked["expected"] == self._sha()
            if swapped:
                self.swaps += 1
                if asked.get("text"):
                    self.text = base64.b64decode(asked["text"]).decode()
                if asked.get("paused_text"):
                    self.paused = base64.b64decode(asked["paused_text"]).decode()
                if asked.get("state_text"):
                    self.note = base64.b64decode(asked["state_text"]).decode()
                if self.after_swap:
                    self.after_swap.pop(0)(self)
            verified = dict.fromkeys(asked.get("verify", []), self.verified)
            if swapped and verified and self.verified == "valid":
                self.note = base64.b64decode(asked["checked_text"]).decode()
            return {"swapped": swapped, "verified": verified, "read": self._read()}
        if asked["op"] == "wake":
            self.wakes.append(asked["verify"])
            woken = asked["verify"] if self.verified == "valid" else []
            if woken:
                # The file has another time: what the daemon said before counts no more.
                self.complaints = []
            reasons = {"build": "503"} if self.verified == "unanswered" else {}
            verified = dict.fromkeys(asked["verify"], self.verified)
            return {"verified": verified, "reasons": reasons, "woken": woken, "read": self._read()}
        if self.on_read:
            self.on_read.pop(0)(self)
        return {"read": self._read()}

    def _register(self, token: str) -> dict[str, Any]:
        if token not in self.gitlab:
            return {"ok": False, "refused": True, "said": "is not valid"}
        text = (
            f'[[runners]]\nname = "x"\nurl = "{URL}"\nid = {self.gitlab[token]}\n'
            f'token = "{token}"\ntoken_obtained_at = 2026-01-01T00:00:00Z\n'
        )
        return {"ok": True, "text": text.encode().hex()}

    def _sha(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest() if self.text is not None else ""

    def _read(self) -> dict[str, Any]:
        return host_file.read(
            self.text,
            state_text=self.note.encode().hex(),
            paused_sha256=hashlib.sha256(self.paused.encode()).hexdigest(),
            complaints=[(moment, text.encode().hex()) for moment, text in self.complaints],
        )

    def data(self) -> dict[str, Any]:
        return _runner_toml.parse(self.text or "")


class Action(runner_config.ActionModule):
    """The action with a host in memory in place of the remote module."""

    host: Host

    def ask_host(self, arguments: Any, module: str = "") -> dict[str, Any]:
        return self.host.answer(arguments)


def converge(
    host: Host,
    *,
    check: bool = False,
    task_vars: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One run of the action."""
    action = object.__new__(Action)
    action._task = SimpleNamespace(
        args={
            "runners": [{"name": "build", "token": GIVEN}],
            "url": URL,
            "concurrent": 2,
            **more,
        },
        check_mode=check,
        async_val=0,
        action="runner_config",
    )
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
    )
    action.host = host
    result: dict[str, Any] = action.run(None, task_vars or {})
    return result


def provisioned() -> Host:
    host = Host()
    host.gitlab[GIVEN] = 7
    converge(host)
    return host


def test_first_run_registers_and_writes() -> None:
    host = Host()
    host.gitlab[GIVEN] = 7
    result = converge(host)
    assert result["changed"]
    assert result["verified"] == {"build": "valid"}
    runner = host.data()["runners"][0]
    assert (runner["id"], runner["token"]) == (7, GIVEN)
    assert runner["token_obtained_at"] == "2026-01-01T00:00:00Z"
    assert json.loads(host.note)["entries"][0]["token_sha256"] == digest(GIVEN)
    assert GIVEN not in host.note


def test_second_run_changes_nothing_and_asks_nobody() -> None:
    host = provisioned()
    host.registered.clear()
    result = converge(host)
    assert not result["changed"]
    assert host.swaps == 1
    assert host.registered == []


def test_result_is_what_is_documented() -> None:
    host = Host()
    host.gitlab[GIVEN] = 7
    documented = set(yaml.safe_load(documentation.RETURN))
    standard = {"changed", "diff", "warnings"}
    assert set(converge(host)) - standard == documented
    assert set(converge(host)) - standard == documented - {"msg"}


def test_misspelt_option_is_refused_first() -> None:
    host = Host()
    with pytest.raises(AnsibleActionFail, match="unknown option 'setings'; did you mean settings"):
        converge(host, setings={})
    assert host.asked == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"runners": [{"token": GIVEN}]}, r"gitlab_runner_runners\[0\]\.name: missing"),
        ({"runners": [{"name": "build"}]}, r"\[0\] \(build\)\.token: missing"),
        ({"settings": {"log_levle": "info"}}, "settings: unknown key 'log_levle'"),
        ({"url": "gitlab"}, "url: invalid value 'gitlab'"),
    ],
)
def test_invalid_arguments_are_refused_before_the_host_is_asked(
    more: dict[str, Any], said: str
) -> None:
    host = Host()
    with pytest.raises(AnsibleActionFail, match=said):
        converge(host, **more)
    assert host.asked == []


def test_no_token_in_the_result() -> None:
    host = Host()
    host.gitlab[GIVEN] = 7
    result = converge(host)
    assert GIVEN not in json.dumps(result)
    assert "(hidden)" in result["diff"]["after"]


def test_first_run_asks_the_host_three_times() -> None:
    """The file comes with the answers about tokens, and the swap notes that they are valid."""
    host = Host()
    host.gitlab[GIVEN] = 7
    converge(host)
    assert host.asked == ["read", "register", "swap"]
    assert json.loads(host.note)["entries"][0]["verified"]


def test_file_that_changes_while_gitlab_is_asked_is_merged_as_it_is_then() -> None:
    host = provisioned()
    other, rotated = "glrt-other-" + "c" * 20, "glrt-rotated-" + "b" * 20
    host.gitlab[other] = 8

    def rotate(h: Host) -> None:
        h.text = (h.text or "").replace(GIVEN, rotated)

    host.while_registering.append(rotate)
    runners = [{"name": "build", "token": GIVEN}, {"name": "more", "token": other}]
    converge(host, runners=runners)
    assert [r["token"] for r in host.data()["runners"]] == [rotated, other]
    assert host.swaps == 2


def test_torn_file_that_comes_with_the_answers_is_read_again() -> None:
    host = Host()
    host.gitlab[GIVEN] = 7

    def tear(h: Host) -> None:
        h.text = "[[runners"
        h.on_read.append(lambda again: setattr(again, "text", ""))

    host.while_registering.append(tear)
    converge(host)
    assert host.data()["runners"][0]["id"] == 7


def test_token_rotated_between_our_read_and_our_write_survives() -> None:
    host = provisioned()
    rotated = "glrt-rotated-" + "b" * 20

    def rotate(h: Host) -> None:
        h.text = (h.text or "").replace(GIVEN, rotated)

    host.before_swap.append(rotate)
    result = converge(host, concurrent=5)
    assert result["changed"]
    assert host.data()["concurrent"] == 5
    assert host.data()["runners"][0]["token"] == rotated


def test_a_write_of_the_daemon_right_after_ours_is_noticed() -> None:
    """It read the file before our swap, and its write loses the runner that we added."""
    host = provisioned()
    before = host.text or ""
    other = "glrt-other-" + "c" * 20
    host.gitlab[other] = 8
    host.after_swap.append(lambda h: setattr(h, "text", before))
    runners = [{"name": "build", "token": GIVEN}, {"name": "more", "token": other}]
    converge(host, runners=runners)
    assert [r["id"] for r in host.data()["runners"]] == [7, 8]


def test_file_that_changes_at_every_try_is_given_up() -> None:
    host = provisioned()

    def touch(h: Host) -> None:
        h.text = (h.text or "") + "# touched\n"

    host.before_swap.extend([touch] * 10)
    with pytest.raises(AnsibleActionFail, match="changed by something else"):
        converge(host, concurrent=5)


def test_torn_file_is_read_again() -> None:
    host = provisioned()
    whole = host.text or ""

    def tear(h: Host) -> None:
        h.text = whole[: whole.index(GIVEN) + 3]

    host.on_read.extend([tear, lambda h: setattr(h, "text", whole)])
    assert not converge(host)["changed"]


def test_broken_file_is_refused_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runner_convergence, "TORN_SECONDS", 0.0)
    host = Host("[[runners]]\ntoken = \n")
    with pytest.raises(AnsibleActionFail, match="not valid TOML"):
        converge(host)
    assert host.swaps == 0


def test_refused_token_leaves_the_file() -> None:
    host = provisioned()
    before = host.text
    wrong = "glrt-wrong-" + "d" * 20
    with pytest.raises(AnsibleActionFail) as caught:
        converge(host, runners=[{"name": "build", "token": wrong}])
    assert "does not know it (403)" in str(caught.value)
    assert wrong not in str(caught.value)
    assert host.text == before


def test_check_mode_writes_nothing_and_asks_nobody() -> None:
    host = Host()
    host.gitlab[GIVEN] = 7
    result = converge(host, check=True)
    assert result["changed"]
    assert "GitLab would be asked about build" in result["msg"]
    assert host.text is None
    assert host.registered == []


def test_unanswered_verify_fails_after_the_write() -> None:
    host = Host()
    host.gitlab[GIVEN] = 7
    host.verified = "unanswered"
    with pytest.raises(AnsibleActionFail, match=r"config.toml is written, but build"):
        converge(host)


def test_a_runner_that_gitlab_refused_is_asked_about_until_it_is_valid() -> None:
    host = Host()
    host.gitlab[GIVEN] = 7
    host.verified = "refused"
    for _ in range(2):
        with pytest.raises(AnsibleActionFail, match="GitLab refuses it"):
            converge(host)
    host.verified = "valid"
    assert converge(host)["verified"] == {"build": "valid"}
    assert not converge(host)["changed"]


def test_hosts_token_in_place_of_a_refused_one_is_said_and_verified() -> None:
    own = "glrt-own-" + "e" * 20
    host = Host(f'[[runners]]\nname = "build"\nurl = "{URL}"\nid = 3\ntoken = "{own}"\n')
    result = converge(host)
    assert result["verified"] == {"build": "valid"}
    assert "GitLab refuses its token" in result["warnings"][0]
    assert host.data()["runners"][0]["token"] == own


def test_diff_shows_nothing_of_what_others_wrote() -> None:
    host = Host(
        f'[[runners]]\nname = "build"\nurl = "{URL}"\nid = 3\ntoken = "{GIVEN}"\n'
        'environment = ["DB=planted-a", "SAFE=1"]\npre_build_script = "login planted-b"\n'
    )
    runners = [{"name": "build", "token": GIVEN, "environment": ["SAFE=1", "X_PASSWORD=planted-c"]}]
    result = converge(host, check=True, runners=runners)
    assert "planted" not in json.dumps(result)
    assert "SAFE=1" in result["diff"]["before"]
    assert "DB=(hidden)" in result["diff"]["before"]


def test_due_rotation_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    host = provisioned()
    due = "token_obtained_at = 2026-01-01T00:00:00Z\ntoken_expires_at = 2026-02-01T00:00:00Z"
    host.text = (host.text or "").replace("token_obtained_at = 2026-01-01T00:00:00Z", due)
    rotated = "glrt-rotated-" + "b" * 20

    def rotate(h: Host) -> None:
        h.text = (h.text or "").replace(GIVEN, rotated).replace("2026-02-01", "2099-02-01")

    host.on_read.extend([lambda h: None, rotate])
    monkeypatch.setattr(_runner_convergence, "ROTATION_WAIT", 5.0)
    result = converge(host, concurrent=9)
    assert not result["warnings"]
    assert host.data()["runners"][0]["token"] == rotated
    assert host.data()["concurrent"] == 9


def test_due_rotation_that_does_not_come_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    host = provisioned()
    due = "token_obtained_at = 2026-01-01T00:00:00Z\ntoken_expires_at = 2026-02-01T00:00:00Z"
    host.text = (host.text or "").replace("token_obtained_at = 2026-01-01T00:00:00Z", due)
    monkeypatch.setattr(_runner_convergence, "ROTATION_WAIT", 0.0)
    result = converge(host, concurrent=9)
    assert "the runner did not rotate it" in result["warnings"][0]
    assert host.data()["runners"][0]["token"] == GIVEN
    assert host.data()["concurrent"] == 9


def test_no_answer_of_gitlab_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = {"ok": False, "refused": False, "said": "connection refused"}
    monkeypatch.setattr(Host, "_register", lambda *_: silent)
    host = Host()
    with pytest.raises(AnsibleActionFail) as caught:
        converge(host)
    text = str(caught.value)
    assert text.startswith("refused, config.toml was not changed: ")
    assert f"{URL}, asked about its token: GitLab gave no answer: connection refused" in text
    assert host.text is None


def test_what_of_the_environment_leads_to_gitlab() -> None:
    given = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "a", "PIP_INDEX_URL": "x", "A": 1}
    ours = {"https_proxy": "http://ours:3128", "http_proxy": "http://ours:3128"}
    assert _runner_file.gitlab_environment(ours, given) == {
        "HTTPS_PROXY": "http://proxy:3128",
        "no_proxy": "a",
        "http_proxy": "http://ours:3128",
    }


@pytest.mark.parametrize(
    ("obtained", "expires", "due"),
    [
        ("2027-01-15T00:00:00.123456789Z", "0001-01-01T00:00:00Z", False),
        ("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z", False),
        ("2026-12-01T00:00:00Z", "2027-01-16T00:00:00Z", True),
        ("0001-01-01T00:00:00Z", "2027-02-01T00:00:00Z", True),
        # At 75 %: in 5 s, and in 25 s, which a run is through with by then. With tokens of a
        # minute, as the bench has them, one that waited for the second would never end.
        ("2027-01-15T07:59:20Z", "2027-01-15T08:00:20Z", True),
        ("2027-01-15T07:59:40Z", "2027-01-15T08:00:40Z", False),
    ],
)
def test_rotation_due(obtained: str, expires: str, due: bool) -> None:
    """NOW is 2027-01-15T08:00:00Z."""
    config = {"runners": [{"token_obtained_at": obtained, "token_expires_at": expires}]}
    assert _runner_file.rotation_due(config, NOW) is due


LEGACY = "aBcDeFgHiJkLmNoPqRsT"


@pytest.mark.parametrize("identity", ["id = 3\n", ""])
def test_legacy_runner_of_the_host_is_adopted_as_it_is(identity: str) -> None:
    host = Host(
        f'[[runners]]\nname = "build"\nurl = "{URL}"\n{identity}token = "{LEGACY}"\n'
        'executor = "shell"\n'
    )
    runners = [{"name": "build", "token": LEGACY, "limit": 2}]
    result = converge(host, runners=runners)
    assert result["changed_keys"][0] == "concurrent"
    assert host.registered == []
    assert host.data()["runners"][0]["token"] == LEGACY
    assert "GitLab 20.0 removes" in result["warnings"][0]
    again = converge(host, runners=runners)
    assert not again["changed"]
    assert "GitLab 20.0 removes" in again["warnings"][0]


def test_runners_that_share_their_builds_folder_are_named() -> None:
    """Prefixed tokens are alike in the nine characters by which gitlab-runner names it."""
    entries = "".join(
        f'[[runners]]\nname = "{name}"\nurl = "{URL}"\ntoken = "acme-glrt-{name * 20}"\n'
        'executor = "shell"\n'
        for name in "ab"
    )
    runners = [{"name": name, "token": f"acme-glrt-{name * 20}"} for name in "ab"]
    [said] = [w for w in converge(Host(entries), runners=runners)["warnings"] if "builds_dir" in w]
    assert said.startswith("runners a, b: their tokens have a prefix")
    runners[1]["builds_dir"] = "/srv/b"
    assert "builds_dir" not in str(converge(Host(entries), runners=runners)["warnings"])


def test_legacy_token_of_no_runner_of_the_host_is_refused() -> None:
    host = Host()
    with pytest.raises(AnsibleActionFail, match=r"\[0\] \(build\)\.token: its token has no glrt-"):
        converge(host, runners=[{"name": "build", "token": LEGACY}])
    assert host.asked == ["read"]


def test_a_name_that_is_to_be_absent_and_almost_one_of_the_hosts() -> None:
    host = provisioned()
    runners = [{"name": "builds", "state": "absent"}]
    assert converge(host, runners=runners)["warnings"][-2:] == [
        "config.toml holds runners that gitlab_runner_runners does not name; they are kept as they "
        "are: build",
        "gitlab_runner_runners (builds): state is absent, and the host has no runner of this name; "
        "did you mean build?",
    ]
    runners = [{"name": "gone", "state": "absent"}]
    assert not [text for text in converge(host, runners=runners)["warnings"] if "mean" in text]


def test_runner_that_is_to_be_absent_is_named_and_left_to_the_drain() -> None:
    host = provisioned()
    before = host.text
    runners = [{"name": "build", "state": "absent"}]
    result = converge(host, runners=runners)
    assert result["leaving"] == ["build"]
    assert result["foreign"] == []
    assert not [text for text in result["warnings"] if "kept as they are" in text]
    assert host.text == before, "its jobs may run: it goes with the drain"
    host.text = "concurrent = 2\n"
    after = converge(host, runners=runners)
    assert after["leaving"] == []
    assert not after["changed"]


def test_messages_count_entries_as_the_inventory_does() -> None:
    runners = [
        {"name": "gone", "state": "absent"},
        {"name": "build", "token": "glrt-unknown-" + "b" * 20},
    ]
    with pytest.raises(AnsibleActionFail, match=r"gitlab_runner_runners\[1\] \(build\)"):
        converge(Host(), runners=runners)


def sleeping(age: float = 60.0) -> Host:
    """A host whose daemon has left the runner alone since so many seconds."""
    host = provisioned()
    host.complaints = [(NOW - age, f'Runner "{URL}given-aaa" is unhealthy and will be disabled')]
    return host


def test_runner_that_is_left_alone_is_woken_once() -> None:
    host = sleeping()
    result = converge(host)
    assert result["changed"]
    assert result["changed_keys"] == ["runners.build.awake"]
    assert "build: GitLab refused its token three times" in result["warnings"][0]
    assert "asks for jobs again" in result["warnings"][0]
    assert host.wakes == [["build"]]
    again = converge(host)
    assert not again["changed"]
    assert host.wakes == [["build"]]


def test_check_mode_says_that_it_would_wake() -> None:
    result = converge(sleeping(), check=True)
    assert result["changed_keys"] == ["runners.build.awake"]
    assert result["msg"].startswith("would change: runners.build.awake")


@pytest.mark.parametrize(
    ("verified", "says"),
    [
        ("refused", "still refused (403): give its new token"),
        ("unanswered", "answered with an error: 503"),
    ],
)
def test_runner_that_is_not_valid_is_not_woken_but_named(verified: str, says: str) -> None:
    host = sleeping()
    host.verified = verified
    result = converge(host)
    assert not result["changed"]
    assert says in result["warnings"][0]


def test_what_the_daemon_said_long_ago_counts_no_more() -> None:
    host = sleeping(age=3700)
    assert not converge(host)["changed"]
    assert host.wakes == []


def test_runners_that_somebody_took_away_are_named_and_come_back() -> None:
    host = provisioned()
    before, host.text = host.text, ""
    result = converge(host)
    assert "lacks runners that this host had: build;" in result["warnings"][0]
    assert _runner_toml.parse(before or "")["runners"][0]["id"] == host.data()["runners"][0]["id"]
    assert "warnings" not in converge(host) or not converge(host)["warnings"]


OTHER = "glrt-other-" + "c" * 20


def test_token_of_another_runner_is_said_with_both_ids() -> None:
    host = provisioned()
    host.gitlab[OTHER] = 200
    runners = [{"name": "build", "token": OTHER}]
    (said,) = converge(host, check=True, runners=runners)["warnings"]
    assert "is not the one of runner 7" in said
    assert host.registered == [GIVEN]
    (said,) = converge(host, runners=runners)["warnings"]
    assert said.startswith("gitlab_runner_runners[0] (build): its token belongs to runner 200")
    assert "the host has runner 7 for it" in said
    assert OTHER not in said
    assert not converge(host, runners=runners)["warnings"]


def test_another_address_with_the_same_token_is_said_as_such() -> None:
    host = provisioned()
    (said,) = converge(host, check=True, url="https://new.example.com")["warnings"]
    assert f"its url changes from {URL} to https://new.example.com: the runner that" in said
    assert "its token" not in said


def test_token_of_another_runner_of_the_host_is_said_too() -> None:
    host = provisioned()
    host.text = (host.text or "") + (
        f'\n[[runners]]\nname = "hand"\nurl = "{URL}"\nid = 200\ntoken = "{OTHER}"\n'
    )
    runners = [{"name": "build", "token": OTHER}]
    for check in (True, False):
        said = converge(host, check=check, runners=runners)["warnings"]
        assert "belongs to runner 200 in GitLab, the host has runner 7 for it" in said[0]


def test_new_token_of_the_same_runner_is_no_swap() -> None:
    host = provisioned()
    host.gitlab[OTHER] = 7
    assert not converge(host, runners=[{"name": "build", "token": OTHER}])["warnings"]


def test_swapped_names_and_a_first_run_are_no_swap_of_identities() -> None:
    host = Host()
    host.gitlab.update({GIVEN: 7, OTHER: 8})
    runners = [{"name": "a", "token": GIVEN}, {"name": "b", "token": OTHER}]
    assert not converge(host, runners=runners)["warnings"]
    runners = [{"name": "b", "token": GIVEN}, {"name": "a", "token": OTHER}]
    assert not converge(host, runners=runners)["warnings"]


def test_order_of_the_list_is_no_change() -> None:
    host = Host()
    host.gitlab.update({GIVEN: 7, OTHER: 8})
    runners = [{"name": "a", "token": GIVEN}, {"name": "b", "token": OTHER}]
    converge(host, runners=runners)
    swaps = host.swaps
    for check in (True, False):
        assert not converge(host, check=check, runners=runners[::-1])["changed"]
    assert host.swaps == swaps


@pytest.mark.parametrize("check", [True, False])
def test_keys_set_by_hand_are_named_before_they_go(check: bool) -> None:
    host = provisioned()
    host.text = f'log_level = "debug"\n{host.text}output_limit = 5\nproxy = "https://u:hunter2@h"\n'
    result = converge(host, check=check)
    verb = "would be" if check else "are"
    assert result["warnings"] == [
        f"config.toml has keys that the inventory does not set; they {verb} removed: log_level",
        "config.toml has keys of runner 'build' that the inventory does not set; they "
        f"{verb} removed: output_limit, proxy",
    ]
    assert "hunter2" not in json.dumps(result)


def test_diff_of_a_file_that_the_daemon_encoded_anew_has_what_changes_alone() -> None:
    host = provisioned()
    host.text = (
        (host.text or "")
        .replace(f'"{URL}"', f'"{URL}/"')
        .replace("concurrent = 2", "concurrent = 2\ncheck_interval = 0\nshutdown_timeout = 0")
    )
    assert not converge(host)["changed"]
    diff = converge(host, check=True, concurrent=3)["diff"]
    before, after = diff["before"].splitlines(), diff["after"].splitlines()
    assert [line for line in before if line not in after] == ["concurrent = 2"]
    assert [line for line in after if line not in before] == ["concurrent = 3"]


def test_new_token_shows_in_the_diff_without_being_shown() -> None:
    host = provisioned()
    host.gitlab[OTHER] = 7
    diff = converge(host, runners=[{"name": "build", "token": OTHER}])["diff"]
    assert diff["before"] != diff["after"]
    assert OTHER not in json.dumps(diff)


def test_secrets_of_a_script_of_several_lines_are_in_no_diff() -> None:
    host = provisioned()
    script = "set -eu\nexport TWINE_PASSWORD=hunter2\nmake\n"
    runners = [{"name": "build", "token": GIVEN, "pre_build_script": script}]
    result = converge(host, check=True, runners=runners)
    assert "hunter2" not in json.dumps(result)
    assert r"set -eu\nexport TWINE_PASSWORD=(hidden)\nmake" in result["diff"]["after"]


def test_byte_order_mark_is_said_and_no_change() -> None:
    host = provisioned()
    host.text = "\ufeff" + (host.text or "")
    result = converge(host)
    assert not result["changed"]
    assert "byte order mark" in result["warnings"][0]
    assert converge(host, concurrent=3)["changed"]
    assert (host.text or "").startswith("concurrent")


def test_runner_that_waking_cannot_heal_is_named_and_left() -> None:
    host = sleeping()
    host.complaints.insert(
        0,
        (NOW - 61, '\x1b[0;31mERROR: Executor "dokcer" is not known; marking Runner as unhealthy'
         "\x1b[0;m  runner=given-aaa"),
    )  # fmt: skip
    for _ in range(2):
        result = converge(host)
        assert not result["changed"]
        (said,) = result["warnings"]
        assert 'not refused it (403): Executor "dokcer" is not known' in said
        assert "\x1b" not in said
    assert host.wakes == []


def test_runner_that_was_refused_among_other_failures_is_woken() -> None:
    host = sleeping()
    host.complaints.insert(0, (NOW - 61, "ERROR: Checking for jobs... forbidden runner=given-aaa"))
    assert converge(host)["changed"]
    assert host.wakes == [["build"]]
