# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on a lab host: provisioned, idempotent, no job lost, nothing leaked, refusals.

The tests run in their order: each starts from the host that the one before left.
"""

from __future__ import annotations

import base64
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _env_file
from tests.lab.breaks import PENDING_UPGRADE, make_due
from tests.lab.earlier import compare
from tests.lab.leaks import known_secrets, leaks, logs
from tests.lab.manifest import take
from tests.lab.site import ROOT, Site, queue, until

pytestmark = pytest.mark.lab


def runners(site: Site, count: int, **more: Any) -> list[dict[str, Any]]:
    """Inventory entries for the first runners that the lab's GitLab has for the host."""
    tokens = site.variables["lab_runner_tokens"]["jammy"][:count]
    names = ["jammy-build", *(f"jammy-{n}" for n in range(2, count + 1))]
    return [{"name": n, "token": t, **more} for n, t in zip(names, tokens, strict=True)]


def snapshot(site: Site) -> str:
    """Everything on the host that a refused run must leave as it is."""
    return site.sh(
        "find /etc /usr/local /var/lib/runnerhost /home /opt -xdev -type f "
        "-not -name '*.lock' -printf '%p %m %u %s %T@\\n' 2>/dev/null | sort; "
        "dpkg-query -W; ls /var/lib/apt/lists; systemctl show gitlab-runner -p MainPID"
    )


@pytest.fixture(scope="module", autouse=True)
def fresh(site: Site) -> dict[str, Any]:
    """All that was on the host before anything was provisioned."""
    return take(site.sh)


def test_refused_before_a_fresh_host_is_touched(site: Site) -> None:
    """The last role's bad variable stops the run before the first role changes anything."""
    before = snapshot(site)
    run = site.playbook("site.yml", extra={"gitlab_runner_runners": [{"name": "x"}]})
    assert run.code != 0
    assert "token: missing; expected a runner authentication token" in re.sub(
        r"\s+", " ", run.output
    )
    # So does a package that apt would refuse in the middle of the run.
    for mode in (["--check"], []):
        run = site.playbook(
            "site.yml", *mode, extra={"build_tools_extra_packages": ["libffi-devel"]}
        )
        assert run.code != 0
        said = re.sub(r"\s+", " ", run.output)
        assert "build_tools_extra_packages: cannot install 'libffi-devel'" in said
        assert "did you mean libffi-dev?" in said
        url = site.variables["lab_gitlab_url"].replace("https://", "http://")
        run = site.playbook("site.yml", *mode, extra={"gitlab_runner_url": url})
        assert run.code != 0
        said = re.sub(r"\s+", " ", run.output)
        assert f"gitlab_runner_url: {url} cannot be used from this host: " in said
        assert "https:// in place of http://?" in said
        behind = f"{site.variables['lab_gitlab_url']}/group/project"
        run = site.playbook("site.yml", *mode, extra={"gitlab_runner_url": behind})
        assert run.code != 0
        said = re.sub(r"\s+", " ", run.output)
        assert f"gitlab_runner_url: {behind} cannot be used from this host: (HTTP 302) this" in said
        unknown = [{"name": "build", "token": f"glrt-t1_{'x' * 20}"}]
        run = site.playbook("site.yml", *mode, extra={"gitlab_runner_runners": unknown})
        assert run.code != 0
        said = re.sub(r"\s+", " ", run.output)
        assert "gitlab_runner_runners[0] (build).token: GitLab at https://" in said
        assert "refuses it (403)" in said
    assert snapshot(site) == before


def test_check_mode_on_a_fresh_host_changes_nothing(site: Site) -> None:
    before = snapshot(site)
    run = site.playbook("site.yml", "--check", "--diff", "-vvv")
    assert run.code == 0, run.output
    assert run.counts()["changed"] > 0
    assert "from a repository not yet added" in run.output
    assert snapshot(site) == before


def test_first_run_does_what_check_mode_predicted(site: Site) -> None:
    # Another vendor's source that is down is nothing that the run needs.
    vendor = "/etc/apt/sources.list.d/vendor.list"
    site.sh(f"echo 'deb http://127.0.0.1:9/x jammy stable' > {vendor}")
    predicted = site.changes("site.yml", "--check")
    done = site.changes("site.yml")
    site.sh(f"rm {vendor}")
    assert len(done) > 30
    assert predicted == done


