"""The runner's package, service, environment, configuration and the cage of its jobs."""

from __future__ import annotations

import fnmatch
import json
import re
from typing import Any

import pytest
import tomllib

FOLDER = "/etc/gitlab-runner"
SERVICE = "gitlab-runner.service"
DROP_IN = "/etc/systemd/system/gitlab-runner.service.d/zz-runnerhost.conf"
LOGIND = "/etc/systemd/logind.conf.d/zz-runnerhost.conf"


@pytest.fixture(scope="session")
def unit(host: Any) -> dict[str, str]:
    """The service's properties as systemd has them loaded."""
    text = host.check_output(f"systemctl show {SERVICE}")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


@pytest.fixture(scope="session")
def config(host: Any) -> dict[str, Any]:
    """config.toml, without its tokens."""
    data = tomllib.loads(host.file(f"{FOLDER}/config.toml").content_string)
    for runner in data.get("runners", []):
        runner["token"] = "present" if runner.get("token") else ""
    return data


@pytest.fixture(scope="session")
def job_environment(host: Any, wanted: dict[str, Any], unit: dict[str, str]) -> dict[str, str]:
    """What a job sees: the daemon's environment through `su` and a login shell."""
    script = (
        f"xargs -0 -a /proc/{unit['MainPID']}/environ sh -c "
        '\'exec env -i "$@" su -s /bin/bash '
        f'{wanted["gitlab_runner_user"]} -c "bash -l -c env"\' sh'
    )
    lines = host.check_output(script).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def uid(host: Any, wanted: dict[str, Any]) -> int:
    """The job user's number."""
    return int(host.user(wanted["gitlab_runner_user"]).uid)


# --- package


def test_package_pair_has_one_version(installed: dict[str, str], wanted: dict[str, Any]) -> None:
    runner = installed["gitlab-runner"]
    images = installed.get("gitlab-runner-helper-images")
    older = [int(part) for part in re.findall(r"\d+", runner)[:2]] < [17, 7]
    assert images == runner or (images is None and older)
    asked = str(wanted["gitlab_runner_version"])
    if asked != "latest":
        assert fnmatch.fnmatchcase(runner, asked if "-" in asked else f"{asked}-*")


def test_apt_would_install_no_other_version(host: Any, installed: dict[str, str]) -> None:
    text = host.check_output("apt-cache policy gitlab-runner gitlab-runner-helper-images")
    candidates = re.findall(r"Candidate: (\S+)", text)
    assert candidates == [installed["gitlab-runner"]] * 2


def test_one_source_names_the_repository(host: Any, wanted: dict[str, Any]) -> None:
    place = re.sub(r"^https?://", "", wanted["gitlab_runner_repository_url"]).rstrip("/")
    text = host.check_output(
        "grep -rlF --include=*.list --include=*.sources "
        f"'{place}' /etc/apt/sources.list.d /etc/apt/sources.list || true"
    )
    assert text.split() == ["/etc/apt/sources.list.d/runnerhost-gitlab-runner.sources"]


def test_apt_reads_its_sources_without_a_complaint(host: Any) -> None:
    done = host.run("apt-get indextargets --format '$(SITE)'")
    assert done.rc == 0
    assert "Conflicting" not in done.stderr


# --- service


def test_service_is_enabled_and_running(unit: dict[str, str]) -> None:
    assert (unit["ActiveState"], unit["SubState"]) == ("active", "running")
    assert unit["UnitFileState"] == "enabled"
    assert unit["NeedDaemonReload"] == "no"


def test_drop_in_is_loaded(unit: dict[str, str], wanted: dict[str, Any]) -> None:
    assert DROP_IN in unit["DropInPaths"].split()
    # 3 is SIGQUIT: the running jobs end well.
    assert unit["KillSignal"] == "3"
    assert unit["KillMode"] == "mixed"
    assert unit["TimeoutStopUSec"] == _span(wanted["gitlab_runner_stop_timeout"])
    assert unit["RestartUSec"] == "1s"
    assert unit["UMask"] == wanted["gitlab_runner_umask"]
    assert unit["CanReload"] == "yes"
    assert f"{FOLDER}/env-file" in unit["EnvironmentFiles"]


