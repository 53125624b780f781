# SPDX-License-Identifier: GPL-3.0-or-later
"""What an index has and nobody has released; with the lab's GitLab and its index."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action.release_watch import ActionModule
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _watch, _watch_index
from standins.gitlab.records import SUCCESS
from standins.index.server import Index
from standins.index.store import File
from tests.unit.plugins.test_doctor_api import Shop, shop

pytestmark = pytest.mark.long

DAY = 86400.0
SDIST, WHEEL = "lab_demo-1.2.3.tar.gz", "lab_demo-1.2.3-py3-none-any.whl"
LOG = """\
publish:
  lab: 0 of 2 files are there
  upload 2 files to lab: done, 0.4 s
  {0}…       31481  lab_demo-1.2.3-py3-none-any.whl
  {1}…       12345  lab_demo-1.2.3.tar.gz
"""


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as made:
        yield made


@pytest.fixture
def demo(tmp_path: Path, index: Index) -> Iterator[Shop]:
    """A project whose tag v1.2.3 was released by its pipeline."""
    with shop(tmp_path) as made:
        text = '[project]\nname = "lab-demo"\nversion = "1.2.3"\n'
        body = {"branch": "main", "commit_message": "Name it", "start_sha": made.commit,
                "actions": [{"action": "create", "file_path": "pyproject.toml",
                             "content": text}]}  # fmt: skip
        made.gitlab.api("POST", f"/projects/{made.project.id}/repository/commits", json=body)
        files = [add(index, WHEEL, b"wheel"), add(index, SDIST, b"sdist")]
        upload(made, "v1.2.3", LOG.format(*(one.sha256[:16] for one in files)))
        yield made


def add(index: Index, name: str, content: bytes, days: float = 0.0) -> File:
    """A file on the index, however it came there."""
    kind = "sdist" if name.endswith(".gz") else "bdist_wheel"
    version = str(_watch_index.version_of(name))
    file = File(name, kind, version, content, uploaded=time.time() - days * DAY)
    project = index.pypi.projects.make("lab-demo")
    project.add(file)
    return file


def upload(demo: Shop, tag: str, log: str) -> None:
    """A job that has uploaded."""
    demo.pipeline(tag, sdist=SUCCESS, publish=SUCCESS)
    job = next(job for job in reversed(demo.store.jobs(SUCCESS)) if "publish" in job.name)
    demo.store.append_trace(job.id, log.encode())


def watch(demo: Shop, server: Index, **inputs: Any) -> dict[str, Any]:
    """One run."""
    given = {"pythons": ["3.12"], "build_tags": ["build"], "index": "lab", "test_index": "",
             "simple_url": f"{server.url}/simple/", "upload_url": f"{server.url}/legacy/",
             **inputs}  # fmt: skip
    days = given.pop("days", 30)
    projects = given.pop("projects", [demo.project.path])
    action = object.__new__(ActionModule)
    args = {"url": demo.gitlab.base_url, "api_token": demo.gitlab.create_token("read_api"),
            "api_ca_certificate": "", "api_proxy": "", "inputs": given, "days": days,
            "projects": [{"project": path} for path in projects]}  # fmt: skip
    action._task = SimpleNamespace(args=args, check_mode=False, async_val=0, action="release_watch")
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
    )
    result: dict[str, Any] = action.run(None, {})
    assert args["api_token"] not in json.dumps(result)
    return result


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """The address of a server that has one answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def findings(demo: Shop, server: Index, **inputs: Any) -> list[str]:
    result = watch(demo, server, **inputs)
    assert result["problems"] == []
    found: list[str] = result["findings"]
    return found


def test_what_the_pipeline_has_released_is_no_finding(demo: Shop, index: Index) -> None:
    result = watch(demo, index)
    assert (result["findings"], result["problems"]) == ([], [])
    assert result["msg"] == [
        "group/demo: lab: lab-demo: 2 files of 1 versions, 2 compared with the jobs that uploaded "
        "them"
    ]


def test_a_file_that_was_uploaded_past_the_pipeline(demo: Shop, index: Index) -> None:
    add(index, "lab_demo-1.2.3-cp312-cp312-win_amd64.whl", b"by hand")
    (finding,) = findings(demo, index)
    assert "lab: lab-demo: lab_demo-1.2.3-cp312-cp312-win_amd64.whl (1 file, uploaded 2" in finding
    assert "not among the files of job" in finding


def test_a_file_with_another_digest(demo: Shop, index: Index) -> None:
    del index.pypi.projects.make("lab-demo").files[SDIST]
    other = add(index, SDIST, b"altered")
    (finding,) = findings(demo, index)
    assert f"its SHA-256 begins with {other.sha256[:16]}, and job" in finding


def test_a_release_that_has_no_tag(demo: Shop, index: Index) -> None:
    add(index, "lab_demo-9.9.9.tar.gz", b"by hand", days=400)
    (finding,) = findings(demo, index)
    assert "lab-demo 9.9.9 (1 file, uploaded 20" in finding
    assert "group/demo has no tag v9.9.9" in finding


def test_a_tag_whose_pipeline_has_uploaded_nothing(demo: Shop, index: Index) -> None:
    add(index, "lab_demo-1.2.4.tar.gz", b"by hand")
    demo.pipeline("v1.2.4", sdist=SUCCESS)
    (finding,) = findings(demo, index)
    assert (
        "no pipeline of tag v1.2.4 of group/demo has uploaded it (job release-publish)" in finding
    )