def test_second_run_changes_nothing(site: Site) -> None:
    second = site.playbook("site.yml", "--diff", "-vvv")
    assert second.code == 0, second.output
    assert second.counts()["changed"] == 0, second.output
    warned = re.findall(r"\[WARNING\]: (.*)", second.output)
    assert [text for text in warned if "reached its end of life" not in text] == []


def test_host_is_the_one_that_an_earlier_version_left(site: Site, fresh: dict[str, Any]) -> None:
    compare("site", fresh, take(site.sh))


def test_tools_are_roots_and_are_switched_while_a_job_uses_them(site: Site, tmp_path: Path) -> None:
    folder = "/usr/local/lib/runnerhost/publish-tools"
    job = queue(
        site,
        "runnerhost-release --help | head -n 1",
        f"for file in {folder}/release.py {folder}/current/bin/twine /usr/local/bin/twine; do "
        "if echo >>$file; then echo $file 'is' changed; fi; done 2>&1",
        f"now=$(readlink -f {folder}/current)",
        '$now/bin/python -c \'import os, time\nprint("begun", flush=True)\n'
        'while not os.path.exists("/var/tmp/go"): time.sleep(0.2)\n'
        'import twine; print("twine", twine.__version__)\'',
    )
    before = site.sh(f"readlink -f {folder}/current").strip()
    # pip has installed uv, and uv the rest.
    about = "lib/python3*/site-packages/{uv,twine}-*.dist-info/INSTALLER"
    assert site.sh(f"bash -c 'cat {before}/{about}'").split() == ["pip", "uv"]
    lock = tmp_path / "tools.txt"
    lock.write_text((ROOT / "requirements-release.txt").read_text() + "# Another lock.\n")
    extra = {"publish_tools_lock": str(lock)}
    with site.gitlab() as gitlab:
        until(lambda: "begun" in gitlab.trace(job), 60, "the job uses the tools")

        # A command of somebody else's stays, and stops the run before it changes anything.
        site.sh("cd /usr/local/bin && mv uv /var/tmp/uv && echo mine > uv")
        state = snapshot(site)
        run = site.playbook("site.yml", extra=extra)
        assert run.code != 0
        assert "/usr/local/bin/uv: exists on the host and is not the toolkit's" in re.sub(
            r"\s+", " ", run.output
        )
        assert snapshot(site) == state
        site.sh("mv /var/tmp/uv /usr/local/bin/uv")

        assert site.changes("site.yml", "--check", "-e", f"publish_tools_lock={lock}")
        run = site.playbook("site.yml", extra=extra)
        assert run.counts()["changed"] == 1, run.output
        after = site.sh(f"readlink -f {folder}/current").strip()
        assert after != before
        assert gitlab.job(job).state == "running"
        # What the job uses stays, and is no difference.
        assert site.playbook("site.yml", extra=extra).counts()["changed"] == 0
        site.sh("touch /var/tmp/go")
        assert gitlab.wait_job(job, 60).state == "success", gitlab.trace(job)
        trace = gitlab.trace(job)
    assert "usage: release.py" in trace
    assert "is changed" not in trace
    assert trace.count("Permission denied") == 3
    assert re.search(r"^twine \d", trace, re.MULTILINE)
    site.sh("rm /var/tmp/go")
    run = site.playbook("site.yml", extra=extra)
    assert run.counts()["changed"] == 1, run.output
    assert before not in site.sh(f"ls -d {folder}/*")
    assert site.playbook("verify.yml", extra=extra).code == 0


def test_ten_runners_and_again(site: Site) -> None:
    extra = {"gitlab_runner_runners": runners(site, 10, limit=1)}
    first = site.playbook("site.yml", "--diff", "-vvv", extra=extra)
    assert first.code == 0, first.output
    second = site.playbook("site.yml", "--diff", "-vvv", extra=extra)
    assert second.counts()["changed"] == 0, second.output
    ids = site.sh("grep -E '^ *id = ' /etc/gitlab-runner/config.toml").split("\n")
    assert len({line for line in ids if line}) == 10


