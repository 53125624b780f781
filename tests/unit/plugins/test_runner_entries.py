# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a config.toml names a runner, as an image's host is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _host_info
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_entries import has_runners
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_toml

SAVED = (
    "concurrent = 1\ncheck_interval = 0\nshutdown_timeout = 0\n\n"
    "[session_server]\n  session_timeout = 1800\n"
)
"""What `gitlab-runner install` saves: 98 bytes."""
NONE = {
    "empty": "",
    "saved by the package's script": SAVED,
    "byte order mark": "\ufeff" + SAVED,
    "Windows line ends": SAVED.replace("\n", "\r\n"),
    "commented": SAVED + '# [[runners]]\n  #[[runners]]\n#  token = "glrt-x"\n',
    "comment after a value": 'log_level = "info" # [[runners]]\n',
    "hash in a string": 'sentry_dsn = "a#b" # "\n',
    "in a text of several lines": 'sentry_dsn = """\n[[runners]]\n"""\n',
    "in a literal text of several lines": "sentry_dsn = '''\n[[runners]]\n  \"\n'''\n",
    "behind an escaped quote": 'sentry_dsn = """ \\"""\n[[runners]]\n"""\n',
    "ends with five quotes": 'sentry_dsn = """a"""""\nconcurrent = 2\n',
    "empty list": "runners = []\n",
    "another table": "[runners_of_ours]\nx = 1\n",
}
SOME = {
    "plain": SAVED + '\n[[runners]]\n  name = "a"\n',
    "indented": '  [[ runners ]]\n  name = "a"\n',
    "byte order mark": '\ufeff[[runners]]\n  name = "a"\n',
    "behind a comment": "# none\n[[runners]] # one\n",
    "quoted key": '[["runners"]]\nname = "a"\n',
    "literal key": "[['runners']]\nname = \"a\"\n",
    "inline": 'runners = [{name = "a"}]\n',
    "after a text that quotes a comment": 'sentry_dsn = "#"\n[[runners]]\n',
    "after a script": "sentry_dsn = '''\n# \"\"\"\n'''\n[[runners]]\n",
    "Windows line ends": "concurrent = 1\r\n[[runners]]\r\n",
}


@pytest.mark.parametrize("name", NONE)
def test_file_without_runners(name: str) -> None:
    text = NONE[name]
    assert not _runner_toml.parse(text.removeprefix("\ufeff")).get("runners")
    assert not has_runners(text.encode())


@pytest.mark.parametrize("name", SOME)
def test_file_with_runners(name: str) -> None:
    text = SOME[name]
    assert _runner_toml.parse(text.removeprefix("\ufeff"))["runners"]
    assert has_runners(text.encode())


@pytest.mark.parametrize(
    "content", [b'sentry_dsn = "torn', b"x = '''torn\n", b"\xff\xfe[\0[\0", b"\xe4 = 1\n"]
)
def test_what_cannot_be_told_counts_as_runners(content: bytes) -> None:
    assert has_runners(content)


def test_host_look_names_the_files(tmp_path: Path) -> None:
    for folder, name, text in (
        ("gitlab-runner", "config.toml", SAVED),
        ("gitlab-runner-deploy", "config.toml", SOME["plain"]),
        ("gitlab-runner", "config.toml.runnerhost-drained", SOME["plain"]),
        ("gitlab-runner-empty", "other", SOME["plain"]),
    ):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "gitlab-runner-link").mkdir()
    (tmp_path / "gitlab-runner-link" / "config.toml").symlink_to(tmp_path / "nowhere")
    assert _host_info.configs(f"{tmp_path}/gitlab-runner*/config.toml*") == {
        f"{tmp_path}/gitlab-runner/config.toml": False,
        f"{tmp_path}/gitlab-runner/config.toml.runnerhost-drained": True,
        f"{tmp_path}/gitlab-runner-deploy/config.toml": True,
        f"{tmp_path}/gitlab-runner-link/config.toml": True,
    }
