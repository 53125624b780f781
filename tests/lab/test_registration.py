# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify, rotate, adopt and retire on a lab host, jobs running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tomllib

from tests.lab.site import Site, queue, until
from tests.lab.test_drain import begun, config, succeeds

pytestmark = pytest.mark.lab


@pytest.fixture(autouse=True)
def no_job_is_left(site: Site) -> Iterator[None]:
    """A test that fails must not leave a job for which the next one waits."""
    yield
    site.sh("touch /var/tmp/rotated /var/tmp/retired /var/tmp/leaving")


@pytest.fixture(scope="module")
def ready(site: Site) -> Site:
    """The host, provisioned."""
    run = site.playbook("site.yml")
    assert run.code == 0, run.output
    return site


def runner_id(site: Site) -> int:
    line = site.sh("grep '^ *id = ' /etc/gitlab-runner/config.toml")
    return int(line.split("=")[1])


def token(site: Site) -> str:
    return site.sh("grep '^ *token = ' /etc/gitlab-runner/config.toml").split('"')[1]


def test_verify_tells_valid_refused_and_silent_apart(ready: Site) -> None:
    arguments = {"runner_host_verify_roles": ["gitlab_runner"]}
    good = ready.playbook("verify.yml", extra=arguments)
    assert good.code == 0, good.output
    assert "jammy-build: valid, its token does not expire" in good.output
    with ready.gitlab() as gitlab:
        gitlab.fault("/api/v4/runners/verify", "status", status=500, count=None)
        silent = ready.playbook("verify.yml", extra=arguments)
        gitlab.clear_faults()
        gitlab.fault("/api/v4/runners/verify", "status", status=403, count=None)
        refused = ready.playbook("verify.yml", extra=arguments)
        gitlab.clear_faults()
    assert silent.code != 0
    assert "jammy-build: GitLab answered with an error: " in silent.output
    assert "500 Internal Server Error" in silent.output
    assert refused.code != 0
    assert "REFUSED by GitLab (403)" in refused.output
    assert all(run.counts()["changed"] == 0 for run in (good, silent, refused))


def test_adopt_writes_what_provision_takes_unchanged(ready: Site, tmp_path: Path) -> None:
    run = ready.playbook("adopt.yml", extra={"gitlab_runner_adopt_folder": str(tmp_path)})
    assert run.code == 0, run.output
    assert run.counts()["changed"] == 0
    written = tmp_path / "jammy.yml"
    assert str(written) in run.output
    assert token(ready) not in run.output + written.read_text()
    check = ready.playbook(
        "site.yml",
        "--check",
        "--diff",
        "-e",
        f"@{written}",
        extra={"vault_gitlab_runner_jammy_build_token": token(ready)},
    )
    assert check.code == 0, check.output
    # The token is the inventory's own still: after a rotation the state file would be another.
    assert check.counts()["changed"] == 0, check.output


def test_rotation_in_the_middle_of_a_job(ready: Site) -> None:
    before, number = token(ready), runner_id(ready)
    job = begun(ready, "rotated")
    check = ready.playbook("rotate.yml", "--check")
    assert check.counts()["changed"] == 1
    assert token(ready) == before
    run = ready.playbook("rotate.yml", "-vvv", "--diff")
    assert run.code == 0, run.output
    assert "jammy-build: has a new token" in run.output
    after = token(ready)
    assert after != before
    assert before not in run.output
    assert after not in run.output
    ready.sh("touch /var/tmp/rotated")
    succeeds(ready, job)
    succeeds(ready, queue(ready, "echo with the new token"))
    # The inventory's older token does not come back.
    again = ready.playbook("site.yml")
    assert again.counts()["changed"] == 0, again.output
    assert (token(ready), runner_id(ready)) == (after, number)