def test_runners_that_are_no_longer_named_are_kept_and_named(site: Site) -> None:
    run = site.playbook("site.yml")
    assert run.code == 0, run.output
    assert re.search(r"kept as they\s+are:[\s\S]*jammy-10", run.output), run.output
    text = site.sh("grep -c '^\\[\\[runners' /etc/gitlab-runner/config.toml")
    assert int(text) == 10


def test_a_job_survives_changes_and_the_host_restarts_itself_when_idle(site: Site) -> None:
    started = site.sh("systemctl show gitlab-runner -p MainPID --value").strip()
    job = queue(
        site,
        "echo first line",
        "until test -e /var/tmp/go; do sleep 0.2; done",
        "echo last line of $LAB_TEST_VALUE.",
        timeout=300,
    )
    with site.gitlab() as gitlab:
        gitlab.wait_for_job(job, lambda info: info.state == "running", 60)
        until(lambda: "first line" in gitlab.trace(job), 60, "the job prints")
        extra = {
            "gitlab_runner_concurrent": 3,
            "gitlab_runner_environment": {"LAB_TEST_VALUE": "after", **_index(site)},
            "gitlab_runner_runners": [{**runners(site, 1)[0], "name": "renamed"}],
        }
        run = site.playbook("site.yml", "--diff", "-vvv", extra=extra)
        assert run.code == 0, run.output
        assert "by itself once its running jobs have ended" in run.output
        assert gitlab.job(job).state == "running"
        # The configuration is in force at once, in the same process.
        assert site.sh("systemctl show gitlab-runner -p MainPID --value").strip() == started
        config = site.sh("cat /etc/gitlab-runner/config.toml")
        assert "concurrent = 3" in config
        assert 'name = "renamed"' in config

        # Still pending: told again, signalled no second time, no change.
        again = site.playbook("site.yml", "--diff", "-vvv", extra=extra)
        assert again.counts()["changed"] == 0, again.output
        assert "by itself once its running jobs have ended" in again.output
        signals = site.sh("journalctl -u gitlab-runner -o cat | grep -c 'Sent signal SIGQUIT'")
        assert int(signals) == 1

        site.sh("touch /var/tmp/go")
        done = gitlab.wait_job(job, 60)
        assert done.state == "success"
        assert len(done.pickups) == 1
        assert "last line of ." in gitlab.trace(job)
        until(
            lambda: (
                site.sh("systemctl show gitlab-runner -p MainPID --value").strip()
                not in (started, "0")
            ),
            60,
            "the host restarts the runner by itself",
        )
        second = queue(site, "echo value=$LAB_TEST_VALUE.")
        assert gitlab.wait_job(second, 60).state == "success"
        assert "value=after." in gitlab.trace(second)
    site.sh("rm -f /var/tmp/go")
    converged = site.playbook("site.yml", extra=extra)
    assert converged.counts()["changed"] == 0, converged.output
    assert "Pending on this host" not in converged.output


def _index(site: Site) -> dict[str, str]:
    found: dict[str, str] = site.variables["lab_index_environment"]
    return found


def test_a_jobs_leftovers_die_and_it_sees_no_others(site: Site) -> None:
    job = queue(
        site,
        "setsid sleep 4242 & disown",
        "echo processes: $(ps -e --no-headers | wc -l)",
        "ps -ef | grep -c '[s]shd' || true",
        "systemd-run --user --quiet sleep 4242 || echo no manager",
    )
    with site.gitlab() as gitlab:
        assert gitlab.wait_job(job, 90).state == "success", gitlab.trace(job)
        trace = gitlab.trace(job)
    assert "no manager" in trace
    seen = re.search(r"processes: (\d+)", trace)
    assert seen
    assert int(seen.group(1)) < 20
    until(
        lambda: site.sh("pgrep -u gitlab-runner -f 'sleep 4242' || true").strip() == "",
        30,
        "leftovers are gone",
    )


