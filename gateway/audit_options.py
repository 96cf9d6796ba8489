"""Gives commands of the command line an option for every filter of the audit log, the same as the API's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from gateway.audit_filters import Marks, wanted
from gateway.errors import ApiError
from gateway.settings import Settings
from storage.audit_query import Filters
from storage.errors import InvalidValue

_TIMES = ("since", "until")
_TOLD = "Unix seconds, or a date and time like 2027-01-31T12:00 (UTC unless it says otherwise); {}."


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """`command` takes Filters first; the command that typer sees has an option for each of them instead."""

    def run(**given: Any) -> None:
        marks = {name: given.pop(name) for name in Marks.model_fields}
        command(filters_of(marks), **given)

    own = inspect.signature(command, eval_str=True).parameters.values()
    options = [_option(name) for name in Marks.model_fields]
    parameters = [each for each in own if each.name != "filters"] + options
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # where inspect, and so typer, looks for it
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    )
    return run


def filters_of(marks: dict[str, Any]) -> Filters:
    """Raises typer.BadParameter, which names the option or says what is wrong: exit code 2."""
    times = {name: None if marks[name] is None else moment(name, marks[name]) for name in _TIMES}
    try:
        return wanted(Marks(**{**marks, **times}), words_kept=Settings().full_text)
    except ApiError as error:
        raise typer.BadParameter(error.message) from None
    except (InvalidValue, ValidationError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise typer.BadParameter(told, param_hint="--text") from None  # the only one with a form of its own


def moment(name: str, text: str) -> float:
    """Unix seconds."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither unix seconds nor a date and time like 2027-01-31T12:00.", param_hint=f"--{name}"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _option(name: str) -> inspect.Parameter:
    field = Marks.model_fields[name]
    value: Any = float | None if "float" in str(field.annotation) and name not in _TIMES else str | None
    told = field.description
    if name in _TIMES:
        told = _TOLD.format("inclusive" if name == "since" else "exclusive")
    option = Annotated[value, typer.Option(f"--{name.replace('_', '-')}", help=told)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
