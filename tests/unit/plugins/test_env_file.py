# SPDX-License-Identifier: GPL-3.0-or-later
"""The env file's rules and quoting."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _env_file

VARIABLE = "gitlab_runner_environment"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("export FOO", "1", "no `export`"),
        ("1FOO", "1", "not starting with a digit"),
        ("FOO-BAR", "1", "letters, digits"),
        ("PATH", "/opt/bin", "gitlab_runner_path"),
        ("PYTHONPATH", "/opt", "every Python and venv"),
        ("PYTHONHOME", "/opt", "every other Python"),
        ("HOME", "/x", "gitlab_runner_home"),
        ("TWINE_PASSWORD", "hunter2", "CI/CD variable"),
        ("MY_API_KEY", "hunter2", "CI/CD variable"),
        ("GITLAB_TOKEN", "hunter2", "CI/CD variable"),
        ("FOO", "glrt-abcdefghijklmnopqrst", "CI/CD variable"),
        ("PIP_INDEX_URL", "https://me:hunter2@pypi.example.com/simple", "CI/CD variable"),
        ("FOO", "a\nb", "U+000A"),
        ("FOO", "a\x00b", "U+0000"),
        ("FOO", True, "quote true, false"),
        ("FOO", None, "FOO: invalid value of type null; expected a string"),
        ("FOO", ["a"], "FOO: invalid value of type list; expected a string"),
        ("FOO", "\ud800", "UTF-8"),
    ],
)
def test_refused(name: str, value: Any, says: str) -> None:
    found = _env_file.problems(VARIABLE, {name: value})
    assert len(found) == 1
    assert found[0].startswith(VARIABLE)
    assert says in found[0]
    assert "hunter2" not in found[0]
    assert "glrt-abc" not in found[0]


@pytest.mark.parametrize(
    "wanted",
    [
        {"FOO": "bar"},
        {"_A1": ""},
        {"CMAKE_BUILD_PARALLEL_LEVEL": 2},
        {"KEYBOARD": "de"},
        {"PIP_INDEX_URL": "https://pypi.example.com/simple"},
        {"TAB": "a\tb", "QUOTES": "\"'`$\\", "UMLAUT": "ü"},
    ],
)
def test_taken(wanted: dict[str, Any]) -> None:
    assert _env_file.problems(VARIABLE, wanted) == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"GOOGLE_APPLICATION_CREDENTIALS": "/etc/ci/key.json"},
        {"GOOGLE_APPLICATION_CREDENTIALS": "key.json"},
        {"FF_USE_GIT_PROACTIVE_AUTH": "true"},
        {"FF_USE_GIT_PROACTIVE_AUTH": 1},
        {"TOKEN_TTL": 3600, "PASSWORD_FILE": "/run/x", "MAX_TOKENS": "4096"},
        {"SSH_AUTH_SOCK": "/run/agent.sock", "AUTH_URL": "https://sso.example.com/auth"},
        {"CI_TOKEN": "$CI_JOB_TOKEN"},
    ],
)
def test_a_name_alone_makes_no_secret(wanted: dict[str, Any]) -> None:
    assert _env_file.problems(VARIABLE, wanted) == []


@pytest.mark.parametrize(
    "wanted", [{"DEMO_PASSWORD": "hunter2"}, {"PIP_INDEX_URL": "https://me:hunter2@h/simple"}]
)
def test_what_is_refused_as_a_secret_can_be_allowed(wanted: dict[str, Any]) -> None:
    (said,) = _env_file.problems(VARIABLE, wanted)
    assert "gitlab_runner_environment_allowed" in said
    assert _env_file.problems(VARIABLE, wanted, list(wanted)) == []


def test_no_mapping() -> None:
    assert (
        "invalid value of type list; expected a mapping" in _env_file.problems(VARIABLE, ["A=b"])[0]
    )


def test_text_is_sorted_and_quoted() -> None:
    text = _env_file.render({"B": 'say "hi" for $5', "A": "back\\slash `x`"})
    assert text == 'A="back\\\\slash \\`x\\`"\nB="say \\"hi\\" for \\$5"\n'


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc"]), max_size=60))
def test_quoting_is_read_back(value: str) -> None:
    """A shell reads double quotes with these four escapes as systemd does."""
    assert _env_file.problems(VARIABLE, {"LABEL": value}) == [] or "secret" in str(
        _env_file.problems(VARIABLE, {"LABEL": value})
    )
    quoted = _env_file.quote(value).replace("\\$", "$").replace("\\`", "`")
    assert shlex.split(quoted) == [value]