def test_a_rotated_token_is_never_undone(site: Site) -> None:
    with site.gitlab() as gitlab:
        entry = runners(site, 2)[1]
        ids = re.findall(r"id = (\d+)", site.sh("cat /etc/gitlab-runner/config.toml"))
        number = int(ids[1])
        gitlab.set_runner(number, token_ttl=7200)
        since = gitlab.last_request()
        make_due(site, number)
        gitlab.wait_request(
            lambda r: "reset_authentication_token" in r["path"] and r["status"] == 201,
            60,
            since=since,
        )
    until(
        lambda: entry["token"] not in site.sh("cat /etc/gitlab-runner/config.toml"),
        30,
        "the daemon writes the new token",
    )
    rotated = site.sh("cat /etc/gitlab-runner/config.toml")
    extra = {"gitlab_runner_runners": runners(site, 2), "gitlab_runner_concurrent": 4}
    run = site.playbook("site.yml", "--diff", "-vvv", extra=extra)
    assert run.code == 0, run.output
    after = site.sh("cat /etc/gitlab-runner/config.toml")
    assert entry["token"] not in after
    tokens = set(re.findall(r"glrt-[\w.-]+", rotated))
    assert set(re.findall(r"glrt-[\w.-]+", after)) == tokens
    assert site.sh("gitlab-runner verify 2>&1 | grep -c 'is valid'").strip() == "10"


BAD = {"name": "x", "token": "glrt-" + "planted0" * 3}
REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"python_versions_wanted": ["3.9", "3.8"]}, "3.8 is not available from"),
    ({"python_versions_wanted": [3.9]}, r"_wanted\[0\]: invalid value 3.9 \(float\)"),
    ({"python_versions_repository_suite": "nosuch"}, "no such suite"),
    (
        {"python_versions_repository_url": "http://127.0.0.1:1/ubuntu"},
        "nothing answers at its address",
    ),
    ({"python_versions_repository_key_fingerprint": "A" * 40}, "trusted is AAAA"),
    ({"python_versions_repository_origin": "Elsewhere"}, "states the origin"),
    ({"gitlab_runner_version": "16.0.0"}, "on offer there: gitlab-runner: "),
    ({"gitlab_runner_repository_key": "/no/such/file"}, "cannot read /no/such/file"),
    ({"gitlab_runner_concurrent": 0}, "gitlab_runner_concurrent: invalid value 0"),
    ({"gitlab_runner_environment": {"PYTHONPATH": "/x"}}, "PYTHONPATH does not belong here"),
    ({"gitlab_runner_environment": {"A_TOKEN": "planted-hunter2"}}, "by its name a secret"),
    ({"gitlab_runner_runners": [{"name": "x", "token": "GR1348941planted"}]}, "410 Gone"),
    (
        {"gitlab_runner_runners": [{"name": "x", "token": "glrt-" + "planted0" * 3}]},
        r"does[\s\S]*not[\s\S]*know[\s\S]*it[\s\S]*\(403\)",
    ),
    # One that really runs, and the one that the lab has put in the way.
    (
        {"ansible_python_interpreter": "/usr/bin/python3.9"},
        "the host runs Ansible on /usr/bin/python3.9; it takes /usr/bin/python3 ",
    ),
    ({"ansible_python_interpreter": "/usr/bin/python3.12"}, "in the way on purpose"),
    ({"build_tools_packages": "git"}, "build_tools_packages: invalid value 'git'; expected a list"),
    ({"gitlab_runner_concurent": 8}, "did you mean gitlab_runner_concurrent?"),
    ({"build_tools_extra_packages": ["git", "a b"]}, r"extra_packages\[1\]: invalid value 'a b'"),
    (
        {"python_versions_wanted": "3.9"},
        "python_versions_wanted: invalid value '3.9'; expected a list",
    ),
    ({"python_versions_wanted": ["3.9", "3.9"]}, "3.9 is listed twice"),
    ({"python_versions_wanted": ["3.11-nogil"]}, "which is this system's own"),
    ({"python_versions_packages": ["python3.9"]}, "packages: invalid value 'python3.9'"),
    ({"python_versions_repository_url": "mirror/deadsnakes"}, "expected an http"),
    ({"python_versions_repository_key": "/etc/hostname"}, "holds no armoured public key"),
    ({"gitlab_runner_version": "17"}, "gitlab_runner_version: invalid value '17'"),
    ({"gitlab_runner_repository_suite": "nosuch"}, "no such suite"),
    ({"gitlab_runner_repository_key_fingerprint": "B" * 40}, "trusted is BBBB"),
    ({"gitlab_runner_user": "root"}, "jobs must not run as root"),
    ({"gitlab_runner_home": "/srv/other"}, "exists with the home"),
    ({"gitlab_runner_umask": "9"}, "gitlab_runner_umask: invalid value '9'"),
    (
        {"gitlab_runner_path": ["relative/bin"]},
        r"gitlab_runner_path\[0\]: invalid value 'relative/bin'",
    ),
    ({"gitlab_runner_url": "gitlab.example.com"}, "gitlab_runner_url: invalid value"),
    ({"gitlab_runner_settings": {"log_levl": "info"}}, "did you mean 'log_level'"),
    (
        {"gitlab_runner_settings": {"sentry_dsn": ["planted"]}},
        "value of type list; expected a string",
    ),
    ({"gitlab_runner_environment": {"A B": "1"}}, "the name 'A B' is not one"),
    ({"gitlab_runner_environment": {"A": "one\ntwo"}}, "holds control characters"),
    ({"gitlab_runner_environment": {"PATH": "/opt/bin"}}, "gitlab_runner_path"),
    ({"network_access_ca_certificates": ["/etc/hostname"]}, "holds no single certificate"),
    ({"network_access_ca_certificates": ["/no/such.pem"]}, "no/such.pem"),
    ({"gitlab_runner_runners": [{"name": "x", "token": "glpat-planted0"}]}, "personal access"),
    ({"gitlab_runner_runners": [{**BAD, "env": {"A": "b"}}]}, "use environment"),
    ({"gitlab_runner_runners": [{**BAD, "limit": "many"}]}, "a whole number"),
    ({"gitlab_runner_runners": [{**BAD, "name": "a\nb"}]}, "line break"),
    ({"gitlab_runner_runners": [{**BAD, "environment": ["PYTHONPATH=/x"]}]}, "PYTHONPATH does"),
    ({"gitlab_runner_runners": [BAD, BAD]}, "duplicate token"),
]


