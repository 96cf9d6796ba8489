"""What is missing is said in one sentence, before anything starts."""

import shutil
import sys
from pathlib import Path

import pytest

from launch.errors import CannotStart
from launch.parts import SERVING, Part, Wiring, parts
from launch.ports import free_ports
from launch.preflight import check_database, check_redis, check_serving
from launch.settings import ROOT, LaunchSettings


def one_sentence(error: pytest.ExceptionInfo[CannotStart]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def serving(tmp_path, checkpoint, **more):
    """How a launch of this checkpoint would start serving."""
    wiring = Wiring("mark", "sqlite:///unused", "unix:///unused", "token")
    settings = LaunchSettings(home=tmp_path / "home", checkpoint=checkpoint, **more)
    return parts(settings, wiring)[SERVING]


@pytest.fixture
def copied(tmp_path):
    """The reference checkpoint, to be spoilt."""
    return Path(shutil.copytree(ROOT / "serving" / "checkpoints" / "reference", tmp_path / "model"))


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CannotStart) as error:
        check_serving(serving(tmp_path, tmp_path / "nowhere"), 60)
    assert "COUNTERSIGN_CHECKPOINT" in one_sentence(error)
    assert str(tmp_path / "nowhere") in str(error.value)


@pytest.mark.parametrize("config", ['{"model_type": "llama"}', "[]", "not json", "{}"])
def test_a_foreign_checkpoint_is_refused(tmp_path, copied, config):
    (copied / "config.json").write_text(config)
    with pytest.raises(CannotStart) as error:
        check_serving(serving(tmp_path, copied), 60)
    assert str(copied) in one_sentence(error)


@pytest.mark.parametrize("missing", ["*.safetensors", "tokenizer*"])
def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path, copied, missing):
    for file in copied.glob(missing):
        file.unlink()
    with pytest.raises(CannotStart) as error:
        check_serving(serving(tmp_path, copied), 60)
    assert str(copied) in one_sentence(error)


def test_settings_that_only_serving_reads_are_checked_too(tmp_path, copied, monkeypatch):
    monkeypatch.setenv("COUNTERSIGN_EXCHANGE", "pigeons")
    with pytest.raises(CannotStart, match="COUNTERSIGN_EXCHANGE"):
        check_serving(serving(tmp_path, copied), 60)


def test_a_check_that_does_not_end_is_given_up(tmp_path):
    endless = Part("serving", (sys.executable, "-c", "import time; time.sleep(60)"), {}, "")
    with pytest.raises(CannotStart) as error:
        check_serving(endless, 0.1)
    assert "COUNTERSIGN_START_SECONDS" in one_sentence(error)


def test_a_whole_checkpoint_passes_and_leaves_nothing(tmp_path, copied):
    check_serving(serving(tmp_path, copied), 60)
    assert not (tmp_path / "home").exists()


def test_an_unreachable_redis_is_named_without_its_password():
    (port,) = free_ports(1)
    with pytest.raises(CannotStart) as error:
        check_redis(f"redis://user:secret@127.0.0.1:{port}/0")
    text = one_sentence(error)
    assert "REDIS_URL" in text
    assert str(port) in text
    assert "secret" not in text


def test_a_redis_address_that_is_none_is_refused():
    with pytest.raises(CannotStart, match="REDIS_URL"):
        check_redis("nonsense")


def test_an_unreachable_database_is_named_without_its_password():
    (port,) = free_ports(1)
    with pytest.raises(CannotStart) as error:
        check_database(f"postgresql://user:secret@127.0.0.1:{port}/countersign")
    text = one_sentence(error)
    assert "DATABASE_URL" in text
    assert "secret" not in text


def test_the_embedded_parts_need_no_check():
    check_redis("")
    check_database("")
