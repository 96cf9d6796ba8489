"""Writes outcomes as OpenAI's chat completions with the `review` extension; shows released text only."""

from __future__ import annotations

from typing import Any

from gateway.schemas import MAX_TOP_LOGPROBS
from gateway.waiting import is_open
from serving.answer import token_from_json
from storage.records import Action, ItemState, Outcome, ReviewItem, Vouched

WITHHELD = {
    ItemState.REJECTED: "A reviewer decided that this answer must not be released.",
    ItemState.EXPIRED: "Nobody reviewed this answer in time, so it is withheld.",
    ItemState.QUARANTINED: "This answer could not be reviewed, so it is withheld.",
    ItemState.WITHDRAWN: "The question was withdrawn, so its answer is withheld.",
}
NOT_VOUCHED = {
    Vouched.BEFORE: "Held: it is of an earlier version of this service, whose operator has not vouched for it yet. "
    "Retrieve it later by its id.",
    Vouched.NOT: "The stored records are not those that were written here, so the answer is withheld. "
    "Tell whoever runs this service.",
    Vouched.OTHER_KEY: "The records were written under another master key than this service's, so the answer is "
    "withheld. Tell whoever runs this service.",
}


def review_of(outcome: Outcome) -> dict[str, Any]:
    """The extension: what was decided and where the item stands."""
    item, decision = shown_item(outcome), outcome.decision
    known = outcome.vouched is Vouched.OURS  # else nothing stored about the answer is told
    status = "none" if known else outcome.vouched.value
    if item is not None and known:
        # a claim or a referral is the desk's own business: the caller sees an item that waits
        status = item.state.value if item.state not in (ItemState.CLAIMED, ItemState.REFERRED) else "pending"
    return {
        "id": item.id if item else None,
        "status": status,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "confidence": decision.confidence if known else None,
        "threshold": decision.threshold,
        "calibration": decision.calibration_id,
        "expires_at": int(item.expires_at) if item else None,
        "url": location(outcome.interaction.id),
    }


def shown_item(outcome: Outcome) -> ReviewItem | None:
    """The review item, as far as it is the caller's business.

    That an answer which was released is looked at by chance is not, until somebody corrects it or takes it back: the
    caller of an audited answer sees what all others see.
    """
    item = outcome.item
    if item is None or outcome.decision.action is not Action.RELEASE:
        return item
    return item if item.state in (ItemState.EDITED, ItemState.REJECTED) else None


def location(interaction_id: str) -> str:
    return f"/v1/chat/completions/{interaction_id}"


def refusal_of(outcome: Outcome) -> str | None:
    """Why there is no text, or None when there is."""
    if outcome.released_text is not None:
        return None
    if outcome.content_changed and outcome.vouched is not Vouched.BEFORE:
        return "The stored content does not match its decision, so it is withheld. Tell whoever runs this service."
    if outcome.vouched is not Vouched.OURS:
        return NOT_VOUCHED[outcome.vouched]
    state = outcome.item.state if outcome.item else None
    if is_open(outcome):
        return f"Held for human review: {outcome.decision.reason.value.replace('_', ' ')}. Retrieve it later by its id."
    return WITHHELD.get(state, "This answer is withheld.") if state else "This answer is withheld."


def finish_reason_of(outcome: Outcome) -> str:
    if outcome.released_text is None:
        return "content_filter"
    if was_edited(outcome):
        return "stop"
    told = outcome.interaction.answer["finish_reason"]
    return told if told in ("stop", "length", "content_filter") else "stop"


def was_edited(outcome: Outcome) -> bool:
    return outcome.item is not None and outcome.item.state is ItemState.EDITED


def completion(outcome: Outcome) -> dict[str, Any]:
    """The whole ChatCompletion; `content` is null while nothing may leave."""
    return {
        "id": outcome.interaction.id,
        "object": "chat.completion",
        "created": int(outcome.interaction.created_at),
        "model": outcome.interaction.model,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": outcome.released_text,
                    "refusal": refusal_of(outcome),
                    "annotations": [],
                },
                "logprobs": logprobs_of(outcome),
                "finish_reason": finish_reason_of(outcome),
            }
        ],
        "usage": usage_of(outcome),
        "service_tier": "default",
        "system_fingerprint": outcome.interaction.served_model,
        "metadata": outcome.interaction.metadata,
        "review": review_of(outcome),
    }


def usage_of(outcome: Outcome) -> dict[str, Any]:
    """Tokens of prompt and answer. A held answer's own count is told too: it was generated, and is charged for."""
    unknown = {"prompt_tokens": 0, "completion_tokens": 0}
    usage = outcome.interaction.answer["usage"] if outcome.vouched is Vouched.OURS else unknown
    prompt, answered = usage["prompt_tokens"], usage["completion_tokens"]
    return {"prompt_tokens": prompt, "completion_tokens": answered, "total_tokens": prompt + answered}


def logprobs_of(outcome: Outcome) -> dict[str, Any] | None:
    """Log-probabilities of the released text's tokens, when asked for and when the text is the model's own."""
    params = outcome.interaction.params
    if not params.get("logprobs") or outcome.released_text is None or was_edited(outcome):
        return None
    top = min(int(params.get("top_logprobs") or 0), MAX_TOP_LOGPROBS)
    return {"content": logprob_rows(outcome.interaction.answer, top), "refusal": None}


def logprob_rows(answer: dict[str, Any], top: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    shown = 0  # characters; what follows the visible text are special tokens
    for token in map(token_from_json, answer["tokens"]):
        if shown >= len(answer["text"]):
            break
        shown += len(token.text)
        alternatives = [logprob_row(text, logprob) for text, logprob in token.top[:top]]
        rows.append({**logprob_row(token.text, token.logprob), "top_logprobs": alternatives})
    return rows


def logprob_row(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode("utf-8", "replace")), "logprob": logprob}


def is_held(outcome: Outcome) -> bool:
    return outcome.decision.action not in (Action.RELEASE, Action.FLAG)
