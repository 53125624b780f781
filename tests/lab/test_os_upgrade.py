# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose system is upgraded to the next release: site.yml alone makes it whole again.

The upgrade is real (`lab.os_upgrade`): Debian 12 to 13 under the names of Ubuntu 22.04 and 24.04,
with what Ubuntu's upgrader does to source files and obsolete packages.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lab.demo import job_script, read_artifacts
from lab.jobs import push_folder
from tests.lab.releases import (
    HOME,
    NEWER,
    PYTHONS,
    Host,
    files,
    has,
    heals,
    identity,
    make_venvs,
    newer_python,
)
from tests.lab.site import ROOT, Site, until

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def upgraded(site: Site) -> Host:
    """A provisioned host with venvs, then another release of its system."""
    first = site.playbook("site.yml")
    assert first.code == 0, first.output
    make_venvs(site)
    # Nobody has looked at what stands in the way (test_prepare_upgrade.py does).
    newer_python(site)
    before = Host.of(site)
    site.verb("os-upgrade", "jammy")
    return before


@pytest.fixture(scope="module")
def whole(upgraded: Host) -> Site:
    """The same, provisioned again."""
    run = upgraded.site.playbook("site.yml")
    assert run.code == 0, run.output
    return upgraded.site


def version_of(site: Site, venv: str, module: str) -> str:
    """The minor version of a venv's Python, which can import a module."""
    code = f"import sys, {module}; print(*sys.version_info[:2], sep=chr(46))"
    return site.sh(f"{HOME}/{venv}/bin/python -c '{code}'").strip()


def test_one_run_makes_an_upgraded_host_whole(upgraded: Host) -> None:
    site = upgraded.site
    # What the upgrade has done to the host.
    assert "VERSION_CODENAME=noble" in site.sh("cat /etc/os-release")
    for name in ("deadsnakes", "gitlab-runner"):
        text = site.sh(f"cat /etc/apt/sources.list.d/runnerhost-{name}.sources")
        assert "Enabled: no" in text
        assert "Suites: jammy" in text
    assert "No such" in site.sh(f"{HOME}/v3.11/bin/python -c pass 2>&1 || true")
    assert "+jammy1" in site.sh("dpkg-query -W python3.9")
    # deadsnakes/issues#297: apt has taken away what cannot stay beside it, without a word.
    site.sh('apt-get check; test -z "$(dpkg --audit)"')
    assert has(site, "python3.13") == NEWER
    assert not has(site, "python3-venv")
    assert not has(site, "python3-dev")

    heals(site)

    assert identity(site) == upgraded.identity
    assert files(site) == upgraded.files
    # Everything is of the new release, and nothing of it would go with an autoremove.
    installed = site.sh("dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version}\\n'")
    assert not re.findall(r"(?m)^ii.*jammy.*$", installed)
    unused = site.sh("apt-get --simulate autoremove; apt list '?obsolete' 2>/dev/null")
    assert not re.findall(r"(?m)^(?:Remv |)((?:lib)?python3\.\d+\S*|gitlab-runner\S*)", unused)
    # Venvs live again, with their extensions, without a build; the system's own is another now.
    assert version_of(site, "v3.9", "here") == "3.9"
    assert version_of(site, "v3.11", "here") == "3.11"
    assert version_of(site, "v3.9-pip", "pip") == "3.9"
    assert version_of(site, "own", "ssl") == "3.13"
    # The distribution's build is back, and what makes venvs of it.
    assert has(site, "python3.13") not in ("", NEWER)
    assert has(site, "python3-venv")
    assert has(site, "python3-dev")


def test_a_job_builds_a_wheel_for_every_python(upgraded: Host) -> None:
    site = upgraded.site
    with site.gitlab() as gitlab:
        project, sha = push_folder(gitlab, Path(ROOT) / "lab" / "projects" / "demo")
        job = gitlab.queue_job(
            project.path, job_script(PYTHONS), ref="main", sha=sha, timeout=300,
            artifacts=[{"paths": ["wheels/"], "name": "wheels"}],
        )  # fmt: skip
        assert gitlab.wait_job(job, 360).state == "success", gitlab.trace(job)
        wheels = read_artifacts(gitlab.artifacts(job))
    assert [wheel.version for wheel in wheels] == PYTHONS
    for wheel in wheels:
        tag = f"cp{wheel.version.replace('.', '')}"
        assert wheel.tags.startswith(f"{tag}-{tag}-linux_")


SOURCES = "/etc/apt/sources.list.d/runnerhost"
UNIT = "/etc/systemd/system/gitlab-runner.service"
# Where a host notes its name in the inventory.
MACHINE = "/var/lib/runnerhost/machine.json"

