"""Labs for tests; where containers are impossible the tests are skipped and say why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.places import Lab
from tests.__main__ import containers_problem
from tests.lab.site import ROOT, Site


@pytest.fixture(scope="session", autouse=True)
def containers() -> None:
    """Skips, or on a CI machine fails, where no lab can run."""
    problem = containers_problem()
    if problem and os.environ.get("CI") == "true":
        pytest.fail(f"no containers here: {problem}")
    if problem:
        pytest.skip(f"skipped: no containers here: {problem}")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A lab named `site` with a fresh host; taken down at the end."""
    lab = Lab("site")
    environment = {**os.environ, "LAB_NAME": lab.name, "HOSTS": "jammy"}

    def verb(*words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "lab", *words],
            cwd=ROOT,
            env=environment,
            check=True,
            timeout=900,
        )

    verb("down")
    verb("up")
    try:
        yield Site(lab)
    finally:
        verb("down")