def test_old_files_are_compared_with_tags_alone(demo: Shop, index: Index) -> None:
    add(index, "lab_demo-1.2.3-cp312-cp312-win_amd64.whl", b"by hand", days=31)
    assert findings(demo, index) == []
    assert len(findings(demo, index, days=32)) == 1


def test_development_versions_of_branches(demo: Shop, index: Index) -> None:
    add(index, "lab_demo-1.3.0.dev7.tar.gz", b"of a branch")
    inputs = {"index": "", "test_index": "lab", "test_simple_url": f"{index.url}/simple/",
              "test_upload_url": f"{index.url}/legacy/"}  # fmt: skip
    said = watch(demo, index, publish_dev=True, **inputs)
    assert not [one for one in said["findings"] if "dev7" in one]
    assert "; 1 development versions of branches were not compared" in said["msg"][0]
    said = watch(demo, index, **inputs)
    assert [one for one in said["findings"] if "dev7" in one]


def test_another_prefix_and_spelling_of_the_version(demo: Shop, index: Index) -> None:
    """A tag v1.2.03 stands for 1.2.3; one without the prefix for nothing."""
    assert len(findings(demo, index, tag_prefix="one-v")) == 1


def test_what_cannot_be_compared_is_told(demo: Shop, index: Index) -> None:
    address = "http://127.0.0.1:9/simple"
    (problem,) = watch(demo, index, simple_url=address)["problems"]
    assert problem.startswith(f"group/demo: lab: {address}/lab-demo/: no answer: ")
    (problem,) = watch(demo, index, package="sub")["problems"]
    assert problem == "group/demo: sub/pyproject.toml of its default branch has no name"


def test_a_redirect_is_no_index_without_files(demo: Shop, index: Index) -> None:
    """But for GitLab's registry, which forwards what it does not have to another host."""
    with answering(302, Location="/elsewhere/?key=secret") as url:
        (problem,) = watch(demo, index, simple_url=url)["problems"]
        assert problem.endswith(f"redirects to {url}/elsewhere/: set its final address")
        with pytest.raises(_watch_index.IndexProblem, match="redirects to"):
            _watch_index.files_of(url, "x", login=("user", "password"))
    with answering(302, Location="https://index.test/simple/x/") as url:
        assert _watch_index.files_of(url, "x", login=("user", "password")) == []
        with pytest.raises(_watch_index.IndexProblem, match="redirects to"):
            _watch_index.files_of(url, "x")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ({"filename": "x-1.tar.gz", "hashes": {}, "upload-time": "2026-11-30T07:00:00"}, True),
        ({"filename": "x-1.tar.gz", "hashes": None}, False),
        ({"filename": "x-1.tar.gz", "hashes": {}, "upload-time": "today"}, False),
    ],
)
def test_odd_json_of_an_index(file: dict[str, Any], told: bool) -> None:
    body = json.dumps({"files": [file]}).encode()
    with answering(200, body, **{"Content-Type": "application/json"}) as url:
        if told:
            (listed,) = _watch_index.files_of(url, "x")
            assert listed.uploaded is not None
            assert listed.uploaded.tzinfo
        else:
            with pytest.raises(_watch_index.IndexProblem, match="is not a simple index's"):
                _watch_index.files_of(url, "x")


def test_what_gitlab_refuses_of_one_project_keeps_no_other_from_being_compared(
    demo: Shop, index: Index
) -> None:
    other = demo.gitlab.create_project("group/other")
    for address in (f"/api/v4/projects/{other.id}/*", f"/api/v4/projects/{other.id}"):
        demo.gitlab.fault(address, "status", status=403, count=None)
    result = watch(demo, index, projects=[other.path, demo.project.path])
    (problem,) = result["problems"]
    assert problem.startswith("group/other: ")
    assert "403" in problem
    assert [line.split(":")[0] for line in result["msg"]][-1:] == [demo.project.path]


def test_wrong_input_is_refused(demo: Shop, index: Index) -> None:
    with pytest.raises(AnsibleActionFail, match="release_pipeline_watch_days: invalid value"):
        watch(demo, index, days=0)


def test_an_index_that_knows_only_html() -> None:
    links = _watch_index._Links()
    links.feed(f'<a href="../../packages/{SDIST}#sha256=abc">{SDIST}</a><a href="x">y</a>')
    first, second = links.files
    assert (first.name, str(first.version), first.sha256) == (SDIST, "1.2.3", "abc")
    assert (second.version, second.sha256) == (None, "")


def test_pip_knows_the_public_indexes() -> None:
    known = {_watch_index.public_simple(name) for name in ("pypi", "testpypi")}
    assert len(known) == 2
    assert all(one.startswith("https://") and "/simple" in one for one in known)


def test_gitlabs_registry_is_asked_at_gitlab(demo: Shop, index: Index) -> None:
    api = SimpleNamespace(url="https://gitlab.test")
    inputs = {name: SimpleNamespace(default="") for name in
              ("index", "test_index", "simple_url", "test_simple_url", "name", "tag_prefix",
               "publish_dev")}  # fmt: skip
    more: Any = (api, (), inputs, 30, None, ("runnerhost", "secret"), "ca.pem")
    one = _watch.Watch(*more)
    project = SimpleNamespace(id=7, path="group/demo")
    inputs["gitlab_registry"] = SimpleNamespace(default="gitlab:12")
    (target,) = one._targets(project, {})  # type: ignore[arg-type]
    assert target.simple == "https://gitlab.test/api/v4/projects/12/packages/pypi/simple"
    assert target.login == ("runnerhost", "secret")
    assert target.verify == "ca.pem"
