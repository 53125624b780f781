# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner's package, service, environment, configuration and the cage of its jobs."""

from __future__ import annotations

import fnmatch
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import tomllib

FOLDER = "/etc/gitlab-runner"
SERVICE = "gitlab-runner.service"
DROP_IN = "/etc/systemd/system/gitlab-runner.service.d/zz-runnerhost.conf"
LOGIND = "/etc/systemd/logind.conf.d/zz-runnerhost.conf"
# The key, beside a unit's properties, of the words about a daemon that does not stay up.
UNSTEADY = "(unsteady)"
# A daemon that has run for so long is steady, or, where it ended often in that time, for less.
YOUNG_SECONDS, LEAST_SECONDS = 600, 30
_LAST_WORDS = r'FATAL|PANIC|panic:|"level":"(?:fatal|panic)"'
# systemd's clock, and how the daemon has ended since its settings were changed last.
_ENDINGS = """
/usr/bin/python3 -I -S -c 'import time; print(time.monotonic())'
since=$(stat -c %Y {folder}/config.toml {folder}/env-file \
    /etc/systemd/system/{service}.d/zz-runnerhost.conf 2>/dev/null | sort -n | tail -n 1)
young=$(($(date +%s) - 600))
[ "${{since:-0}}" -gt $young ] || since=$young
journalctl -u {service} -b --no-pager -o cat --since=@$since -n 200 \
    --grep 'FATAL|PANIC|panic:|"level":"(fatal|panic)"|Failed with result' 2>/dev/null || true
"""


# What the toolkit's own watches and verbs have under way, one `name=value` a line.
_STATE = """
for folder in /etc/gitlab-runner /etc/gitlab-runner-*; do
  [ -e "$folder/config.toml.runnerhost-drained" ] || continue
  service=${folder#/etc/}
  full=$(cat "/run/runnerhost/disk-full${service#gitlab-runner}" 2>/dev/null)
  echo "paused=$service${full:+: $full}"
done
for mark in /run/runnerhost/*.restart; do
  [ -e "$mark" ] && basename "$mark" .restart | sed 's/^/restart=/'
done
for unit in $(systemctl list-units --plain --no-legend --state=active,activating \
    'runnerhost-clean*.service' | cut -d' ' -f1); do echo "clean=$unit"; done
for lock in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock; do
  number=$(stat -c %i "$lock" 2>/dev/null) || continue
  for pid in $(awk -v n="$number" '{k = split($6, a, ":"); if (a[k] == n) print $5}' \
      /proc/locks); do
    echo "apt=$(ps -o comm= -p "$pid") (process $pid)"
  done
done
[ -e /run/reboot-required ] && echo "reboot=yes"
true
"""


@pytest.fixture(scope="session")
def state(host: Any, note: Callable[[str], None]) -> dict[str, list[str]]:
    """What the toolkit itself has under way on the host; all but a full disk is only told."""
    found: dict[str, list[str]] = {}
    for line in host.check_output(_STATE).splitlines():
        name, __, value = line.partition("=")
        if value not in found.setdefault(name, []):
            found[name].append(value)
    for name, says in (
        ("restart", "a restart of {} is pending: it comes once the running jobs have ended"),
        ("clean", "{} is running: it removes what jobs no longer use"),
        ("apt", "{} holds the lock of dpkg: what is said of packages may change when it ends"),
    ):
        for value in found.get(name, []):
            note(says.format(value))
    for value in found.get("paused", []):
        if ":" not in value:
            note(f"{value} is paused: a drain is in progress, or was cut off and ends by itself")
    if "reboot" in found:
        note("the host asks for a restart: make reboot")
    return found


@pytest.fixture(scope="session")
def truth(state: dict[str, list[str]]) -> str:
    """The file with the whole configuration: beside config.toml while the runner is paused."""
    paused = [value.partition(":")[0] for value in state.get("paused", [])]
    ending = ".runnerhost-drained" if "gitlab-runner" in paused else ""
    return f"{FOLDER}/config.toml{ending}"


@pytest.fixture(scope="session")
def unit(host: Any) -> dict[str, str]:
    """The service's properties as systemd has them loaded."""
    found: dict[str, str] = {}
    end = time.monotonic() + 10
    # A service that restarts itself when idle is away for a second.
    while found.get("SubState") in (None, "auto-restart", "start-pre") and time.monotonic() < end:
        text = host.check_output(f"systemctl show {SERVICE}")
        found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    found[UNSTEADY] = unsteady(host, SERVICE, found)
    return found


