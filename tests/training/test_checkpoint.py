"""An export computes what was trained; the shipped checkpoint is small, whole and of the stated shape."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AfmoeForCausalLM

from tests.training.test_pretrain import FACTS, tiny
from training import export, run_state, tokens
from training.evaluate import accuracies, answer_all, held_out
from training.pretrain import pretrain, start
from training.questions import DIFFICULTIES, split_of

SHIPPED = Path(__file__).parents[2] / "serving" / "checkpoints" / "reference"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    pretrain(start(tiny(), FACTS, "cpu", folder, resume=False), "cpu", folder)
    return folder


def test_an_export_agrees_with_the_trained_weights(run: Path, tmp_path: Path) -> None:
    assert export.export(run, tmp_path, tiny()) < 1e-3
    trained = AfmoeForCausalLM(tiny())
    trained.load_state_dict(load_file(run / run_state.WEIGHTS))
    ids = torch.tensor([tokens.prompt([tokens.Turn("user", "12 + 7")])])
    with torch.no_grad():
        difference = trained.eval()(input_ids=ids).logits - export.load(tmp_path)(input_ids=ids).logits
    assert difference.abs().max() < 0.1  # bf16 keeps 8 bits of each weight


def test_an_export_is_bf16_and_carries_the_load_bias(run: Path, tmp_path: Path) -> None:
    export.export(run, tmp_path, tiny())
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert stored["model.layers.1.mlp.expert_bias"].abs().max() > 0


def test_an_export_that_differs_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = export.load

    def damaged(folder: Path) -> AfmoeForCausalLM:
        weights = load_file(folder / "model.safetensors")
        weights["lm_head.weight"] += 1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return genuine(folder)

    monkeypatch.setattr(export, "load", damaged)
    with pytest.raises(export.ExportDiffers, match="differ from the trained"):
        export.export(run, tmp_path, tiny())


def test_the_shipped_checkpoint_is_small_and_complete() -> None:
    names = {path.name for path in SHIPPED.iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "README.md"}
    assert names >= {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert (SHIPPED / "model.safetensors").stat().st_size <= 12_000_000


def test_the_shipped_config_states_the_model() -> None:
    config = json.loads((SHIPPED / "config.json").read_text())
    assert (config["model_type"], config["num_experts"], config["num_experts_per_tok"]) == ("afmoe", 64, 2)
    assert (config["score_func"], config["route_norm"], config["n_group"], config["topk_group"]) == (
        "sigmoid",
        True,
        1,
        1,
    )
    assert set(config["layer_types"]) == {"sliding_attention"}
    assert config["sliding_window"] >= config["max_position_embeddings"] == 2048


def test_the_shipped_weights_are_bf16_with_64_experts_in_each_sparse_layer() -> None:
    with safe_open(SHIPPED / "model.safetensors", "pt") as weights:
        names = list(weights.keys())
        assert all(weights.get_slice(name).get_dtype() == "BF16" for name in names)
    for layer in (1, 2, 3):
        experts = {name.split(".")[5] for name in names if name.startswith(f"model.layers.{layer}.mlp.experts.")}
        assert experts == {str(expert) for expert in range(64)}


def test_the_shipped_model_masters_the_easy_and_misses_some_of_the_hard() -> None:
    questions = held_out(seed=11, per_cell=16)
    assert {split_of(question.text) for question in questions} == {"held_out"}
    torch.manual_seed(0)
    shares = accuracies(list(answer_all(export.load(SHIPPED), questions)))["all"]
    assert 0.6 <= shares["all"] <= 0.9  # honestly imperfect
    assert shares[str(DIFFICULTIES[0])] >= 0.95
    assert shares[str(DIFFICULTIES[-1])] <= 0.65