STARTING_POINTS = {
    "sources disabled, by the field and by another name": (
        f"sed -i '1a Enabled: no' {SOURCES}-deadsnakes.sources\n"
        f"sed 's/^/# /' {SOURCES}-gitlab-runner.sources > {SOURCES}-gitlab-runner.list.disabled\n"
        f"rm {SOURCES}-gitlab-runner.sources"
    ),
    "the old release's suite, and a list for it beside": (
        f"sed -i -e '1a Enabled: no' -e 's/^Suites: .*/Suites: jammy/' {SOURCES}-*.sources\n"
        "sed -n 's/^URIs: \\(.*\\)/deb [trusted=yes] \\1 jammy main/p' "
        f"{SOURCES}-deadsnakes.sources > /etc/apt/sources.list.d/deadsnakes-ubuntu-ppa-jammy.list\n"
        "apt-get -q update\n"
        "apt-get -q -y --allow-downgrades install $(dpkg-query -W -f '${Package} ${Version}\\n' "
        "'*python3.9*' | sed -n 's/ \\(.*\\)+noble1$/=\\1+jammy1/p')"
    ),
    "dpkg cut off": (
        "cd /tmp; apt-get -q download python3.9-venv less; dpkg --unpack *.deb; rm *.deb\n"
        "dpkg -s less > /var/lib/dpkg/updates/0001\n"
        "said=$(apt-get -q -y install less 2>&1 || true); grep 'dpkg was interrupted' <<< \"$said\""
    ),
    "apt's lists and a Python gone, its venvs still there": (
        "apt-get -q -y purge '^(lib)?python3\\.9'; rm -r /var/lib/apt/lists/*\n"
        f"if {HOME}/v3.9/bin/python -c pass; then exit 9; fi"
    ),
    # deadsnakes/issues#297: apt takes what cannot stay beside it, without a word.
    "a PPA's newer build of the system's own Python": (
        "mkdir /tmp/ppa; cd /tmp/ppa; apt-get -q download python3.13 python3.13-minimal "
        "libpython3.13 libpython3.13-minimal libpython3.13-stdlib\n"
        "for deb in *.deb; do dpkg-deb -R $deb tree; version=$(dpkg-deb -f $deb Version)\n"
        'sed -i "s/$version/3.13.99-1+jammy1/g" tree/DEBIAN/control\n'
        "dpkg-deb -Zgzip -z1 -b tree new-$deb; rm -r tree; done\n"
        "NEEDRESTART_SUSPEND=1 apt-get -q -y install ./new-*.deb; rm -r /tmp/ppa\n"
        "dpkg --audit; apt-get -q check\n"
        "if dpkg-query -W -f '${db:Status-Abbrev}' python3-venv python3-dev | grep ii\n"
        "then exit 9; fi\n"
        "said=$(apt-get -q -y install python3-venv 2>&1 || true)\n"
        "grep 'python3.13-venv : Depends: python3.13 (= ' <<< \"$said\""
    ),
    "preferences and drop-ins gone": (
        "rm /etc/apt/preferences.d/* /etc/systemd/system/*.d/zz-runnerhost.conf "
        "/etc/systemd/logind.conf.d/* /etc/needrestart/conf.d/50-runnerhost.conf "
        "/etc/apt/apt.conf.d/5?runnerhost-*"
    ),
    "the unit of a newer package": (
        f"sed -i -e 's/^Description=.*/& 99/' -e 's/^RestartSec=.*/RestartSec=7/' "
        f"-e '/^\\[Service\\]/a KillSignal=SIGTERM\\nKillMode=process\\nUMask=0077' {UNIT}"
    ),
    "the service disabled": "systemctl disable --now gitlab-runner",
}


@pytest.mark.slow
@pytest.mark.parametrize("point", STARTING_POINTS)
def test_a_run_heals(whole: Site, point: str) -> None:
    before = identity(whole)
    whole.sh(f"set -euo pipefail; exec 2>&1\n{STARTING_POINTS[point]}")
    heals(whole)
    assert identity(whole) == before
    assert "noble" in whole.sh("dpkg-query -W python3.9")
    assert version_of(whole, "v3.9", "here") == "3.9"
    assert "jammy" not in whole.sh("apt-get indextargets")
    assert whole.sh(f"find {HOME} -not -user gitlab-runner") == ""
    whole.sh("systemctl is-system-running")


@pytest.mark.slow
def test_a_home_from_a_backup_is_refused_with_the_command_that_cures_it(whole: Site) -> None:
    before = identity(whole)
    whole.sh(f"chown -R 4000000:4000000 {HOME}")
    refused = whole.playbook("site.yml")
    assert refused.counts()["changed"] == 0
    cure = f"chown -R gitlab-runner: {HOME}"
    assert f"may have it: {cure}, otherwise" in re.sub(r"\s+", " ", refused.output)
    whole.sh(cure)
    again = whole.playbook("site.yml")
    assert (again.code, again.counts()["changed"]) == (0, 0), again.output
    assert identity(whole) == before


