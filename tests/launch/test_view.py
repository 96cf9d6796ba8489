"""What a launch prints can be copied and run."""

import ast
import io
import json
import shlex

import pytest
from rich.console import Console

from launch.access import Access
from launch.view import show_addresses

ACCESS = Access("http://127.0.0.1:8000", "csk_[key]", "csk_reviewer", "http://127.0.0.1:8501/signin?link=[once]")


@pytest.fixture
def lines():
    screen = Console(file=io.StringIO(), width=40)  # narrower than any of it
    show_addresses(screen, ACCESS, "http://127.0.0.1:8501", "countersign-reference")
    return screen.file.getvalue().splitlines()


def test_the_command_for_curl_is_one_line_that_a_shell_reads_as_meant(lines):
    (command,) = (shlex.split(line) for line in lines if line.lstrip().startswith("curl"))
    assert f"{ACCESS.chat_url}/chat/completions" in command
    assert f"Authorization: Bearer {ACCESS.key}" in command
    assert json.loads(command[command.index("-d") + 1])["model"] == "countersign-reference"


def test_the_python_lines_are_python_and_say_what_they_need(lines):
    start = next(number for number, line in enumerate(lines) if "from openai" in line)
    assert "pip install openai" in lines[start - 1]
    program = "\n".join(lines[start : start + 3])  # as they are pasted
    assert len(ast.parse(program).body) == 3
    assert ACCESS.key in program


def test_the_sign_in_link_is_whole_and_the_reviewers_key_is_not_printed(lines):
    assert any(ACCESS.signin_link in line for line in lines)
    assert ACCESS.reviewer_key not in "\n".join(lines)
