"""`./run up --check` passes only when answers were both released and held, and leaves what helps and nothing else."""

import errno
import io
import signal

import pytest
from rich.console import Console

from launch import up
from launch.access import Access
from launch.conversation import Asked
from launch.errors import CannotStart
from launch.settings import LaunchSettings

NOBODY = Access("http://127.0.0.1:9", "", "", "")  # nothing is asked there


def asked(held):
    text, action = (None, "hold") if held else ("Answer: 12", "release")
    return Asked("What is 7 + 5?", "chatcmpl-1", held, text, None, action, "none", "", 0.5, None, 0.1, {})


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=40)


@pytest.fixture
def signals_put_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def launch_that(monkeypatch, ends, started):
    """Instead of the product: a launch that ends in this way, before or after a part of it wrote a log."""

    def run(settings, console, *, check):
        assert check
        if started:
            (settings.home / "logs").mkdir()
        raise ends

    monkeypatch.setattr(up, "run", run)


@pytest.mark.parametrize("seconds", ["0", "86401", "inf", "nan"])
def test_a_start_without_a_bound_is_refused_by_its_name(monkeypatch, capsys, signals_put_back, seconds):
    monkeypatch.setenv("COUNTERSIGN_START_SECONDS", seconds)
    assert up.main([]) == 1
    assert "COUNTERSIGN_START_SECONDS cannot be used" in capsys.readouterr().out


@pytest.mark.parametrize("held", [[True, True], [False, False]])
def test_answers_that_all_went_one_way_prove_nothing(held, console):
    with pytest.raises(CannotStart, match="some should be, not all"):
        up.prove(NOBODY, [asked(each) for each in held], console)


def test_a_failed_check_ends_with_1_and_says_where_its_logs_are(monkeypatch, console, temporary):
    launch_that(monkeypatch, CannotStart("The check failed: no."), started=True)
    assert up.run_check(LaunchSettings(), console) == 1
    (home,) = temporary.iterdir()
    assert console.file.getvalue().splitlines() == ["The check failed: no.", f"The logs are kept in {home}/logs."]


@pytest.mark.parametrize(("ends", "started"), [(up.Stop(), True), (up.Stop(), False)])
def test_a_check_that_is_cut_short_leaves_no_home(monkeypatch, console, temporary, ends, started):
    launch_that(monkeypatch, ends, started)
    with pytest.raises(up.Stop):
        up.run_check(LaunchSettings(), console)
    assert list(temporary.iterdir()) == []


def test_what_nobody_foresaw_keeps_the_logs_too(monkeypatch, console, temporary):
    launch_that(monkeypatch, ZeroDivisionError(), started=True)
    with pytest.raises(ZeroDivisionError):
        up.run_check(LaunchSettings(), console)
    assert "The logs are kept in" in console.file.getvalue()
    assert len(list(temporary.iterdir())) == 1


def test_a_check_that_could_not_begin_leaves_no_home(monkeypatch, console, temporary):
    launch_that(monkeypatch, CannotStart("There is no model."), started=False)
    assert up.run_check(LaunchSettings(), console) == 1
    assert console.file.getvalue() == "There is no model.\n"
    assert list(temporary.iterdir()) == []


class Terminal(io.StringIO):
    """One that is closed at some moment."""

    gone = False

    def write(self, text):
        if self.gone:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


class Started:
    """Instead of the product: started, and the terminal is closed at that very moment."""

    is_up = False

    def __init__(self, terminal):
        self.terminal = terminal

    def start(self):
        self.is_up, self.terminal.gone = True, True
        return NOBODY

    def stop(self):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # which comes a moment after: it tears nothing
        self.is_up = False


def test_a_terminal_that_closes_as_all_is_ready_keeps_nothing_from_being_stopped(monkeypatch, signals_put_back):
    terminal = Terminal()
    product = Started(terminal)
    monkeypatch.setattr(up, "Product", lambda *_: product)
    with pytest.raises(OSError, match="Input/output"):
        up.run(LaunchSettings(), Console(file=terminal, force_terminal=True), check=False)
    assert not product.is_up
