# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module on the host answers about a config.toml."""

from __future__ import annotations

import hashlib
from typing import Any


def read(text: str | None, **more: Any) -> dict[str, Any]:
    """A host with this file; None for none."""
    return {
        "exists": text is not None,
        "text": (text or "").encode().hex(),
        "sha256": hashlib.sha256(text.encode()).hexdigest() if text is not None else "",
        "state_text": "",
        "paused_sha256": "",
        "safe": True,
        "system_id": "",
        "now": 1_800_000_000.0,
        "active": True,
        **more,
    }
