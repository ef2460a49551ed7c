"""What is to be done and what is done, in one SQLite file: a million pictures on the disk and none of them in memory.

    with Journal.open(folder, facts, resumes=False) as journal:
        journal.add([(b"/data/a.jpg", "a")])
        for items in journal.waiting(batch=8): ...
        journal.record(outcomes)

A picture stands in it once, by its path, and so does every output, by its name: two pictures never share one. A row
says "done" only after the outputs were renamed into place. So whatever ends the program, what is not done is done again
under the same names, and the end is one output each.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from edge_deeplab.errors import InputError, OutputError, UsageError

FILE = "journal.sqlite"
WAITING, DONE, BAD = 0, 1, 2
ADDED_AT_ONCE = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS pictures (
    id INTEGER PRIMARY KEY, source BLOB UNIQUE, name BLOB UNIQUE, state INTEGER DEFAULT 0, reason TEXT DEFAULT '');
CREATE INDEX IF NOT EXISTS of_state ON pictures (state, id);
"""


class Item(NamedTuple):
    """One picture to do. source: its path; name: of its outputs, without kind and suffix, "/" between folders."""

    number: int
    source: str
    name: str


class Outcome(NamedTuple):
    """What came of an item. reason: why it is bad, "" where it is done; is_fatal: it concerns the outputs' disk."""

    number: int
    reason: str = ""
    is_fatal: bool = False


class Counts(NamedTuple):
    """How many pictures are in which state."""

    waiting: int
    done: int
    bad: int


class Journal:
    """The file, open. A context manager; from one thread alone. Made by Journal.open."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    @classmethod
    def open(cls, folder: Path, facts: dict[str, str], *, resumes: bool) -> Journal:
        """Opens the journal of an output folder, making both.

        Args:
            facts: what the outputs depend on; a run is continued with the same ones only.
            resumes: continues what is there; bad pictures get another try.
        Raises: OutputError for a folder that holds something already, is being written by another run, or cannot be
            written; UsageError for other facts.
        """
        path = folder / FILE
        is_there = path.is_file()
        if is_there and not resumes:
            raise OutputError(f"{folder}: holds a run already", next_step="--resume continues it, or choose another -o")
        if not is_there and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder}: holds something else already", next_step="choose another -o")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made", came=error.strerror) from error
        journal = cls(path, _connect(path))
        try:
            journal._check(facts)
            journal._connection.execute("UPDATE pictures SET state = ?, reason = '' WHERE state = ?", (WAITING, BAD))
            journal._connection.commit()
        except BaseException:
            journal.close()
            raise
        return journal

    def _check(self, facts: dict[str, str]) -> None:
        kept = dict(self._connection.execute("SELECT key, value FROM facts"))
        other = [key for key in facts if kept and kept.get(key) != facts[key]]
        if other:
            raise UsageError(
                f"{self.path.parent}: was begun otherwise",
                came=", ".join(f"{key} {facts[key]}" for key in other),
                allowed=", ".join(f"{key} {kept.get(key)}" for key in other),
                next_step="ask for the same, or choose another -o",
            )
        self._connection.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", facts.items())

    def add(self, pictures: Iterable[tuple[str, str]]) -> int:
        """Puts pictures in that are not there yet.

        pictures: (path, name without suffix); where another picture has that name, the path's suffix is added to it,
            then a number.
        Returns: how many were new.
        """
        added = 0
        for count, (source, name) in enumerate(pictures, 1):
            added += self._add(os.fsencode(source), source, name)
            if count % ADDED_AT_ONCE == 0:
                self._connection.commit()
        self._connection.commit()
        return added

    def _add(self, key: bytes, source: str, name: str) -> bool:
        suffix = os.path.splitext(source)[1]  # noqa: PTH122 of a million, Path objects would be dear
        names = itertools.chain([name, name + suffix], (f"{name}{suffix}~{number}" for number in itertools.count(2)))
        for candidate in names:
            done = self._connection.execute(
                "INSERT OR IGNORE INTO pictures (source, name) VALUES (?, ?)", (key, os.fsencode(candidate))
            )
            if done.rowcount:
                return True
            if self._connection.execute("SELECT 1 FROM pictures WHERE source = ?", (key,)).fetchone():
                return False
        raise AssertionError("numbers do not end")

    def waiting(self, *, batch: int) -> Iterator[list[Item]]:
        """Yields what is to do, `batch` at a time, in the order it came; each once, whatever is recorded meanwhile."""
        last = 0
        while True:
            rows = self._connection.execute(
                "SELECT id, source, name FROM pictures WHERE state = ? AND id > ? ORDER BY id LIMIT ?",
                (WAITING, last, batch),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [Item(number, os.fsdecode(source), os.fsdecode(name)) for number, source, name in rows]

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Notes what came of items; `commit` makes it last."""
        self._connection.executemany(
            "UPDATE pictures SET state = ?, reason = ? WHERE id = ?",
            [(BAD if outcome.reason else DONE, outcome.reason, outcome.number) for outcome in outcomes],
        )

    def commit(self) -> None:
        """Writes what was recorded to the disk."""
        self._connection.commit()

    def counts(self) -> Counts:
        """How many pictures are in which state."""
        found = dict(self._connection.execute("SELECT state, COUNT(*) FROM pictures GROUP BY state"))
        return Counts(*(found.get(state, 0) for state in (WAITING, DONE, BAD)))

    def write_tables(self) -> None:
        """Writes done.csv (source, name) and bad.csv (source, reason) beside the journal, row by row."""
        for file, state, column in (("done.csv", DONE, "name"), ("bad.csv", BAD, "reason")):
            rows = self._connection.execute(
                f"SELECT source, {column} FROM pictures WHERE state = ? ORDER BY id", (state,)
            )
            temporary = self.path.with_name(f".{file}.part")
            with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                table = csv.writer(stream, lineterminator="\n")
                table.writerow(["source", column])
                for source, value in rows:
                    table.writerow([os.fsdecode(source), os.fsdecode(value)])
            temporary.replace(self.path.with_name(file))

    def first_bad(self) -> tuple[str, str] | None:
        """A bad picture and its reason; None where there is none."""
        row = self._connection.execute("SELECT source, reason FROM pictures WHERE state = ? LIMIT 1", (BAD,)).fetchone()
        return None if row is None else (os.fsdecode(row[0]), row[1])

    def write_shards(self, folder: Path, *, size: int) -> list[Path]:
        """Writes what is to do as files of `size` JSON lines, for workers that cannot read the journal."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, items in enumerate(self.waiting(batch=size)):
            path = folder / f"{number:08d}.jsonl"
            path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
            paths.append(path)
        return paths

    def close(self) -> None:
        """Closes the file; what was recorded is kept. Twice is harmless."""
        self._connection.commit()
        self._connection.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0.5)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # a second run into the same folder is turned away
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript("BEGIN EXCLUSIVE; COMMIT;" + _SCHEMA)
    except sqlite3.OperationalError as error:
        connection.close()
        if "locked" in str(error):
            raise OutputError(
                f"{path.parent}: another run writes there", next_step="wait for it, or choose another -o"
            ) from error
        raise OutputError(f"{path}: cannot be written", came=str(error)) from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise InputError(
            f"{path}: is no journal of this program, or a damaged one", came=str(error),
            next_step="choose another -o",
        ) from error  # fmt: skip
    return connection
