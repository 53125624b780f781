# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that were there before the toolkit: a hand-made runner, foreign drop-ins, traps of jobs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab.site import Site, queue, until

pytestmark = pytest.mark.lab


def versions(site: Site) -> tuple[str, str]:
    """The two runner versions of the lab's repository."""
    return site.variables["lab_runner_version"], site.variables["lab_runner_version_next"]


def make_by_hand(site: Site) -> str:
    """A stock runner as GitLab's guide makes it, with a foreign drop-in; its token."""
    old, _ = versions(site)
    token: str = site.variables["lab_runner_tokens"]["jammy"][0]
    url, mirror = site.variables["lab_gitlab_url"], site.variables["lab_mirror_url"]
    repository = f"{mirror}/runner/gitlab-runner/ubuntu/"
    key = Path(site.variables["lab_runner_key_file"]).read_text(encoding="utf-8")
    authority = Path(site.variables["lab_gitlab_ca_file"]).read_text(encoding="utf-8")
    site.sh(
        "set -e; export DEBIAN_FRONTEND=noninteractive\n"
        f"cat > /usr/share/keyrings/by-hand.asc <<'X'\n{key}X\n"
        f"cat > /usr/local/share/ca-certificates/by-hand.crt <<'X'\n{authority}X\n"
        "update-ca-certificates >/dev/null 2>&1\n"
        f"echo 'deb [signed-by=/usr/share/keyrings/by-hand.asc] {repository} jammy main' "
        "> /etc/apt/sources.list.d/runner_gitlab-runner.list\n"
        "apt-get -q update >/dev/null\n"
        f"apt-get -qq -y install gitlab-runner={old} gitlab-runner-helper-images={old} >/dev/null\n"
        f"CI_SERVER_URL={url} CI_SERVER_TOKEN={token} gitlab-runner register --non-interactive "
        "--name by-hand --executor shell >/dev/null 2>&1\n"
    )
    return token


def test_a_job_survives_the_first_run_and_an_upgrade_on_a_hand_made_host(site: Site) -> None:
    """The drop-in must be loaded before apt stops the service: stock, the job would be killed."""
    token = make_by_hand(site)
    job = queue(site, "echo begun", "until test -e /var/tmp/go; do sleep 0.2; done", "echo the end")
    with site.gitlab() as gitlab:
        until(lambda: "begun" in gitlab.trace(job), 60, "the job runs")
        extra: dict[str, Any] = {
            "gitlab_runner_version": versions(site)[1],
            "gitlab_runner_runners": [{"name": "by-hand", "token": token}],
        }
        # The upgrade waits for the job, which ends while apt waits.
        site.sh(
            "systemd-run --quiet --on-active=45 --unit=end-the-job touch /var/tmp/go", check=True
        )
        run = site.playbook("site.yml", extra=extra)
        assert run.code == 0, run.output
        done = gitlab.wait_job(job, 120)
        assert done.state == "success", gitlab.trace(job)
        assert "the end" in gitlab.trace(job)
        assert len(done.pickups) == 1
    assert "/etc/apt/sources.list.d/runner_gitlab-runner.list is removed" in re.sub(
        r"\s+", " ", run.output
    )
    assert site.sh("grep -c '^\\[\\[runners' /etc/gitlab-runner/config.toml").strip() == "1"
    assert site.playbook("site.yml", extra=extra).counts()["changed"] == 0
    verified = site.playbook("verify.yml", extra=extra)
    assert verified.code == 0, verified.output


def test_a_downgrade_is_refused_and_then_asked_for(site: Site) -> None:
    old, new = versions(site)
    extra: dict[str, Any] = {"gitlab_runner_version": old}
    refused = site.playbook("site.yml", "--tags", "gitlab_runner", extra=extra)
    assert refused.code != 0
    assert f"lower than the installed {new}" in re.sub(r"\s+", " ", refused.output)
    extra["gitlab_runner_allow_downgrade"] = True
    run = site.playbook("site.yml", extra=extra)
    assert run.code == 0, run.output
    text = site.sh("dpkg-query -W -f '${Version}\\n' gitlab-runner gitlab-runner-helper-images")
    assert set(text.split()) == {old}
    assert site.playbook("site.yml", extra=extra).counts()["changed"] == 0


