"""`./run ask`: one question to the running product; a held answer is shown as held."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.markup import escape

from launch.access import read_access
from launch.conversation import Asked, Conversation
from launch.errors import CannotStart
from launch.settings import LaunchSettings

ANSWERED, FAILED, HELD = 0, 1, 3


def main(arguments: list[str] | None = None) -> int:
    """0 answered, 3 held or withheld, 1 when it could not be asked."""
    parser = argparse.ArgumentParser(prog="./run ask", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("question", nargs="?")
    what.add_argument("--fetch", metavar="ID", help="what became of an answer that was held")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="wait so long for a verdict")
    given = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        access = read_access(LaunchSettings().home)
        with Conversation(access) as conversation:
            asked = (
                conversation.retrieve(given.fetch, given.wait)
                if given.fetch
                else conversation.ask(given.question, given.wait)
            )
    except CannotStart as error:
        console.print(f"[red]{escape(str(error))}[/]")
        return FAILED
    return show(asked, console)


def show(asked: Asked, console: Console) -> int:
    sure = "unknown confidence" if asked.confidence is None else f"confidence {asked.confidence:.3f}"
    if asked.text is not None:
        console.print(escape(asked.text))
        console.print(f"[dim]{asked.action}, {sure}, {asked.seconds:.2f} s[/]")
        return ANSWERED
    if not asked.held:
        console.print(f"[yellow]Withheld[/] ({asked.status}): {escape(asked.refusal or '')}")
        return HELD
    console.print(f"[yellow]Held for review[/] ({asked.reason}, {sure}): {asked.completion_id}")
    console.print("A reviewer has to see it first. To wait up to a minute for the verdict:")
    console.print(f"  ./run ask --fetch {asked.completion_id} --wait 60")
    return HELD


if __name__ == "__main__":
    sys.exit(main())
