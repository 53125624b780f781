# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the stand-in for gitlab-runner that need no server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest
import tomllib
from hypothesis import given
from hypothesis import strategies as st

from standins.gitlab.client import without_stamps
from standins.gitlab_runner import service
from standins.gitlab_runner import version as program
from standins.gitlab_runner.config import Config, ConfigError, warn_of_long_polling
from standins.gitlab_runner.host import system_id
from standins.gitlab_runner.log import log
from standins.gitlab_runner.masking import Masker, Stamps
from standins.gitlab_runner.network import tls_context
from standins.gitlab_runner.options import COMMANDS, Options
from standins.gitlab_runner.script import Script
from standins.gitlab_runner.service import is_systemd, unit_text
from standins.gitlab_runner.tokens import short_token
from standins.gitlab_runner.variables import expand

CONFIG = """
# a comment
concurrent = 4
check_interval = 0
nonsense = true

[session_server]
  session_timeout = 1800

[[runners]]
  name = "a \\"b\\" \\\\ c"
  url = "https://gitlab.test"
  id = 7
  token = "glrt-x"
  token_obtained_at = 2026-01-02T03:04:05.123456789Z
  token_expires_at = 0001-01-01T00:00:00Z
  executor = "shell"
  environment = ["A=1", "B=x y"]
  nonsense = 1
  [runners.cache]
    MaxUploadedArchiveSize = 0
  [runners.feature_flags]
    FF_X = true

[[runners]]
  name = "second"
  url = "https://gitlab.test"
  token = "glrt-y"
  executor = "shell"
"""


def test_rewrite_keeps_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    config = Config.load(str(path))
    config.save(str(path))
    text = path.read_text()
    again = tomllib.loads(text)
    assert again["concurrent"] == 4
    first, second = again["runners"]
    assert first["name"] == 'a "b" \\ c'
    assert first["environment"] == ["A=1", "B=x y"]
    assert first["feature_flags"] == {"FF_X": True}
    assert "token_obtained_at = 2026-01-02T03:04:05.123456789Z" in text
    assert text.count("token_expires_at = 0001-01-01T00:00:00Z") == 2
    assert "nonsense" not in text
    assert "comment" not in text
    assert second["id"] == 0
    assert Config.load(str(path)).dump() == text


def test_version_decides_on_zero_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = Config({"concurrent": 1, "runners": [{"name": "a"}]}, 0)
    monkeypatch.setattr(program, "VERSION", "17.5.5")
    old = config.dump()
    assert 'connection_max_age = "15m0s"' in old
    assert "[runners.custom_build_dir]" in old
    monkeypatch.setattr(program, "VERSION", "18.5.0")
    new = config.dump()
    assert "connection_max_age" not in new
    assert "custom_build_dir" not in new


@pytest.mark.parametrize(("version", "code"), [("19.0.2", 1), ("19.1.0", 5), ("19.3.0", 5)])
def test_version_decides_on_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, version: str, code: int
) -> None:
    """As facts of 2026-11 have it: from 19.1 on a failing command's own."""
    monkeypatch.setattr(program, "VERSION", version)
    script = Script("/tmp")
    script.user_commands(["bash -c 'exit 5'"])
    text = script.text(xtrace=False)
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == code


def test_times_of_lines_are_put_in_and_taken_out() -> None:
    parts: list[bytes] = []
    stamps = Stamps(parts.append)
    given = [b"one\ntw", b"o\n", b"section_start:1:x\r\x1b[0Kthree\n", b"\n", b"end"]
    for part in given:
        stamps.write(part)
    raw = b"".join(parts).decode()
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z 00O "
    assert all(re.match(form, line) for line in raw.split("\n"))
    assert without_stamps(raw) == b"".join(given).decode()


def test_continued_line_is_one() -> None:
    stamp = "2026-11-28T17:29:47.614068Z 01"
    raw = f"{stamp}O one,\n{stamp}O+ and more\n{stamp}E two\nno time\n"
    assert without_stamps(raw) == "one, and more\ntwo\nno time\n"


def test_version_decides_on_the_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config({"concurrent": 1, "runners": [{}, {"request_concurrency": 2}]}, 0)
    monkeypatch.setattr(program, "VERSION", "18.3.0")
    warn_of_long_polling(config)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(program, "VERSION", "18.4.0")
    warn_of_long_polling(config)
    said = capsys.readouterr().err
    assert "Worker starvation: 2 runners" in said
    assert "Request bottleneck: 1 runners" in said


