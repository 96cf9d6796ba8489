"""Keeps which words stand in questions and answers, where an operator opted in, so that events are found by them."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.bulk import insert_rows
from storage.errors import InvalidValue
from storage.records import Interaction, VerdictKind
from storage.storable import from_json
from storage.tables import interactions, review_items, verdicts, words

LONGEST = 64  # characters of a word that are kept; a longer one is found by its beginning
MOST = 2_000  # different words of one interaction, the first ones
MOST_ASKED = 16  # words of one search
_AT_ONCE = 500  # interactions in one transaction
_ADVISORY_LOCK = 0x776F7264  # any number that is ours: one `build` at a time


def words_of(*texts: str) -> list[str]:
    """The different words in their order: letters with their marks, and digits, of any script, without case.

    Scripts that put no spaces between words give whole clauses as words.
    """
    found: dict[str, None] = {}
    written: set[str] = set()
    for text in texts:
        for match in _word().finditer(text):
            # cut before it is folded: to fold a long row of accents takes the square of its length
            if (word := match[0][:LONGEST]) not in written:
                written.add(word)
                found |= dict.fromkeys(part[:LONGEST] for part in _word().findall(_folded(word)))
            if len(found) >= MOST:
                return list(found)[:MOST]
    return list(found)


def _folded(text: str) -> str:
    """One way of writing for what reads alike: Unicode's compatibility caseless form, and İ as i."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")
    return folded if folded.isascii() else unicodedata.normalize("NFKC", folded)


@functools.cache
def _word() -> re.Pattern[str]:
    """What \\w leaves out, though words of many scripts are written with it: vowel signs and other marks.

    Those beyond the first plane, of ancient scripts, would make the look-up of each character a long one.
    """
    marks = "".join(chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    return re.compile(rf"[\w{marks}]+")


def asked_words(text: str) -> list[str]:
    """The words that a search is for. Raises InvalidValue when there are none, or too many."""
    found = words_of(text)
    if not found:
        raise InvalidValue("text", "holds no word: give letters or digits.")
    if len(found) > MOST_ASKED:
        raise InvalidValue("text", f"holds {len(found)} words; a search takes at most {MOST_ASKED}.")
    return found


def words_in(
    messages: Iterable[Mapping[str, Any]], answer: Mapping[str, Any], corrections: Sequence[str] = ()
) -> list[str]:
    """The answer's first, the question's last: what was said is never cut off by how much was asked."""
    texts = (answer.get("text"), *corrections, *(message.get("content") for message in messages))
    return words_of(*(text for text in texts if isinstance(text, str)))


def keep(conn: Connection, found: Iterable[tuple[Interaction, Sequence[str]]]) -> None:
    """The words of questions and answers, beside their interactions."""
    rows = [_row(asked.id, asked.tenant, word) for asked, said in found for word in said]
    insert_rows(conn, words, rows)


def keep_correction(conn: Connection, interaction_id: str, text: str) -> None:
    """The words of a reviewer's text that the answer did not have; nothing where the interaction's are not kept."""
    known = sa.select(words.c.word, words.c.tenant).where(words.c.interaction_id == interaction_id)
    there = conn.execute(known).all()
    if there:
        have = {row.word for row in there}
        fresh = [word for word in words_of(text) if word not in have]
        insert_rows(conn, words, [_row(interaction_id, there[0].tenant, word) for word in fresh])


def forget(conn: Connection, interaction_ids: Sequence[str]) -> None:
    conn.execute(sa.delete(words).where(words.c.interaction_id.in_(interaction_ids)))


def forget_some(conn: Connection) -> int:
    """The words of some interactions, for who no longer wants the log to be searched; 0 once none are left."""
    some = sa.select(words.c.interaction_id).distinct().order_by(words.c.interaction_id).limit(_AT_ONCE)
    ids = conn.execute(some).scalars().all()
    forget(conn, ids)
    return len(ids)


def build(conn: Connection, after: str) -> tuple[int, str | None]:
    """Keeps the words of the next interactions that have none, by id after `after`; (how many, where to go on).

    Who edits one of them meanwhile is waited for, or finds the words here.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    table = interactions.c
    unknown = ~sa.exists().where(words.c.interaction_id == table.id)
    wanted = sa.select(table.id).where(table.id > after, table.deleted_at.is_(None), unknown)
    ids = conn.execute(wanted.order_by(table.id).limit(_AT_ONCE)).scalars().all()
    items = sa.select(review_items.c.id).where(review_items.c.interaction_id.in_(ids)).order_by(review_items.c.id)
    conn.execute(items.with_for_update(key_share=True)).all()  # before their interactions, as an erasure does
    chosen = sa.select(table.id, table.tenant, table.messages, table.answer).where(
        table.id.in_(ids), table.deleted_at.is_(None)
    )
    rows = conn.execute(chosen.order_by(table.id).with_for_update(key_share=True)).all()
    edits = _corrections(conn, ids)
    said = [(row, words_in(from_json(row.messages), from_json(row.answer), edits.get(row.id, ()))) for row in rows]
    insert_rows(conn, words, [_row(row.id, row.tenant, word) for row, found in said for word in found])
    return sum(bool(found) for _, found in said), ids[-1] if ids else None


def holds(word: str, interaction_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether the word stands in an interaction, whose id may be a column without its table's name."""
    kept = sa.select(words.c.interaction_id.label("kept_of"), words.c.word.label("kept_word")).subquery()
    return sa.exists().where(kept.c.kept_of == interaction_id, kept.c.kept_word == word)


def few(conn: Connection, tenant: str, wanted: Sequence[str], most: int) -> list[str] | None:
    """The interactions that hold all the words, where one of the words stands in fewer than `most`; else None."""
    rare = [(count, word) for word in wanted if (count := _count(conn, tenant, word, most)) < most]
    if not rare:
        return None
    _, rarest = min(rare)
    found = sa.select(words.c.interaction_id).where(words.c.tenant == tenant, words.c.word == rarest)
    others = [holds(word, words.c.interaction_id) for word in wanted if word != rarest]
    return list(conn.execute(found.where(*others)).scalars())


def _count(conn: Connection, tenant: str, word: str, most: int) -> int:
    some = sa.select(sa.literal(1)).select_from(words).where(words.c.tenant == tenant, words.c.word == word)
    return int(conn.execute(sa.select(sa.func.count()).select_from(some.limit(most).subquery())).scalar_one())


def _row(interaction_id: str, tenant: str, word: str) -> dict[str, Any]:
    return {"interaction_id": interaction_id, "word": word, "tenant": tenant}


def _corrections(conn: Connection, interaction_ids: Sequence[str]) -> dict[str, list[str]]:
    edits = (
        sa.select(review_items.c.interaction_id, verdicts.c.content)
        .join_from(review_items, verdicts, verdicts.c.item_id == review_items.c.id)
        .where(review_items.c.interaction_id.in_(interaction_ids), verdicts.c.kind == VerdictKind.EDIT.value)
    )
    found: dict[str, list[str]] = {}
    for row in conn.execute(edits.where(verdicts.c.content.is_not(None))):
        found.setdefault(row.interaction_id, []).append(row.content)
    return found