def _span(seconds: int) -> str:
    """Seconds as `systemctl show` writes them."""
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts)


def test_service_runs_with_the_settings_on_disk(host: Any, unit: dict[str, str]) -> None:
    """What a restart would bring is in force already, or marked as pending."""
    on_disk = re.search(r"RUNNERHOST_GENERATION=(\w+)", host.file(DROP_IN).content_string)
    assert on_disk
    running = host.check_output(f"tr '\\0' '\\n' < /proc/{unit['MainPID']}/environ")
    mark = host.file("/run/runnerhost/gitlab-runner.restart")
    assert f"RUNNERHOST_GENERATION={on_disk.group(1)}" in running.splitlines() or mark.exists


# --- files


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (FOLDER, 0o700),
        (f"{FOLDER}/config.toml", 0o600),
        (f"{FOLDER}/env-file", 0o600),
        (f"{FOLDER}/runnerhost.json", 0o600),
        (f"{FOLDER}/.runner_system_id", 0o600),
    ],
)
def test_private_file(host: Any, wanted: dict[str, Any], path: str, mode: int) -> None:
    file = host.file(path)
    if path.endswith("runnerhost.json") and not wanted["gitlab_runner_runners"]:
        assert not file.exists or file.mode == mode
        return
    assert (file.user, file.mode) == ("root", mode)


def test_nothing_is_left_over(host: Any) -> None:
    left = host.check_output(
        f"find {FOLDER} /etc/apt /etc/systemd/system /tmp -maxdepth 3 -name '*runnerhost-*' "
        r"-name '.runnerhost-*' -o -name 'runnerhost-offer-*' -o -name 'runnerhost-proof-*'"
    )
    assert left == ""


def test_no_token_can_be_read_by_all(host: Any, wanted: dict[str, Any]) -> None:
    found = host.check_output(
        "grep -rIlE 'glrt-[A-Za-z0-9_-]{10,}' /etc /run/runnerhost /var/lib/runnerhost /tmp "
        f"{wanted['gitlab_runner_home']} 2>/dev/null || true"
    )
    for path in found.split("\n"):
        if path:
            assert host.file(path).mode & 0o077 == 0, path


def test_job_user_has_no_trap_in_its_home(host: Any, wanted: dict[str, Any]) -> None:
    user = host.user(wanted["gitlab_runner_user"])
    assert user.home == wanted["gitlab_runner_home"]
    assert not host.file(f"{user.home}/.bash_logout").exists


def test_pip_cache_is_the_job_users_alone(host: Any, wanted: dict[str, Any]) -> None:
    cache = host.file(wanted["gitlab_runner_pip_cache_dir"])
    assert (cache.user, cache.mode) == (wanted["gitlab_runner_user"], 0o700)


# --- what jobs see


def test_job_environment_has_the_wanted_values(
    job_environment: dict[str, str], wanted: dict[str, Any]
) -> None:
    for name, value in wanted["gitlab_runner_environment"].items():
        assert job_environment.get(name) == str(value), name
    assert job_environment["PIP_CACHE_DIR"] == wanted["gitlab_runner_pip_cache_dir"]
    assert job_environment["HOME"] == wanted["gitlab_runner_home"]


def test_job_environment_has_no_trap(job_environment: dict[str, str]) -> None:
    assert "PYTHONPATH" not in job_environment
    assert "PYTHONHOME" not in job_environment
    text = json.dumps(job_environment)
    assert not re.search(r"gl(rt|pat)-[A-Za-z0-9]|pypi-Ag", text)


