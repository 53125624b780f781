# SPDX-License-Identifier: GPL-3.0-or-later
"""Runners' tokens."""

from __future__ import annotations

import re

GLRT = "glrt-"


def short_token(token: str) -> str:
    """Return the nine characters by which a runner is named."""
    return re.sub(r"^(glrt-(t[123]_)?|t[123]_|glrtr-|glcbt-|GR[0-9A-Fa-f]{7})", "", token)[:9]
