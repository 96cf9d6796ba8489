"""Finds the chains of equations in a text: `a = b = c` with the words around it left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from serving.confidence.self_verify import limits
from serving.confidence.self_verify.expressions import Expression, Unreadable, parse
from serving.confidence.self_verify.tokens import Token
from serving.confidence.self_verify.wording import ABOUT, BREAKS, JOINING, REMAINDER, measure_of

_FORMULA = frozenset(("number", "sign", "open", "close", "percent", "root", "fraction", "name", "unit", "mark"))
_BEFORE_A_BRACKET = frozenset(("sign", "name", "number", "root", "opaque"))
_UNIT_LETTERS = frozenset("mgshlLkKCFJW")
_UNIT_WORDS = 4
_WORDS_AFTER = 6


@dataclass(frozen=True, slots=True)
class Member:
    """One side of an equation. `expression` is None for words (`Total = …`), and where it could not be read."""

    start: int  # characters of the text
    end: int
    expression: Expression | None
    objection: str = ""  # why it could not be read
    units: frozenset[str] = frozenset()  # the units that stand in it and behind it
    joined: bool = False  # the words before it may belong to the calculation
    dash: bool = False  # the minus in front may be a dash
    about: bool = False  # it says of itself that it is rounded


@dataclass(frozen=True, slots=True)
class Chain:
    members: tuple[Member, ...]  # at least two
    relations: tuple[str, ...]  # relations[i] stands between members i and i + 1

    @property
    def start(self) -> int:
        return self.members[0].start

    @property
    def end(self) -> int:
        return self.members[-1].end


def chains(tokens: Sequence[Token]) -> Iterator[Chain]:
    """In the order of the text, from tokens with their roles. Linear in their number; members are bounded."""
    members: list[Member] = []
    relations: list[str] = []
    last: tuple[int, int] | None = None  # the tokens of the last member
    for at, token in enumerate(tokens):
        if token.kind != "relation":
            continue
        left, right = _before(tokens, at), _behind(tokens, at)
        if left != last or not members:
            if len(members) > 1:
                yield Chain(tuple(members), tuple(relations))
            members, relations = [_left_member(tokens, *left, at)], []
        members.append(_right_member(tokens, *right, at))
        relations.append(token.text)
        last = right
    if len(members) > 1:
        yield Chain(tuple(members), tuple(relations))


def formula_behind(tokens: Sequence[Token], at: int) -> Member:
    """The formula that follows token `at`, such as the mark before a stated answer."""
    return _right_member(tokens, *_behind(tokens, at), at)


def roles(tokens: Sequence[Token]) -> list[Token]:
    """Words become units where they follow a number within a formula; single letters words, units or names."""
    names = {token.text for at, token in enumerate(tokens) if token.kind == "name" and _is_name(tokens, at)}
    told = [_letter(tokens, at, names) if token.kind == "name" else token for at, token in enumerate(tokens)]
    at = 0
    while at < len(told):
        if told[at].kind in ("number", "percent", "close"):
            end = _unit_phrase(told, at + 1)
            for index in range(at + 1, end):
                told[index] = told[index]._replace(kind="unit")
            at = max(at, end - 1)
        at += 1
    return told


def _letter(tokens: Sequence[Token], at: int, names: Set[str]) -> Token:
    """A single letter is a name where formulas use it as one, a unit behind a number (`5 m`), else a word."""
    token = tokens[at]
    if _is_name(tokens, at):
        return token
    kinds = tokens[at - 1].kind if at else "line", tokens[at + 1].kind if at + 1 < len(tokens) else "line"
    behind_number = token.spaced and kinds[0] in ("number", "close", "percent")
    if behind_number and token.text in names and kinds[1] != "word":
        return token
    if behind_number and token.text in _UNIT_LETTERS and kinds[1] != "word":
        return token._replace(kind="unit")
    if behind_number and kinds[1] in ("sign", "relation", "close"):
        return token
    return token._replace(kind="word", text=token.text.lower())


def _is_name(tokens: Sequence[Token], at: int) -> bool:
    """Glued to a number, or next to a sign, a bracket or a relation without a number before it."""
    token = tokens[at]
    before = tokens[at - 1].kind if at else "line"
    after = tokens[at + 1].kind if at + 1 < len(tokens) else "line"
    if before in ("number", "close"):
        return not token.spaced
    article = token.text in "aAI" and after in ("word", "number")
    opens = after == "open" and not tokens[at + 1].spaced
    after_it = opens or after in ("sign", "relation", "close")
    return not article and (after_it or before in ("sign", "open", "relation", "root"))


def _unit_phrase(tokens: Sequence[Token], start: int) -> int:
    """One past a phrase such as `dollars per pen` or `-page` that stands between a number and a sign."""
    end = start
    if end < len(tokens) and tokens[end].text == "of":
        return start  # `1/3 of Solomon` is no third
    if end + 1 < len(tokens) and tokens[end].text == "-" and not tokens[end].spaced and _is_glued(tokens[end + 1]):
        end += 1
    while end < len(tokens) and end - start < _UNIT_WORDS * 2:
        token = tokens[end]
        per = token.text == "/" and end > start and end + 1 < len(tokens) and tokens[end + 1].kind == "word"
        if not per and (token.kind != "word" or token.text in BREAKS or len(token.text) == 1):
            break
        end += 1
    goes_on = end < len(tokens) and tokens[end].kind in ("sign", "relation", "close")
    return end if goes_on and end > start and tokens[end - 1].kind == "word" else start


def _is_glued(token: Token) -> bool:
    return token.kind == "word" and not token.spaced


def _before(tokens: Sequence[Token], relation: int) -> tuple[int, int]:
    """The tokens of the longest formula that ends before a relation: first, and one past the last."""
    end = relation
    while end and tokens[end - 1].kind == "line":
        end -= 1
    start, depth = end, 0
    while start and tokens[start - 1].kind in _FORMULA and end - start <= limits.MEMBER_TOKENS:
        kind = tokens[start - 1].kind
        depth += (kind == "close") - (kind == "open")
        if depth < 0:
            break  # (since 3 + 4 = 7)
        start -= 1
    if depth > 0:  # 1) 3 + 4 = 7
        start = _past_unmatched_close(tokens, start, end)
    while start < end and tokens[start].kind in ("unit", "mark"):
        start += 1
    return start, end


def _past_unmatched_close(tokens: Sequence[Token], start: int, end: int) -> int:
    depth = 0
    for at in range(start, end):
        depth += (tokens[at].kind == "open") - (tokens[at].kind == "close")
        if depth < 0:
            start, depth = at + 1, 0
    return start


def _behind(tokens: Sequence[Token], relation: int) -> tuple[int, int]:
    """The tokens of the longest formula that follows a relation."""
    start = relation + 1
    while start < len(tokens) and (tokens[start].kind == "line" or tokens[start].text in ABOUT):
        start += 1
    end = start
    opened: list[int] = []
    while end < len(tokens) and tokens[end].kind in _FORMULA and end - start <= limits.MEMBER_TOKENS:
        if tokens[end].kind == "close":
            if not opened:
                break
            opened.pop()
        elif tokens[end].kind == "open":
            opened.append(end)
        end += 1
    if opened:  # 7 (since 3 + 4 …
        end = opened[0]
    if start < end - 1 and tokens[end - 1].text == "-" and (end == len(tokens) or tokens[end].kind != "opaque"):
        end -= 1  # 7 - so he …
    return start, end


def _left_member(tokens: Sequence[Token], start: int, end: int, relation: int) -> Member:
    before, earlier = (tokens[start - back] if start >= back else None for back in (1, 2))
    sign = tokens[start] if start < end and tokens[start].kind == "sign" else None
    opens_line = before is None or before.kind == "line"
    dash = sign is not None and sign.text == "-" and start + 1 < end and tokens[start + 1].spaced
    if sign and (sign.text == "+" or (opens_line and sign.text == "*")):
        start += 1
    member = _member(tokens, start, end, relation)
    cut = before is not None and before.kind in ("opaque", "number", "name")
    opened = before is not None and before.kind == "open" and earlier is not None
    cut = cut or (start < end and before is not None and _calls(before, tokens[start]))
    if cut or (opened and earlier and (earlier.kind in _BEFORE_A_BRACKET or _calls(earlier, before))):
        member = replace(member, expression=None, objection="The formula before it could not be read.")
    joined = not opens_line and (sign is not None or _joins(before, earlier) or _is_range(before, tokens[start:end]))
    return replace(member, joined=joined, dash=dash)


def _calls(word: Token, after: Token | None) -> bool:
    """Whether a word is a function's name: `abs(3 - 7)`."""
    glued = after is not None and after.kind == "open" and not after.spaced
    return glued and word.kind == "word" and not word.text.startswith("\\")  # the commands left are of the layout


