"""A checkpoint is a signed note as others read it, and the keys behind it are made once and kept from strangers."""

import base64
import hashlib
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from storage import log_keys
from storage.checkpoints import Signer, new_signing_key, read_note
from storage.database import Database
from storage.errors import KeysUnfit
from storage.vault import new_master_key
from tests.storage.logs import SIGNER, SIGNING_KEY, append, seal_all

ROOT = hashlib.sha256(b"").digest()
NOTE = """countersign/00112233445566aa
7
47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
sealed_at 1795480667.903

"""


def test_a_note_is_the_text_and_one_signature_that_anyone_can_check() -> None:
    note = SIGNER.sign(7, ROOT, 1795480667.9031)
    assert note.startswith(NOTE)
    (line,) = note.removeprefix(NOTE).splitlines()
    dash, origin, told = line.split(" ")
    assert (dash, origin) == ("—", "countersign/00112233445566aa")
    key_hash, signature = base64.b64decode(told)[:4], base64.b64decode(told)[4:]
    public = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    public.verify(signature, NOTE[:-1].encode())  # without the empty line
    named = b"countersign/00112233445566aa\n\x01" + public.public_bytes_raw()
    assert key_hash == hashlib.sha256(named).digest()[:4]
    told_key = base64.b64encode(b"\x01" + public.public_bytes_raw()).decode()
    assert SIGNER.public == f"countersign/00112233445566aa+{key_hash.hex()}+{told_key}"


def test_a_note_is_read_back_and_known_as_ones_own() -> None:
    said = read_note(SIGNER.sign(7, ROOT, 1795480667.903))
    assert (said.origin, said.size, said.root, said.sealed_at) == (SIGNER.origin, 7, ROOT, 1795480667.903)
    assert SIGNER.signed(said)
    assert not Signer(new_signing_key()).signed(said)


def test_a_note_with_any_other_bytes_is_not_ones_own() -> None:
    note = SIGNER.sign(7, ROOT, 1795480667.903)
    for place, letter in enumerate(note):
        changed = note[:place] + ("x" if letter != "x" else "y") + note[place + 1 :]
        try:
            assert not SIGNER.signed(read_note(changed)), changed
        except ValueError:
            continue
    for wrong in ("", NOTE, note + note, note[:-1], note + "\n", "\n" + note, note.replace("7\n", "07\n")):
        with pytest.raises(ValueError):
            read_note(wrong)


def test_another_log_of_the_same_key_is_another_signer() -> None:
    said = read_note(SIGNER.sign(7, ROOT, 1.0).replace("00112233445566aa", "00112233445566ab"))
    assert not SIGNER.signed(said)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        SIGNER.public,
        SIGNING_KEY[:-4],
        SIGNING_KEY.replace("c7814ea6", "c7814ea7"),
        SIGNING_KEY.replace("00112233445566aa", "../etc/passwd"),
        SIGNING_KEY.replace("AQAB", "AgAB"),
        "é" + SIGNING_KEY,
    ],
)
def test_what_is_no_signing_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(KeysUnfit, match="signing key") as caught:
        Signer(text)
    assert "AQAB" not in str(caught.value)


def test_keys_are_made_on_the_first_start_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "audit"
    vault, signer = log_keys.vault(folder), log_keys.signer(folder)
    assert log_keys.vault(folder).id == vault.id
    assert log_keys.signer(folder).public == signer.public
    assert (folder / "verify.pub").read_text() == signer.public + "\n"
    assert {each.name for each in folder.iterdir()} == {"master.key", "signing.key", "verify.pub"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_processes_that_start_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    found: list[tuple[str, str]] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        found.append((log_keys.vault(tmp_path).id, log_keys.signer(tmp_path).public))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(list(tmp_path.iterdir())) == 3  # no draft is left


def test_keys_that_are_given_need_no_folder(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    master = new_master_key()
    assert log_keys.vault(blocked / "audit", master).id == log_keys.vault(blocked / "audit", f" {master}\n").id
    assert log_keys.signer(blocked / "audit", SIGNING_KEY).public == SIGNER.public
    assert blocked.read_text() == ""


@pytest.mark.parametrize(("read", "says"), [(log_keys.vault, "MASTER_KEY"), (log_keys.signer, "AUDIT_SIGNING_KEY")])
def test_a_folder_that_cannot_be_made_is_told_with_the_setting_that_helps(tmp_path: Path, read, says: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysUnfit, match=f"COUNTERSIGN_{says}"):
        read(tmp_path / "file" / "audit")


def test_what_is_no_master_key_is_refused_without_repeating_it(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_text("c2hvcnQ=")
    for refused in (lambda: log_keys.vault(tmp_path), lambda: log_keys.vault(tmp_path, "c2hvcnQ=")):
        with pytest.raises(KeysUnfit, match="not a master key") as caught:
            refused()
        assert "c2hvcnQ" not in str(caught.value)
    (tmp_path / "master.key").write_bytes(b"\xff\xfe")
    with pytest.raises(KeysUnfit, match="not text"):
        log_keys.vault(tmp_path)


def test_a_public_key_of_another_log_is_not_replaced(tmp_path: Path) -> None:
    log_keys.signer(tmp_path)
    public = (tmp_path / "verify.pub").read_text()
    with pytest.raises(KeysUnfit, match=r"verify\.pub"):
        log_keys.signer(tmp_path, SIGNING_KEY)
    assert (tmp_path / "verify.pub").read_text() == public


def test_a_database_signed_with_another_key_is_refused(database: Database) -> None:
    stranger = Signer(new_signing_key())
    with database.read() as conn:
        log_keys.require_own_log(conn, stranger)  # nothing is sealed yet: it becomes this one's
    append(database, 3)
    seal_all(database)
    with database.read() as conn:
        log_keys.require_own_log(conn, SIGNER)
        with pytest.raises(KeysUnfit, match=f"{SIGNER.origin}.*{stranger.origin}.*put back"):
            log_keys.require_own_log(conn, stranger)