def test_job_path(job_environment: dict[str, str], wanted: dict[str, Any]) -> None:
    path = job_environment["PATH"].split(":")
    extra = wanted["gitlab_runner_path"]
    assert path[: len(extra)] == extra
    assert "/usr/bin" in path


def test_job_umask(host: Any, wanted: dict[str, Any]) -> None:
    """In a job's login shell: PAM may set another than the service has."""
    user = wanted["gitlab_runner_user"]
    assert host.check_output(f"su -s /bin/bash {user} -c 'bash -l -c umask'") == str(
        wanted["gitlab_runner_umask"]
    )


def test_jobs_take_the_proxies(job_environment: dict[str, str], wanted: dict[str, Any]) -> None:
    """Each in both cases: git knows http_proxy in lower case alone. A password is not compared."""
    own = wanted["gitlab_runner_environment"]
    for scheme in ("http", "https"):
        proxy = wanted[f"network_access_{scheme}_proxy"]
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            if name not in own:
                address = re.sub("//[^/@]*@", "//", job_environment.get(name, ""))
                assert address == proxy, name
    if wanted["network_access_package_index_url"] and "PIP_INDEX_URL" not in own:
        assert job_environment["PIP_INDEX_URL"] == wanted["network_access_package_index_url"]


def test_jobs_find_the_private_cas(job_environment: dict[str, str], wanted: dict[str, Any]) -> None:
    if not wanted["network_access_ca_certificates"]:
        return
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if name not in wanted["gitlab_runner_environment"]:
            assert job_environment[name] == "/etc/ssl/certs/ca-certificates.crt", name


def test_leftover_processes_are_killed(host: Any, wanted: dict[str, Any]) -> None:
    text = host.check_output(
        "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 "
        "org.freedesktop.login1.Manager KillUserProcesses KillOnlyUsers"
    )
    kill, only = text.splitlines()
    if wanted["gitlab_runner_kill_leftover_processes"]:
        assert kill == "b true"
        assert only == "as 0" or f'"{wanted["gitlab_runner_user"]}"' in only
    else:
        assert not host.file(LOGIND).exists


def test_job_user_has_no_systemd_manager(host: Any, wanted: dict[str, Any]) -> None:
    number = uid(host, wanted)
    kind = host.check_output(f"systemctl show user@{number}.service --property=Type --value")
    if wanted["gitlab_runner_user_manager"]:
        assert kind in ("notify", "notify-reload")
        return
    assert kind == "oneshot"
    assert not host.file(f"/var/lib/systemd/linger/{wanted['gitlab_runner_user']}").exists
    done = host.run(
        f"su -s /bin/bash {wanted['gitlab_runner_user']} -c 'systemd-run --user --quiet true'"
    )
    assert done.rc != 0


def test_proc_is_hidden_as_wanted(host: Any, wanted: dict[str, Any]) -> None:
    if not wanted["gitlab_runner_hidepid"]:
        assert not host.file("/etc/systemd/system/runnerhost-hidepid.service").exists
        return
    options = host.check_output("awk '$2 == \"/proc\" {print $4}' /proc/mounts").split(",")
    assert {"hidepid=2", "hidepid=invisible"} & set(options)
    assert host.service("runnerhost-hidepid").is_enabled


def test_jobs_see_no_other_processes(
    host: Any, unit: dict[str, str], wanted: dict[str, Any]
) -> None:
    """Seen from inside the service's own mounts: a container may ignore ProtectProc silently."""
    if not wanted["gitlab_runner_hide_processes"]:
        assert unit.get("ProtectProc", "default") == "default"
        return
    assert unit["ProtectProc"] == "invisible"
    mounts = host.check_output(f"cat /proc/{unit['MainPID']}/mountinfo")
    proc = [line for line in mounts.splitlines() if line.split()[4] == "/proc"]
    assert any("hidepid=invisible" in line or "hidepid=2" in line for line in proc)