def _joins(before: Token | None, earlier: Token | None) -> bool:
    """Whether the words before a formula may be a part of it: `the sum of`, `14, 400 / 80`."""
    if before is None:
        return False
    if before.text == ",":
        return earlier is not None and earlier.kind == "number"
    return before.text in JOINING and not (before.text == "of" and earlier is not None and earlier.text == "total")


def _is_range(before: Token | None, tokens: Sequence[Token]) -> bool:
    """`Pages 12-15`."""
    glued = [token.kind for token in tokens[:3]] == ["number", "sign", "number"] and tokens[1].text == "-"
    worded = before is not None and before.kind == "word"
    if not (worded and glued) or tokens[1].spaced or tokens[2].spaced:
        return False
    low, high = (float(token.text.replace(",", "")) for token in (tokens[0], tokens[2]))
    return low < high


def _right_member(tokens: Sequence[Token], start: int, end: int, relation: int) -> Member:
    member = _member(tokens, start, end, relation)
    after = tokens[end : end + _WORDS_AFTER]
    about = any(token.text in ABOUT for token in (*tokens[relation + 1 : start], *after))
    about = about or any(token.kind == "mark" for token in tokens[start : end + 1])
    goes_on = bool(after) and after[0].kind in ("opaque", "sign", "number") and after[0].text != "-"
    goes_on = goes_on or any(_calls(word, opening) for word, opening in pairwise(after[:_UNIT_WORDS]))
    told = after[1:2] if after and after[0].kind == "open" else after[:1]  # `(mod 12)`
    if goes_on or any(token.text.lstrip("\\") in REMAINDER for token in told):
        member = replace(member, expression=None, objection="What follows could not be read.")
    behind = []
    for token in after[:2]:
        if token.kind != "word":
            break
        behind.append(token)
    return replace(member, about=about, units=member.units | _units(behind))


def _member(tokens: Sequence[Token], start: int, end: int, relation: int) -> Member:
    inside = [token for token in tokens[start:end] if token.kind != "mark"]
    if not inside:
        return Member(tokens[relation].start, tokens[relation].end, None)
    place = (inside[0].start, inside[-1].end)
    try:
        return Member(*place, parse(inside), units=_units(t for t in inside if t.kind == "unit"))
    except Unreadable as objection:
        return Member(*place, None, str(objection))


def _units(tokens: Sequence[Token] | Iterator[Token]) -> frozenset[str]:
    return frozenset(unit for token in tokens if (unit := measure_of(token.text)))
