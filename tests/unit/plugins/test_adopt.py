# SPDX-License-Identifier: GPL-3.0-or-later
"""What adopt writes goes through provision: the same rules, the same merge, nothing changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.runnerhost.toolkit.plugins.action.runner_adopt import ActionModule
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _adopt,
    _runner_compare,
    _runner_keys,
    _runner_match,
    _runner_merge,
    _runner_toml,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_lists import (
    entries_problems,
    wanted_runners,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_settings import problems
from tests.unit.plugins import host_file
from tests.unit.plugins.test_runner_plan import GOOD

URL = "https://gitlab.example.com"


def token(number: int) -> str:
    return f"glrt-{number:020d}"


def runner(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "name": f"build {number}", "url": URL, "id": number, "token": token(number),
        "executor": "shell", "shell": "bash", **more,
    }  # fmt: skip


class Written:
    """What adopt writes for these services, and what Ansible reads from it."""

    def __init__(self, folder: Path, *configs: dict[str, Any]) -> None:
        # Through TOML, so that values are of the types that a file gives.
        self.hosts = [_runner_toml.parse(_runner_toml.dump(config)) for config in configs]
        services = [("" if i == 0 else f"i{i}", host) for i, host in enumerate(self.hosts)]
        self.found = _adopt.adopt(services, "https://gitlab.com", entries_problems)
        self.text = self.found.text
        assert _adopt.adopt(services, "https://gitlab.com", entries_problems).text == self.text
        path = folder / "host.yml"
        path.write_text(self.text, encoding="utf-8")
        loaded = DataLoader().load_from_file(str(path), trusted_as_template=True)
        vault = {name: json.loads(value) for name, value in self.found.secrets.items()}
        templar = Templar(DataLoader(), variables={**vault, **loaded})
        self.values: dict[str, Any] = {name: templar.template(loaded[name]) for name in loaded}

    def services(self) -> list[tuple[list[Any], dict[str, Any], dict[str, Any]]]:
        """Runners, global keys and the host's data, of each service."""
        values = self.values
        parts = [
            {name.removeprefix("gitlab_runner_"): value for name, value in values.items()},
            *values.get("gitlab_runner_isolated", []),
        ]
        return [
            (
                part["runners"],
                {"concurrent": part["concurrent"], **part.get("settings", {})},
                host,
            )
            for part, host in zip(parts, self.hosts, strict=True)
        ]

    def refused(self) -> list[str]:
        """What provision says against it."""
        args = {
            **GOOD,
            "gitlab_url": self.values["gitlab_runner_url"],
            "runners": self.values["gitlab_runner_runners"],
            "settings": self.values.get("gitlab_runner_settings", {}),
            "concurrent": self.values["gitlab_runner_concurrent"],
            "isolated": self.values.get("gitlab_runner_isolated", []),
        }
        return problems(args)

    def differs(self) -> list[str]:
        """What provision would change in each config.toml."""
        found = []
        for runners, wanted, host in self.services():
            entries = wanted_runners("runners", self.values["gitlab_runner_url"], runners)
            matches = _runner_match.match(entries, host, [])
            assert matches.questions == {}
            merged = _runner_merge.merge(wanted, entries, host, matches, {})
            found += _runner_compare.changed_keys(host, merged.config)
        return found


ODD_SCRIPTS = [
    "echo {{ secret }}\n",
    "{% for x in y %}",
    "{# comment #}",
    "{{",
    "set -e\n  indented\n\n\nlast line  ",
    " leading\nspace\n",
    "\n\nfirst",
    "tab\there\n",
    "'single' \"double\" \\back\\slash $VAR `tick`",
    "ключ ünïcödé 日本 🚀\nnext\n",
    "- not: a list\n# not a comment\n",
    "--- \n...\n",
    "key: value #x",
    "!unsafe x",
    "yes",
    "3.10",
    "0755",
    "12:30",
    "~",
    "*alias &anchor",
    "trailing space \n and {{ x }}\n",
    "line\u2028separator\u0085next",
    "line\u2028separator\nand\u0085next {{ x }}",
]


@pytest.mark.parametrize("script", ODD_SCRIPTS)
def test_odd_scripts_go_through_unchanged(tmp_path: Path, script: str) -> None:
    for written in (
        Written(tmp_path, {"runners": [runner(pre_build_script=script)]}),
        Written(tmp_path, {}, {"runners": [runner(pre_build_script=script)]}),
    ):
        assert written.refused() == []
        assert written.differs() == []
        assert written.found.left_out == []