def test_jobs_files_are_for_no_other_user(host: Any, wanted: dict[str, Any]) -> None:
    home = host.file(host.user(wanted["gitlab_runner_user"]).home)
    assert (home.mode, home.user) == (0o700, wanted["gitlab_runner_user"])


# --- isolated runners


def test_isolated_services_are_those_of_the_inventory(host: Any, wanted: dict[str, Any]) -> None:
    listed = host.check_output(
        "systemctl list-unit-files 'gitlab-runner-*.service' --no-legend --plain || true"
    )
    found = {line.split()[0] for line in listed.splitlines()}
    names = {one["name"] for one in wanted["gitlab_runner_isolated"]}
    assert found == {f"gitlab-runner-{name}.service" for name in names}


def test_isolated_runners_share_nothing(host: Any, wanted: dict[str, Any]) -> None:
    pids = {host.check_output(f"systemctl show -P MainPID {SERVICE}")}
    for one in wanted["gitlab_runner_isolated"]:
        service = f"gitlab-runner-{one['name']}"
        user = one.get("user") or service
        home = host.file(one.get("home") or f"/home/{user}")
        assert (home.user, home.mode) == (user, 0o700)
        folder = host.file(f"/etc/{service}")
        assert (folder.user, folder.mode) == ("root", 0o700)
        for name in ("config.toml", "env-file", "runnerhost.json"):
            assert host.file(f"/etc/{service}/{name}").mode == 0o600
        unit = dict(
            line.split("=", 1)
            for line in host.check_output(f"systemctl show {service}.service").splitlines()
            if "=" in line
        )
        assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled")
        assert (unit["KillSignal"], unit["KillMode"]) == ("3", "mixed")
        assert (unit["ProtectProc"], unit["PrivateTmp"]) == ("invisible", "yes")
        # Seen from inside: a container may ignore both silently.
        mounts = host.check_output(f"cat /proc/{unit['MainPID']}/mountinfo").splitlines()
        at = {line.split()[4]: line for line in mounts}
        assert re.search(r"hidepid=(invisible|2)", at["/proc"])
        assert "/tmp" in at
        process = host.check_output(f"ps -o args= -p {unit['MainPID']}")
        assert f"--user {user}" in process
        pids.add(unit["MainPID"])
    assert len(pids) == 1 + len(wanted["gitlab_runner_isolated"])


# --- configuration