@pytest.mark.parametrize(
    ("extra", "says"), REFUSALS, ids=lambda v: "" if isinstance(v, str) else next(iter(v))
)
def test_refused_and_the_host_untouched(site: Site, extra: dict[str, Any], says: str) -> None:
    before = snapshot(site)
    run = site.playbook("site.yml", "--diff", "-vvv", extra=extra)
    assert run.code != 0, run.output
    flat = re.sub(r"\s+", " ", run.output)
    assert re.search(says.replace(" ", r"\s"), flat), run.output
    assert "planted" not in run.output
    assert snapshot(site) == before


def test_systemd_reads_the_env_file_as_it_was_meant(site: Site) -> None:
    """Five hundred values of the nastiest characters, through systemd's own parser."""
    chance = random.Random(20261121)
    alphabet = " \t\"'`$\\#;=%!&|<>(){}[]*?~^@:,./-+_aZ0äß€🐍"
    values = {
        f"V{n}": "".join(chance.choices(alphabet, k=chance.randint(0, 40))) for n in range(500)
    }
    taken = {k: v for k, v in values.items() if not _env_file.problems("v", {k: v})}
    assert len(taken) > 450
    encoded = base64.b64encode(_env_file.render(taken).encode()).decode()
    out = site.sh(
        f"umask 077; echo {encoded} | base64 -d > /run/env-test; trap 'rm /run/env-test' EXIT; "
        "systemd-run --quiet --wait --pipe -p EnvironmentFile=/run/env-test env -0 | base64 -w0"
    )
    pairs = base64.b64decode(out).decode().split("\0")
    read = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    assert {name: read.get(name) for name in taken} == taken


