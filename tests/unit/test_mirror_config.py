# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror's settings, refused all at once; what it asks its upstreams for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.mirror import cli, config
from ansible_collections.runnerhost.toolkit.mirror.aptly import Package, depended
from ansible_collections.runnerhost.toolkit.mirror.snapshots import runner_problems, runner_query

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "mirror" / "example.yml"
PRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


def settings(**more: Any) -> dict[str, Any]:
    """The least that is taken."""
    return {
        "folder": "store",
        "url": "https://mirror.example.com/runnerhost/",
        "signing_key": PRINT,
        "suites": ["jammy", "noble"],
        "deadsnakes": {"pythons": ["3.11", "3.14-nogil"]},
        "gitlab_runner": {"versions": ["18.5.0"]},
        **more,
    }


def test_upstreams_are_the_roles_defaults(tmp_path: Path) -> None:
    read = config.parse(settings(), tmp_path)
    own = config.role_defaults("python_versions")
    assert read.deadsnakes.archives == (
        config.Archive(own["python_versions_repository_url"], ("{suite}",)),
    )
    assert Path(read.deadsnakes.key).read_text().startswith("-----BEGIN PGP")
    assert read.gitlab_runner.key.startswith("https://")
    assert read.distribution is None
    assert "cmake" in read.packages
    assert read.folder == tmp_path / "store"
    assert read.url == "https://mirror.example.com/runnerhost"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"folder": None}, "folder: no value; expected a string"),
        ({"sign_key": "x"}, "sign_key: unknown key; expected architectures"),
        ({"signing_key": "ABCD"}, "signing_key: invalid value; expected the 40 hex digits"),
        ({"url": "https://me:s3cret@mirror.example.com"}, "url: invalid value (hidden)"),
        ({"url": "/srv"}, "url: invalid value '/srv'; expected an http(s) URL"),
        ({"suites": "jammy"}, "suites: invalid value of type str; expected a list"),
        ({"suites": []}, "suites: empty list; expected releases"),
        (
            {"suites": ["Jammy Jellyfish"]},
            "suites: invalid value 'Jammy Jellyfish'; expected a release",
        ),
        (
            {"deadsnakes": {"pythons": [3.1]}},
            "deadsnakes.pythons[0]: invalid value 3.1 (float); expected",
        ),
        (
            {"deadsnakes": {"pythons": ["3.11"], "key": "x.asc"}},
            "deadsnakes.key_fingerprint: no value",
        ),
        (
            {"deadsnakes": {"pythons": ["3.11"], "packages": ["vim"]}},
            "packages: invalid value 'vim'",
        ),
        ({"gitlab_runner": {}}, "gitlab_runner.versions: no value; expected a list"),
        (
            {"gitlab_runner": {"versions": ["latest"]}},
            "gitlab_runner.versions: invalid value 'latest'",
        ),
        (
            {"gitlab_runner": {"versions": [18.5]}},
            "gitlab_runner.versions: invalid value of type list",
        ),
        ({"distribution": {"keyring": "k"}}, "distribution.archives: no value"),
        (
            {"distribution": {"archives": [{"url": "http://a.example", "suites": ["x"]}]}},
            "expected a keyring, or a key with its key_fingerprint",
        ),
        (
            {"distribution": {"extra_packages": ["a | b"]}},
            "distribution.packages: invalid value 'a | b'",
        ),
        ({"passphrase_file": "nothing"}, "No such file"),
        (
            {"deadsnakes": {"pythons": ["3.11"], "key": "x.asc", "key_fingerprint": PRINT}},
            "/x.asc: No such file or directory; expected",
        ),
        (
            {"gitlab_runner": {"versions": ["18.5.0"], "key": "/", "key_fingerprint": PRINT}},
            "gitlab_runner.key: /: Is a directory; expected",
        ),
        ({"distribution": {"keyring": "k"}}, "/k: No such file or directory; expected"),
        ({"distribution": {"key": "k", "key_fingerprint": PRINT}}, "distribution.key: "),
    ],
)
def test_what_cannot_work_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    data = {key: value for key, value in settings(**change).items() if value is not None}
    with pytest.raises(config.Refused) as refused:
        config.parse(data, tmp_path)
    assert says in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(config.Refused) as refused:
        config.parse({}, tmp_path)
    for name in ("folder", "url", "signing_key", "suites", "deadsnakes", "gitlab_runner"):
        assert any(line.startswith(name) for line in str(refused.value).splitlines()), name


def test_a_passphrase_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_text("s3cret")
    path.chmod(0o640)
    with pytest.raises(config.Refused, match="chmod 600"):
        config.parse(settings(passphrase_file="passphrase"), tmp_path)
    path.chmod(0o600)
    assert config.parse(settings(passphrase_file="passphrase"), tmp_path).passphrase_file == str(
        path
    )


def test_no_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mirror.yml"
    for text in ("a: [", "- a\n"):
        path.write_text(text)
        with pytest.raises(config.Refused, match=r"mirror\.yml"):
            config.load(path)


@pytest.mark.parametrize("option", ["--list", "--show=x", "--drop=x", "--name=x"])
def test_settings_that_do_not_exist_are_told_with_the_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    path = tmp_path / "mirror.yml"
    assert cli.main([str(path), option]) == 1
    assert capsys.readouterr().err == (
        f"mirror: {path}: no such file; copy mirror/example.yml and edit it, or name "
        "another file (make mirror MIRROR=FILE)\n"
    )


def test_a_folder_and_a_file_in_the_folders_place_are_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([str(tmp_path), "--list"]) == 1
    path = tmp_path / "mirror.yml"
    path.write_text(yaml.safe_dump(settings()), encoding="utf-8")
    (tmp_path / "store").write_text("no folder")
    assert cli.main([str(path), "--drop", "x"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"mirror: {tmp_path}: Is a directory; expected a YAML file of settings"
    assert "[Errno" not in "".join(told)


def test_the_example_is_taken_and_names_every_setting(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    # The keyring of Ubuntu's is not on every machine.
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(b"")
    copy = tmp_path / "mirror.yml"
    copy.write_text(re.sub(r"(?m)^( +keyring:) .*$", rf"\1 {keyring}", text), encoding="utf-8")
    read = config.load(copy)
    assert read.distribution is not None
    data = yaml.safe_load(text)
    shown = "\n".join(line.removeprefix("# ") for line in text.splitlines())
    for name in config.TOP:
        assert name in data or f"\n{name}:" in shown, name
    for part, names in config.KEYS.items():
        for name in names:
            assert name in data[part] or f"#   {name}:" in text.replace("  # ", "#   "), (
                part,
                name,
            )


def test_runner_queries_and_what_they_lack() -> None:
    assert runner_query(["18.5.0", "18.6.0-1"])[::2] == [
        "(gitlab-runner (% 18.5.0-*))",
        "(gitlab-runner (= 18.6.0-1))",
    ]
    both = [Package("gitlab-runner", "18.5.0-1", ""),
            Package("gitlab-runner-helper-images", "18.5.0-1", "")]  # fmt: skip
    assert runner_problems(["18.5.0"], both, "jammy") == []
    assert "helper-images missing" in runner_problems(["18.5.0"], both[:1], "jammy")[0]
    # Older ones have none.
    assert runner_problems(["17.4.0"], [Package("gitlab-runner", "17.4.0-1", "")], "jammy") == []
    assert runner_problems(["18.5.1"], both, "jammy") != []


def test_names_that_packages_depend_on() -> None:
    packages = [Package("aa", "1", "bb (>= 1), cc | dd:any, <no value>"), Package("bb", "1", "aa")]
    assert depended(packages) == ["cc", "dd"]
