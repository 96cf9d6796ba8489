"""Writes a training run as a checkpoint that any engine for `afmoe` loads, and checks that it does."""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AfmoeConfig, AfmoeForCausalLM

from training import run_state, tokens
from training.architecture import reference_config

MAX_NEW_TOKENS = 256


class ExportDiffers(Exception):
    """The checkpoint does not compute what the trained weights compute."""


def export(run_folder: Path, target: Path, config: AfmoeConfig) -> float:
    """Write the checkpoint; returns the largest difference between its logits and the run's."""
    trained = AfmoeForCausalLM(config)
    trained.load_state_dict(load_file(run_folder / run_state.WEIGHTS))
    trained.eval()
    # The reference for the check: the trained weights, each rounded as bf16 stores it.
    rounded = {name: value.bfloat16().float() for name, value in trained.state_dict().items()}
    trained.load_state_dict(rounded)
    expected = _logits(trained)
    trained.generation_config = _generation_config(trained)
    trained.to(torch.bfloat16).save_pretrained(target)
    write_companions(target, config)
    difference = (_logits(load(target)) - expected).abs().max().item()
    if not difference < 1e-3:
        raise ExportDiffers(f"logits of {target} differ from the trained ones by {difference:.4g}")
    return difference


def load(folder: Path) -> AfmoeForCausalLM:
    """The checkpoint as transformers reads it, computing in fp32."""
    model: AfmoeForCausalLM = AfmoeForCausalLM.from_pretrained(
        folder, dtype=torch.float32, experts_implementation="grouped_mm"
    )
    return model.eval()


def write_companions(target: Path, config: AfmoeConfig) -> None:
    """Tokenizer and chat template beside the weights; the fields other engines ask config.json for."""
    written = json.loads((target / "config.json").read_text())
    written |= {"score_func": "sigmoid", "route_norm": True, "n_group": 1, "topk_group": 1}
    (target / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    tokens.build_tokenizer().save(str(target / "tokenizer.json"))
    names = dict(zip(("pad", "bos", "eos"), tokens.SPECIALS, strict=False))
    facts = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.max_position_embeddings,
        **{f"{name}_token": text for name, text in names.items()},
    }
    (target / "tokenizer_config.json").write_text(json.dumps(facts, indent=2) + "\n")
    (target / "chat_template.jinja").write_text(tokens.CHAT_TEMPLATE)


def _generation_config(model: AfmoeForCausalLM) -> object:
    settings = model.generation_config
    settings.update(do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
    settings.update(bos_token_id=tokens.BOS, eos_token_id=tokens.EOS, pad_token_id=tokens.PAD)
    return settings


@torch.no_grad()
def _logits(model: AfmoeForCausalLM) -> Tensor:
    asked = tokens.prompt([tokens.Turn("user", "What is 12 + 7 * 3?")])
    logits: Tensor = model(input_ids=torch.tensor([asked])).logits
    return logits.float()


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder given to pretrain")
    parser.add_argument("--out", type=Path, default=Path("serving/checkpoints/reference"))
    options = parser.parse_args()
    if not (options.run / run_state.WEIGHTS).exists():
        parser.error(f"{options.run} holds no training run: name the folder given to training.pretrain")
    difference = export(options.run, options.out, reference_config())
    size = (options.out / "model.safetensors").stat().st_size
    print(f"{options.out}: {size / 1e6:.2f} MB, logits within {difference:.2g} of the trained weights")


if __name__ == "__main__":
    main()
