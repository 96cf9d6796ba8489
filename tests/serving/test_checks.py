"""A checkpoint that a replica could not load is refused before anything starts, in one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.checks import CannotStart, verify
from serving.model.checkpoint import open_checkpoint
from serving.settings import ServingSettings
from tests.serving.tiny_checkpoint import write_tiny_checkpoint
from training.tokens import build_tokenizer

TENSORS = "model.safetensors"


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def cut(directory: Path, length: int) -> None:
    path = directory / TENSORS
    path.write_bytes(path.read_bytes()[:length])


def without(directory: Path, name: str) -> None:
    tensors = load_file(directory / TENSORS)
    del tensors[name]
    save_file(tensors, directory / TENSORS)


def misshape(directory: Path, name: str) -> None:
    tensors = load_file(directory / TENSORS)
    save_file(tensors | {name: tensors[name][:-1].clone()}, directory / TENSORS)


def without_roles(directory: Path) -> None:
    path = directory / "tokenizer.json"
    data = json.loads(path.read_text())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] != "<|user|>"]
    path.write_text(json.dumps(data))


def with_another_token(directory: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<think>"])
    tokenizer.save(str(directory / "tokenizer.json"))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut in its header": (lambda directory: cut(directory, 1000), "broken safetensors"),
    "cut in its last tensor": (lambda directory: cut(directory, -1), "broken safetensors"),
    "an expert missing": (
        lambda directory: without(directory, "model.layers.2.mlp.experts.7.down_proj.weight"),
        r"lacks the tensor .*experts\.7",
    ),
    "another shape": (lambda directory: misshape(directory, "model.layers.0.self_attn.q_proj.weight"), "has shape"),
    "no tokenizer": (lambda directory: (directory / "tokenizer.json").unlink(), r"no tokenizer\.json"),
    "a broken tokenizer": (lambda directory: (directory / "tokenizer.json").write_text("{}"), "cannot be read"),
    "a tokenizer with more ids than the model": (with_another_token, "263 ids, config.json 262"),
    "no roles and no template": (without_roles, "no chat template"),
}


@pytest.mark.parametrize(("breaking", "sentence"), BROKEN.values(), ids=list(BROKEN))
def test_what_a_replica_could_not_load_is_refused(
    copy: Path, breaking: Callable[[Path], object], sentence: str
) -> None:
    breaking(copy)
    with pytest.raises(CannotStart, match=sentence) as caught:
        verify(ServingSettings(checkpoint=copy))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{}, {"tie_word_embeddings": True}, {"num_shared_experts": 2}, {"num_dense_layers": 0}], ids=str
)
def test_what_transformers_wrote_is_accepted(tmp_path: Path, changes: dict[str, object]) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", **changes)
    settings = ServingSettings(checkpoint=directory)
    assert verify(settings) == open_checkpoint(directory)


def test_stacked_experts_are_accepted(copy: Path) -> None:
    tensors = load_file(copy / TENSORS)
    for layer in (1, 2):
        at = f"model.layers.{layer}.mlp.experts."
        gate, up, down = (
            [tensors.pop(f"{at}{expert}.{part}_proj.weight") for expert in range(8)] for part in ("gate", "up", "down")
        )
        tensors[at + "gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(gate, up, strict=True)])
        tensors[at + "down_proj"] = torch.stack(down)
    save_file(tensors, copy / TENSORS)
    assert verify(ServingSettings(checkpoint=copy)).config.experts == 8


def test_verifying_imports_neither_torch_nor_ray() -> None:
    program = (
        "import sys; from serving.checks import verify; from serving.settings import ServingSettings; "
        "verify(ServingSettings()); sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_command_refuses_with_status_1_and_one_line(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(copy, 1000)
    monkeypatch.setenv("COUNTERSIGN_CHECKPOINT", str(copy))
    command = [sys.executable, "-m", "serving.start", "--verify-only"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "broken safetensors" in done.stderr
