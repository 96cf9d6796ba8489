"""Small promises of the dashboard's words: hidden characters, times, tokens against the text, figures, kinds."""

from __future__ import annotations

import math

import pytest

from review_ui.components.draw import message_text
from review_ui.components.spans import probability, spelled
from review_ui.figures import figures
from review_ui.inert import shortened, visible
from review_ui.moments import both, span, until, utc
from review_ui.reviews import Token, review
from review_ui.signal_words import NAMES, clues
from review_ui.views.audit import sealed, what
from review_ui.views.audit_filters import KINDS
from serving.confidence import catalogue
from storage import audit_log
from tests.review_ui import samples

NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode 漢字\n\ttab", "plain, ünïcode 漢字\n\ttab"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\u200bb\x00", "a⟨U+200B⟩b⟨U+0000⟩"),
        ("\ufeff\u2066", "⟨U+FEFF⟩⟨U+2066⟩"),
    ],
)
def test_hidden_characters_are_written_out_and_others_stay(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_question_is_one_short_line() -> None:
    assert shortened("a\n b " + "c" * 50, 10) == "a b cccccā"[:9] + "…"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (90, "1 min"), (5400, "1 h 30 min"), (200_000, "2 d 7 h")]
)
def test_spans_are_told_in_their_largest_unit(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_times_are_told_in_utc_and_in_the_readers_zone() -> None:
    assert both(NOON, NOON, "Europe/Berlin") == "12:00 UTC (13:00 Europe/Berlin)"
    assert both(NOON, NOON, None) == "12:00 UTC"
    assert both(NOON, NOON, "No/Where") == "12:00 UTC"
    assert utc(NOON, NOON - 86_400) == "23 Nov 12:00 UTC"
    assert until(NOON, NOON + 120) == "2 min ago"


def token(text: str) -> Token:
    return Token(text, -0.1, ())


def test_tokens_that_spell_the_text_are_shown_without_end_markers() -> None:
    kept = spelled([token(" The"), token(" end"), token("<|end|>")], "The end")

    assert kept is not None
    assert [one.text for one in kept] == ["The", " end"]


def test_tokens_that_do_not_spell_the_text_are_never_shown_in_its_place() -> None:
    assert spelled([token("safe")], "unsafe") is None
    assert spelled([token("un")], "unsafe") is None


@pytest.mark.parametrize(("logprob", "value"), [(0.0, 1.0), (math.nan, 0.0), (-math.inf, 0.0), (0.5, 1.0)])
def test_probabilities_stay_between_zero_and_one(logprob: float, value: float) -> None:
    assert probability(logprob) == value


def test_message_parts_that_are_not_text_are_named() -> None:
    assert message_text([{"type": "text", "text": "see"}, {"type": "image_url"}]) == "see\n[image_url part]"
    assert message_text(None) == ""


def test_signals_outside_their_usual_range_come_first_and_are_marked_in_words() -> None:
    signals = {"a": -2.0, "b": 0.5, "c": None, "d": 3.0}
    ranges = {"a": [-1, 0, 1], "b": [0, 0, 1], "d": [0, 1, 2]}
    shown = review(samples.item(0, NOON) | {"signals": signals, "signal_ranges": ranges})

    assert [clue.here for clue in clues(shown)] == ["-2.00 ▼ low", "3.00 ▲ high", "0.50", "missing"]


def test_a_difference_that_cannot_be_read_is_not_called_unusual() -> None:
    near = {"signals": {"a": -0.0001}, "signal_ranges": {"a": [-0.004, -0.003, -0.002]}}
    shown = review(samples.item(0, NOON) | near)
    assert [(clue.here, clue.usually, clue.unusual) for clue in clues(shown)] == [("0.00", "0.00 to 0.00", False)]


def test_every_signal_that_is_computed_has_a_name_on_the_desk() -> None:
    assert NAMES.keys() >= catalogue.NAMES


def test_monitoring_figures_become_rows_for_charts() -> None:
    found = figures(samples.figures(NOON, 24))

    assert found.answers == sum(row["answers"] for row in found.histogram)
    assert sum(row["answers"] for row in found.histogram if row["action"] == "release") == 151
    assert all(0 <= row["rate"] <= 1 for row in found.rate)


def test_the_audit_filter_offers_every_kind_of_event_that_storage_writes() -> None:
    assert sorted(KINDS) == sorted(audit_log.EVENT_KINDS)


def test_an_events_data_is_told_in_a_few_words() -> None:
    assert what({"action": "hold", "reason": "low_confidence", "confidence": 0.61}) == "hold, low confidence, 61%"
    assert what({}) == "–"


def test_an_event_shows_its_place_in_the_sealed_log() -> None:
    assert sealed({"leaf_index": 0}) == "#0"
    assert sealed({"leaf_index": None}) == "not yet"
