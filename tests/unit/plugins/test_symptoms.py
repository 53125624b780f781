# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of jobs: each broken one has its cause first, healthy ones none, others are called unknown.

The broken ones are written after public reports, in own words: twine#461, goreleaser#3528,
gitlab#581182, twine#1216, gh-action-pypi-publish#307, warehouse#15838, gitlab-runner#29200.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action.release_doctor import ActionModule
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _symptoms
from release import release
from standins.index.refusals import RULES

LOGS = Path(__file__).with_name("job_logs")
BROKEN = {
    **{path.stem: path.stem for path in (LOGS / "broken").glob("*.log")},
    "release_half_done": "token_expired",
}
"""Log to the symptom that is its cause."""
SAYS = {
    "variable_empty": "variable TWINE_PASSWORD: empty; set it in GitLab",
    "tag_not_protected": "tag v1.2.3: not protected, so it is not published; protect v* under",
    "tag_is_another_version": "release: tag v1.2.3: the project's version is 1.2.2; set the",
    "repository_redirected": "variable TWINE_REPOSITORY_URL: set: it would redirect uploads",
    "wrong_instance": "variable TWINE_PASSWORD: a token of testpypi; make one at pypi",
    "white_space_in_token": "variable TWINE_PASSWORD: has white space or a line end around it;",
    "attestations_without_trusted_publishing":
        "Attestations are only supported when using Trusted Publishing",
    "publisher_differs": "invalid-publisher: valid token, but no corresponding publisher",
    "id_token_used": "invalid-reuse-token: invalid token: already used",
    "id_token_missing": "PYPI_ID_TOKEN: empty; add `id_tokens: {PYPI_ID_TOKEN: {aud: pypi}}`",
    "pending_publisher_of_another_name": "Non-user identities cannot create new projects. This",
    "name_used_before": "This filename was previously used by a file that has since been deleted.",
    "file_exists": "400 Bad request - Validation failed: File name has already been taken",
    "release_too_old": "Uploading new files to releases older than 14 days is not allowed.",
    "glibc_too_new": "because of the presence of too-recent versioned symbols. You'll need",
    "readme": "`long_description` has syntax errors in markup and would not be rendered",
    "invalid_name_or_version": "The use of local versions in '1.2.3+g123' is not allowed",
    "too_large": "400 Bad request - File is too large",
    "job_token_allowlist": "Authentication by CI/CD job token not allowed from a/b to c/d.",
    "package_protected": "403 Forbidden - Package protected.",
    "missing_python": "--python 3.13: no python3.13 on this machine; on a runner host, add",
    "sdist_incomplete": "demo.tar.gz: lacks these files of the repository: src/a.h",
    "headers_missing": "src/a.c:1:10: fatal error: Python.h: No such file or directory",
    "altered_files": "dist/a.whl: not the file that was checked: its SHA-256 differs; find out",
    "disk_full": "OSError: [Errno 28] No space left on device: 'dist/a.whl'",
    "certificate": "SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate",
    "not_listed_yet": "release: pypi: does not list a.whl, b.whl after 600 s; run wait again",
    "read_only": "403 Read-only mode: Uploads are temporarily disabled.",
    "no_connection": "HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url",
    "job_timeout": "ERROR: Job failed: execution took longer than 1h0m0s seconds",
    "canceled": "ERROR: Job failed: canceled",
    "tests_failed": "release: test on 3.12: exit code 1; correct the code",
    "build_failed": "release: build the wheel for 3.12: exit code 1; correct the code",
}  # fmt: skip
"""Words of a symptom that no log of the folder has."""


@pytest.mark.parametrize(("name", "cause"), sorted(BROKEN.items()))
def test_a_broken_release_has_its_cause_first(name: str, cause: str) -> None:
    first, *_ = _symptoms.diagnose((LOGS / "broken" / f"{name}.log").read_text())
    assert first.id == cause
    assert first.evidence
    assert first.cure


@pytest.mark.parametrize(
    "path", sorted((LOGS / "healthy").glob("*.log")), ids=lambda path: path.stem
)
def test_a_healthy_one_has_none(path: Path) -> None:
    (verdict,) = _symptoms.diagnose(path.read_text())
    assert verdict.id == _symptoms.HEALTHY


@pytest.mark.parametrize(
    "path", sorted((LOGS / "unknown").glob("*.log")), ids=lambda path: path.stem
)
def test_what_is_not_known_is_called_so(path: Path) -> None:
    (verdict,) = _symptoms.diagnose(path.read_text())
    assert verdict.id == _symptoms.UNKNOWN
    if path.stem == "make_target":
        assert "No rule to make target 'publish'" in verdict.evidence[-1]


@pytest.mark.parametrize(
    "symptom", [one for one in _symptoms.symptoms() if one.words], ids=lambda one: one.id
)
def test_each_symptom_has_a_log_that_shows_it(symptom: _symptoms.Symptom) -> None:
    if symptom.id in SAYS:
        # As a tool breaks it, in the middle of other lines.
        said = re.sub(r" (?=\S+$)", "\n         ", SAYS[symptom.id])
        found = _symptoms.diagnose(f"$ make\n{said}\nERROR: Job failed: exit status 1\n")
        assert found[0].id == symptom.id
    else:
        assert symptom.id in BROKEN.values()


@pytest.mark.parametrize("symptom", _symptoms.symptoms(), ids=lambda one: one.id)
def test_each_symptom_is_told_in_whole_sentences(symptom: _symptoms.Symptom) -> None:
    """YAML splits an unquoted list at each comma."""
    for text in (symptom.what, *symptom.causes, symptom.cure, *filter(None, [symptom.tell])):
        assert text.endswith("."), text
        assert text[0].isupper() or text.startswith(("make ", "git ", "yaml_errors ")), text
    assert symptom.source
    assert bool(symptom.tell) == (len(symptom.causes) > 1)


