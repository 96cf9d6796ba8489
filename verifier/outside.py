"""Reads the checkpoints that were kept outside the database: JSON lines, read only as far as they went at the start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from verifier.findings import Altered, CannotRead
from verifier.strict_json import parsed

_LONGEST_LINE = 10_000  # bytes; a line has some 400


@dataclass(frozen=True)
class Outside:
    """A file of checkpoints, as long as it was when it was looked at: before the database's snapshot is taken."""

    file: Path
    length: int  # bytes

    def notes(self) -> Iterator[tuple[int, str]]:
        """(tree size, note) line by line; raises Altered.

        A torn last line, as a crash leaves it, is passed over, and so is a line that only repeats the one before it:
        a quiet log gives whoever fetches its checkpoint the same one again.
        """
        try:
            with self.file.open("rb") as lines:
                number, left, before = 0, self.length, b""
                while left > 0 and (line := lines.readline(min(left, _LONGEST_LINE))):
                    number, left = number + 1, left - len(line)
                    if not line.endswith(b"\n"):
                        if left > 0:
                            raise Altered(f"Line {number} of {self.file.name} is longer than any checkpoint.")
                    elif line != before:
                        yield self._read(line, number)
                        before = line
        except OSError as error:
            raise CannotRead(f"The checkpoints {self.file} cannot be read: {error.strerror}.") from error

    def _read(self, line: bytes, number: int) -> tuple[int, str]:
        try:
            read = parsed(line)
            size, note = read["size"], read["note"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Altered(f"Line {number} of {self.file.name} is not a checkpoint: it cannot be read.") from error
        if type(size) is not int or type(note) is not str or len(read) != 2:
            raise Altered(f"Line {number} of {self.file.name} is not a checkpoint: it holds more than size and note.")
        return size, note


def look(file: Path) -> Outside:
    """Raises CannotRead."""
    try:
        return Outside(file, file.stat().st_size)
    except OSError as error:
        raise CannotRead(f"The checkpoints {file} cannot be read: {error.strerror}.") from error
