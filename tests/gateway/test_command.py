"""The command line: what it prints, and one sentence with exit code 1 where it cannot do its work."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest import mock

import httpx2
import pytest

from gateway.command import main
from serving.confidence.calibration import calibration_to_json
from storage import calibrations
from storage.database import open_database
from tests.gateway.fake_serving import MODEL, TOKEN, FakeServing
from tests.serving.confidence.made import calibration
from tests.storage import first_version


class Shell:
    """Runs `countersign` in a home of its own."""

    def __init__(self, home: Path, redis_url: str, serving_url: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "OTEL_"))}
        self.environment = {
            **kept,
            "COUNTERSIGN_HOME": str(home),
            "REDIS_URL": redis_url,
            "COUNTERSIGN_SERVING_URL": serving_url,
            "COUNTERSIGN_SERVING_TOKEN": TOKEN,
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "gateway.command", *words]

    def run(self, *words: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        """Servers as processes of their own; what only reads or writes a little here, where it takes no second."""
        environment = {**self.environment, **changes}
        if words[0] in ("gateway", "worker"):
            return subprocess.run(self.command(*words), env=environment, capture_output=True, text=True, timeout=120)
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(sys, "argv", ["countersign", *words]),
            redirect_stdout(StringIO()) as out,
            redirect_stderr(StringIO()) as errors,
            pytest.raises(SystemExit) as ended,
        ):
            main()
        return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), errors.getvalue())

    def refusal(self, *words: str, **changes: str) -> str:
        done = self.run(*words, **changes)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("countersign: ")
        assert len(done.stderr.strip().splitlines()) == 1
        return done.stderr


@pytest.fixture
def shell(home: Path, valkey_url: str, serving: FakeServing) -> Shell:
    return Shell(home, valkey_url, serving.url)


def test_gateway_serves_until_it_is_told_to_stop_and_then_ends_what_waits(shell: Shell) -> None:
    secret = shell.run("keys", "create", "me", "--role", "caller").stdout.strip()
    process = subprocess.Popen(
        shell.command("gateway"), env={**shell.environment, "COUNTERSIGN_PORT": "0"}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        port = next(found["port"] for line in process.stderr if (found := json.loads(line)).get("port"))
        asked = {"model": "countersign-reference", "messages": [{"role": "user", "content": "hi [0.97]"}]}
        client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {secret}"})
        while True:
            try:
                client.get("/health/ready").raise_for_status()
                break
            except httpx2.HTTPError:
                assert process.poll() is None
                time.sleep(0.05)
        assert client.post("/v1/chat/completions", json=asked).json()["review"]["status"] == "pending"  # no calibration
        with client.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as stream:
            parts = stream.iter_bytes()
            assert b"pending" in next(parts)
            process.send_signal(signal.SIGTERM)  # while a held stream waits for its reviewer
            assert b"".join(parts).endswith(b"data: [DONE]\n\n")
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(20) == 0
    assert all(json.loads(line)["event"] for line in rest.splitlines())


def test_busy_port_is_one_sentence(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "COUNTERSIGN_PORT" in shell.refusal("gateway", COUNTERSIGN_PORT=port)


@pytest.mark.parametrize("command", [("gateway",), ("worker",), ("worker", "--check")])
def test_unreachable_queue_or_database_is_one_sentence(shell: Shell, home: Path, command: tuple[str, ...]) -> None:
    assert "REDIS_URL" in shell.refusal(*command, REDIS_URL=f"unix://{home}/nobody.sock")
    assert "database" in shell.refusal(*command, DATABASE_URL="postgresql://127.0.0.1:1/none")


def test_database_without_tables_says_what_to_run(shell: Shell, tmp_path: Path) -> None:
    empty = {"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}"}
    assert "countersign migrate" in shell.refusal("gateway", **empty)
    assert shell.run("migrate", **empty).returncode == 0
    assert shell.run("worker", "--check", **empty).returncode == 0


def test_setting_that_cannot_be_read_is_named(shell: Shell) -> None:
    assert "COUNTERSIGN_PORT" in shell.refusal("gateway", COUNTERSIGN_PORT="many")
    assert "COUNTERSIGN_WORKER" in shell.refusal("gateway", COUNTERSIGN_WORKER="maybe")


def test_as_a_process_of_its_own_it_does_the_same(shell: Shell) -> None:
    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(shell.command(*words), env=shell.environment, capture_output=True, text=True, timeout=120)

    assert run("keys", "create", "bot", "--role", "caller").stdout.startswith("csk_")
    refused = run("keys", "revoke", "key_none")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == shell.refusal("keys", "revoke", "key_none")


def test_keys_are_made_listed_and_revoked(shell: Shell) -> None:
    made = shell.run("keys", "create", "bot", "--role", "caller", "--threshold", "0.9", "--below", "flag")
    assert made.stdout.startswith("csk_")
    (line,) = shell.run("keys", "list").stdout.splitlines()
    assert "bot" in line
    assert "0.9 flag" in line
    assert made.stdout.strip() not in line
    assert shell.run("keys", "revoke", line.split("\t")[0]).returncode == 0
    assert shell.run("keys", "list").stdout.strip().endswith("revoked")
    assert "key" in shell.refusal("keys", "revoke", "key_none")
    assert "--below" in shell.refusal("keys", "create", "x", "--role", "caller", "--below", "maybe")


def test_skills_and_policies_are_set_and_changed(shell: Shell) -> None:
    policy = ("--tier", "ultra", "--four-eyes", "--review-seconds", "60")
    shell.run("keys", "create", "Ada", "--role", "reviewer", "--skill", "law", "--skill", "arithmetic", *policy)
    key_id, _, _, skills, rules, policy_id, _ = shell.run("keys", "list").stdout.splitlines()[-1].split("\t")
    assert (skills, rules) == ("arithmetic,law", "Ada v1 0.85 hold ultra four-eyes")
    assert shell.run("keys", "skills", key_id, "--every").returncode == 0
    changed = shell.run("policies", "update", policy_id, "--threshold", "0.9", "--two-eyes").stdout.strip()
    assert changed == "Ada v2 0.9 hold ultra"
    assert f"every domain\t{changed}" in shell.run("keys", "list").stdout
    for refused in (("keys", "skills", key_id), ("keys", "skills", key_id, "--every", "--skill", "law")):
        assert "--every" in shell.refusal(*refused)
    assert "--threshold" in shell.refusal("policies", "update", policy_id)
    assert "--tier" in shell.refusal("policies", "update", policy_id, "--tier", "gold")
    assert "policy" in shell.refusal("policies", "update", "pol_none", "--tier", "pro")


def test_signin_link_makes_the_reviewer_once(shell: Shell) -> None:
    first, second = (shell.run("signin-link", "Ada Lovelace", "--dashboard", "http://desk:1/").stdout for _ in "12")
    assert first.startswith("http://desk:1/signin?link=csl_")
    assert first != second
    assert len(shell.run("keys", "list").stdout.splitlines()) == 1


def test_signin_link_leads_to_the_port_that_the_dashboard_listens_on(shell: Shell) -> None:
    assert shell.run("signin-link", "Ada").stdout.startswith("http://127.0.0.1:8501/signin?link=")
    moved = shell.run("signin-link", "Ada", COUNTERSIGN_DASHBOARD_PORT="9001").stdout
    assert moved.startswith("http://127.0.0.1:9001/signin?link=")


def test_signin_link_of_a_key_that_the_dashboard_does_not_know_is_refused(shell: Shell) -> None:
    shell.run("keys", "create", "bob", "--role", "caller")
    assert "'bob' has only the role caller" in shell.refusal("signin-link", "bob")
    shell.run("keys", "create", "bob", "--role", "reviewer")
    assert "link=csl_" in shell.run("signin-link", "bob").stdout


def test_calibration_is_imported_and_activated(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(calibration_to_json(calibration(MODEL))))
    assert shell.run("calibrations", "import", str(file), "--activate").stdout.startswith("cal_")
    file.write_text("{}")
    assert "not a calibration" in shell.refusal("calibrations", "import", str(file))
    assert "cannot be read" in shell.refusal("calibrations", "import", str(tmp_path / "none.json"))


def test_a_calibration_that_ships_does_not_replace_one_in_use(shell: Shell, tmp_path: Path) -> None:
    shipped, newer = (
        calibration_to_json(each) for each in (calibration(MODEL), replace(calibration(MODEL), rows=2_000))
    )
    for name, body in (("shipped", shipped), ("newer", newer)):
        (tmp_path / name).write_text(json.dumps(body))
    imported = ("calibrations", "import", str(tmp_path / "shipped"), "--activate-if-none")
    first = shell.run(*imported).stdout.strip()
    assert active(shell) == first
    second = shell.run("calibrations", "import", str(tmp_path / "newer"), "--activate").stdout.strip()
    assert shell.run(*imported).stdout.strip() == first != second
    assert active(shell) == second
    listed = [line.split("\t")[:4] for line in shell.run("calibrations", "list", "--model", MODEL).stdout.splitlines()]
    assert listed == [[second, "active", MODEL, "2000 answers"], [first, "stored", MODEL, "1000 answers"]]
    assert shell.run("calibrations", "activate", first).returncode == 0
    assert active(shell) == first
    assert "cal_none" in shell.refusal("calibrations", "activate", "cal_none")
    assert shell.run("calibrations", "list", "--model", "another").stdout == ""


def active(shell: Shell) -> str | None:
    database = open_database(f"sqlite:///{shell.environment['COUNTERSIGN_HOME']}/countersign.db")
    try:
        with database.read() as connection:
            found = calibrations.active(connection, MODEL)
            return None if found is None else found.id
    finally:
        database.close()


def test_migrate_takes_events_that_wait_only_when_it_is_told_to(shell: Shell, tmp_path: Path) -> None:
    first_version.make(f"sqlite:///{tmp_path}/countersign.db")
    of_before = {"COUNTERSIGN_HOME": str(tmp_path)}
    assert "--vouch-for-waiting" in shell.refusal("migrate", **of_before)
    assert shell.run("migrate", "--vouch-for-waiting", **of_before).returncode == 0
