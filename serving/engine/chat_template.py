"""Knows how a checkpoint's own chat template frames messages; it is given placeholders, never what a caller wrote."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from serving.engine.errors import InvalidRequest
from serving.engine.generation import Role
from serving.engine.vocabulary import Vocabulary
from serving.model.config import CheckpointError, read_json

_USUAL: tuple[tuple[Role, ...], ...] = (("user",), ("user", "assistant", "user"))
_WITH_SYSTEM: tuple[Role, ...] = ("system", "user", "assistant", "user")  # a template may refuse a system message


class _Refused(Exception):
    """The template itself says why it takes no such conversation."""


class _Misplaced(Exception):
    """Contents do not come out of the template one after another, each once and unchanged."""


class ChatTemplate:
    def __init__(self, source: str, variables: dict[str, str], vocabulary: Vocabulary) -> None:
        """`variables`: the names of special tokens, as bos_token. Raises CheckpointError when it cannot be used."""
        self._variables, self._vocabulary = variables, vocabulary
        try:
            self._template = _compile(source)
            for roles in _USUAL:
                self._texts(roles)
            self._try_system()
        except _Misplaced as error:
            raise _unusable("does not give each message's content once, in order and unchanged") from error
        except _Refused as error:
            raise _unusable("refuses a plain conversation") from error
        except Exception as error:  # a template can raise anything that Python can
            raise _unusable(f"fails with {type(error).__name__} on a plain conversation") from error

    def around(self, roles: Sequence[Role]) -> list[list[int]]:
        """Ids before, between and after the contents: one list more than `roles`. Raises InvalidRequest."""
        try:
            texts = self._texts(roles)
        except _Refused as error:
            raise InvalidRequest("messages", f"the model's chat template refuses them: {error}") from error
        except Exception as error:
            raise InvalidRequest("messages", "the model's chat template does not take this order of roles") from error
        return [self._vocabulary.encode_framing(text) for text in texts]

    def _texts(self, roles: Sequence[Role]) -> list[str]:
        """What the template writes around placeholders that no text of its own can hold."""
        mark = secrets.token_hex(16)
        messages = [{"role": role, "content": f"{mark}x{place}x"} for place, role in enumerate(roles)]
        rendered = self._template.render(messages=messages, add_generation_prompt=True, **self._variables)
        parts = re.split(f"{mark}x([0-9]+)x", rendered)
        if parts[1::2] != [str(place) for place in range(len(roles))] or any(mark in part for part in parts):
            raise _Misplaced
        return parts[::2]

    def _try_system(self) -> None:
        try:
            self._texts(_WITH_SYSTEM)
        except _Refused:
            return


def load_chat_template(directory: Path, vocabulary: Vocabulary) -> ChatTemplate:
    """From chat_template.jinja, else tokenizer_config.json. Raises CheckpointError when there is none of use."""
    path = directory / "tokenizer_config.json"
    config = read_json(path) if path.is_file() else {}
    return ChatTemplate(_source(directory, config.get("chat_template")), _special_tokens(config), vocabulary)


def _source(directory: Path, configured: object) -> str:
    path = directory / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: export the checkpoint again.") from error
    if isinstance(configured, list):  # several, by name
        named = (entry for entry in configured if isinstance(entry, dict) and entry.get("name") == "default")
        configured = next(named, {}).get("template")
    if not isinstance(configured, str):
        raise CheckpointError(
            f"{directory} has no role tokens of ours and no chat template: add its chat_template.jinja."
        )
    return configured


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """Entries like "eos_token": a text, or an object whose "content" is the text."""
    entries = {name: value for name, value in config.items() if name.endswith("_token")}
    contents = {name: value.get("content") if isinstance(value, dict) else value for name, value in entries.items()}
    return {name: content for name, content in contents.items() if isinstance(content, str)}


def _compile(source: str) -> Template:
    """With the settings and the helpers that transformers gives to chat templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, **({"ensure_ascii": False} | options))
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def _raise_exception(message: str) -> NoReturn:
    raise _Refused(message)


def _unusable(reason: str) -> CheckpointError:
    return CheckpointError(f"The checkpoint's chat template {reason}: serve a checkpoint with another template.")
