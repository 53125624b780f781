# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: version, register, verify, list, unregister, reset-token."""

from __future__ import annotations

import json
import re

import pytest
import tomllib

from standins.gitlab.client import LabGitLab, LabGitLabError, RunnerCreated
from tests.contract.harness import Host


def test_version(host: Host) -> None:
    done = host.run("--version")
    assert done.code == 0
    names = [line.split(":")[0] for line in done.out.splitlines()]
    assert names == ["Version", "Git revision", "Git branch", "GO version", "Built", "OS/Arch"]
    assert re.search(r"^Version:      \d+\.\d+\.\d+", done.out)


def test_register_writes_an_entry(host: Host, gitlab: LabGitLab) -> None:
    runner = gitlab.create_runner()
    done = host.register(
        runner.token,
        '--name=a "quoted" name',
        "--limit=3",
        "--env=A=1",
        "--env=B=two words",
        "--builds-dir=/b",
    )
    assert done.code == 0, done.log
    assert "Verifying runner... is valid" in done.log
    assert "Runner registered successfully." in done.log
    text = host.config.read_text()
    config = tomllib.loads(text)
    assert config["concurrent"] == 1
    assert config["check_interval"] == 0
    assert config["session_server"] == {"session_timeout": 1800}
    entry = config["runners"][0]
    assert entry["name"] == 'a "quoted" name'
    assert (entry["id"], entry["token"]) == (runner.id, runner.token)
    assert (entry["limit"], entry["executor"], entry["builds_dir"]) == (3, "shell", "/b")
    assert entry["environment"] == ["A=1", "B=two words"]
    assert set(entry["cache"]) >= {"s3", "gcs", "azure"}
    assert "token_expires_at = 0001-01-01T00:00:00Z" in text
    assert re.search(r"token_obtained_at = \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
    assert host.config.stat().st_mode & 0o777 == 0o600
    system_id = (host.config.parent / ".runner_system_id").read_text()
    assert re.fullmatch(r"[sr]_[0-9a-zA-Z]{12}", system_id)
    assert (host.config.parent / ".runner_system_id").stat().st_mode & 0o777 == 0o600
    assert gitlab.managers(runner.id)[0]["system_id"] == system_id


def install(host: Host) -> None:
    """Up to the service's own file, whose folder is not there: this machine gets no service."""
    done = host.run(
        "install",
        f"--config={host.config}",
        f"--user={host.user or 'nobody'}",
        f"--working-directory={host.work}",
        "--service=runnerhost-no-such-folder/contract",
    )
    assert done.code == 1, done.log
    assert "Failed to install" in done.log


def test_install_saves_a_configuration_without_runners(host: Host) -> None:
    """The package's script calls it: each host with the package has this file."""
    install(host)
    assert host.config.read_text() == (
        "concurrent = 1\ncheck_interval = 0\nshutdown_timeout = 0\n\n"
        "[session_server]\n  session_timeout = 1800\n"
    )
    assert host.config.stat().st_size == 98
    assert host.config.stat().st_mode & 0o777 == 0o600


def test_install_leaves_a_configuration_as_it_is(host: Host, gitlab: LabGitLab) -> None:
    host.write_config(gitlab.create_runner())
    before = host.config.read_text()
    install(host)
    assert host.config.read_text() == before


def test_register_twice_appends(host: Host, gitlab: LabGitLab) -> None:
    runner = gitlab.create_runner()
    assert host.register(runner.token).code == 0
    done = host.register(runner.token)
    assert done.code == 0
    assert "has already been registered" in done.log
    assert len(tomllib.loads(host.config.read_text())["runners"]) == 2


def test_register_keeps_expiry(host: Host, gitlab: LabGitLab) -> None:
    runner = gitlab.create_runner()
    gitlab.set_runner(runner.id, expires_in=7200)
    assert host.register(runner.token).code == 0
    entry = tomllib.loads(host.config.read_text())["runners"][0]
    seconds = (entry["token_expires_at"] - entry["token_obtained_at"]).total_seconds()
    assert 7000 < seconds < 7300


@pytest.mark.parametrize(
    "option",
    [
        "--locked=false",
        "--access-level=not_protected",
        "--run-untagged",
        "--maximum-timeout=600",
        "--paused",
        "--tag-list=a",
        "--maintenance-note=x",
    ],
)
def test_register_refuses_what_the_server_keeps(host: Host, gitlab: LabGitLab, option: str) -> None:
    done = host.register(gitlab.create_runner().token, option)
    assert done.code == 1
    assert "FATAL: Runner configuration other than name and executor" in done.log
    assert not host.config.exists()


def test_register_refuses_it_from_the_environment_too(host: Host, gitlab: LabGitLab) -> None:
    done = host.register(gitlab.create_runner().token, RUNNER_TAG_LIST="a")
    assert done.code == 1
    assert "FATAL: Runner configuration other than name and executor" in done.log


def test_register_by_the_old_option_only_warns(host: Host, gitlab: LabGitLab) -> None:
    done = host.run(
        "register",
        "--non-interactive",
        f"--config={host.config}",
        f"--url={gitlab.base_url}",
        f"--registration-token={gitlab.create_runner().token}",
        "--executor=shell",
        f"--tls-ca-file={gitlab.ca_file}",
        "--tag-list=a",
    )
    assert done.code == 0, done.log
    assert "legacy-compatible registration process" in done.log


def test_register_with_a_bad_token(host: Host) -> None:
    done = host.register("glrt-nobodynobodynobody")
    assert done.code != 0
    assert "Failed to verify the runner" in done.log
    assert not host.config.exists()


def test_register_with_a_registration_token(host: Host, gitlab: LabGitLab) -> None:
    done = host.run(
        "register",
        "--non-interactive",
        f"--config={host.config}",
        f"--url={gitlab.base_url}",
        "--registration-token=GR1348941aaaaaaaaaaaaaaaaaaaa",
        "--executor=shell",
        f"--tls-ca-file={gitlab.ca_file}",
    )
    assert done.code != 0
    assert "Failed to register the runner" in done.log
    assert "410 Gone" in done.log


def test_register_with_a_bad_executor_takes_it_back(host: Host, gitlab: LabGitLab) -> None:
    runner = gitlab.create_runner()
    done = host.register(runner.token, "--executor=nonsense")
    assert done.code != 0
    assert "Invalid executor specified" in done.log
    assert gitlab.managers(runner.id) == []
    assert not host.config.exists()


def test_register_takes_the_environment(host: Host, gitlab: LabGitLab) -> None:
    done = host.run(
        "register",
        CONFIG_FILE=str(host.config),
        CI_SERVER_URL=gitlab.base_url,
        CI_SERVER_TOKEN=gitlab.create_runner().token,
        RUNNER_EXECUTOR="shell",
        RUNNER_NAME="by env",
        REGISTER_NON_INTERACTIVE="true",
        CI_SERVER_TLS_CA_FILE=str(gitlab.ca_file),
    )
    assert done.code == 0, done.log
    assert tomllib.loads(host.config.read_text())["runners"][0]["name"] == "by env"


def test_register_merges_a_template(host: Host, gitlab: LabGitLab) -> None:
    template = host.root / "template.toml"
    template.write_text('[[runners]]\n  limit = 7\n  builds_dir = "/t"\n  token = "dropped"\n')
    runner = gitlab.create_runner()
    done = host.register(runner.token, f"--template-config={template}", "--builds-dir=/own")
    assert done.code == 0, done.log
    entry = tomllib.loads(host.config.read_text())["runners"][0]
    assert (entry["limit"], entry["builds_dir"], entry["token"]) == (7, "/own", runner.token)


def verify(host: Host, *words: str) -> tuple[int, str]:
    done = host.run("verify", "--config", str(host.config), *words)
    return done.code, done.log


def test_verify(host: Host, gitlab: LabGitLab) -> None:
    first, second = gitlab.create_runner(), gitlab.create_runner()
    host.write_config(first, second)
    code, log = verify(host)
    assert code == 0
    assert log.count("is valid") == 2
    gitlab.set_runner(second.id, revoke=True)
    code, log = verify(host)
    assert code == 1
    assert "is not valid" in log
    assert "FATAL: Failed to verify runners" in log
    assert verify(host, "--name", "r0")[0] == 0
    assert verify(host, "--name", "r1")[0] == 1
    assert verify(host, "--name", "nobody")[0] == 1
    code, log = verify(host, "--delete")
    assert code == 0
    names = [entry["name"] for entry in tomllib.loads(host.config.read_text())["runners"]]
    assert names == ["r0"]


@pytest.mark.parametrize("status", [401, 404, 422])
def test_verify_counts_only_a_403(host: Host, gitlab: LabGitLab, status: int) -> None:
    host.write_config(gitlab.create_runner())
    gitlab.fault("/api/v4/runners/verify", "status", status=status, count=None)
    code, log = verify(host)
    assert code == 0
    assert "Verifying runner... failed" in log


def test_verify_exits_0_on_a_broken_server(host: Host, gitlab: LabGitLab) -> None:
    host.write_config(gitlab.create_runner())
    gitlab.fault("/api/v4/runners/verify", "status", status=500, count=None)
    before = gitlab.last_request()
    code, log = verify(host)
    assert (code, "Verifying runner... failed" in log) == (0, True)
    calls = [e for e in gitlab.requests(before) if e["path"].endswith("/verify")]
    assert len(calls) == 5


def test_verify_exits_0_when_refused(host: Host, gitlab: LabGitLab) -> None:
    host.write_config(gitlab.create_runner())
    text = host.config.read_text().replace(gitlab.base_url, "https://127.0.0.1:9")
    host.replace_config(text)
    code, log = verify(host)
    assert code == 0
    assert "Verifying runner... failed" in log


def test_verify_with_a_ca_that_is_not_the_servers(host: Host, gitlab: LabGitLab) -> None:
    host.write_config(gitlab.create_runner())
    text = re.sub(r"  tls-ca-file.*\n", "", host.config.read_text())
    host.replace_config(text)
    code, log = verify(host)
    assert code == 0
    assert "Verifying runner... failed" in log
    assert "certificate" in log


def test_verify_without_runners(host: Host) -> None:
    assert verify(host)[0] == 0
    host.replace_config("concurrent = 1\n")
    assert verify(host)[0] == 0
    host.replace_config("concurrent = [\n")
    assert verify(host)[0] == 1


def test_wrong_type_is_refused_and_unknown_key_is_not(host: Host, gitlab: LabGitLab) -> None:
    host.write_config(gitlab.create_runner(), extra="  nonsense = 1\n  [runners.env]\n    A = 1\n")
    assert verify(host)[0] == 0
    host.write_config(gitlab.create_runner(), extra="  [runners.environment]\n    A = 1\n")
    assert verify(host)[0] == 1


def test_list_shows_tokens_on_stderr(host: Host, gitlab: LabGitLab) -> None:
    runner = gitlab.create_runner()
    host.write_config(runner)
    done = host.run("list", "--config", str(host.config))
    assert (done.code, done.out) == (0, "")
    assert runner.token in done.log
    assert "Executor=shell" in done.log
    host.replace_config("broken = [")
    assert host.run("list", "--config", str(host.config)).code == 0


def test_json_log(host: Host, gitlab: LabGitLab) -> None:
    host.write_config(gitlab.create_runner())
    done = host.run("--log-format", "json", "verify", "--config", str(host.config))
    lines = [json.loads(line) for line in done.log.splitlines() if line.strip()]
    assert any(line["msg"] == "Verifying runner... is valid" for line in lines)
    assert all({"level", "msg", "time"} <= set(line) for line in lines)


def test_unregister(host: Host, gitlab: LabGitLab) -> None:
    first, second = gitlab.create_runner(), gitlab.create_runner()
    host.write_config(first, second)
    assert verify(host)[0] == 0
    config = ("--config", str(host.config))
    assert host.run("unregister", *config).code == 1
    assert host.run("unregister", *config, "--name", "nobody").code == 1
    gitlab.fault("/api/v4/runners/managers", "status", status=403)
    assert host.run("unregister", *config, "--name", "r0").code == 1
    assert len(tomllib.loads(host.config.read_text())["runners"]) == 2
    assert host.run("unregister", *config, "--token", first.token).code == 0
    assert gitlab.managers(first.id) == []
    assert gitlab.runner(first.id)["id"] == first.id
    names = [entry["name"] for entry in tomllib.loads(host.config.read_text())["runners"]]
    assert names == ["r1"]
    gitlab.fault("/api/v4/runners/managers", "status", status=403)
    done = host.run("unregister", *config, "--all-runners")
    assert (done.code, "Failed to unregister runners" in done.log) == (0, True)
    assert host.run("unregister", *config, "--all-runners").code == 0
    assert tomllib.loads(host.config.read_text()).get("runners", []) == []


def test_unregister_deletes_the_runner_of_a_token_with_an_instance_prefix(
    host: Host, gitlab: LabGitLab
) -> None:
    """gitlab-runner#39938: it takes such a token for a legacy one. The roles never ask it to."""
    made = gitlab.create_runner()
    token = f"acme-{made.token}"
    gitlab.set_runner(made.id, token=token)
    host.write_config(RunnerCreated(made.id, token, None))
    assert "is alive" in verify(host)[1]
    done = host.run("unregister", "--config", str(host.config), "--name", "r0")
    assert done.code == 0, done.log
    with pytest.raises(LabGitLabError, match="404"):
        gitlab.runner(made.id)


def test_deleted_runner_is_dropped_by_verify_alone(host: Host, gitlab: LabGitLab) -> None:
    first, second = gitlab.create_runner(), gitlab.create_runner()
    host.write_config(first, second)
    gitlab.delete_runner(first.id)
    done = host.run("unregister", "--config", str(host.config), "--name", "r0")
    assert (done.code, "from GitLab forbidden" in done.log) == (1, True)
    assert len(tomllib.loads(host.config.read_text())["runners"]) == 2
    code, log = verify(host, "--delete", "--name", "r0")
    assert (code, "is not valid" in log) == (0, True)
    names = [entry["name"] for entry in tomllib.loads(host.config.read_text())["runners"]]
    assert names == ["r1"]


def test_reset_token(host: Host, gitlab: LabGitLab) -> None:
    runner = gitlab.create_runner()
    host.write_config(runner, extra="# a comment\n  nonsense = 1\n")
    config = ("--config", str(host.config))
    assert host.run("reset-token", *config, "--name", "r0").code == 0
    text = host.config.read_text()
    assert runner.token not in text
    assert "comment" not in text
    assert "nonsense" not in text
    assert re.search(r"token_obtained_at = \S+\.\d{3,9}Z", text)
    assert verify(host)[0] == 0
    gitlab.set_runner(runner.id, revoke=True)
    assert host.run("reset-token", *config, "--name", "r0").code == 1
    assert host.config.read_text() == text
    assert host.run("reset-token", *config, "--name", "nobody").code == 1


def test_unknown_words_are_refused(host: Host) -> None:
    assert host.run("verify", "--nonsense").code == 1
    assert host.run("run", "--nonsense").code == 1
