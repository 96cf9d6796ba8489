"""What is missing is said in one sentence, before anything starts."""

import json

import pytest

from launch.errors import CannotStart
from launch.ports import free_ports
from launch.preflight import check_checkpoint, check_database, check_redis


def one_sentence(error: pytest.ExceptionInfo[CannotStart]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CannotStart) as error:
        check_checkpoint(tmp_path / "nowhere")
    assert "COUNTERSIGN_CHECKPOINT" in one_sentence(error)
    assert str(tmp_path / "nowhere") in str(error.value)


@pytest.mark.parametrize("config", ['{"model_type": "llama"}', "[]", "not json", "{}"])
def test_a_foreign_checkpoint_is_refused(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CannotStart) as error:
        check_checkpoint(tmp_path)
    assert "COUNTERSIGN_CHECKPOINT" in one_sentence(error)


def test_a_checkpoint_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "afmoe"}))
    with pytest.raises(CannotStart, match="safetensors"):
        check_checkpoint(tmp_path)


def test_a_checkpoint_of_the_family_passes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "afmoe"}))
    (tmp_path / "model.safetensors").touch()
    check_checkpoint(tmp_path)


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