@pytest.mark.slow
def test_verify_reaches_a_host_whose_sudo_asks_for_a_password(site: Site) -> None:
    site.sh(
        "id op >/dev/null 2>&1 || useradd -m -s /bin/bash op\n"
        "echo 'op:sesame-4711' | chpasswd\n"
        "install -d -m 0700 -o op -g op /home/op/.ssh\n"
        "install -m 0600 -o op -g op ~admin/.ssh/authorized_keys /home/op/.ssh/\n"
        "echo 'op ALL=(ALL:ALL) ALL' > /etc/sudoers.d/op\n"
        # On cgroup v1 a user manager that stops holds up the next login for 100 seconds.
        "loginctl enable-linger op"
    )
    extra = {"ansible_user": "op", "ansible_become_password": "sesame-4711"}
    provisioned = site.playbook("site.yml", extra={**extra})
    assert provisioned.code == 0, provisioned.output
    run = site.playbook("verify.yml", "-vvv", extra=extra)
    assert run.code == 0, run.output
    assert re.search(r"jammy: \d+ passed", run.output)
    assert "sesame" not in run.output
    wrong = site.playbook("verify.yml", extra={**extra, "ansible_become_password": "nope"})
    assert wrong.code != 0


def test_verify_is_red_on_a_host_that_has_drifted(site: Site) -> None:
    # Other tests leave settings of their own.
    assert site.playbook("site.yml").code == 0
    site.sh("chmod 0644 /etc/gitlab-runner/env-file; rm /etc/needrestart/conf.d/50-runnerhost.conf")
    # A package that the PPA would replace, once its pin is gone.
    site.sh(PENDING_UPGRADE)
    try:
        run = site.playbook("verify.yml")
        assert run.code != 0
        assert "/etc/gitlab-runner/env-file: expected mode 0600, found mode 0644" in run.output
        assert "50-runnerhost.conf: expected a file, found nothing" in run.output
        assert "priority of Python 3.9: expected over 500, found 500" in run.output
        assert "priority of LP-PPA-deadsnakes: expected below 100, found 500" in run.output
        assert (
            "lab-pending: expected no version of LP-PPA-deadsnakes, "
            "found 2.0, which an upgrade installs" in run.output
        )
        assert "5 differences from the inventory" in run.output
        assert "assert " not in run.output
        mended = site.playbook("site.yml")
        assert mended.counts()["changed"] == 1, mended.output
        # The upgrade is offered still, and the pin keeps apt from it.
        assert site.playbook("verify.yml").code == 0
    finally:
        site.sh(
            "dpkg --purge lab-pending; apt-get update -qq\n"
            "rm -rf /root/pending /etc/apt/sources.list.d/pending.list; apt-get update -qq"
        )


def test_verify_tells_a_full_disk_and_runners_that_were_registered_by_hand(site: Site) -> None:
    entry = (
        '\\n[[runners]]\\n  name = "by-hand"\\n  id = 5757\\n  executor = "shell"\\n'
        '  url = "https://elsewhere.invalid"\\n  token = "glrt-by-hand-0123456789"\\n'
    )
    site.sh("cp -a /etc/gitlab-runner/config.toml /root/whole")
    try:
        site.sh(
            "systemctl stop runnerhost-disk.timer\n"
            f"printf '{entry}' >> /etc/gitlab-runner/config.toml\n"
            # What the timer calls, with a limit that every disk is below.
            "PYTHONPATH=/usr/local/lib/runnerhost PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m "
            "ansible_collections.runnerhost.toolkit.plugins.module_utils._cleanup "
            "disk --path /home --space 99.99"
        )
        run = site.playbook("verify.yml")
        flat = re.sub(r"\s+", " ", run.output)
        assert run.code == 2, run.output
        assert "gitlab-runner is paused: " in flat, run.output
        assert re.search(r"has [\d.]+ % of its space free, less than 99.99 %", flat)
        assert "runner 'by-hand', id 5757, is not in the inventory" in flat
        assert "runner is configured" not in flat
    finally:
        site.sh(
            "cp -a /root/whole /etc/gitlab-runner/config.toml; cd /etc/gitlab-runner\n"
            "rm -f config.toml.runnerhost-drained runnerhost-drain.json /run/runnerhost/disk-full*"
            " /run/runnerhost/drain-*; touch config.toml\n"
            "systemctl kill -s HUP gitlab-runner; systemctl start runnerhost-disk.timer"
        )
    assert site.playbook("verify.yml").code == 0


