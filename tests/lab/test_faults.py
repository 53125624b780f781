# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong round a host: a clear message, no job ended, and the next run heals.

A table of faults on one host with a runner that has a token and one that GitLab's API has made.
One job runs through all of them. What a fault's run wants (another runner, another tag) it does not
get; the run after it does, and so on to the end, where nothing is left to do, GitLab has each
runner once, and the job is whole.

A container's clock is the machine's and cannot be moved. A clock that is wrong is seen in what is
compared with it: a certificate that is not valid yet (the host's clock is behind), an index that is
not valid yet (behind) or not any more (ahead).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.engine import Engine
from tests.lab.breaks import (
    IMAGES,
    Mirror,
    certificate,
    expired_authority,
    expired_key,
    full,
    held,
    make_due,
    waiting,
)
from tests.lab.breaks import http_date as date
from tests.lab.gitlab_proxy import proxy
from tests.lab.leaks import known_secrets
from tests.lab.site import Run, Site, until
from tests.lab.test_drain import config, succeeds

pytestmark = pytest.mark.lab

CONFIG = "/etc/gitlab-runner/config.toml"
FLAG = "/var/tmp/faults-are-over"
VERIFY = {"runner_host_verify_roles": ["gitlab_runner"]}


@dataclass
class Bench:
    """The host, and what its inventory says by now."""

    site: Site
    mirror: Mirror
    scratch: Path
    address: str
    variables: dict[str, Any]
    access: dict[str, Any]
    job: int = 0
    given: int = 1
    secrets: set[str] = field(default_factory=set)

    @property
    def runners(self) -> list[dict[str, Any]]:
        """The inventory's entries."""
        found: list[dict[str, Any]] = self.variables["gitlab_runner_runners"]
        return found

    def entry(self, name: str) -> dict[str, Any]:
        """One of them."""
        return next(runner for runner in self.runners if runner["name"] == name)

    def run(self, playbook: str = "site.yml", *arguments: str, **more: Any) -> Run:
        """A run as a user sees it, with the inventory as it is by now."""
        variables = {**self.variables, **more}
        return self.site.playbook(playbook, "--diff", *arguments, extra=variables)

    def number(self, name: str) -> int:
        """The id of a runner in GitLab, as the host has it."""
        found = re.search(rf'name = "{name}"\n(?:.*\n)*?\s*id = (\d+)', config(self.site))
        assert found, name
        return int(found[1])

    def wants_a_token(self) -> None:
        """One more runner, with the next of the lab's tokens."""
        token = self.site.variables["lab_runner_tokens"]["jammy"][self.given]
        self.runners.append({"name": f"given-{self.given}", "token": token})
        self.given += 1

    def wants_one_made(self, name: str) -> None:
        """One more runner, which GitLab's API is to make."""
        wanted = {"runner_type": "instance_type", "tag_list": [name]}
        self.runners.append({"name": name, "gitlab": wanted})

    def known_secrets(self) -> set[str]:
        """Every token that ever was."""
        self.secrets |= known_secrets(self.site) | {self.variables["gitlab_runner_api_token"]}
        return self.secrets


Broken = Callable[[Bench], AbstractContextManager[Any]]


def nothing(_: Bench) -> None:
    """Wants nothing new."""


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        name: the case.
        broken: how it is broken, and mended at the context's end; may yield further variables.
        says: what the run under the fault must say (a pattern, blanks as one).
        wants: what the run is to change, which the next one does.
        playbook: what is run.
        fails: whether that run must fail.
        more: further variables of the run under the fault.
    """

    name: str
    broken: Broken
    says: str
    wants: Callable[[Bench], None] = nothing
    playbook: str = "site.yml"
    fails: bool = True
    more: dict[str, Any] = field(default_factory=dict)


def gitlab(path: str, kind: str, **options: Any) -> Broken:
    """GitLab does not do as it should on these addresses."""

    @contextmanager
    def broken(bench: Bench) -> Iterator[None]:
        with bench.site.gitlab() as server:
            server.fault(path, kind, count=None, **options)
            try:
                yield
            finally:
                server.clear_faults()

    return broken


@contextmanager
def late_answer(bench: Bench) -> Iterator[None]:
    """GitLab makes the runner after the client has gone."""
    with bench.site.gitlab() as server:
        since = server.last_request()
        server.fault("/api/v4/user/runners", "delay", delay=32)
        yield
        server.wait_request(
            lambda r: r["path"] == "/api/v4/user/runners" and r["status"] == 201, 60, since=since
        )
        server.clear_faults()


@contextmanager
def revoked_access(bench: Bench) -> Iterator[None]:
    """The access token is revoked; the user makes another."""
    with bench.site.gitlab() as server:
        server.control("DELETE", f"/tokens/{bench.access['id']}")
        yield
        bench.access.update(server.control("POST", "/tokens", json={"scopes": SCOPES}))
        bench.variables["gitlab_runner_api_token"] = bench.access["token"]


@contextmanager
def revoked_runner(bench: Bench) -> Iterator[None]:
    """A runner's token is revoked; the user gives the new one."""
    with bench.site.gitlab() as server:
        number = bench.number("given-1")
        server.set_runner(number, revoke=True)
        yield
        answer = server.api("POST", f"/runners/{number}/reset_authentication_token")
        bench.entry("given-1")["token"] = answer["token"]


@contextmanager
def deleted_runner(bench: Bench) -> Iterator[None]:
    """A runner is deleted in GitLab; the user says that it may be made anew."""
    with bench.site.gitlab() as server:
        server.delete_runner(bench.number("made-429"))
    yield
    bench.variables["gitlab_runner_recreate"] = True


def mirror(how: Callable[[Mirror], AbstractContextManager[None]]) -> Broken:
    """GitLab's repository of packages does not do as it should."""
    return lambda bench: how(bench.mirror)


def valid(begins: float, ends: float) -> Broken:
    """GitLab's certificate is valid for these days from now."""
    return lambda bench: certificate(bench.site.lab, bench.address, begins, ends)


@contextmanager
def key_expired(bench: Bench) -> Iterator[dict[str, Any]]:
    """The repository's key is over."""
    path, fingerprint = expired_key(bench.scratch)
    yield {
        "gitlab_runner_repository_key": str(path),
        "gitlab_runner_repository_key_fingerprint": fingerprint,
    }


@contextmanager
def authority_expired(bench: Bench) -> Iterator[dict[str, Any]]:
    """The private CA that the inventory names is over."""
    path = expired_authority(bench.scratch / "gone.pem")
    own = bench.site.variables["lab_gitlab_ca_file"]
    yield {"network_access_ca_certificates": [own, str(path)]}


def full_disk(folder: str) -> Broken:
    """No room in a folder."""
    return lambda bench: full(bench.site, folder)


def by_hand(script: str, undo: str = "true") -> Broken:
    """Somebody did something on the host."""

    @contextmanager
    def broken(bench: Bench) -> Iterator[None]:
        bench.site.sh(script)
        try:
            yield
        finally:
            bench.site.sh(undo)

    return broken


def more_jobs(bench: Bench) -> None:
    """Another value in config.toml alone."""
    bench.variables["gitlab_runner_concurrent"] += 1


def other_tag(bench: Bench) -> None:
    """Another tag in GitLab alone."""
    bench.entry("made")["gitlab"]["tag_list"] = ["made", "changed"]


SCOPES = ["create_runner", "manage_runner"]
SAVE = f"cp -p {CONFIG} /root/kept.toml"
MEND = f"cat /root/kept.toml > {CONFIG}; rm /root/kept.toml"
# What has the repository asked though nothing is missing.
ASKED = {"gitlab_runner_version": "latest"}
VERIFY_RUNNER = "/api/v4/runners/verify"
MAKE_RUNNER = "/api/v4/user/runners"
slow = pytest.mark.slow

PLAIN = [
    Fault(
        "GitLab down: the API",
        gitlab("/api/*", "drop"),
        "asked to tell what the access token may do: no answer",
    ),
    Fault(
        "GitLab's certificate has expired",
        valid(-30, -1),
        "certificate has expired",
    ),
    Fault(
        "package repository down",
        mirror(Mirror.down),
        "nothing answers at its address",
        more=ASKED,
    ),
    Fault(
        "half of the pair missing",
        mirror(lambda m: m.published(alone="99.1.0-1")),
        "invalid value '99.1.0', which .* does not have for both packages; on offer there: "
        rf"gitlab-runner: 99.1.0-1 [^;]*, {IMAGES}: (?!99)",
        more={"gitlab_runner_version": "99.1.0"},
    ),
    Fault(
        "disk full under config.toml",
        full_disk("/etc/gitlab-runner"),
        "No space left on device: '/etc/gitlab-runner/config.toml'",
        more_jobs,
    ),
    Fault(
        "config.toml broken by hand",
        by_hand(f"{SAVE}; echo '[[[' >> {CONFIG}", MEND),
        "config.toml on the host is not valid TOML",
        more_jobs,
    ),
    Fault(
        "config.toml emptied by hand",
        by_hand(f"truncate -s 0 {CONFIG}"),
        "config.toml lacks runners that this host had: jammy-build, made",
        fails=False,
    ),
]
# These take minutes more.
SLOW = [
    Fault(
        "403 of a token",
        gitlab(VERIFY_RUNNER, "status", status=403),
        r"does not know it \(403\)",
        Bench.wants_a_token,
    ),
    Fault(
        "500 while a runner is made",
        gitlab(MAKE_RUNNER, "status", status=500),
        "asked to create a runner: it answered 500",
        lambda bench: bench.wants_one_made("made-500"),
    ),
    Fault(
        ".runner_system_id lost",
        by_hand("rm /etc/gitlab-runner/.runner_system_id"),
        ".runner_system_id was lost or damaged; the runner created a new one: s_",
        playbook="verify.yml",
        fails=False,
        more=VERIFY,
    ),
    Fault(
        "GitLab down: verify",
        gitlab("/api/*", "drop"),
        "jammy-build: GitLab gave no answer",
        playbook="verify.yml",
        more=VERIFY,
    ),
    Fault(
        "401 of a token",
        gitlab(VERIFY_RUNNER, "status", status=401),
        "asked about its token: GitLab answered with an error: .*401",
        Bench.wants_a_token,
    ),
    Fault(
        "repository key expired",
        key_expired,
        "the key from .* has expired on",
    ),
    Fault(
        "GitLab down while a token is asked about",
        gitlab(VERIFY_RUNNER, "drop"),
        "asked about its token: GitLab gave no answer",
        Bench.wants_a_token,
    ),
    Fault(
        "429 of a token",
        gitlab(VERIFY_RUNNER, "status", status=429, headers={"Retry-After": "1"}),
        "asked about its token: GitLab answered with an error: .*429",
        Bench.wants_a_token,
    ),
    Fault(
        "500 of a token",
        gitlab(VERIFY_RUNNER, "status", status=500),
        "asked about its token: GitLab answered with an error: .*500",
        Bench.wants_a_token,
    ),
    Fault(
        "GitLab is slow",
        gitlab("/api/v4/runners/*", "delay", delay=2),
        "ok=",
        Bench.wants_a_token,
        fails=False,
    ),
    Fault(
        "500 of verify",
        gitlab(VERIFY_RUNNER, "status", status=500),
        "jammy-build: GitLab answered with an error: .*500",
        playbook="verify.yml",
        more=VERIFY,
    ),
    Fault(
        "access token revoked (401)",
        revoked_access,
        r"it does not know gitlab_runner_api_token \(401\)",
    ),
    Fault(
        "403 of the API",
        gitlab("/api/v4/runners/*", "status", method="PUT", status=403),
        r"asked to change tag_list of runner \d+: gitlab_runner_api_token may not do that \(403\)",
        other_tag,
    ),
    Fault(
        "429 of the API",
        gitlab(MAKE_RUNNER, "status", status=429, headers={"Retry-After": "1"}),
        "asked to create a runner: it answered 429",
        lambda bench: bench.wants_one_made("made-429"),
    ),
    Fault(
        "made, but the answer comes too late",
        late_answer,
        "asked to create a runner: no answer",
        lambda bench: bench.wants_one_made("made-late"),
    ),
    Fault(
        "made, but its token is lost on the way",
        gitlab(VERIFY_RUNNER, "drop"),
        "asked about its token: GitLab gave no answer",
        lambda bench: bench.wants_one_made("made-lost"),
    ),
    Fault(
        "a runner's token revoked (403)",
        revoked_runner,
        r"given-1: REFUSED by GitLab \(403\)",
        playbook="verify.yml",
        more=VERIFY,
    ),
    Fault(
        "a runner deleted in GitLab",
        deleted_runner,
        r"GitLab no longer has runner \d+; gitlab_runner_recreate=true creates it again",
    ),
    Fault(
        "private CA expired",
        authority_expired,
        r"network_access_ca_certificates: .*expired on ",
    ),
    Fault(
        "clock behind: GitLab's certificate is not valid yet",
        valid(1, 30),
        "its certificate is not valid yet: is this machine.s clock behind",
    ),
    Fault(
        "clock behind: the repository's index is not valid yet",
        mirror(lambda m: m.published(Date=date(days=2), Valid_Until=date(days=9))),
        "its index is not valid yet: is the host's clock behind",
        more=ASKED,
    ),
    Fault(
        "clock ahead: the repository's index is over",
        mirror(lambda m: m.published(Date=date(days=-9), Valid_Until=date(days=-2))),
        "its index has expired: .* or is the host's clock ahead",
        more=ASKED,
    ),
    Fault(
        "repository answers 503",
        mirror(lambda m: m.answering(503)),
        "cannot be used; .*503",
        more=ASKED,
    ),
    Fault(
        "disk full under other files",
        full_disk("/etc/profile.d"),
        "No space left on device: '/etc/profile.d/zz-runnerhost.sh'",
        lambda bench: bench.variables.update(gitlab_runner_path=["/opt/bin"]),
    ),
    Fault(
        "config.toml deleted",
        by_hand(f"rm {CONFIG}"),
        "config.toml lacks runners that this host had: jammy-build, made",
        fails=False,
    ),
    Fault(
        "the note beside config.toml is broken",
        by_hand("echo '{' > /etc/gitlab-runner/runnerhost.json"),
        "changed=1",
        fails=False,
    ),
]
FAULTS = [*PLAIN, *(pytest.param(fault, marks=slow) for fault in SLOW)]


@pytest.fixture(scope="module")
def bench(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The host with two runners, and a job that is to outlive all faults."""
    network = Engine().network(site.lab.network)
    assert network is not None
    address = str(network.gateway)
    scratch = tmp_path_factory.mktemp("faults")
    served = json.loads((site.lab.state / "serve.json").read_text())
    mirror_ = Mirror(address, Path(served["repositories"]["/runner/gitlab-runner/ubuntu"]), scratch)
    with site.gitlab() as server, proxy(address) as (by, _):
        access = server.control("POST", "/tokens", json={"scopes": SCOPES})
        token = site.variables["lab_runner_tokens"]["jammy"][0]
        made = {"runner_type": "instance_type", "tag_list": ["made"]}
        variables = {
            "gitlab_runner_api_proxy": by,
            "gitlab_runner_api_token": access["token"],
            "gitlab_runner_api_ca_certificate": site.variables["lab_gitlab_ca_file"],
            "gitlab_runner_concurrent": 4,
            # Whatever drains by mistake waits for the job no longer.
            "gitlab_runner_drain_deadline": 10,
            "gitlab_runner_repository_url": mirror_.url,
            "gitlab_runner_runners": [
                {"name": "jammy-build", "token": token},
                {"name": "made", "gitlab": made},
            ],
        }
        bench = Bench(site, mirror_, scratch, address, variables, access)
        run = bench.run()
        assert run.code == 0, run.output
        server.create_project("test/faults")
        bench.job = server.queue_job(
            "test/faults",
            [f"n=0; until test -e {FLAG}; do echo tick $((n += 1)).; sleep 1; done; echo end $n."],
            variables={"GIT_STRATEGY": "none"},
            timeout=7200,
        )
        until(lambda: "tick 1." in server.trace(bench.job), 60, "the job runs")
        try:
            yield bench
        finally:
            mirror_.stop()
            site.sh(f"touch {FLAG}")


def flat(run: Run) -> str:
    """What a run said, without line breaks."""
    return re.sub(r"\s+", " ", run.output)


def is_clear(bench: Bench, run: Run) -> None:
    """No traceback, no secret."""
    assert "Traceback" not in run.output, run.output
    assert not [secret for secret in bench.known_secrets() if secret in run.output], run.output


def is_whole(bench: Bench) -> None:
    """The job runs, and GitLab has each runner and each host of it once."""
    with bench.site.gitlab() as server:
        assert server.job(bench.job).state == "running"
        there = server.control("GET", "/runners")
        for entry in bench.runners:
            number = bench.number(entry["name"])
            assert len(server.managers(number)) == 1, entry["name"]
            if "gitlab" in entry:
                names = [r["id"] for r in there if r["description"] == entry["name"]]
                assert names == [number]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_named_and_the_next_run_heals(bench: Bench, fault: Fault) -> None:
    fault.wants(bench)
    with fault.broken(bench) as more:
        run = bench.run(fault.playbook, **fault.more, **(more or {}))
        bench.known_secrets()
    assert (run.code != 0) == fault.fails, run.output
    assert re.search(fault.says, flat(run)), run.output
    is_clear(bench, run)
    healed = bench.run()
    assert healed.code == 0, healed.output
    is_clear(bench, healed)
    is_whole(bench)


def in_background(run: Callable[[], Run]) -> Future[Run]:
    """A controller of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(run)
    pool.shutdown(wait=False)
    return future


def wait(bench: Bench, *runs: Future[Run]) -> bool:
    """Whether all of the runs wait before their write; one that has ended shows why it did not."""
    for run in runs:
        assert not run.done(), run.result().output
    return waiting(bench.site) == len(runs)


def test_two_controllers_at_once_lose_nothing(bench: Bench) -> None:
    """Both have read the same file when the first of them writes."""
    before = list(bench.runners)
    added = []
    for _ in range(2):
        bench.wants_a_token()
        added.append(bench.runners[-1])
    with held(bench.site):
        runs = [
            in_background(partial(bench.run, gitlab_runner_runners=[*before, entry]))
            for entry in added
        ]
        until(lambda: wait(bench, *runs), 300, "both are about to write")
    for future in runs:
        run = future.result(300)
        assert run.code == 0, run.output
        is_clear(bench, run)
    text = config(bench.site)
    assert all(f'name = "{entry["name"]}"' in text for entry in added)
    second = bench.run()
    assert second.code == 0, second.output
    is_whole(bench)


def test_token_that_the_daemon_rotates_between_our_read_and_our_write_survives(
    bench: Bench,
) -> None:
    number = bench.number("jammy-build")
    with bench.site.gitlab() as server:
        server.set_runner(number, token_ttl=7200)
    before = tokens(bench.site)
    more_jobs(bench)
    with held(bench.site):
        future = in_background(bench.run)
        until(lambda: wait(bench, future), 300, "our write is about to come")
        make_due(bench.site, number)
        until(lambda: len(tokens(bench.site) - before) == 1, 60, "the daemon writes its new token")
        rotated = tokens(bench.site)
    run = future.result(300)
    assert run.code == 0, run.output
    is_clear(bench, run)
    assert tokens(bench.site) == rotated
    assert f"concurrent = {bench.variables['gitlab_runner_concurrent']}\n" in config(bench.site)
    assert "is not valid" not in bench.site.sh("gitlab-runner verify 2>&1")
    is_whole(bench)


def tokens(site: Site) -> set[str]:
    """Of all runners of the host."""
    return set(re.findall(r'token = "(\S+)"', config(site)))


def token(bench: Bench, name: str) -> str:
    """A runner's token, as the host has it."""
    found = re.search(rf'name = "{name}"\n(?:.*\n)*?\s*token = "(\S+)"', config(bench.site))
    assert found
    return found[1]


@contextmanager
def falls_asleep(bench: Bench, name: str) -> Iterator[None]:
    """GitLab is made to refuse a runner; at the end the daemon leaves it alone."""
    mark = re.sub(r"^glrt-(t\d_)?", "", token(bench, name))[:8]
    begin = bench.site.sh("date +%s.%N").strip()
    yield
    script = (
        f"journalctl -u gitlab-runner -o cat --no-pager --since=@{begin} "
        "--grep='will be disabled' || true"
    )
    until(lambda: mark in bench.site.sh(script), 60, "three refusals")


@slow
def test_runner_that_polled_itself_to_sleep_is_woken(bench: Bench) -> None:
    """Refused three times, the daemon leaves a runner alone for an hour."""
    with bench.site.gitlab() as server:
        mine = {"body_contains": token(bench, "jammy-build"), "count": None, "status": 403}
        tag = "asleep"
        server.update_runner(bench.number("jammy-build"), tag_list=tag)
        with falls_asleep(bench, "jammy-build"):
            for path in ("/api/v4/jobs/request", VERIFY_RUNNER):
                server.fault(path, "status", **mine)
        refused = bench.run()
        server.clear_faults()
        assert refused.counts()["changed"] == 0, refused.output
        assert "still refused (403): give its new token" in flat(refused)
        none = {"GIT_STRATEGY": "none"}
        job = server.queue_job("test/faults", ["echo awake"], variables=none, tags=[tag])
        check = bench.run("site.yml", "--check")
        assert check.counts()["changed"] == 1, check.output
        assert server.job(job).state == "pending"
    named = bench.run("verify.yml", **VERIFY)
    assert named.counts()["changed"] == 0, named.output
    assert "after three refusals: provision wakes it" in flat(named)
    woken = bench.run()
    assert woken.counts()["changed"] == 1, woken.output
    assert "asks for jobs again" in flat(woken)
    succeeds(bench.site, job)
    assert bench.run().counts()["changed"] == 0
    is_whole(bench)


@slow
def test_made_runner_whose_token_is_dead_gets_a_new_one(bench: Bench) -> None:
    number = bench.number("made")
    with bench.site.gitlab() as server, falls_asleep(bench, "made"):
        server.set_runner(number, revoke=True)
    run = bench.run()
    assert run.code == 0, run.output
    assert bench.number("made") == number
    assert "is not valid" not in bench.site.sh("gitlab-runner verify 2>&1")
    is_whole(bench)


@pytest.mark.parametrize("part", ["plain", pytest.param("slow", marks=slow)])
def test_after_all_of_it_nothing_is_left_to_do_and_the_job_is_whole(
    bench: Bench, part: str
) -> None:
    """In each part of the suite, whichever of them is run."""
    again = bench.run()
    assert again.counts()["changed"] == 0, again.output
    bench.site.sh(f"touch {FLAG}")
    succeeds(bench.site, bench.job)