@pytest.mark.parametrize(
    "more",
    [
        {"name": "Ünïcödé 'quoted' \"twice\" {{ x }}"},
        {"name": "- dash: colon # hash"},
        {"name": "007"},
        {"name": "yes"},
        {"environment": ["A={{ b }}", "C=3.10", "D=a=b"]},
        {"unhealthy_interval": "1h0m0s", "limit": 0, "output_limit": 4096},
        {"cache": {"Type": "s3", "Shared": True, "s3": {"BucketName": "b", "Insecure": False}}},
        {"cache": {"MaxUploadedArchiveSize": 0, "s3": {}, "gcs": {}}, "custom_build_dir": {}},
        {"feature_flags": {"FF_X": False, "FF_Y": True}, "labels": {"a": "{{ b }}"}},
        {"clean_git_config": False, "safe_directory_checkout": False},
        {"url": URL + "/"},
        {"url": "https://other.example.com/gitlab"},
        {
            "executor": "docker",
            "docker": {"image": "python:3.10", "privileged": False, "volumes": ["/c:/c:ro"],
                       "services": [{"name": "x", "alias": "{{ y }}"}], "shm_size": 0},
        },
    ],
)  # fmt: skip
def test_odd_runners_go_through_unchanged(tmp_path: Path, more: dict[str, Any]) -> None:
    one = runner(**more)
    if one["executor"] == "docker":
        del one["shell"]
    config = {"concurrent": 3, "log_level": "info", "runners": [runner(2), one, runner(3)]}
    written = Written(tmp_path, config)
    assert written.refused() == []
    assert written.differs() == []
    assert written.found.left_out == []


SECRETS = {
    "environment": ["A=1"],
    "cache": {"Type": "s3", "s3": {"AccessKey": "AKIA{{", "SecretKey": "hunter2hunter2"}},
    "pre_build_script": "export A=1\nexport TWINE_PASSWORD=hunter3hunter3\n",
}


def test_each_secret_is_one_variable_of_the_vault(tmp_path: Path) -> None:
    config = {"runners": [runner(1, **SECRETS), runner(2, **SECRETS), runner(3, name="build_1")]}
    written = Written(tmp_path, config)
    for secret in ("hunter", "AKIA", token(1), token(2), token(3)):
        assert secret not in written.text
    # Three tokens, and the rest once, though two runners have it.
    assert len(written.found.vault) == 6
    tokens = {one["token"] for one in written.values["gitlab_runner_runners"]}
    assert tokens == {token(1), token(2), token(3)}
    assert written.refused() == []
    assert written.differs() == []


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"unknown_key": "x"}, "unknown key 'unknown_key'"),
        ({"environment": ["A=1", "TWINE_PASSWORD=hunter2hunter2"]}, "TWINE_PASSWORD"),
        ({"environment": ["PATH=/x"]}, "PATH does not belong here"),
        ({"builds_dir": "builds"}, "absolute path"),
        ({"cache": {"Type": "s3", "Typo": 1}}, "unknown key 'Typo'"),
        ({"limit": -1}, "limit"),
        ({"docker": {"when": _runner_toml.Moment("2026-01-01")}}, "TOML date"),
        ({"post_build_script": "a\x07b"}, "control characters"),
    ],
)
def test_what_provision_would_refuse_is_a_comment_with_its_reason(
    tmp_path: Path, more: dict[str, Any], why: str
) -> None:
    written = Written(tmp_path, {"runners": [runner(**more)]})
    (said,) = written.found.left_out
    assert why in said
    assert f"# Left out, provision removes it from config.toml: {said.partition(': ')[2]}" in (
        written.text.replace("\n    #", "\n#")
    )
    assert written.refused() == []
    assert "hunter2" not in written.text


@pytest.mark.parametrize(
    ("runners", "kept"),
    [
        ([runner(1), runner(1, id=2, token=token(2))], 1),
        ([runner(1), runner(1, name="other")], 1),
        ([runner(1), runner(2, token="short")], 1),
        ([runner(1), runner(2, token="")], 1),
        ([runner(1), runner(2, name="")], 1),
        ([runner(1), runner(2, url="nowhere")], 1),
        ([runner(1), {k: v for k, v in runner(2).items() if k != "executor"}], 1),
    ],
)
def test_a_runner_that_cannot_be_an_entry_stays_as_it_is(
    tmp_path: Path, runners: list[dict[str, Any]], kept: int
) -> None:
    written = Written(tmp_path, {"runners": runners})
    assert len(written.values["gitlab_runner_runners"]) == kept
    assert len(written.found.left_out) == len(runners) - kept
    assert "# Left out, it stays in config.toml as it is: " in written.text
    assert written.refused() == []
    assert written.differs() == []