def test_absent_runner_leaves_when_its_job_is_done(ready: Site) -> None:
    """Other hosts keep the runner, also where the GitLab has a prefix of its own for tokens."""
    tokens = ready.variables["lab_runner_tokens"]["jammy"]
    first = {"name": "jammy-build", "token": tokens[0]}
    with ready.gitlab() as gitlab:
        made = gitlab.create_runner()
        gitlab.set_runner(made.id, token=f"acme-{made.token}")
    more = [
        {"name": "second", "token": tokens[1]},
        {"name": "prefixed", "token": f"acme-{made.token}"},
    ]
    assert ready.playbook("site.yml", extra={"gitlab_runner_runners": [first, *more]}).code == 0
    with ready.gitlab() as gitlab:
        assert gitlab.managers(made.id)
    left = [{"name": one["name"], "state": "absent"} for one in more]
    gone = {"gitlab_runner_runners": [first, *left]}
    job = begun(ready, "leaving")
    check = ready.playbook("site.yml", "--check", extra=gone)
    assert check.code == 0, check.output
    assert "second" in config(ready)
    run = ready.playbook(
        "site.yml",
        extra=gone,
        on_line={f"waits for job {job}": lambda: ready.sh("touch /var/tmp/leaving")},
    )
    assert run.code == 0, run.output
    succeeds(ready, job)
    held = [one["name"] for one in tomllib.loads(config(ready))["runners"]]
    assert held == ["jammy-build"]
    with ready.gitlab() as gitlab:
        assert gitlab.managers(made.id) == []
        assert gitlab.runner(made.id)["id"] == made.id
    succeeds(ready, queue(ready, "echo with the one that stayed"))
    again = ready.playbook("site.yml", extra=gone)
    assert again.counts()["changed"] == 0, again.output


def test_absent_runner_that_gitlab_has_no_more_leaves_too(ready: Site) -> None:
    """`unregister` alone keeps its entry, at every run."""
    tokens = ready.variables["lab_runner_tokens"]["jammy"]
    first = {"name": "jammy-build", "token": tokens[0]}
    both = {"gitlab_runner_runners": [first, {"name": "third", "token": tokens[2]}]}
    assert ready.playbook("site.yml", extra=both).code == 0
    held = {one["name"]: one["id"] for one in tomllib.loads(config(ready))["runners"]}
    with ready.gitlab() as gitlab:
        gitlab.delete_runner(held["third"])
    gone = {"gitlab_runner_runners": [first, {"name": "third", "state": "absent"}]}
    run = ready.playbook("site.yml", extra=gone)
    assert run.code == 0, run.output
    assert [one["name"] for one in tomllib.loads(config(ready))["runners"]] == ["jammy-build"]
    again = ready.playbook("site.yml", extra=gone)
    assert again.counts()["changed"] == 0, again.output
    succeeds(ready, queue(ready, "echo with the one that stayed"))


def test_retired_host_is_forgotten_and_has_no_token(ready: Site) -> None:
    number, held = runner_id(ready), token(ready)
    job = begun(ready, "retired")
    with ready.gitlab() as gitlab:
        gitlab.fault("/api/v4/runners/managers", "status", status=500, count=None)
        broken = ready.playbook(
            "retire.yml",
            on_line={f"waits for job {job}": lambda: ready.sh("touch /var/tmp/retired")},
        )
        gitlab.clear_faults()
        assert broken.code != 0
        assert "takes jobs again" in broken.output
        until(lambda: "[[runners]]" in config(ready), 10, "the runner is back")
        succeeds(ready, job)
        succeeds(ready, queue(ready, "echo still here"))
        check = ready.playbook("retire.yml", "--check")
        assert check.code == 0, check.output
        assert gitlab.managers(number)
        run = ready.playbook("retire.yml")
        assert run.code == 0, run.output
        assert gitlab.managers(number) == []
    assert ready.sh("dpkg-query -W -f '${Status}' gitlab-runner 2>&1 || true").startswith(
        "dpkg-query: no packages"
    )
    assert (
        ready.sh("systemctl list-unit-files 'gitlab-runner*' 'runnerhost*' --no-legend || true")
        == ""
    )
    assert ready.sh(f"grep -rlF {held} /etc /var/lib /usr/local /root 2>/dev/null || true") == ""
    assert ready.sh("ls -d /home/gitlab-runner").strip() == "/home/gitlab-runner"
    again = ready.playbook("retire.yml")
    assert again.counts()["changed"] == 0, again.output
