"""Keeps which words stand in questions and answers, where an operator opted in, so that events are found by them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.bulk import insert_rows
from storage.errors import InvalidValue
from storage.records import Interaction, VerdictKind
from storage.storable import from_json
from storage.tables import interactions, review_items, verdicts, words

LONGEST = 64  # characters of a word that are kept; a longer one is found by its beginning
MOST = 4_000  # different words of one interaction, the first ones
MOST_ASKED = 16  # words of one search
_WORD = re.compile(r"\w+")
_AT_ONCE = 500  # interactions in one transaction of `build`


def words_of(*texts: str) -> list[str]:
    """The different words in their order: letters and digits of any script, without case and accents' ways of writing.

    Scripts that put no spaces between words give whole clauses as words.
    """
    found: dict[str, None] = {}
    for text in texts:
        for match in _WORD.finditer(unicodedata.normalize("NFKC", text).casefold()):
            found[match[0][:LONGEST]] = None
            if len(found) >= MOST:
                return list(found)
    return list(found)


def asked_words(text: str) -> list[str]:
    """The words that a search is for. Raises InvalidValue when there are none, or too many."""
    found = words_of(text)
    if not found:
        raise InvalidValue("text", "holds no word: give letters or digits.")
    if len(found) > MOST_ASKED:
        raise InvalidValue("text", f"holds {len(found)} words; a search takes at most {MOST_ASKED}.")
    return found


def keep(conn: Connection, asked: Iterable[Interaction]) -> None:
    """The words of questions and answers, beside their interactions."""
    insert_rows(conn, words, [row for each in asked for row in _rows(each)])


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


def forget_all(conn: Connection) -> int:
    """For who no longer wants the log to be searched; how many words there were."""
    return conn.execute(sa.delete(words)).rowcount


def build(conn: Connection, after: str) -> tuple[int, str | None]:
    """Keeps the words of the next interactions that have none, by id after `after`; (how many, where to go on)."""
    table = interactions.c
    known = sa.exists().where(words.c.interaction_id == table.id)
    chosen = sa.select(table.id, table.tenant, table.messages, table.answer).where(
        table.id > after, table.deleted_at.is_(None), ~known
    )
    rows = conn.execute(chosen.order_by(table.id).limit(_AT_ONCE).with_for_update(key_share=True)).all()
    corrected = _corrections(conn, [row.id for row in rows])
    for row in rows:
        texts = [*_texts(from_json(row.messages), from_json(row.answer)), *corrected.get(row.id, ())]
        insert_rows(conn, words, [_row(row.id, row.tenant, word) for word in words_of(*texts)])
    return len(rows), rows[-1].id if rows else None


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
    others = [_also(word) for word in wanted if word != rarest]
    return list(conn.execute(found.where(*others)).scalars())


def _count(conn: Connection, tenant: str, word: str, most: int) -> int:
    some = sa.select(sa.literal(1)).select_from(words).where(words.c.tenant == tenant, words.c.word == word)
    return int(conn.execute(sa.select(sa.func.count()).select_from(some.limit(most).subquery())).scalar_one())


def _also(word: str) -> sa.ColumnElement[bool]:
    other = words.alias()
    return sa.exists().where(other.c.interaction_id == words.c.interaction_id, other.c.word == word)


def _rows(interaction: Interaction) -> Iterator[dict[str, Any]]:
    for word in words_of(*_texts(interaction.messages, interaction.answer)):
        yield _row(interaction.id, interaction.tenant, word)


def _row(interaction_id: str, tenant: str, word: str) -> dict[str, Any]:
    return {"interaction_id": interaction_id, "word": word, "tenant": tenant}


def _texts(messages: Iterable[dict[str, Any]], answer: dict[str, Any]) -> Iterator[str]:
    """The answer's first: what a model said is never cut off by how long the question was."""
    for content in (answer.get("text"), *(message.get("content") for message in messages)):
        if isinstance(content, str):
            yield content


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