@pytest.mark.parametrize(
    "text",
    [
        'concurrent = "1"',
        "concurrent = true",
        "[[runners]]\nname = 1",
        "runners = 1",
        "[[runners]]\nenvironment = [1]",
        '[[runners]]\nunhealthy_interval = "soon"',
        "x = [",
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        Config.load(str(path))


@given(st.dictionaries(st.sampled_from(["name", "url", "builds_dir", "shell"]), st.text()))
def test_any_text_survives_the_emitter(entry: dict[str, str]) -> None:
    config = Config({"concurrent": 1, "runners": [dict(entry)]}, 0)
    written = tomllib.loads(config.dump())["runners"][0]
    assert {key: written[key] for key in entry} == entry


@given(
    st.lists(st.sampled_from(["secret", "sec", "x", "\n", "glpat-abc", " ", "ab", "abab"])),
    st.integers(1, 5),
)
def test_masking_does_not_depend_on_writes(words: list[str], size: int) -> None:
    data = "".join(words).encode()

    def masked(step: int) -> bytes:
        parts: list[bytes] = []
        masker = Masker(["secret", "abab"], [], parts.append)
        for start in range(0, len(data), step):
            masker.write(data[start : start + step])
        masker.flush()
        return b"".join(parts)

    whole = masked(len(data) or 1)
    assert masked(size) == whole
    assert b"secret" not in whole
    assert b"glpat-abc" not in whole


def test_expansion_is_gos() -> None:
    values = {"A": "1", "$": "$"}

    def get(key: str) -> str:
        return values.get(key, "")

    assert expand("$A-${A}-$$-$1-$B-$", get) == "1-1-$---$"


def test_unit_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/env"])
    options = Options(
        COMMANDS["install"],
        ["--user=gitlab-runner", "--working-directory=/home/gitlab-runner"],
    )
    options.lists["config"] = ["/etc/gitlab-runner/config.toml"]
    lines = [line.strip() for line in unit_text(options).splitlines() if line.strip()]
    binary = os.path.realpath("/usr/bin/env")
    assert lines == [
        "[Unit]",
        "Description=GitLab Runner",
        f"ConditionFileIsExecutable={binary}",
        "After=network.target",
        "[Service]",
        "StartLimitInterval=5",
        "StartLimitBurst=10",
        f'ExecStart={binary} "run" "--config" "/etc/gitlab-runner/config.toml" '
        '"--working-directory" "/home/gitlab-runner" "--service" "gitlab-runner" '
        '"--user" "gitlab-runner"',
        "Restart=always",
        "RestartSec=120",
        "EnvironmentFile=-/etc/sysconfig/gitlab-runner",
        "[Install]",
        "WantedBy=multi-user.target",
    ]


@pytest.mark.parametrize(
    ("folder", "comm", "found"),
    [(True, "sshd", True), (False, "systemd\n", True), (False, "sshd\n", False)],
)
def test_systemd_is_found_as_the_service_library_does(
    folder: bool, comm: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kardianos/service v1.2.4, isSystemd: the folder, else the name of the first process."""
    first = tmp_path / "comm"
    first.write_text(comm)
    real = open
    monkeypatch.setattr(os.path, "exists", lambda path: folder and "/run/systemd" in path)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/systemctl")
    monkeypatch.setattr(
        "builtins.open",
        lambda path, **more: real(first if path == "/proc/1/comm" else path, **more),
    )
    assert is_systemd() is found


def test_system_id_is_kept_and_bad_ones_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "config.toml")
    first = system_id(path)
    assert first[:2] in ("s_", "r_")
    assert len(first) == 14
    assert system_id(path) == first
    (tmp_path / ".runner_system_id").write_text("nonsense")
    assert system_id(path) != "nonsense"


def test_the_trusted_authorities_are_read_once() -> None:
    """As the real one does; each poll of each runner would pay for it otherwise."""
    assert tls_context("") is tls_context("")


def test_short_tokens() -> None:
    assert short_token("glrt-abcdefghijklmno") == "abcdefghi"
    assert short_token("glrt-t1_abcdefghijklmno") == "abcdefghi"


@pytest.mark.parametrize("command", ["install", "uninstall", "start", "status"])
def test_without_systemd_no_service_is_touched(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real one would write a SysV script: a bake that comes to that fails here."""

    def fatal(message: str, **_: object) -> NoReturn:
        raise SystemExit(message)

    monkeypatch.setattr(service, "is_systemd", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/systemctl")
    monkeypatch.setattr(log, "fatal", fatal)
    monkeypatch.setattr(subprocess, "run", None)
    options = Options(COMMANDS["install"], [f"--config={tmp_path}/config.toml"])
    with pytest.raises(SystemExit, match=f"Failed to {command} gitlab-runner: no systemd here"):
        service.do_service(command, options)
