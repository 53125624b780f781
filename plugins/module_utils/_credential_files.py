# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with credentials of package indexes: whose they are, and which others a host has.

Runs on the hosts: standard library of Python 3.10 alone. No content leaves the host.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from typing import TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets

MARK = "# Written by runnerhost.toolkit: local changes are lost.\n"
"""The first line of each file that the toolkit writes into a home: a comment for all readers."""
NETRC, PYPIRC = ".netrc", ".pypirc"
PIP_CONF, UV_TOML = ".config/pip/pip.conf", ".config/uv/uv.toml"
WRITTEN = (NETRC, PYPIRC, PIP_CONF, UV_TOML)
"""What the toolkit writes, below a home."""
# What tools read or write beside those (pip's docs, "Configuration"; uv's, "The uv auth CLI";
# Poetry's, "Repositories").
_OTHERS = (
    ".pip/pip.conf",
    ".local/share/uv/credentials/credentials.toml",
    ".config/pypoetry/auth.toml",
)
_OF_THE_HOST = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "/etc/uv/uv.toml", "/etc/xdg/uv/uv.toml")
# What gives pip or uv a second index, by which any of both may be taken for a name.
_SECOND = re.compile(
    r"^[ \t]*(?P<setting>extra[-_]index[-_]url|index-strategy(?=[ \t]*=[ \t]*\"unsafe))[ \t]*[=:]",
    re.M,
)
_MOST_BYTES = 1 << 16


class Found(TypedDict):
    """A file that a host has.

    Attributes:
        writer: toolkit or other.
        secret: whether it holds a secret.
        second_index: the setting that names one; empty if none does.
    """

    writer: str
    secret: bool
    second_index: str


def writer_of(path: str) -> str:
    """Who has written what lies at a path: absent, toolkit or other."""
    if not os.path.lexists(path):
        return "absent"
    return "toolkit" if _head(path).startswith(MARK) else "other"


def found(homes: Iterable[str]) -> dict[str, Found]:
    """The files of these homes and of the whole host, by path."""
    below = (os.path.join(home, name) for home in homes for name in (*WRITTEN, *_OTHERS))
    answer: dict[str, Found] = {}
    for path in (*below, *_OF_THE_HOST):
        writer = writer_of(path)
        if writer != "absent":
            text = _head(path)
            second = _SECOND.search(text)
            answer[path] = {
                "writer": writer,
                "secret": _secrets.redact_text(text) != text,
                "second_index": second["setting"] if second else "",
            }
    return answer


def _head(path: str) -> str:
    """The beginning of a file; empty if it is none, or a link, which may lead anywhere."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return ""
        return stream.read(_MOST_BYTES).decode("utf-8", "replace")