def main_pid(site: Site) -> str:
    """The runner's main process."""
    return site.sh("systemctl show gitlab-runner -p MainPID --value").strip()


# The interpreter of the stand-in maps it (the real runner is static and maps none).
UPGRADE_A_LIBRARY = (
    "export DEBIAN_FRONTEND=noninteractive; unset NEEDRESTART_SUSPEND\n"
    "apt-get -q -y --reinstall install zlib1g 2>&1"
)


@pytest.mark.slow
def test_an_upgraded_library_does_not_restart_the_runner_under_its_job(whole: Site) -> None:
    before = main_pid(whole)
    with whole.gitlab() as gitlab:
        gitlab.create_project("test/library")
        job = gitlab.queue_job(
            "test/library",
            ["echo begun", "until test -e /var/tmp/go; do sleep 0.2; done", "echo the end"],
            variables={"GIT_STRATEGY": "none"},
            timeout=300,
        )
        until(lambda: "begun" in gitlab.trace(job), 60, "the job runs")
        said = whole.sh(UPGRADE_A_LIBRARY)
        # needrestart has restarted others, and leaves the runner alone by its binary and its unit.
        assert re.search(r"Restarting services[\s\S]*\.service", said), said
        assert "gitlab-runner" not in said
        assert main_pid(whole) == before
        whole.sh("touch /var/tmp/go")
        done = gitlab.wait_job(job, 60)
        assert done.state == "success", gitlab.trace(job)
        assert len(done.pickups) == 1
    # The trap is there: without the toolkit's file it is restarted.
    whole.sh("rm /var/tmp/go /etc/needrestart/conf.d/50-runnerhost.conf")
    said = whole.sh(UPGRADE_A_LIBRARY)
    assert main_pid(whole) != before, said
    heals(whole)


@pytest.mark.slow
def test_copies_of_one_machine_are_named_with_what_to_do(whole: Site, tmp_path: Path) -> None:
    data = yaml.safe_load((whole.inventory / "hosts.yml").read_text(encoding="utf-8"))
    groups = data["all"]["children"]
    host = groups["runner_hosts"]["hosts"]["jammy"]
    path = tmp_path / "copy.yml"
    path.touch(mode=0o600)

    def name(**more: str) -> None:
        """Has the inventory call the machine `copy` too."""
        named = {
            "runner_hosts": {"hosts": {"copy": {**host, **more}}},
            "stand_in_packages": {"hosts": {"copy": {}}},
        }
        path.write_text(yaml.safe_dump({"all": {"children": named}}), encoding="utf-8")

    token = whole.variables["lab_runner_tokens"]["jammy"][0]
    extra = {
        "python_versions_wanted": PYTHONS,
        "gitlab_runner_runners": [{"name": "jammy-build", "token": token}],
    }
    name()
    # Of a host that has noted its name, and of one that has not yet.
    noted = "copy: this machine was provisioned as jammy, and the inventory has both names with"
    unknown = "copy, jammy are one machine, listed under several names"
    for words, before, after in (
        (noted, "true", "true"),
        (unknown, f"mv {MACHINE} /var/tmp/noted", f"mv /var/tmp/noted {MACHINE}"),
    ):
        whole.sh(before)
        twice = whole.playbook("site.yml", "-i", str(path), extra=extra)
        whole.sh(after)
        assert twice.code != 0, twice.output
        assert words in re.sub(r"\s+", " ", twice.output)
        assert sum(one["changed"] for one in twice.recap.values()) == 0
    # With another address it may be a copy with the same machine id.
    real = f" -o HostName={host['ansible_host']} -o HostKeyAlias={host['ansible_host']}"
    name(
        ansible_host="copy.runnerhost.test",
        ansible_ssh_common_args=host["ansible_ssh_common_args"] + real,
    )
    both = whole.playbook("site.yml", "--check", "-i", str(path), extra=extra)
    assert both.code == 0, both.output
    said = re.sub(r"\s+", " ", both.output)
    assert "copy, jammy have one machine id" in said
    assert "jammy, copy have one machine id" in said
    # Alone, it is known by what the host has noted.
    alone = whole.playbook("site.yml", "--check", "-i", str(path), "--limit", "copy", extra=extra)
    said = re.sub(r"\s+", " ", alone.output)
    assert "this machine was provisioned as jammy, and its machine id is the same still" in said
    assert "systemd-machine-id-setup" in said
    plain = whole.playbook("site.yml")
    assert "machine id" not in plain.output
