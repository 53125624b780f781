# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a config.toml names a runner, told without a TOML parser.

The package's own script saves a config.toml without ``[[runners]]`` where there is none
(gitlab-runner 17.4 to 19.3, ``gitlab-runner install``): the file alone says nothing.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import re

# TOML's four kinds of string, and comments: none of them may start inside another.
_OPAQUE = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|'
    + r"'''.*?'{3,5}|"
    + r'"(?:[^"\\\n]|\\.)*"|'
    + r"'[^'\n]*'|#[^\n]*",
    re.DOTALL,
)
_ENTRY = re.compile(
    r"^[ \t]*(?:"
    # [[runners]], and what can only stand below one; empty lists name no runner.
    r"\[{1,2}[ \t]*runners[ \t]*[\].]|runners[ \t]*(?:\.|=(?![ \t]*\[\s*\])))",
    re.MULTILINE,
)


def has_runners(content: bytes) -> bool:
    """True if the file names a runner, or cannot be read well enough to tell."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return True
    bare = _OPAQUE.sub(_without_text, text)
    return bool(_ENTRY.search(bare)) or '"' in bare or "'" in bare


def _without_text(found: re.Match[str]) -> str:
    """A comment becomes nothing; a string a word, which is ``runners`` for a key of that name."""
    token = found[0]
    if token.startswith("#"):
        return ""
    return "runners" if token[1:-1] == "runners" else "_"