def test_global_keys(tmp_path: Path) -> None:
    config = {
        "concurrent": -1, "log_level": "loud", "check_interval": 5, "user": "ci", "sentry_dsn": "",
        "connection_max_age": "15m0s", "session_server": {"session_timeout": 1800},
        "labels": {"a": "{{ b }}"}, "unheard_of": {"x": 1},
    }  # fmt: skip
    written = Written(tmp_path, config)
    assert written.values["gitlab_runner_settings"] == {
        "check_interval": 5, "labels": {"a": "{{ b }}"},
    }  # fmt: skip
    assert [text.partition(":")[0] for text in written.found.left_out] == [
        "concurrent", "log_level", "user", "unheard_of",
    ]  # fmt: skip
    assert written.refused() == []


def test_a_host_without_runners(tmp_path: Path) -> None:
    written = Written(tmp_path, {})
    assert written.values == {
        "gitlab_runner_url": "https://gitlab.com",
        "gitlab_runner_runners": [],
        "gitlab_runner_concurrent": 1,
    }


TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("{}%#'\"\\\n:-!&*|> \t"), max_size=30
)
VALUES = {
    "str": TEXT,
    "int": st.integers(-1, 5),
    "bool": st.booleans(),
    "float": st.floats(0, 5),
    "duration": st.sampled_from(["15m", "1h0m0s", "x", "0s"]),
    "list": st.lists(TEXT | TEXT.map(lambda text: f"A={text}"), max_size=3),
    "map": st.dictionaries(TEXT, TEXT, max_size=3),
    "flags": st.dictionaries(TEXT, st.booleans(), max_size=3),
    "any": st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT, max_size=2), max_size=3),
}


def value(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, dict):
        parts = {key: value(inner) for key, inner in kind.items()}
        return st.fixed_dictionaries({}, optional=parts)
    return VALUES[kind]


def table(known: dict[str, Any], *but: str) -> st.SearchStrategy[Any]:
    """A table as somebody may have written it: right keys, wrong values, keys of their own."""
    right = value({key: kind for key, kind in known.items() if key not in but})
    return st.tuples(right, st.dictionaries(TEXT, TEXT | st.integers(), max_size=1)).map(
        lambda both: {**both[1], **both[0]}
    )


HOSTS = st.tuples(
    table(_runner_keys.SETTINGS),
    st.lists(table(_runner_keys.RUNNER, "url", "token", "executor", "shell"), max_size=3),
).map(
    lambda both: {
        **{key: item for key, item in both[0].items() if key != "runners"},
        "runners": [runner(i, **one) for i, one in enumerate(both[1], 1)],
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(main=HOSTS)
def test_any_host_goes_through_or_says_why(
    tmp_path_factory: pytest.TempPathFactory, main: dict[str, Any]
) -> None:
    written = Written(tmp_path_factory.mktemp("any"), main)
    assert written.refused() == []
    differs = written.differs()
    assert not differs or written.found.left_out


class Action(ActionModule):
    """The action, with what the host answers given here."""

    def ask(self, module: str, arguments: Any, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        if "globs" in arguments:
            paths = ["/etc/systemd/system/gitlab-runner-publish.service.d/zz-runnerhost.conf"]
            return {"info": {"globs": dict.fromkeys(arguments["globs"], paths)}}
        number = 2 if "publish" in arguments["runner_config"]["folder"] else 1
        text = _runner_toml.dump({"runners": [runner(number)]})
        others: dict[str, Any] = {"daemons": [], "stopped": []}
        return {"info": {"runner_config": host_file.read(text), "other_runners": others}}


def act(path: Path, check: bool = False) -> dict[str, Any]:
    action = object.__new__(Action)
    args = {"file": str(path), "url": URL, "isolated": []}
    action._task = SimpleNamespace(async_val=0, check_mode=check, no_log=False, args=args)
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"),
        is_pipelining_enabled=lambda: True,
        _play_context=SimpleNamespace(no_log=False, verbosity=0),
    )
    return action.run(None, {})


def test_a_file_is_written_once_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "adopted" / "host.yml"
    assert act(path, check=True)["msg"][0] == f"would write {path}"
    assert not path.exists()
    result = act(path)
    assert result["msg"][0] == f"wrote {path}"
    assert result["vault"] == [
        "vault_gitlab_runner_build_1_token", "vault_gitlab_runner_build_2_token",
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "- name: publish" in text
    assert token(1) not in json.dumps(result) + text
    assert act(path)["msg"][0] == f"{path} says what the host has"
    path.write_text("mine: 1\n")
    with pytest.raises(AnsibleActionFail, match="exists and differs"):
        act(path)
    assert path.read_text() == "mine: 1\n"