def unsteady(host: Any, service: str, unit: dict[str, str]) -> str:
    """How a daemon that ends again and again is told; empty for one that runs steadily.

    systemd has just started it at most moments. A restart that the toolkit has signalled counts as
    one of systemd's own, and leaves no complaint behind.

    Args:
        host: the host.
        service: its name.
        unit: its properties.
    """
    if unit.get("NRestarts", "0") == "0":
        return ""
    folder = f"/etc/{service.removesuffix('.service')}"
    text = host.check_output(_ENDINGS.format(service=service, folder=folder))
    now, __, rest = text.partition("\n")
    age = int(float(now) - int(unit.get("ExecMainStartTimestampMonotonic", "0")) / 1e6)
    return unsteady_words(service, unit, age, rest.splitlines())


def unsteady_words(service: str, unit: dict[str, str], age: int, lines: list[str]) -> str:
    """The same, of what the host has answered.

    Args:
        service: its name.
        unit: its properties.
        age: seconds since its last start.
        lines: of its journal.
    """
    last = [line for line in lines if re.search(_LAST_WORDS, line)]
    failed = [line for line in lines if "Failed with result" in line]
    # One end without a word may be a signal that came before the daemon handled it.
    ends = last or len(failed) > 1
    # The faster it has ended, the sooner one that stays up counts as mended.
    often = len(last) or len(failed)
    young = max(LEAST_SECONDS, min(YOUNG_SECONDS, 3 * YOUNG_SECONDS // max(often, 1)))
    if unit.get("SubState") != "auto-restart" and not (ends and age < young):
        return ""
    count, ago = int(unit["NRestarts"]), f"{age} second{'' if age == 1 else 's'} ago"
    why = plain((last or failed or ["nothing in its journal says why"])[-1])
    return (
        f"{service}: expected running steadily, found restarted "
        f"{'once' if count == 1 else f'{count} times'}, the last {ago}: {why}"
    )


def plain(line: str) -> str:
    """A line of the journal without colours; of one in JSON what it says."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line)
    try:
        entry = json.loads(text)
    except ValueError:
        entry = None
    if isinstance(entry, dict):
        text = " ".join(str(entry[key]) for key in ("msg", "error") if entry.get(key))
    return " ".join(text.split())


@pytest.fixture(scope="session")
def config(host: Any, truth: str) -> dict[str, Any]:
    """config.toml, without its tokens."""
    return parsed(host, truth)


def parsed(host: Any, path: str) -> dict[str, Any]:
    """A config.toml without its tokens."""
    text = host.file(path).content_string
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        pytest.fail(f"{path}: expected valid TOML, found {problem}", pytrace=False)
    for runner in data.get("runners", []):
        runner["token"] = "present" if runner.get("token") else ""
    return data


@pytest.fixture(scope="session")
def job_environment(host: Any, wanted: dict[str, Any], unit: dict[str, str]) -> dict[str, str]:
    """What a job sees: the daemon's environment through `su` and a login shell."""
    running(unit)
    script = (
        f"xargs -0 -a /proc/{unit['MainPID']}/environ sh -c "
        '\'exec env -i "$@" su -s /bin/bash '
        f'{wanted["gitlab_runner_user"]} -c "bash -l -c env"\' sh'
    )
    lines = host.check_output(script).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def running(unit: dict[str, str]) -> None:
    """Ends the test where the daemon, of which it asks, does not run, or not for long."""
    told = unit.get(UNSTEADY, "")
    assert told == "", told
    assert unit.get("MainPID", "0") != "0", (
        f"{SERVICE}: expected enabled and running, found {_is(unit)}"
    )


def _is(unit: dict[str, str]) -> str:
    """A service's state in words."""
    words = f"{unit.get('UnitFileState') or 'missing'} and {unit.get('ActiveState')}"
    if unit.get("UnitFileState") == "disabled" and unit.get("ActiveState") == "inactive":
        # So does runner_host_prepare_upgrade_apply leave it, and leaves no other mark.
        words += " (make provision starts it again, also after runner_host_prepare_upgrade_apply)"
    return words


def uid(host: Any, wanted: dict[str, Any]) -> int:
    """The job user's number."""
    return int(host.user(wanted["gitlab_runner_user"]).uid)


# --- package


def test_package_pair_has_one_version(installed: dict[str, str], wanted: dict[str, Any]) -> None:
    assert "gitlab-runner" in installed, "package gitlab-runner: expected installed, found nothing"
    runner = installed["gitlab-runner"]
    images = installed.get("gitlab-runner-helper-images")
    older = [int(part) for part in re.findall(r"\d+", runner)[:2]] < [17, 7]
    assert images == runner or (images is None and older), (
        f"version of gitlab-runner-helper-images: expected {runner}, found {images or 'nothing'}"
    )
    asked = str(wanted["gitlab_runner_version"])
    if asked != "latest":
        assert fnmatch.fnmatchcase(runner, asked if "-" in asked else f"{asked}-*"), (
            f"version of gitlab-runner: expected {asked}, found {runner}"
        )


def test_apt_would_install_no_other_version(host: Any, installed: dict[str, str]) -> None:
    text = host.check_output("apt-cache policy gitlab-runner gitlab-runner-helper-images")
    found = dict(re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)", text, re.M))
    own = installed.get("gitlab-runner", "none")
    expected = dict.fromkeys(("gitlab-runner", "gitlab-runner-helper-images"), own)
    assert found == expected, "version of the runner that apt would install"


def test_one_source_names_the_repository(host: Any, wanted: dict[str, Any]) -> None:
    place = re.sub(r"^https?://", "", wanted["gitlab_runner_repository_url"]).rstrip("/")
    text = host.check_output(
        "grep -rlF --include=*.list --include=*.sources "
        f"'{place}' /etc/apt/sources.list.d /etc/apt/sources.list || true"
    )
    own = ["/etc/apt/sources.list.d/runnerhost-gitlab-runner.sources"]
    assert sorted(text.split()) == own, f"files of apt's sources that name {place}"


def test_source_is_that_of_the_inventory(host: Any, wanted: dict[str, Any]) -> None:
    path = "/etc/apt/sources.list.d/runnerhost-gitlab-runner.sources"
    found, expected = source_sides(host.run("cat %s", path).stdout, wanted)
    assert found == expected, f"settings in {path}"


def source_sides(
    text: str, wanted: dict[str, Any]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What a source file says, and what it should say; its key is not compared."""
    rows = re.findall(r"(?m)^(URIs|Suites|Components): (.*)$", text)
    stated = {key: value.split() for key, value in rows}
    # apt's own spelling of a host is in lower case.
    stated["URIs"] = [one.rstrip("/").lower() for one in stated.get("URIs", [])]
    expected = {"URIs": [wanted["gitlab_runner_repository_url"].rstrip("/").lower()]}
    # Its default needs a fact, which the tests may lack.
    suite = wanted.get("gitlab_runner_repository_suite", "")
    if suite:
        expected["Suites"] = [suite]
    # A flat repository has none.
    if not suite.endswith("/"):
        expected["Components"] = list(wanted["gitlab_runner_repository_components"])
    return {key: stated.get(key, []) for key in expected}, expected


def test_apt_reads_its_sources_without_a_complaint(host: Any) -> None:
    done = host.run("apt-get indextargets --format '$(SITE)'")
    said = done.stderr.strip().splitlines()
    assert done.rc == 0, f"apt's sources: expected readable, found {(said or ['an error'])[-1]}"
    odd = [line for line in said if "Conflicting" in line]
    assert not odd, f"apt's sources: expected no conflict, found {odd[0]}"


# --- service


def test_service_is_enabled_and_running(unit: dict[str, str]) -> None:
    told = unit.get(UNSTEADY, "")
    assert told == "", told
    here = (unit["ActiveState"], unit["SubState"], unit.get("UnitFileState"))
    assert here == ("active", "running", "enabled"), (
        f"{SERVICE}: expected enabled and running, found {_is(unit)}"
    )
    assert unit["NeedDaemonReload"] == "no", (
        f"{SERVICE}: expected loaded as its files are, "
        "found changed files (systemctl daemon-reload)"
    )


def test_timers_are_enabled_and_active(host: Any) -> None:
    """The daily clean and the watch of the disk; that of a drain runs during drains alone."""
    for name in ("runnerhost-clean.timer", "runnerhost-disk.timer"):
        text = host.check_output("systemctl show -p UnitFileState -p ActiveState %s", name)
        timer = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        here = (timer.get("UnitFileState"), timer.get("ActiveState"))
        # Provision enables it with --now, where it is not enabled.
        cure = f" (systemctl start {name})" if here[0] == "enabled" else ""
        assert here == ("enabled", "active"), (
            f"{name}: expected enabled and active, found {here[0] or 'missing'} and {here[1]}{cure}"
        )


def test_runner_takes_jobs(state: dict[str, list[str]]) -> None:
    """The watch of the disk pauses it, and takes that back by itself."""
    full = [value.partition(": ") for value in state.get("paused", []) if ":" in value]
    told = "; ".join(f"{service} is paused: {said}" for service, __, said in full)
    assert not full, f"the runner takes jobs: expected room on the disk, found {told}"


def test_drop_in_is_loaded(unit: dict[str, str], wanted: dict[str, Any]) -> None:
    assert DROP_IN in unit.get("DropInPaths", "").split(), f"drop-ins of {SERVICE}"
    # SIGQUIT: the running jobs end well.
    expected = {
        "KillSignal": "3 (SIGQUIT)",
        "KillMode": "mixed",
        "TimeoutStopUSec": _span(wanted["gitlab_runner_stop_timeout"]),
        "RestartUSec": "1s",
        "UMask": wanted["gitlab_runner_umask"],
        "CanReload": "yes",
    }
    found = {name: unit.get(name) for name in expected}
    if found["KillSignal"] == "3":
        found["KillSignal"] = "3 (SIGQUIT)"
    assert found == expected, f"settings of {SERVICE}"
    assert f"{FOLDER}/env-file" in unit["EnvironmentFiles"], f"environment files of {SERVICE}"


def test_services_read_their_configuration(host: Any, wanted: dict[str, Any]) -> None:
    """No drop-in of the host has replaced the command, or the user that it runs as."""
    folders = [folder for __, folder, __rest in services(wanted)]
    units = " ".join(f"{folder.rpartition('/')[2]}.service" for folder in folders)
    text = host.check_output(f"systemctl show -p Id -p ExecStart -p User {units}")
    found = {}
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        config = re.search(r" (?:--config|-c)[ =]\"?([^\s\";]+)", unit.get("ExecStart", ""))
        read = config[1] if config else f"{FOLDER}/config.toml"
        found[unit["Id"]] = f"{read} as {unit.get('User') or 'root'}"
    expected = {
        f"{one.rpartition('/')[2]}.service": f"{one}/config.toml as root" for one in folders
    }
    assert found == expected, "configuration and user of the services"


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
    assert on_disk, f"{DROP_IN}: expected its RUNNERHOST_GENERATION, found none"
    running(unit)
    now = host.check_output(f"tr '\\0' '\\n' < /proc/{unit['MainPID']}/environ")
    mark = host.file("/run/runnerhost/gitlab-runner.restart")
    is_new = f"RUNNERHOST_GENERATION={on_disk.group(1)}" in now.splitlines()
    assert is_new or mark.exists, (
        f"{SERVICE}: expected running with the settings on disk, found older ones and no restart "
        "pending"
    )


# --- files


@pytest.mark.parametrize(
    "name", [".", "config.toml", "env-file", "runnerhost.json", ".runner_system_id"]
)
def test_private_file(host: Any, wanted: dict[str, Any], name: str) -> None:
    path = FOLDER if name == "." else f"{FOLDER}/{name}"
    expected = "0700" if name == "." else "0600"
    file = host.file(path)
    if not file.exists and name == "runnerhost.json" and not wanted["gitlab_runner_runners"]:
        return
    assert file.exists, f"{path}: expected a file, found nothing"
    assert found_mode(file) == ("root", f"mode {expected}"), path


def found_mode(file: Any) -> tuple[str, str]:
    """Owner and mode, as `ls` and `chmod` have them."""
    if not file.exists:
        return "nobody", "no such file"
    return file.user, f"mode {file.mode:04o}"


def test_nothing_is_left_over(host: Any, state: dict[str, list[str]]) -> None:
    left = host.check_output(
        f"find {FOLDER} /etc/apt /etc/systemd/system /tmp -maxdepth 3 -name '*runnerhost-*' "
        r"-name '.runnerhost-*' -o -name 'runnerhost-offer-*' -o -name 'runnerhost-proof-*'"
    )
    # The daily clean puts old files aside there, and removes them.
    busy = "clean" in state
    paths = [p for p in left.splitlines() if not (busy and "/.runnerhost-old-" in p)]
    assert paths == [], "what a run that was cut off has left"


def test_no_token_can_be_read_by_all(host: Any, wanted: dict[str, Any]) -> None:
    found = host.check_output(
        "grep -rIlE 'glrt-[A-Za-z0-9_-]{10,}' /etc /run/runnerhost /var/lib/runnerhost /tmp "
        f"{wanted['gitlab_runner_home']} 2>/dev/null || true"
    )
    for path in found.split("\n"):
        if path:
            mode = host.file(path).mode
            assert mode & 0o077 == 0, (
                f"{path}, which holds a token: expected for its owner alone, found mode {mode:04o}"
            )


def test_job_user_has_no_trap_in_its_home(host: Any, wanted: dict[str, Any]) -> None:
    user = host.user(wanted["gitlab_runner_user"])
    assert user.exists, f"Unix user {user.name}: expected on the host, found nothing"
    assert user.home == wanted["gitlab_runner_home"], f"home of {user.name}"
    trap = f"{user.home}/.bash_logout"
    assert not host.file(trap).exists, f"{trap}: expected no such file (it ends jobs), found one"


def test_pip_cache_is_the_job_users_alone(host: Any, wanted: dict[str, Any]) -> None:
    cache = host.file(wanted["gitlab_runner_pip_cache_dir"])
    assert found_mode(cache) == (wanted["gitlab_runner_user"], "mode 0700"), cache.path


# --- what jobs see


def test_job_environment_has_the_wanted_values(
    job_environment: dict[str, str], wanted: dict[str, Any]
) -> None:
    for name, value in wanted["gitlab_runner_environment"].items():
        assert job_environment.get(name) == str(value), f"{name} in jobs"
    expected = {
        "PIP_CACHE_DIR": wanted["gitlab_runner_pip_cache_dir"],
        "HOME": wanted["gitlab_runner_home"],
    }
    assert {name: job_environment.get(name) for name in expected} == expected, "environment of jobs"


def test_job_environment_has_no_trap(job_environment: dict[str, str]) -> None:
    traps = sorted({"PYTHONPATH", "PYTHONHOME"} & set(job_environment))
    assert traps == [], "variables that jobs must not have"
    secret = [
        name
        for name, value in job_environment.items()
        if re.search(r"gl(rt|pat)-[A-Za-z0-9]|pypi-Ag", value)
    ]
    assert secret == [], "variables of jobs that hold a token"


def test_job_path(job_environment: dict[str, str], wanted: dict[str, Any]) -> None:
    path = job_environment["PATH"].split(":")
    extra = wanted["gitlab_runner_path"]
    assert path[: len(extra)] == extra, "beginning of the jobs' PATH"
    assert "/usr/bin" in path, "jobs' PATH"


def test_job_umask(host: Any, wanted: dict[str, Any]) -> None:
    """In a job's login shell: PAM may set another than the service has."""
    user = wanted["gitlab_runner_user"]
    found = host.check_output(f"su -s /bin/bash {user} -c 'bash -l -c umask'")
    assert found == str(wanted["gitlab_runner_umask"]), "umask of jobs"


def test_jobs_take_the_proxies(job_environment: dict[str, str], wanted: dict[str, Any]) -> None:
    """Each in both cases: git knows http_proxy in lower case alone. A password is not compared."""
    own = wanted["gitlab_runner_environment"]
    for scheme in ("http", "https"):
        proxy = wanted[f"network_access_{scheme}_proxy"]
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            if name not in own:
                address = re.sub("//[^/@]*@", "//", job_environment.get(name, ""))
                assert address == proxy, f"{name} in jobs"
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
        assert kill == "b true", "logind's KillUserProcesses: expected yes, found no"
        user = wanted["gitlab_runner_user"]
        assert only == "as 0" or f'"{user}"' in only, (
            f"logind's KillOnlyUsers: expected none or {user} among them, found {only}"
        )
    else:
        assert not host.file(LOGIND).exists, f"{LOGIND}: expected no such file, found one"


def test_job_user_has_no_systemd_manager(host: Any, wanted: dict[str, Any]) -> None:
    number = uid(host, wanted)
    kind = host.check_output(f"systemctl show user@{number}.service --property=Type --value")
    if wanted["gitlab_runner_user_manager"]:
        assert kind in ("notify", "notify-reload")
        return
    assert kind == "oneshot"
    linger = f"/var/lib/systemd/linger/{wanted['gitlab_runner_user']}"
    assert not host.file(linger).exists, f"{linger}: expected no such file, found one"
    done = host.run(
        f"su -s /bin/bash {wanted['gitlab_runner_user']} -c 'systemd-run --user --quiet true'"
    )
    assert done.rc != 0


def test_jobs_see_no_other_processes(
    host: Any, unit: dict[str, str], wanted: dict[str, Any]
) -> None:
    """Seen from inside the service's own mounts: a container may ignore ProtectProc silently."""
    if not wanted["gitlab_runner_hide_processes"]:
        assert unit.get("ProtectProc", "default") == "default"
        return
    assert unit["ProtectProc"] == "invisible"
    running(unit)
    mounts = host.check_output(f"cat /proc/{unit['MainPID']}/mountinfo")
    proc = [line for line in mounts.splitlines() if line.split()[4] == "/proc"]
    assert any("hidepid=invisible" in line or "hidepid=2" in line for line in proc), (
        f"/proc of gitlab-runner: expected mounted with hidepid=invisible, found {proc}"
    )


def test_jobs_files_are_for_no_other_user(host: Any, wanted: dict[str, Any]) -> None:
    home = host.file(host.user(wanted["gitlab_runner_user"]).home)
    assert found_mode(home) == (wanted["gitlab_runner_user"], "mode 0700"), home.path


# --- isolated runners


def test_isolated_services_are_those_of_the_inventory(host: Any, wanted: dict[str, Any]) -> None:
    # By the toolkit's own drop-in: other services are named in a warning.
    listed = host.check_output(
        "ls -d /etc/systemd/system/gitlab-runner-*.service.d/zz-runnerhost.conf 2>/dev/null || true"
    )
    found = {line.split("/")[-2].removesuffix(".d") for line in listed.splitlines()}
    names = {one["name"] for one in wanted["gitlab_runner_isolated"]}
    assert found == {f"gitlab-runner-{name}.service" for name in names}, "isolated services"


def test_isolated_runners_share_nothing(host: Any, wanted: dict[str, Any]) -> None:
    pids = {host.check_output(f"systemctl show -P MainPID {SERVICE}")}
    for one in wanted["gitlab_runner_isolated"]:
        service = f"gitlab-runner-{one['name']}"
        user = one.get("user") or service
        home = host.file(one.get("home") or f"/home/{user}")
        assert found_mode(home) == (user, "mode 0700"), home.path
        folder = host.file(f"/etc/{service}")
        assert found_mode(folder) == ("root", "mode 0700"), folder.path
        for name in ("config.toml", "env-file", "runnerhost.json"):
            path = f"/etc/{service}/{name}"
            assert found_mode(host.file(path)) == ("root", "mode 0600"), path
        unit = dict(
            line.split("=", 1)
            for line in host.check_output(f"systemctl show {service}.service").splitlines()
            if "=" in line
        )
        told = unsteady(host, f"{service}.service", unit)
        assert told == "", told
        assert (unit["ActiveState"], unit.get("UnitFileState")) == ("active", "enabled"), (
            f"{service}.service: expected enabled and active, found {_is(unit)}"
        )
        assert (unit["KillSignal"], unit["KillMode"]) == ("3", "mixed")
        assert (unit["ProtectProc"], unit["PrivateTmp"]) == ("invisible", "yes")
        # Seen from inside: a container may ignore both silently.
        mounts = host.check_output(f"cat /proc/{unit['MainPID']}/mountinfo").splitlines()
        at = {line.split()[4]: line for line in mounts}
        assert re.search(r"hidepid=(invisible|2)", at["/proc"]), (
            f"/proc of {service}: expected mounted with hidepid=invisible, found {at['/proc']}"
        )
        assert "/tmp" in at
        process = host.check_output(f"ps -o args= -p {unit['MainPID']}")
        assert f"--user {user}" in process
        pids.add(unit["MainPID"])
    assert len(pids) == 1 + len(wanted["gitlab_runner_isolated"])


# --- configuration


def test_concurrency(config: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert config.get("concurrent", 1) == wanted["gitlab_runner_concurrent"], (
        "concurrent in config.toml"
    )


def test_global_settings(config: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert part(config, wanted["gitlab_runner_settings"]) == wanted["gitlab_runner_settings"], (
        "gitlab_runner_settings in config.toml"
    )


def part(found: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """Of a table of config.toml what the inventory names; the daemon adds keys and drops zeros."""
    table = found if isinstance(found, dict) else {}
    return {
        key: part(table.get(key), value)
        if isinstance(value, dict)
        else table.get(key) or (None if value else value)
        for key, value in wanted.items()
    }


def test_isolated_runners_are_configured(
    host: Any, wanted: dict[str, Any], state: dict[str, list[str]]
) -> None:
    paused = [value.partition(":")[0] for value in state.get("paused", [])]
    for one in wanted["gitlab_runner_isolated"]:
        service = f"gitlab-runner-{one['name']}"
        ending = ".runnerhost-drained" if service in paused else ""
        found = parsed(host, f"/etc/{service}/config.toml{ending}")
        settings = {"concurrent": one.get("concurrent", 1), **(one.get("settings") or {})}
        assert part({"concurrent": 1, **found}, settings) == settings, f"config.toml of {service}"
        noted = noted_in(host, f"/etc/{service}")
        for runner in one["runners"]:
            if runner.get("state", "present") != "absent":
                is_configured(found, noted, runner, wanted["gitlab_runner_url"])


@pytest.fixture(scope="session")
def noted(host: Any) -> list[dict[str, Any]]:
    """Which entry of the inventory became which runner."""
    return noted_in(host, FOLDER)


def noted_in(host: Any, folder: str) -> list[dict[str, Any]]:
    """The entries of a folder's runnerhost.json; none where it is missing or no JSON."""
    file = host.file(f"{folder}/runnerhost.json")
    try:
        return list(json.loads(file.content_string)["entries"]) if file.exists else []
    except (ValueError, KeyError, TypeError):
        return []


def number(runner: dict[str, Any]) -> str:
    """A runner's id in words."""
    return f"id {runner['id']}" if runner.get("id") else "without an id"


def test_runner_is_configured(
    config: dict[str, Any],
    noted: list[dict[str, Any]],
    runner: dict[str, Any],
    wanted: dict[str, Any],
) -> None:
    is_configured(config, noted, runner, wanted["gitlab_runner_url"])


def is_configured(
    config: dict[str, Any], noted: list[dict[str, Any]], runner: dict[str, Any], url: str
) -> None:
    """By its id: a foreign runner may have the same name. Zero values may be left out.

    Args:
        config: a service's config.toml.
        noted: the entries of the file beside it.
        runner: the inventory's entry.
        url: the GitLab of entries that name none.
    """
    name = runner["name"]
    ids = {note["id"] for note in noted if note["name"] == name}
    found = [r for r in config.get("runners", []) if r.get("id") in ids]
    others = [r for r in config.get("runners", []) if r.get("name") == name and r not in found]
    if not found:
        own = f"id {min(ids)} (from the inventory)" if ids else "in config.toml"
        told = ", ".join(f"{number(r)} (registered by hand)" for r in others) or "nothing"
        pytest.fail(f"runner {name!r}: expected {own}, found {told}", pytrace=False)
    assert found[0]["name"] == name, f"name of the runner with {number(found[0])}"
    assert found[0]["token"] == "present", f"runner {name!r}: expected a token, found none"
    here, there = str(found[0].get("url", "")), str(runner.get("url") or url)
    assert bare_url(here) == bare_url(there), (
        f"url of runner {name!r}: expected {there}, found {here or 'nothing'}"
    )
    for key, value in {"executor": "shell", **runner}.items():
        # What GitLab itself holds of the runner is not in the file.
        if key not in ("token", "url", "cache", "gitlab", "state"):
            assert (found[0].get(key) or None) == (value or None), f"{key} of runner {name!r}"


def bare_url(url: str) -> str:
    """A GitLab's address as the role compares it (plugins/plugin_utils/_runner_keys.py)."""
    return url.rstrip("/").removesuffix("/ci").rstrip("/").lower()


def test_runners_that_the_inventory_does_not_name(
    host: Any,
    wanted: dict[str, Any],
    state: dict[str, list[str]],
    note: Callable[[str], None],
    unnamed_runners: list[dict[str, Any]],
) -> None:
    """They are kept as they are, and so are no difference; each is told by name and id."""
    paused = [value.partition(":")[0] for value in state.get("paused", [])]
    services = [("gitlab-runner", wanted["gitlab_runner_runners"])]
    services += [
        (f"gitlab-runner-{one['name']}", one.get("runners", []))
        for one in wanted["gitlab_runner_isolated"]
    ]
    for service, entries in services:
        ending = ".runnerhost-drained" if service in paused else ""
        file = host.file(f"/etc/{service}/config.toml{ending}")
        try:
            runners = tomllib.loads(file.content_string).get("runners", []) if file.exists else []
        except tomllib.TOMLDecodeError:
            # Another test tells of it.
            continue
        names = {entry["name"] for entry in entries if entry.get("state") != "absent"}
        notes = [one for one in noted_in(host, f"/etc/{service}") if one["name"] in names]
        ids = {(one["id"], str(one.get("url", "")).rstrip("/")) for one in notes}
        for one in runners:
            name, key = str(one.get("name", "")), (one.get("id"), str(one.get("url")).rstrip("/"))
            if key in ids:
                continue
            unnamed_runners.append({"name": name, "id": one.get("id"), "service": service})
            own = [r["id"] for r in notes if r["name"] == name]
            if own:
                note(
                    f"{service} has two runners named {name!r}: id {own[0]} (from the inventory) "
                    f"and {number(one)} (registered by hand)"
                )
            else:
                note(f"{service}: runner {name!r}, {number(one)}, is not in the inventory")


# --- other daemons keep off


def test_needrestart_keeps_off(host: Any) -> None:
    file = host.file("/etc/needrestart/conf.d/50-runnerhost.conf")
    assert file.exists, f"{file.path}: expected a file, found nothing"
    assert "qr(^gitlab-runner)} = 0;" in file.content_string, f"settings in {file.path}"


def test_unattended_upgrades_keep_off(host: Any) -> None:
    text = host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
    assert '"gitlab-runner"' in text, "packages that unattended-upgrades leaves alone"


# --- what the inventory names on the host


def services(wanted: dict[str, Any]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Each service's user, the folder of its configuration, and its runners."""
    found = [(wanted["gitlab_runner_user"], FOLDER, wanted["gitlab_runner_runners"])]
    for one in wanted["gitlab_runner_isolated"]:
        service = f"gitlab-runner-{one['name']}"
        found.append((one.get("user") or service, f"/etc/{service}", one["runners"]))
    return [
        (user, folder, [r for r in runners if r.get("state", "present") != "absent"])
        for user, folder, runners in found
    ]


def test_root_can_become_the_job_users(host: Any, wanted: dict[str, Any]) -> None:
    """As the runner does it for each stage of a job."""
    for user, __rest, __ in services(wanted):
        done = host.run(f"su -s /bin/bash {user} -c true </dev/null")
        said = done.stderr.strip() or f"exit code {done.rc}"
        assert done.rc == 0, f"root can become {user}: expected an answer, found {said}"


def test_jobs_can_write_to_their_folders(host: Any, wanted: dict[str, Any]) -> None:
    for user, __rest, runners in services(wanted):
        for runner in runners:
            for key in ("builds_dir", "cache_dir"):
                if runner.get(key) and runner.get("executor", "shell") == "shell":
                    work = f'f=$(mktemp -d -p "{runner[key]}") && rmdir "$f"'
                    done = host.run("su -s /bin/bash %s -c %s", user, work)
                    said = done.stderr.strip() or f"exit code {done.rc}"
                    assert done.rc == 0, (
                        f"{key} of runner {runner['name']!r}: expected to be {user}'s to write, "
                        f"found {said}"
                    )


def test_named_certificates_are_there(host: Any, wanted: dict[str, Any]) -> None:
    for __rest, __, runners in services(wanted):
        for runner in runners:
            for key, mark in (
                ("tls-ca-file", "BEGIN CERTIFICATE"),
                ("tls-cert-file", "BEGIN CERTIFICATE"),
                ("tls-key-file", "PRIVATE KEY"),
            ):
                if runner.get(key):
                    done = host.run("grep -q %s %s", mark, runner[key])
                    assert done.rc == 0, (
                        f"{key} of runner {runner['name']!r}: expected a file with {mark}, "
                        f"found none in {runner[key]}"
                    )


def test_job_users_have_their_groups(host: Any, wanted: dict[str, Any]) -> None:
    for user, one in accounts(wanted):
        found = set(host.check_output("id -Gn %s", user).split())
        assert set(one["groups"]) <= found, f"groups of {user}"


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
            assert len(paths) == 1, (
                f"SSH key {key['name']} of {user}: expected once in ssh's configuration, "
                f"found {len(paths)} times"
            )
            assert found_mode(host.file(paths[0])) == (user, "mode 0600"), paths[0]


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
        ),
    ]
