"""The reference model's shape, its first weights, and the load bias that spreads its experts."""

import torch
from torch import Tensor, nn
from transformers import AfmoeConfig, AfmoeForCausalLM

from training import tokens

CONTEXT = 2048
LOAD_RATE, LOAD_DECAY = 0.004, 0.995


def reference_config() -> AfmoeConfig:
    """About 5.3 million parameters: 4 layers, the first dense, 64 experts of 64, top-2."""
    layers = 4
    return AfmoeConfig(
        vocab_size=tokens.VOCAB_SIZE,
        hidden_size=128,
        intermediate_size=384,
        moe_intermediate_size=64,
        num_hidden_layers=layers,
        num_dense_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        num_experts=64,
        num_experts_per_tok=2,
        num_shared_experts=1,
        # The window spans the whole context: it is the sliding layers that carry positions.
        sliding_window=CONTEXT,
        layer_types=["sliding_attention"] * layers,
        bos_token_id=tokens.BOS,
        eos_token_id=tokens.EOS,
        pad_token_id=tokens.PAD,
        # Not read by transformers, but by other engines that load this format.
        score_func="sigmoid",
        route_norm=True,
        n_group=1,
        topk_group=1,
    )


def build(config: AfmoeConfig, seed: int) -> AfmoeForCausalLM:
    """A fresh model; a seed gives the same weights on every device."""
    torch.manual_seed(seed)
    model: AfmoeForCausalLM = AfmoeForCausalLM._from_config(
        config, attn_implementation="sdpa", experts_implementation="grouped_mm"
    )
    for name, parameter in model.named_parameters():
        _initialise(name, parameter, config)
    return model


@torch.no_grad()
def _initialise(name: str, parameter: nn.Parameter, config: AfmoeConfig) -> None:
    if name.endswith(("post_attention_layernorm.weight", "post_mlp_layernorm.weight")):
        parameter.fill_((2 * config.num_hidden_layers) ** -0.5)  # the residual stream stays near 1
    elif "embed_tokens" in name:
        nn.init.normal_(parameter, std=0.5)
    elif "router.gate" in name:
        nn.init.normal_(parameter, std=0.5 * config.hidden_size**-0.5)  # zeros would tie every score
    elif "lm_head" in name:
        nn.init.normal_(parameter, std=0.02)
    elif parameter.dim() >= 2:
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)


class LoadBias:
    """Steers tokens away from busy experts: against recent load, decaying towards zero.

    The bias only chooses experts; their weights stay the sigmoid scores, as the format has it.
    """

    def __init__(self, model: AfmoeForCausalLM) -> None:
        self._blocks = [layer.mlp for layer in model.model.layers if layer.moe_enabled]
        self._chosen: list[Tensor] = []
        for block in self._blocks:
            block.router.register_forward_hook(self._watch)

    def _watch(self, _module: nn.Module, _inputs: object, outputs: tuple[Tensor, ...]) -> None:
        self._chosen.append(outputs[2].detach())

    @torch.no_grad()
    def update(self) -> float:
        """Move each block's bias by the step just run; returns the worst load over the mean load."""
        worst = 0.0
        for block, chosen in zip(self._blocks, self._chosen, strict=True):
            experts = block.expert_bias.numel()
            load = torch.bincount(chosen.flatten(), minlength=experts) * experts / chosen.numel()
            block.expert_bias.mul_(LOAD_DECAY).add_(LOAD_RATE * (1 - load).clamp(-1, 1))
            worst = max(worst, load.max().item())
        self._chosen.clear()
        return worst