def test_verify_tells_what_keeps_it_from_the_host(site: Site, tmp_path: Path) -> None:
    """No folder for ssh on the controller, text of the login, and a sudo that wants a terminal."""
    site.sh(
        "cp ~admin/.bashrc /root/bashrc; sed -i '1i echo WELCOME; echo oops >&2' ~admin/.bashrc"
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(tmp_path))
        patched.setenv("PYTEST_ADDOPTS", "--no-such-option")
        noisy = site.playbook("verify.yml")
    assert noisy.code == 0, noisy.output
    assert re.search(r"jammy: \d+ passed", noisy.output)
    site.sh(
        "cp /root/bashrc ~admin/.bashrc\n"
        "echo 'Defaults:admin requiretty' > /etc/sudoers.d/zz-tty\n"
        # The way back: no command of this user's gets through meanwhile.
        "systemd-run --quiet --on-active=60 rm /etc/sudoers.d/zz-tty"
    )
    run = site.playbook("verify.yml")
    provisioned = site.playbook("site.yml")
    until(lambda: site.sh("id -u", check=False).strip() == "0", 90, "sudo works again")
    assert run.code == 4, run.output
    for one in (run, provisioned):
        flat = re.sub(r"\s+", " ", one.output)
        assert "connection: sudo: sorry, you must have a tty to run sudo; " in flat, one.output
        assert "!requiretty" in flat
        assert "No start of json" not in flat
    assert "0 differences" not in run.output


def test_unlisted_python_is_named_and_removed_only_when_asked_for(site: Site) -> None:
    extra: dict[str, Any] = {"python_versions_wanted": ["3.11"]}
    named = site.playbook("site.yml", "--tags", "python_versions", extra=extra)
    assert named.code == 0, named.output
    assert "On the host but not in python_versions_wanted: 3.9" in re.sub(r"\s+", " ", named.output)
    assert "ok" in site.sh("python3.9 -c 'print(\"ok\")'")
    extra["python_versions_remove_unlisted"] = True
    removed = site.playbook("site.yml", "--tags", "python_versions", extra=extra)
    assert removed.code == 0, removed.output
    assert site.sh("command -v python3.9 || true") == ""
    assert site.sh("python3 -c 'import sys; print(sys.version_info[1])'").strip() == "11"
    assert site.playbook("site.yml", extra=extra).counts()["changed"] == 0


def test_no_secret_anywhere(site: Site) -> None:
    """All output at -vvv with --diff, the lab's logs, the host's journal and readable files."""
    secrets = known_secrets(site)
    assert len(secrets) >= 12
    assert len(site.outputs) > 10
    assert {path.name for path in logs(site)} >= {"serve.log", "requests.jsonl"}
    assert leaks(site, secrets) == set()


def test_search_for_secrets_finds_one_in_each_place(site: Site, tmp_path: Path) -> None:
    """After the test above, whose host and logs hold none: what is found now was planted here."""
    secrets = known_secrets(site)
    planted = site.variables["lab_runner_tokens"]["jammy"][0]
    already = leaks(site, secrets)
    play = tmp_path / "print.yml"
    play.write_text(
        "- name: Print a token\n  hosts: runner_hosts\n  gather_facts: false\n  tasks:\n"
        "    - name: Print it\n      ansible.builtin.debug:\n"
        "        var: lab_runner_tokens['jammy'][0]\n"
    )
    printed = site.playbook(os.path.relpath(play, ROOT / "playbooks"))
    assert printed.code == 0, printed.output
    expected = {f"output {len(site.outputs) - 1}", "journal", "host /var/tmp/planted"}
    site.sh(
        f"echo {planted} | systemd-cat -t planted\n"
        f"echo {planted} > /var/tmp/planted; chmod 0644 /var/tmp/planted\n"
        # Journald writes a moment later.
        "journalctl --sync"
    )
    sizes = {path: path.stat().st_size for path in logs(site)}
    open_file = site.lab.state / "planted.txt"
    try:
        for path in sizes:
            with path.open("a") as stream:
                stream.write(f"{planted}\n")
            expected.add(f"log {path.name}")
        open_file.write_text(planted)
        open_file.chmod(0o644)
        expected.add(f"controller {open_file.name}")
        found = leaks(site, secrets) - already
    finally:
        open_file.unlink(missing_ok=True)
        for path, size in sizes.items():
            os.truncate(path, size)
        site.outputs.pop()
        site.sh("rm -f /var/tmp/planted")
    # A log that every user of this machine can read counts twice.
    assert found - {f"controller {path.name}" for path in sizes} == expected