def test_concurrency(config: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert config.get("concurrent", 1) == wanted["gitlab_runner_concurrent"]


def test_runner_is_configured(host: Any, config: dict[str, Any], runner: dict[str, Any]) -> None:
    """By its id: a foreign runner may have the same name. Zero values may be left out."""
    notes = json.loads(host.file(f"{FOLDER}/runnerhost.json").content_string)["entries"]
    ids = {note["id"] for note in notes if note["name"] == runner["name"]}
    found = [r for r in config.get("runners", []) if r.get("id") in ids]
    assert [r["name"] for r in found] == [runner["name"]]
    assert found[0]["token"] == "present"
    for key, value in runner.items():
        # What GitLab itself holds of the runner is not in the file.
        if key not in ("token", "url", "cache", "gitlab", "state"):
            assert (found[0].get(key) or None) == (value or None), key


def test_gitlab_knows_the_runner(host: Any, unit: dict[str, str], runner: dict[str, Any]) -> None:
    """Asked with the service's own environment: a proxy may stand in it."""
    done = host.run(
        f"xargs -0 -a /proc/{unit['MainPID']}/environ sh -c "
        '\'name=$1; shift; exec env -i "$@" gitlab-runner verify --name "$name"\' sh %s',
        runner["name"],
    )
    assert done.rc == 0
    assert "is valid" in done.stderr + done.stdout


# --- other daemons keep off


def test_needrestart_keeps_off(host: Any) -> None:
    file = host.file("/etc/needrestart/conf.d/50-runnerhost.conf")
    assert "qr(^gitlab-runner)} = 0;" in file.content_string


def test_unattended_upgrades_keep_off(host: Any) -> None:
    text = host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
    assert '"gitlab-runner"' in text


# --- what the inventory names on the host


def services(wanted: dict[str, Any]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Each service's user, the folder of its configuration, and its runners."""
    found = [(wanted["gitlab_runner_user"], FOLDER, wanted["gitlab_runner_runners"])]
    for one in wanted["gitlab_runner_isolated"]:
        if one.get("state", "present") != "absent":
            service = f"gitlab-runner-{one['name']}"
            found.append((one.get("user") or service, f"/etc/{service}", one["runners"]))
    return [
        (user, folder, [r for r in runners if r.get("state", "present") != "absent"])
        for user, folder, runners in found
    ]


def test_root_can_become_the_job_users(host: Any, wanted: dict[str, Any]) -> None:
    """As the runner does it for each stage of a job."""
    for user, _, _ in services(wanted):
        done = host.run(f"su -s /bin/bash {user} -c true </dev/null")
        assert (user, done.rc, done.stderr if done.rc else "") == (user, 0, "")


def test_jobs_can_write_to_their_folders(host: Any, wanted: dict[str, Any]) -> None:
    for user, _, runners in services(wanted):
        for runner in runners:
            for key in ("builds_dir", "cache_dir"):
                if runner.get(key) and runner.get("executor", "shell") == "shell":
                    work = f'f=$(mktemp -d -p "{runner[key]}") && rmdir "$f"'
                    done = host.run("su -s /bin/bash %s -c %s", user, work)
                    said = done.stderr.strip() if done.rc else ""
                    assert (runner["name"], key, said) == (runner["name"], key, "")


def test_named_certificates_are_there(host: Any, wanted: dict[str, Any]) -> None:
    for _, _, runners in services(wanted):
        for runner in runners:
            for key, mark in (
                ("tls-ca-file", "BEGIN CERTIFICATE"),
                ("tls-cert-file", "BEGIN CERTIFICATE"),
                ("tls-key-file", "PRIVATE KEY"),
            ):
                if runner.get(key):
                    done = host.run("grep -q %s %s", mark, runner[key])
                    assert (runner["name"], key, done.rc) == (runner["name"], key, 0)


def test_job_users_have_their_groups(host: Any, wanted: dict[str, Any]) -> None:
    for user, one in accounts(wanted):
        assert set(one["groups"]) <= set(host.check_output("id -Gn %s", user).split()), user


def test_jobs_find_their_ssh_keys(host: Any, wanted: dict[str, Any]) -> None:
    """As ssh itself reads its configuration; nobody else reads a key."""
    for user, one in accounts(wanted):
        for key in one["ssh_keys"]:
            name = key["hosts"][0].replace("*", "a").replace("?", "a")
            shown = host.check_output("su -s /bin/bash %s -c %s", user, f"ssh -G {name}")
            paths = [
                line.split()[1]
                for line in shown.splitlines()
                if line.startswith("identityfile /var/lib/runnerhost/ssh/")
                and line.endswith(f"/{key['name']}")
            ]
            assert len(paths) == 1, (user, key["name"])
            file = host.file(paths[0])
            assert (file.user, file.mode) == (user, 0o600)


def accounts(wanted: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each job user with its groups and SSH keys."""
    main = {"groups": "gitlab_runner_user_groups", "ssh_keys": "gitlab_runner_ssh_keys"}
    own = {key: wanted[name] for key, name in main.items()}
    return [
        (wanted["gitlab_runner_user"], own),
        *(
            (
                one.get("user") or f"gitlab-runner-{one['name']}",
                {"groups": [], "ssh_keys": [], **one},
            )
            for one in wanted["gitlab_runner_isolated"]
            if one.get("state", "present") != "absent"
        ),
    ]
