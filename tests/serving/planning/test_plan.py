"""A plan counts every parameter, fits what it says fits, and costs what the formula says."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import CliRunner, Result

from serving.command import app
from serving.experts.pack import pack
from serving.experts.placement import contiguous_placement
from serving.model.families.registry import read_model_config
from serving.planning.cost import Machine, Work, experts_hit, stage_seconds, token_seconds, tokens_per_second
from serving.planning.devices import UnknownDevices, fleet_named
from serving.planning.layout import RESERVED, USUAL_BATCH, PlannedLoad, evenly, layouts
from serving.planning.shape import BF16, INT4, ModelShape, shape_of
from serving.settings import REFERENCE_CHECKPOINT

LARGE = ModelShape(
    layers=62, expert_layers=60, hidden=7_168, experts=256, experts_per_token=8, dense=(200_000_000,) * 62,
    one_expert=44_000_000, ends=1_900_000_000, head=920_000_000, cached=576, context=32_768,
)  # fmt: skip
FAST = Machine(bandwidth=1e12, flops=1e15, launch_seconds=0.0, link=1e12, exchange_seconds=1e-5, reached=1.0)


def test_every_parameter_of_a_checkpoint_is_counted_once() -> None:
    held = 0
    for file in Path(REFERENCE_CHECKPOINT).glob("*.safetensors"):
        with safe_open(file, "numpy") as tensors:
            held += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    assert shape_of(read_model_config(Path(REFERENCE_CHECKPOINT))).total == held


def test_experts_hit_are_those_of_the_published_table() -> None:
    assert [round(experts_hit(64, 2, rows)) for rows in (1, 8, 32, 64)] == [2, 14, 41, 56]
    assert experts_hit(0, 0, 8) == 0


def test_layouts_that_fit_hold_all_weights_and_leave_their_cache() -> None:
    fleet = fleet_named("32xA100-80G")
    found = layouts(LARGE, fleet, PlannedLoad(INT4, 4_096))
    assert found[0].fits
    for each in found:
        assert each.stages * each.ranks == 32
        assert sum(each.layers) == LARGE.layers
        assert sum(each.experts) == LARGE.experts
        assert each.held + each.cache_bytes == pytest.approx(80e9 * (1 - RESERVED))
        routed = LARGE.expert_layers * LARGE.experts * LARGE.one_expert * INT4
        assert each.expert_bytes * 32 >= routed * (1 - 1e-9)
        assert each.batch <= each.cache_tokens // 4_096 * each.ranks
    speeds = [each.tokens_per_second for each in found]
    assert speeds == sorted(speeds, reverse=True)


def test_what_does_not_fit_is_said_and_four_bits_may_help() -> None:
    fleet = fleet_named("8xA100-80G")
    assert not layouts(LARGE, fleet, PlannedLoad(BF16, 4_096))[0].fits
    assert not layouts(LARGE, fleet, PlannedLoad(INT4, 10**9))[0].fits
    assert layouts(LARGE, fleet, PlannedLoad(INT4, 4_096))[0].fits


def test_room_for_copies_of_experts_is_held_by_every_rank_that_has_neighbours() -> None:
    fleet, copies = fleet_named("32xA100-80G"), 3
    without = {(each.stages, each.ranks): each for each in layouts(LARGE, fleet, PlannedLoad(INT4, 4_096))}
    found = layouts(LARGE, fleet, PlannedLoad(INT4, 4_096, spare_experts=copies))
    assert {each.ranks for each in found} >= {2, 4}
    for each in found:
        more = each.expert_bytes - without[each.stages, each.ranks].expert_bytes
        mixed = 60 if each.stages == 1 else max(each.layers[1:])  # the first two of 62 layers have none
        assert more == pytest.approx(0 if each.ranks == 1 else copies * mixed * LARGE.one_expert * INT4)
        assert each.held + each.cache_bytes == pytest.approx(80e9 * (1 - RESERVED))


def test_a_batch_is_cut_to_what_the_cache_holds_and_to_nothing_less() -> None:
    fleet, more = fleet_named("32xA100-80G"), 10**9
    for context in (16, 4_096):
        for each in layouts(LARGE, fleet, PlannedLoad(INT4, context, batch=more)):
            assert each.batch == each.cache_tokens // context * each.ranks
        for each in layouts(LARGE, fleet, PlannedLoad(INT4, context)):
            assert each.batch == min(each.cache_tokens // context, USUAL_BATCH) * each.ranks


def test_experts_are_shared_out_as_ranks_hold_them() -> None:
    placed = contiguous_placement(read_model_config(Path(REFERENCE_CHECKPOINT)), 3).held_by
    assert evenly(64, 3) == tuple(len(next(iter(placed(rank).values()))) for rank in range(3))


def test_a_step_costs_what_it_reads() -> None:
    work = Work(batch=1, context=0.0)
    read = 2.0 * (62 * 200e6 + 920e6 + 60 * 8 * 44e6)
    assert stage_seconds(LARGE, work, FAST, 1) == pytest.approx(read / 1e12, rel=1e-9)
    with_cache = stage_seconds(LARGE, replace(work, context=1_000.0), FAST, 1)
    assert with_cache - read / 1e12 == pytest.approx(1_000 * 576 * 62 * 2.0 / 1e12, rel=1e-6)


def test_ranks_share_experts_and_pay_for_two_exchanges_a_layer() -> None:
    alone, four = Work(batch=64, context=0.0), Work(batch=64, context=0.0, ranks=4)
    hit = experts_hit(256, 8, 64) * 60 * 44e6 * 2.0 / 1e12
    sent = 64 * 7_168 * 2.0 * 3 / 4 / 1e12
    saved = stage_seconds(LARGE, alone, FAST, 64) - stage_seconds(LARGE, four, FAST, 64)
    assert saved == pytest.approx(hit * 3 / 4 - 60 * 2 * (1e-5 + sent), rel=1e-6)


def test_stages_work_at_once_on_micro_batches() -> None:
    work = Work(batch=64, context=0.0, stages=4)
    one = stage_seconds(LARGE, work, FAST, 16)
    assert tokens_per_second(LARGE, work, FAST) == pytest.approx(64 / (4 * one))
    assert token_seconds(LARGE, work, FAST) == pytest.approx(4 * one)


@pytest.mark.parametrize(
    "text", ["16", "A100-80G", "0xA100-80G", "16xA1000", "-1xA100-80G", "16xA100-80G and more", ""]
)
def test_what_names_no_devices_is_refused_with_what_does(text: str) -> None:
    with pytest.raises(UnknownDevices, match="as in 16xA100-80G"):
        fleet_named(text)


def planned(*words: str) -> Result:
    return CliRunner().invoke(app, ["plan", "--checkpoint", str(REFERENCE_CHECKPOINT), *words])


def test_a_number_of_devices_that_makes_no_grid_is_one_sentence() -> None:
    refused = planned("--gpus", "97xH100-80G", "--context", "256")
    assert isinstance(refused.exception, UnknownDevices)
    assert "97 devices cannot be split" in str(refused.exception)


def test_a_batch_that_is_cut_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "less than the 100,000,000 asked for, the cache holds no more"
    words = ("--gpus", "2xA100-80G", "--context", "256", "--batch")
    assert sentence in " ".join(planned(*words, "100000000").stdout.split())
    assert "asked for" not in planned(*words, "8").stdout
    told = json.loads(planned(*words, "100000000", "--json").stdout)
    assert told["batch"] == 100_000_000 > told["layouts"][0]["batch"] > 0


def test_copies_of_experts_are_planned_for_as_serving_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--gpus", "2xA100-80G", "--json")
    told = [json.loads(planned(*words, *more).stdout)["layouts"][0] for more in ((), ("--spare-experts", "2"))]
    monkeypatch.setenv("COUNTERSIGN_SPARE_EXPERTS", "2")
    assert json.loads(planned(*words).stdout)["layouts"][0] == told[1]
    assert told[0]["ranks"] == told[1]["ranks"] == 2
    assert told[1]["expert_bytes"] == pytest.approx(told[0]["expert_bytes"] * 34 / 32)


def test_a_missing_directory_is_told_by_the_option_that_named_it(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["plan", "--checkpoint", str(tmp_path / "nowhere"), "--gpus", "1xA100-80G"])
    assert refused.exit_code == 2
    assert "--checkpoint" in refused.output
    assert "COUNTERSIGN_CHECKPOINT" not in refused.output


def test_a_short_context_is_planned_whole_and_experts_as_they_are_kept(tmp_path: Path) -> None:
    floats = json.loads(planned("--gpus", "2xA100-80G", "--json").stdout)
    assert floats["context"] == 2048  # all that the reference model has
    pack(Path(REFERENCE_CHECKPOINT), tmp_path / "packed")
    words = ["plan", "--checkpoint", str(tmp_path / "packed"), "--gpus", "2xA100-80G", "--json"]
    packed = json.loads(CliRunner().invoke(app, words).stdout)
    assert packed["layouts"][0]["expert_bytes"] < 0.3 * floats["layouts"][0]["expert_bytes"]


def test_the_command_shows_placement_memory_and_speed(tmp_path: Path) -> None:
    shown = planned("--gpus", "2xA100-80G", "--context", "256")
    assert shown.exit_code == 0
    assert "1 x 2" in shown.stdout
    assert "0 to 31" in shown.stdout
    told = json.loads(planned("--gpus", "2 x a100-80g", "--context", "256", "--json").stdout)
    assert told["devices"] == {"name": "A100-80G", "count": 2, "of_node": 2}
    assert told["layouts"][0]["tokens_per_second"] > 0
    shutil.copy(Path(REFERENCE_CHECKPOINT) / "config.json", tmp_path)  # weights are not needed
    alone = CliRunner().invoke(app, ["plan", "--checkpoint", str(tmp_path), "--gpus", "2xA100-80G", "--context", "256"])
    assert alone.stdout == shown.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--gpus", "1xA100-80G", "--experts", "int2"), "no way of keeping experts"),
        (("--gpus", "1xA100-80G", "--context", "1000000"), "context has"),
    ],
)
def test_what_cannot_be_planned_is_said(words: tuple[str, ...], told: str) -> None:
    refused = planned(*words)
    assert refused.exit_code == 2
    assert told in " ".join(refused.output.split())


DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "vocab_size": 129_280,
    "hidden_size": 7_168, "intermediate_size": 18_432, "moe_intermediate_size": 2_048, "num_hidden_layers": 61,
    "first_k_dense_replace": 3, "moe_layer_freq": 1, "num_attention_heads": 128, "num_key_value_heads": 128,
    "q_lora_rank": 1_536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
    "norm_topk_prob": True, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
    "rms_norm_eps": 1e-6, "rope_theta": 10_000, "max_position_embeddings": 163_840, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_30B_A3B = {
    "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "vocab_size": 151_936, "hidden_size": 2_048,
    "intermediate_size": 6_144, "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "rms_norm_eps": 1e-6, "rope_theta": 1_000_000,
    "max_position_embeddings": 40_960, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [(DEEPSEEK_V3, 671e9, 37e9), (QWEN3_30B_A3B, 30.5e9, 3.3e9)],
    ids=["deepseek", "qwen"],
)
def test_published_models_have_their_published_sizes(
    tmp_path: Path, config: dict[str, object], total: float, active: float
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = shape_of(read_model_config(tmp_path))
    assert shape.total == pytest.approx(total, rel=0.005)
    assert shape.active == pytest.approx(active, rel=0.1)  # published ones count the embedding, or not
