"""Shows a launch at the terminal: steps as they happen, then the addresses and what was answered and held."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from launch.access import Access
from launch.conversation import Asked
from launch.errors import ChildDied
from launch.product import Step


class View:
    """Steps as moving lines on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip

    def __enter__(self) -> View:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def report(self, step: Step) -> None:
        if not self._console.is_terminal:
            if step.seconds is not None:
                self._console.print(f"  {step.name:<12} {step.what} ({step.seconds:.1f} s)", highlight=False)
            return
        line = f"{step.name:<12} {step.what}"
        if step.name not in self._tasks:
            self._tasks[step.name] = self._progress.add_task(line, total=1)
        done = step.seconds is not None
        self._progress.update(self._tasks[step.name], description=line, completed=1 if done else 0)


def show_failure(console: Console, error: Exception) -> None:
    """The last log lines of a part that died, then the sentence."""
    for line in error.tail if isinstance(error, ChildDied) else ():
        console.print(f"  {escape(line)}", style="dim", highlight=False, soft_wrap=True)
    console.print(f"[bold red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)


def show_answers(console: Console, asked: Iterable[Asked]) -> None:
    """One row a question: what it was, how sure the model was, what the policy did."""
    table = Table(title="What was asked", title_justify="left", show_edge=False, pad_edge=False)
    for name, justify in (("question", "left"), ("confidence", "right"), ("action", "left"), ("answer", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    table.add_column("s", justify="right")
    for each in asked:
        sure = "unknown" if each.confidence is None else f"{each.confidence:.3f}"
        what = f"[yellow]{each.action}[/]" if each.held else f"[green]{each.action}[/]"
        answer = f"held: {each.reason}" if each.held else _last_line(each.text)
        table.add_row(escape(each.question), sure, what, escape(answer), f"{each.seconds:.2f}")
    console.print(table)


def show_addresses(console: Console, access: Access, dashboard: str, model: str) -> None:
    """How to ask and where to review; commands are printed unwrapped so that they can be copied."""
    question = "What is 23 + 48?"
    lines = (
        "",
        "[bold]Ask[/]        " + f"{access.chat_url}   key {access.key}",
        f"  ./run ask '{question}'",
        f"  curl -s {access.chat_url}/chat/completions -H 'Authorization: Bearer {access.key}' "
        "-H 'Content-Type: application/json' "
        f'-d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "{question}"}}]}}\'',
        "  or in Python, after pip install openai:",
        "from openai import OpenAI",  # not indented: it can be pasted
        f'client = OpenAI(base_url="{access.chat_url}", api_key="{access.key}")',
        f'print(client.chat.completions.create(model="{model}", '
        f'messages=[{{"role": "user", "content": "{question}"}}]))',
        "",
        f"[bold]Review[/]     {dashboard}",
        f"  sign in once with {access.signin_link}",
        "",
    )
    for line in lines:
        head, close, rest = line.partition("[/]")
        console.print(f"{head}{close}{escape(rest)}" if close else escape(line), highlight=False, soft_wrap=True)


def _last_line(text: str | None) -> str:
    """A solution's last line holds its answer; the steps before it would fill the table."""
    return (text or "").strip().splitlines()[-1] if (text or "").strip() else ""
