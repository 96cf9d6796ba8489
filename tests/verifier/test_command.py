"""The program says in its exit status and in a sentence what it found, in real databases of the product."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from benchmarks.tampered_log import RealLog, real_log
from tests.storage.servers import new_database, postgres_server
from tests.verifier.written import small_log
from verifier.command import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def in_file(folder: Path) -> RealLog:
    log = real_log(f"sqlite:///{folder}/log.db", folder, 64)
    (folder / "verify.pub").write_text(log.vkey)
    return log


@pytest.fixture
def files(in_file: RealLog, folder: Path) -> list[str]:
    return ["--key", str(folder / "verify.pub"), "--checkpoints", str(in_file.outside)]


@pytest.fixture
def copy(in_file: RealLog, folder: Path, tmp_path: Path) -> Path:
    """A log of its own that a test may alter."""
    copied = tmp_path / "copy.db"
    copied.write_bytes((folder / "log.db").read_bytes())
    return copied


def alter(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as conn:
        conn.execute(statement)
        conn.commit()


def test_an_intact_log_ends_with_0_and_a_summary(in_file: RealLog, files: list[str], capsys) -> None:
    assert main(["log", in_file.url, *files]) == 0
    told = capsys.readouterr().out
    assert "Intact." in told
    assert "\x1b" not in told  # no colours where nobody looks


def test_without_checkpoints_kept_outside_it_says_what_cannot_be_told(copy: Path, files: list[str], capsys) -> None:
    assert main(["log", str(copy), *files[:2]]) == 0
    assert "cut off" in capsys.readouterr().out


def test_a_view_in_a_tables_place_is_told(copy: Path, files: list[str], capsys) -> None:
    alter(copy, "ALTER TABLE audit_events RENAME TO honest")
    alter(copy, "CREATE VIEW audit_events AS SELECT * FROM honest")
    assert main(["log", str(copy), *files]) == 1
    assert "audit_events is a view" in capsys.readouterr().out


def test_an_altered_log_ends_with_1_and_names_the_event(copy: Path, files: list[str], capsys) -> None:
    alter(
        copy, "UPDATE audit_events SET actor = 'key:2' WHERE id = (SELECT event_id FROM audit_leaves LIMIT 1 OFFSET 30)"
    )
    assert main(["log", str(copy), *files, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "altered"
    assert found["event_id"].startswith("evt_")
    assert main(["log", str(copy), *files]) == 1
    assert found["event_id"] in capsys.readouterr().out


def test_bytes_that_are_no_text_are_named_and_not_choked_on(copy: Path, files: list[str], capsys) -> None:
    alter(copy, "UPDATE audit_events SET tenant = CAST(x'ff1b5b' AS TEXT) WHERE rowid = 30")
    assert main(["log", str(copy), *files]) == 1
    told = capsys.readouterr().out
    assert "tenant is not text" in told
    assert "\x1b" not in told


def test_what_cannot_be_read_ends_with_2(copy: Path, files: list[str], tmp_path: Path, capsys) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "bad.pub").write_text("countersign/1+00000000+AAAA")
    alter(copy, "DROP TABLE audit_leaves")
    assert main(["log", str(tmp_path / "none.db"), *files]) == 2
    assert main(["log", str(tmp_path / "text.db"), *files]) == 2
    assert main(["log", "mysql://host/name", *files]) == 2
    assert main(["log", "postgresql://127.0.0.1:1/none", *files]) == 2
    assert main(["log", str(copy), *files]) == 2
    assert main(["log", str(copy), "--key", str(tmp_path / "bad.pub")]) == 2
    assert main(["log", str(copy), "--key", str(tmp_path / "none.pub")]) == 2
    assert main(["proof", str(tmp_path / "bad.pub"), *files]) == 2
    assert main(["export", str(tmp_path / "bad.pub")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 9


def test_the_program_runs_by_itself(copy: Path, files: list[str]) -> None:
    command = [sys.executable, "-m", "verifier", "log", str(copy), *files]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_torn_last_line_and_a_repeated_one_are_no_fault(copy: Path, files: list[str], tmp_path: Path, capsys) -> None:
    lines = Path(files[3]).read_text().splitlines(keepends=True)
    kept = tmp_path / "kept.jsonl"
    kept.write_text("".join([lines[0], *lines, lines[-1][:40]]))
    assert main(["log", str(copy), *files[:3], str(kept), "--json"]) == 0
    kept.write_text("".join([lines[0][:-9] + "\n", *lines[1:]]))
    assert main(["log", str(copy), *files[:3], str(kept)]) == 1


def test_proofs_and_exports_by_command(tmp_path: Path, capsys) -> None:
    log = small_log()
    key, proof, kept = tmp_path / "verify.pub", tmp_path / "proof.json", tmp_path / "kept.jsonl"
    key.write_text(log.vkey)
    proof.write_text(json.dumps(log.proof(7)))
    lines = [json.dumps({"size": size, "note": note}) + "\n" for size, note in log.outside]
    kept.write_text("".join(lines))
    arguments = ["proof", str(proof), "--key", str(key), "--checkpoints", str(kept)]
    assert main(arguments) == 0
    assert "the checkpoint of size 41 is kept outside too" in capsys.readouterr().out
    other = log.note(41, b"\1" * 32)
    kept.write_text("".join([*lines[:-1], json.dumps({"size": 41, "note": other}) + "\n"]))
    assert main(arguments) == 1
    assert "two histories" in capsys.readouterr().out
    proof.write_text(json.dumps({**log.proof(7), "leaf_index": 6}))
    assert main([*arguments, "--json"]) == 1


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def test_a_log_in_postgresql(server: str, tmp_path: Path, capsys) -> None:
    url = new_database(server)
    log = real_log(url, tmp_path, 64)
    (tmp_path / "verify.pub").write_text(log.vkey)
    arguments = ["log", url, "--key", str(tmp_path / "verify.pub"), "--checkpoints", str(log.outside), "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["leaves"] >= 64
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE audit_events SET data = replace(data, '0.85', '0.05') WHERE kind = 'decision'")
    assert main(arguments) == 1
    assert json.loads(capsys.readouterr().out)["kind"] == "decision"


def test_a_user_who_may_see_only_a_part_is_told_so(server: str, tmp_path: Path, capsys) -> None:
    url = new_database(server)
    log = real_log(url, tmp_path, 64)
    (tmp_path / "verify.pub").write_text(log.vkey)
    with psycopg.connect(url) as conn:
        conn.execute("CREATE ROLE part LOGIN")
        conn.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO part")
    assert main(["log", url.replace("postgres:@", "part:@", 1), "--key", str(tmp_path / "verify.pub")]) == 2
    assert "only a part" in capsys.readouterr().err
