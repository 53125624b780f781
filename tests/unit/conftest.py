# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of all unit tests."""

from __future__ import annotations

import locale
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis fails a test whose one example takes 0.2 s, or whose data come slowly, by itself:
# on a busy machine that says nothing.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def english() -> None:
    """The system's words are English, whatever a test before has set."""
    locale.setlocale(locale.LC_MESSAGES, "C")


@pytest.fixture(scope="session")
def short_lived(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An armoured key that lives for three days."""
    assert shutil.which("gpg"), "gnupg is a controller package"
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback"]
    make = [*gpg, "--passphrase", "", "--quick-generate-key", "Test key", "ed25519", "sign", "3d"]
    subprocess.run(make, check=True, capture_output=True, timeout=300)
    done = subprocess.run(
        [*gpg, "--armor", "--export"], check=True, capture_output=True, timeout=300
    )
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, timeout=300)
    return done.stdout.decode()
