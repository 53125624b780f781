# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret shows while the playbooks run, and what a job holds is for no other Unix user."""

from __future__ import annotations

import os
import re
import secrets as chance
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lab.jobs import push_folder
from tests.lab.gitlab_proxy import by_api
from tests.lab.leaks import known_secrets, leaks, logs, watched
from tests.lab.site import ROOT, Site, until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="skipped: only root can read every process"),
]

# In their order; the host is retired last.
VERBS = ("site.yml", "site.yml", "verify.yml", "adopt.yml", "rotate.yml", "upgrade.yml")
SMALL = {
    "build_tools_packages": ["ninja-build"],
    "python_versions_wanted": ["3.9"],
    "python_versions_packages": ["python{version}", "python{version}-venv"],
}


@pytest.fixture(scope="module")
def variables(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Of a host with a created runner, one with a token, and a mirror that asks for a password."""
    with by_api(site, "create_runner", "manage_runner", "read_user") as (api, _):
        yield {
            "gitlab_runner_adopt_folder": str(tmp_path_factory.mktemp("adopted")),
            **SMALL,
            "runner_host_verify_roles": ["network_access", "gitlab_runner"],
            **api,
            "network_access_repository_credentials": [
                {
                    "url": "https://index.example.com/simple",
                    "login": "hosts",
                    "password": chance.token_urlsafe(24),
                }
            ],
            "gitlab_runner_runners": [
                {"name": "made", "gitlab": {"runner_type": "instance_type"}},
                {"name": "given", "token": site.variables["lab_runner_tokens"]["jammy"][0]},
            ],
            # Only `upgrade.yml` goes by it once the host has a runner.
            "gitlab_runner_version": "latest",
        }


@pytest.fixture(scope="module")
def secrets(variables: dict[str, Any]) -> set[str]:
    """All that ever was one; grows with each run."""
    credentials = variables["network_access_repository_credentials"][0]
    return {str(variables["gitlab_runner_api_token"]), str(credentials["password"])}


def run_watched(site: Site, verb: str, variables: dict[str, Any], secrets: set[str]) -> None:
    with watched(site) as watch:
        secrets |= known_secrets(site)
        run = site.playbook(verb, "-vvv", "--diff", extra=variables)
    assert run.code == 0, run.output
    secrets |= known_secrets(site)
    assert any(
        place == "arguments on the host" and b"python3" in text for place, text in watch.seen
    )
    assert watch.leaks(secrets) == set()


@pytest.mark.parametrize("number", range(len(VERBS)), ids=[v.partition(".")[0] for v in VERBS])
def test_none_in_processes_and_temporary_files(
    site: Site, variables: dict[str, Any], secrets: set[str], number: int
) -> None:
    run_watched(site, VERBS[number], variables, secrets)


def test_jobs_secrets_are_for_no_other_user(site: Site) -> None:
    """The runner writes them for all to read: the folders above are closed."""
    site.sh("id other >/dev/null 2>&1 || useradd --create-home --shell /bin/bash other")
    value = chance.token_urlsafe(24)
    with site.gitlab() as gitlab:
        project, sha = push_folder(gitlab, ROOT / "lab/projects/demo")
        job = gitlab.queue_job(
            project.path,
            [
                "echo begun $KEYFILE",
                "cp $KEYFILE copy",
                "until test -e /var/tmp/looked; do sleep 0.2; done",
            ],
            variables=[{"key": "KEYFILE", "value": value, "file": True}],
            sha=sha,
            timeout=300,
        )
        try:
            until(lambda: "begun" in gitlab.trace(job), 60, "the job runs")
            home = site.sh("getent passwd gitlab-runner | cut -d: -f6").strip()
            token = site.sh(
                f"grep -rhoE 'gitlab-ci-token:[^@]+' {home} | head -1 | cut -d: -f2"
            ).strip()
            assert token
            assert value in site.sh(f"cat $(find {home} -name KEYFILE)")
            seen = site.sh(
                "su -s /bin/bash other <<'X'\n"
                f"find {home} /proc/[0-9]*/environ -type f -readable ! -user other 2>/dev/null\n"
                f"cat $(find {home} -type f 2>/dev/null) /dev/null\n"
                "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'\n"
                f"grep -rsF -e {value[:12]} /tmp /var/tmp /run\n"
                "true\nX"
            )
        finally:
            site.sh("touch /var/tmp/looked")
        assert gitlab.wait_job(job, 60).state == "success", gitlab.trace(job)
    assert home not in re.sub(rf"--working-directory\n{home}", "", seen)
    assert value not in seen
    assert token not in seen


# What the variable gitlab_runner_hidepid of earlier versions did to a host.
HIDEPID = r"""
set -e
groupadd --system runnerhost-hidepid
cd /etc/systemd/system
logind=systemd-logind.service.d/zz-runnerhost.conf
mkdir -p ${logind%/*} /run/runnerhost/hidepid
printf '[Service]\nCapabilityBoundingSet=CAP_SYS_PTRACE\n' > $logind
printf '#!/bin/sh\n' > /usr/local/lib/runnerhost/hidepid
chmod 0755 /usr/local/lib/runnerhost/hidepid
printf '[Service]\nExecStart=/usr/local/lib/runnerhost/hidepid\n' > runnerhost-hidepid.service
ln -s ../runnerhost-hidepid.service multi-user.target.wants/
cat > /etc/dbus-1/system.d/zz-runnerhost.conf <<'X'
<busconfig><policy context="default">
<deny send_destination="org.freedesktop.systemd1"
  send_interface="org.freedesktop.systemd1.Manager" send_member="GetUnitProcesses"/>
</policy></busconfig>
X
touch /run/runnerhost/hidepid/0123456789ab
systemctl daemon-reload
systemctl restart systemd-logind
systemctl reload dbus
mount -o remount,hidepid=2,gid=$(getent group runnerhost-hidepid | cut -d: -f3) /proc
"""
ASK = (
    "su -s /bin/bash other -c 'busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
    "org.freedesktop.systemd1.Manager GetUnitProcesses s cron.service' 2>&1 || true"
)
LOGIND_SEES_ALL = (
    "pid=$(systemctl show --property MainPID --value systemd-logind)\n"
    # Bit 19 is CAP_SYS_PTRACE (linux/capability.h).
    "echo $((0x$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/$pid/status) >> 19 & 1))"
)


def test_what_an_earlier_version_hid_is_shown_again(site: Site, variables: dict[str, Any]) -> None:
    site.sh(HIDEPID)
    assert int(site.sh(LOGIND_SEES_ALL)) == 1
    assert "Access denied" in site.sh(ASK)
    run = site.playbook("site.yml", "-vvv", "--diff", extra=variables)
    assert run.code == 0, run.output
    assert "hidepid" not in site.sh("grep ' /proc proc ' /proc/mounts")
    assert site.sh("getent group runnerhost-hidepid || true") == ""
    assert "Access denied" not in site.sh(ASK)
    assert int(site.sh(LOGIND_SEES_ALL)) == 0
    left = "ls -d /run/runnerhost/hidepid; find /etc /usr/local -name '*hidepid*'"
    assert site.sh(f"{{ {left}; }} 2>/dev/null || true") == ""
    again = site.playbook("site.yml", "-vvv", "--diff", extra=variables)
    assert again.counts()["changed"] == 0, again.output


def test_none_while_a_host_is_retired(
    site: Site, variables: dict[str, Any], secrets: set[str]
) -> None:
    run_watched(site, "retire.yml", variables, secrets)


def test_none_anywhere(site: Site, secrets: set[str]) -> None:
    """Output at -vvv with --diff, logs, GitLab's request log, the journal, readable files."""
    assert len(site.outputs) == len(VERBS) + 3
    assert leaks(site, secrets) == set()
    # What is no world-readable file, too: a retired host holds no runner's token.
    left = site.sh("grep -rlE 'glrt-[A-Za-z0-9_.-]{12,}' /etc /var /run /root /home /tmp || true")
    assert left == ""


def test_watch_sees_one_in_each_place(site: Site) -> None:
    """Planted, it is found: in arguments, environments and temporary files of both sides."""
    planted = chance.token_urlsafe(24)
    wait = "until test -e /run/seen; do sleep 0.1; done"
    with ExitStack() as stack:
        for arguments, more in (
            (["sh", "-c", "read x", planted], {}),
            (["sh", "-c", "read x"], {"user": "nobody", "env": {"PLANTED": planted}}),
        ):
            process = stack.enter_context(
                subprocess.Popen(arguments, stdin=subprocess.PIPE, **more)  # type: ignore[call-overload]
            )
            assert process.stdin
            # Before the wait for its end.
            stack.callback(process.stdin.close)
        site.sh("rm -f /run/seen")
        stack.callback(site.sh, "touch /run/seen; rm -f /var/tmp/planted")
        with watched(site) as watch:
            file = site.temporary / "planted"
            file.write_text(planted)
            stack.callback(file.unlink)
            site.sh(
                f"umask 077; echo {planted} > /var/tmp/planted\n"
                f"sh -c '{wait}' {planted} >/dev/null 2>&1 &\n"
                f"PLANTED={planted} setpriv --reuid=65534 --clear-groups sh -c '{wait}' "
                ">/dev/null 2>&1 &\n"
            )
            sides = ("the host", "the controller")
            kinds = ("arguments", "environment", "temporary file")
            expected = {f"{kind} on {side}" for kind in kinds for side in sides}
            until(lambda: watch.leaks({planted}) >= expected, 60, f"seen: {', '.join(expected)}")
        assert watch.leaks({planted}) == expected
        # No word of this file, which someone may be copying just now.
        assert watch.leaks({chance.token_urlsafe(24)}) == set()


def test_search_sees_one_in_each_place(site: Site) -> None:
    """Planted, it is found: in output, each log, GitLab's requests, the journal and files."""
    planted = chance.token_urlsafe(24)
    kept = list(site.outputs)
    sizes = {path: path.stat().st_size for path in logs(site)}
    open_file = site.lab.state / "planted.txt"
    site.sh(
        f"echo {planted} | systemd-cat -t planted; journalctl --sync\n"
        f"echo {planted} > /var/tmp/planted; chmod 0644 /var/tmp/planted"
    )
    try:
        site.outputs.append(f"changed: {planted}")
        for path in sizes:
            with path.open("a") as stream:
                stream.write(f'{{"seq": 0, "body": "{planted}"}}\n')
        open_file.write_text(planted)
        open_file.chmod(0o644)
        with site.gitlab() as gitlab:
            # In a place where GitLab's log cuts nothing.
            gitlab.api("GET", f"/version?of={planted}")
        found = leaks(site, {planted})
    finally:
        open_file.unlink(missing_ok=True)
        for path, size in sizes.items():
            os.truncate(path, size)
        site.outputs[:] = kept
        site.sh("rm -f /var/tmp/planted")
    expected = {f"output {len(kept)}", "journal", "GitLab's requests", "host /var/tmp/planted"}
    expected |= {f"log {path.name}" for path in sizes} | {f"controller {open_file.name}"}
    # A log that every user of this machine can read counts twice.
    assert found - {f"controller {path.name}" for path in sizes} == expected