def test_a_link_in_the_jobs_home_leads_nowhere(site: Site) -> None:
    """Root must not make folders where a job's link points to."""
    site.sh(
        "rm -rf /home/gitlab-runner/.cache && su -s /bin/sh gitlab-runner -c "
        "'ln -s /usr/lib/python3/dist-packages /home/gitlab-runner/.cache'"
    )
    run = site.playbook("site.yml", "--tags", "gitlab_runner")
    assert run.code != 0
    assert "leads through a symbolic link" in re.sub(r"\s+", " ", run.output)
    assert site.sh("ls -d /usr/lib/python3/dist-packages/pip 2>/dev/null || true") == ""
    site.sh("rm /home/gitlab-runner/.cache")
    assert site.playbook("site.yml", "--tags", "gitlab_runner").code == 0


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        (
            "/etc/systemd/system/gitlab-runner.service.d/zzz-site.conf",
            "[Service]\nKillSignal=SIGTERM\n",
            "zzz-site.conf: KillSignal=SIGTERM: a stop of the service would kill its jobs",
        ),
        (
            "/etc/systemd/logind.conf.d/zzz-site.conf",
            "[Login]\nKillUserProcesses=no\n",
            "would undo gitlab_runner_kill_leftover_processes",
        ),
    ],
)
def test_a_foreign_file_that_wins_is_named(site: Site, path: str, text: str, says: str) -> None:
    site.sh(f"mkdir -p $(dirname {path}); printf '%s' '{text}' > {path}; systemctl daemon-reload")
    site.sh("systemctl restart systemd-logind")
    for mode in (["--check"], []):
        run = site.playbook("site.yml", *mode, "--tags", "gitlab_runner")
        assert run.code != 0, run.output
        said = re.sub(r"\s+", " ", run.output)
        assert says in said
        assert "refused, nothing was changed" in said
    site.sh(f"rm {path}; systemctl daemon-reload; systemctl restart systemd-logind")
    assert site.playbook("site.yml", "--tags", "gitlab_runner").code == 0
    assert site.playbook("site.yml", "--tags", "gitlab_runner").counts()["changed"] == 0


def second_service(site: Site) -> None:
    """A second runner service as an administrator makes it, for jobs with the tag ``deploy``."""
    with site.gitlab() as gitlab:
        made = gitlab.create_runner(tag_list=["deploy"], run_untagged=False)
    config = "/etc/gitlab-runner-deploy/config.toml"
    site.sh(
        f"set -e; CI_SERVER_URL={site.variables['lab_gitlab_url']} CI_SERVER_TOKEN={made.token} "
        f"gitlab-runner register --non-interactive --config {config} --name deploy "
        "--executor shell >/dev/null 2>&1; "
        f"gitlab-runner install --service gitlab-runner-deploy --config {config} "
        "--user gitlab-runner --working-directory /home/gitlab-runner; "
        "systemctl start gitlab-runner-deploy"
    )


def test_no_run_ends_a_job_of_a_service_that_the_toolkit_does_not_manage(
    site: Site, tmp_path: Path
) -> None:
    second_service(site)
    name = "gitlab-runner-deploy.service"
    boot = site.sh("cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestamp")
    job = queue(
        site,
        "echo begun",
        "until test -e /var/tmp/deploy; do sleep 0.2; done",
        "gitlab-runner --version",
        tags=["deploy"],
        # It outlives seven playbooks, on a busy machine too.
        timeout=3600,
    )
    with site.gitlab() as gitlab:
        until(lambda: "begun" in gitlab.trace(job), 60, "the job runs")

    def refused(playbook: str, says: str, **extra: Any) -> None:
        run = site.playbook(playbook, extra=extra)
        text = re.sub(r"\s+", " ", run.output)
        assert run.code != 0, run.output
        assert name in text, run.output
        assert says in text, run.output

    for playbook in ("site.yml", "verify.yml", "adopt.yml"):
        run = site.playbook(playbook, extra={"gitlab_runner_adopt_folder": str(tmp_path)})
        assert run.code == 0, run.output
        text = re.sub(r"\s+", " ", run.output)
        assert f"does not manage: {name} (pid " in text, run.output
        assert "/etc/gitlab-runner-deploy/config.toml" in text, run.output
        assert "runners: deploy (id " in text, run.output
    refused("reboot.yml", "would end it with its jobs", gitlab_runner_reboot_always=True)
    refused("retire.yml", "removes the package whose binary it runs")
    _, new = versions(site)
    refused(
        "upgrade.yml", "gave up after", gitlab_runner_version=new, gitlab_runner_drain_deadline=4
    )
    assert site.sh("dpkg-query -W -f '${Version}' gitlab-runner").strip() != new
    # An upgrade waits for its end.
    run = site.playbook(
        "upgrade.yml",
        extra={"gitlab_runner_version": new},
        on_line={f"waits for {name}": lambda: site.sh("touch /var/tmp/deploy")},
    )
    assert run.code == 0, run.output
    with site.gitlab() as gitlab:
        done = gitlab.wait_job(job, 60)
        assert done.state == "success", gitlab.trace(job)
        assert len(done.pickups) == 1
    after = site.sh("cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestamp")
    assert after == boot