def test_of_several_causes_each_is_told_and_general_ones_only_alone() -> None:
    text = (
        "403 Forbidden\nFile already exists ('a', with hash 'b')\nno python3.13 on this machine\n"
    )
    assert [one.id for one in _symptoms.diagnose(text)] == ["file_exists", "missing_python"]
    assert [one.id for one in _symptoms.diagnose("ERROR 403 Forbidden\n")] == ["token_refused"]


def test_evidence_is_the_line_as_a_reader_of_the_log_counts_them() -> None:
    stamp = "\x1b[0;m2026-11-29T18:00:00.000000Z 01E "
    text = f"one\r\n{stamp}two\r\n50 %\r100 %\r\nNo space\nleft on device\n"
    (verdict,) = _symptoms.diagnose(text)
    assert verdict.evidence == ("log, line 4: No space",)


@pytest.mark.parametrize(
    "said",
    ["variable TWINE_PASSWORD: empty; set it in GitLab",
     "variable MY_TOKEN: has white space or a line end around it; save it without",
     "variable TWINE_PASSWORD: a token of testpypi; make one at pypi"],
)  # fmt: skip
def test_what_is_said_of_a_variable_is_shown_whole(said: str) -> None:
    (verdict,) = _symptoms.diagnose(f"release: {said}\n")
    assert verdict.evidence == (f"log, line 1: release: {said}",)


def test_every_refusal_of_an_index_is_known() -> None:
    """The stand-ins' words are these symptoms; what only a broken uploader hears is left out."""
    left_out = {
        "protocol", "filetype", "no_digest", "no_file", "path_separator", "extension", "digest",
        "no_extension", "second_sdist", "invalid_file", "start_with", "wheel_filename", "no_record",
        "wheel_version", "no_metadata", "not_found", "metadata", "project", "package", "missing",
        "invalid-payload", "invalid-token",
    }  # fmt: skip
    for rules in RULES.values():
        for name, rule in rules.items():
            if not isinstance(rule, dict) or name in left_out:
                continue
            words = re.sub(r"\{[^}]*\}", "x", str(rule["words"]))
            (first, *_) = _symptoms.diagnose(f"{words}\nERROR: Job failed: exit status 1\n")
            assert first.id != _symptoms.UNKNOWN, name


def test_what_the_release_program_has_a_cure_for_is_known() -> None:
    """Each of its cures, shown as it shows them, is a symptom's log."""
    cures = [cure for _, cure in release.CURES]
    assert len(cures) > 10
    shown = {
        release.cure_of(SAYS.get(one.id, "")) or release.cure_of(_log_of(one.id))
        for one in _symptoms.symptoms()
    }
    # Words of tests, and of what is general.
    assert [cure for cure in cures if cure not in shown and "pytest" not in cure] == []


def _log_of(symptom: str) -> str:
    return "".join(
        " ".join((LOGS / "broken" / f"{name}.log").read_text().split())
        for name, cause in BROKEN.items()
        if cause == symptom
    )


def run(tmp_path: Path, **args: Any) -> dict[str, Any]:
    """The action."""
    action = object.__new__(ActionModule)
    nothing = {"log": "", "tag": "", "job": 0, "project": "", "url": "", "api_token": "",
               "report": ""}  # fmt: skip
    action._task = SimpleNamespace(
        args={**nothing, **args}, check_mode=False, async_val=0, action="release_doctor"
    )
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
    )
    result: dict[str, Any] = action.run(None, {})
    return result


def test_no_secret_of_a_log_is_shown(tmp_path: Path) -> None:
    token = "pypi-" + "AgEIplantedZq7" * 9
    log = tmp_path / "job.log"
    log.write_text(
        f"TWINE_PASSWORD={token} twine: No space left on device glpat-PlantedZq7Planted\n"
    )
    report = tmp_path / "report.json"
    result = run(tmp_path, log=str(log), report=str(report))
    assert result["verdicts"][0]["id"] == "disk_full"
    for text in (json.dumps(result), report.read_text()):
        assert "Zq7" not in text
    assert report.stat().st_mode & 0o777 == 0o600
    assert json.loads(report.read_text())["verdicts"] == result["verdicts"]


@pytest.mark.parametrize(
    ("log", "words"),
    [("/nowhere/x.log", "cannot be read: No such file"),
     ("/tmp", "cannot be read: Is a directory")],
)  # fmt: skip
def test_a_log_that_cannot_be_read_is_refused(tmp_path: Path, log: str, words: str) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(words)):
        run(tmp_path, log=log)


@pytest.mark.parametrize(
    ("args", "words"),
    [({}, "_tag, release_pipeline_doctor_job: none set; expected one of them"),
     ({"log": "x", "tag": "v1"}, "release_pipeline_doctor_log and release_pipeline_doctor_tag set"),
     ({"tag": "v1", "url": "https://x", "api_token": "t"}, "release_pipeline_doctor_project: miss"),
     ({"job": 3, "project": "a/b", "api_token": "t"}, "release_pipeline_url: missing"),
     ({"job": 3, "project": "a/b", "url": "https://x"}, "release_pipeline_api_token: missing")],
)  # fmt: skip
def test_an_incomplete_question_is_refused(
    tmp_path: Path, args: dict[str, Any], words: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(words)):
        run(tmp_path, **args)
