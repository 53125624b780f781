# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/mistakes.md: each row names a test that there is, or says why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/mistakes.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| Mistake")
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:50] for row in ROWS])
def test_each_mistake_has_a_test_or_a_reason(row: list[str]) -> None:
    assert len(row) == 3, row
    shown = row[2].rstrip(" |")
    if shown.startswith("not tested: "):
        return
    named = re.fullmatch(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", shown)
    assert named, shown
    text = (ROOT / named[1]).read_text(encoding="utf-8")
    assert named[2] is None or re.search(rf"^def {named[2]}\(", text, re.MULTILINE), shown
