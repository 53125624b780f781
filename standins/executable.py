# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for gitlab-runner as one executable file, for a package or a test.

A zip with a shebang, which Python runs as it is (PEP 441). The same sources give the same bytes.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

from standins.gitlab_runner.version import VERSION

PACKAGE = Path(__file__).parent / "gitlab_runner"
PYTHON = "/usr/bin/python3"
"""The hosts' own."""

_VERSION_LINE = re.compile(r"^VERSION = .*$", re.MULTILINE)


def gitlab_runner(version: str = VERSION, python: str = PYTHON) -> bytes:
    """The program for `version`, with the behaviour of that version."""
    sources = {f"standins/gitlab_runner/{path.name}": path for path in PACKAGE.glob("*.py")}
    files = {name: path.read_text(encoding="utf-8") for name, path in sources.items()}
    files["__main__.py"] = files.pop("standins/gitlab_runner/__main__.py")
    files["standins/__init__.py"] = ""
    name = "standins/gitlab_runner/version.py"
    files[name] = with_version(files[name], version)
    out = io.BytesIO(f"#!{python} -I\n".encode())
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, files[name])
    return out.getvalue()


def with_version(source: str, version: str) -> str:
    """A source with its VERSION line saying `version`."""
    text, count = _VERSION_LINE.subn(f'VERSION = "{version}"', source, count=1)
    if count != 1:
        raise ValueError("the stand-in's source has no VERSION line")
    return text
