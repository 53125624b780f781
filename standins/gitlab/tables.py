# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of the store for records that are searched by their owner alone."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Table(Generic[R]):
    """Records of one dataclass, which has ``id`` and the owner's number ``owner``."""

    def __init__(
        self, database: sqlite3.Connection, name: str, kind: Callable[..., R], owner: str
    ) -> None:
        self._db, self._name, self._kind, self._owner = database, name, kind, owner
        database.execute(
            f"CREATE TABLE IF NOT EXISTS {name} "
            "(id INTEGER PRIMARY KEY AUTOINCREMENT, owner INTEGER, doc TEXT)"
        )
        self._timed = "created_at" in {one.name for one in fields(kind)}  # type: ignore[arg-type]

    def add(self, **values: Any) -> R:
        """Add a record, under its number if it has one."""
        if self._timed:
            values.setdefault("created_at", time.time())
        query = f"INSERT INTO {self._name} (id, owner, doc) VALUES (?, ?, '{{}}')"
        cursor = self._db.execute(query, (values.get("id"), values[self._owner]))
        record = self._kind(**{"id": cursor.lastrowid, **values})
        self.save(record)
        return record

    def save(self, record: R) -> None:
        """Write a record back."""
        doc = asdict(record)  # type: ignore[call-overload]
        query = f"UPDATE {self._name} SET doc = ? WHERE id = ?"
        self._db.execute(query, (json.dumps(doc), doc["id"]))

    def get(self, key: int) -> R | None:
        """Return a record by its number."""
        row = self._db.execute(f"SELECT doc FROM {self._name} WHERE id = ?", (key,)).fetchone()
        return self._kind(**json.loads(row[0])) if row else None

    def of(self, owner: int) -> list[R]:
        """Return an owner's records, oldest first."""
        query = f"SELECT doc FROM {self._name} WHERE owner = ? ORDER BY id"
        return [self._kind(**json.loads(row[0])) for row in self._db.execute(query, (owner,))]

    def all(self) -> list[R]:
        """Return all records, oldest first."""
        query = f"SELECT doc FROM {self._name} ORDER BY id"
        return [self._kind(**json.loads(row[0])) for row in self._db.execute(query)]

    def delete(self, key: int) -> None:
        """Delete a record."""
        self._db.execute(f"DELETE FROM {self._name} WHERE id = ?", (key,))

    def last(self) -> int:
        """Return the highest number so far."""
        row = self._db.execute(f"SELECT MAX(id) FROM {self._name}").fetchone()
        return int(row[0] or 0)
