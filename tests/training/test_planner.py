"""The planner against transformers' own modules, DeepSpeed's own arithmetic and published figures; and the configurations that are shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nosology.config import ModelConfig, PlanConfig, TrainConfig, load
from nosology.errors import ConfigError, PlanError
from nosology.training.planning import architecture as shapes
from nosology.training.planning.hardware import CARDS, GIB
from nosology.training.planning.memory import activation_bytes, memory, states
from nosology.training.planning.plan import plan

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "jobs" / "configs"
SHIPPED = ("llama70b_lora_zero3", "llama70b_full_zero3_offload", "llama8b_lora", "llama8b_qlora_1gpu")
# of the models' own cards and files
PUBLISHED = {
    "Llama-3.3-70B-Instruct": 70_553_706_496, "Llama-3.1-8B": 8_030_261_248, "Mistral-7B-v0.1": 7_241_732_096, "BioMistral-7B": 7_241_732_096,
    "gemma-2-27b-it": 27_227_128_320, "Qwen2.5-7B-Instruct": 7_615_616_512, "Qwen3-8B": 8_190_735_360, "Llama-3.2-1B": 1_235_814_400,
}  # fmt: skip
TYPES = ("llama", "mistral", "qwen2", "qwen3", "gemma2")


def built(found: shapes.Architecture, device: str = "meta", **changes):
    """transformers' own model of an architecture."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {
        "hidden_size": found.hidden_size, "num_hidden_layers": found.num_layers, "num_attention_heads": found.num_heads,
        "num_key_value_heads": found.num_kv_heads, "head_dim": found.head_size, "intermediate_size": found.intermediate_size,
        "vocab_size": found.vocabulary, "tie_word_embeddings": found.tied, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    kernel = "eager" if found.softcap else "sdpa"
    with torch.device(device):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(found.model_type, **{**fields, **changes}), attn_implementation=kernel)


def small(kind: str, **changes) -> shapes.Architecture:
    fields = {"model_type": kind, "hidden_size": 96, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_size": 32, "intermediate_size": 160,
              "vocabulary": 64, **shapes._OF_TYPE[kind]}  # fmt: skip
    return shapes.Architecture(**{**fields, **changes})


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_known_model_has_the_parameters_that_it_has(name):
    found = shapes.of_name(name)
    assert found is not None and found.num_parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "BioMistral-7B", "gemma-2-27b-it", "Qwen2.5-7B", "Qwen3-8B"])
def test_shapes_are_those_of_transformers(name):
    found = shapes.of_name(name)
    assert found is not None
    module = built(found)
    linear = {path.rpartition(".")[2]: tuple(m.weight.shape) for path, m in module.named_modules() if path.endswith("_proj")}
    assert linear == found.linear_shapes
    assert sum(p.numel() for p in module.parameters()) == found.num_parameters
    assert max(p.numel() for p in module.parameters()) == found.largest_module


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", TYPES)
def test_activations_are_what_autograd_keeps(kind, precision, method):
    import torch
    from nosology.training.adapters import attach

    def kept(num_layers: int) -> int:
        torch.manual_seed(0)
        found = small(kind, num_layers=num_layers)
        module = built(found, "cpu").to(torch.float32 if precision == "fp32" else torch.bfloat16)
        module.requires_grad_(method == "full")
        if method == "lora":
            module = attach(module, TrainConfig(rank=8), task="CAUSAL_LM").to(module.dtype)
        module.train()
        own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
        seen: dict[int, tuple[int, object]] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            place = tensor.untyped_storage()
            if place.data_ptr() not in own:
                seen[place.data_ptr()] = (place.nbytes(), tensor)  # held, so that no other takes its place
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            mask = torch.ones(2, 1, 128, 128, dtype=torch.bool).tril()
            module(input_ids=torch.randint(3, 64, (2, 128)), attention_mask=mask, use_cache=False)
        return sum(size for size, _ in seen.values())

    a_layer = (kept(3) - kept(1)) / 2 / (2 * 128)
    expected = activation_bytes(small(kind), 128, full=method == "full", mixed=precision == "bf16", rank=8)
    assert expected == pytest.approx(a_layer, rel=0.04)


def test_the_memory_of_states_is_deepspeeds_estimate():
    # T5-3B on 8 GPUs, as DeepSpeed documents it
    for stage, optimizer, weights, gpu, host in (
        (2, False, False, 15.93, 127.45), (2, True, False, 5.31, 127.45), (3, False, False, 6.09, 1.43), (3, True, False, 0.78, 63.72),
        (3, True, True, 0.12, 71.69),
    ):  # fmt: skip
        got = states(2851e6, 0, 32e6, stage=stage, gpus=8, gpus_per_node=8, offload_optimizer=optimizer, offload_weights=weights)
        assert (got.weights + got.gradients + got.optimizer + got.gathered) / GIB == pytest.approx(gpu, abs=0.006)
        assert got.host / GIB == pytest.approx(host, abs=0.006)


def test_held_out_points_are_met():
    code = "import json, planner; print(json.dumps([planner.errors('1'), planner.published_memory()]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "bench", capture_output=True, text=True, check=True)
    errors, peak = json.loads(done.stdout.splitlines()[-1])
    sizes = sorted(map(abs, errors.values()))
    assert len(sizes) == 11 and sizes[5] <= 0.08 and sizes[-1] <= 0.15 and abs(peak["error"]) <= 0.1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_fits_and_is_about_the_best(name):
    config = load([CONFIGS / f"{name}.yaml"])
    report = plan(config.model, config.train, config.prepare.context_tokens, config.plan)
    assert report["fits"] and report["gpu_peak_gib"] < CARDS[report["hardware"]].memory_gib
    assert report["hours"] <= 1.2 * report["pick"]["hours"]
    assert report["longest_tokens"] >= config.prepare.context_tokens
    if name == "llama70b_lora_zero3":
        two = load([CONFIGS / f"{name}.yaml"], ["train.workers=16", "plan.hardware=a100-80"])
        assert plan(two.model, two.train, two.prepare.context_tokens, two.plan)["fits"]


@pytest.mark.parametrize("name", ["llama70b_lora_zero3", "llama70b_full_zero3_offload"])
def test_every_byte_of_70b_is_accounted_for(name):
    """The real model on the meta device, shared out by ZeRO 3's own arithmetic."""
    from deepspeed.runtime.zero.partition_parameters import Init
    from nosology.training.adapters import attach, count

    config = load([CONFIGS / f"{name}.yaml"])
    found, _ = shapes.of_model(str(config.model.base))
    module = attach(built(found), config.train, task="CAUSAL_LM")
    learning, total = count(module)
    adapters = 0 if config.train.method == "full" else found.lora_parameters(config.train.rank, config.train.targets)
    assert total == found.num_parameters + adapters and learning == (adapters or found.num_parameters)
    if adapters:
        targets = {
            path.split(".lora_A")[0].rpartition(".")[2] for path, p in module.named_parameters() if p.requires_grad and "lora_A" in path
        }
        assert targets == set(found.linear_shapes)
        assert sum(1 for p in module.parameters() if p.requires_grad) == 2 * 7 * found.num_layers
    workers = config.train.workers
    sharing = SimpleNamespace(num_partitions=workers, _partition_world_size=lambda parameter: workers)
    sharing._padding_size = lambda parameter: Init._padding_size(sharing, parameter)
    parts = 0
    for parameter in module.parameters():
        shared = SimpleNamespace(ds_numel=parameter.numel())
        parts += Init._aligned_size(sharing, shared) // workers
    held = memory(found, config.train, config.prepare.context_tokens, CARDS["h100"], 8)
    assert held.gpu["weights"] * GIB == pytest.approx(2 * parts, rel=1e-4)


def test_the_data_path_runs_at_the_length_of_70b(base, blocks_of, tmp_path):
    from nosology.training.generate import Generate
    from nosology.training.loop import train
    from transformers import AutoModelForCausalLM

    config = load([CONFIGS / "llama70b_lora_zero3.yaml"])
    model = AutoModelForCausalLM.from_pretrained(base)
    model.config.max_position_embeddings = config.prepare.context_tokens
    model.save_pretrained(tmp_path / "base")
    blocks = blocks_of(tmp_path / "blocks", num_blocks=8, tokens=config.prepare.context_tokens)
    small = config.train.model_copy(update={"use_gpu": False, "precision": "fp32", "max_steps": 3, "zero": 0, "workers": 1, "batch_size": 2,
                                            "learning_rate": 1e-2, "epochs": 9})  # fmt: skip
    report = train(Generate(), small, ModelConfig(base=str(tmp_path / "base")), blocks, tmp_path / "out")
    assert report["last_loss"] < report["first_loss"] and report["tokens"] > 3 * 2 * 2 * 2000


def test_what_does_not_fit_is_refused_with_what_does(tmp_path):
    from nosology import verbs

    config = load([CONFIGS / "llama70b_lora_zero3.yaml"], ["train.workers=2", "plan.hardware=a100-40"])
    with pytest.raises(PlanError, match="GiB on each card") as caught:
        verbs.plan(config, None, str(tmp_path / "plan"))
    assert caught.value.exit_code == 2 and not caught.value.report["fits"] and caught.value.report["choices"]
    assert json.loads((tmp_path / "plan" / "report.json").read_text())["lacks"]


def test_more_blocks_take_longer_and_shorter_answers_less_memory():
    train = TrainConfig(use_gpu=True, workers=8, zero=2)
    model = ModelConfig(base="/models/Llama-3.1-8B")
    one = plan(model, train, 1024, PlanConfig(), blocks=10_000)
    two = plan(model, train, 1024, PlanConfig(), blocks=20_000, answers=40)
    assert two["hours"] == pytest.approx(2 * one["hours"], rel=0.02) and two["memory"]["gpu"]["logits"] < one["memory"]["gpu"]["logits"] / 2


def test_offload_costs_what_it_costs():
    """Gradients stay at stage 1, the host updates the weights, and the fullest node counts."""
    model, base = ModelConfig(base="/models/Llama-3.1-8B"), {"method": "full", "use_gpu": True, "workers": 8, "accumulation_steps": 2}
    first = plan(model, TrainConfig(**base, zero=1, offload="optimizer"), 1024, PlanConfig())
    third = plan(model, TrainConfig(**base, zero=3, offload="optimizer"), 1024, PlanConfig())
    alone = plan(model, TrainConfig(**base, zero=3), 1024, PlanConfig())
    assert first["memory"]["gpu"]["gradients"] >= 6 * 8e9 / GIB and third["memory"]["gpu"]["gradients"] == 0.0
    assert third["step_seconds"] > alone["step_seconds"] + 8e9 / 4e9
    nodes = [plan(model, TrainConfig(**{**base, "workers": n}, zero=3, offload="optimizer"), 1024, PlanConfig()) for n in (8, 12, 16)]
    states = [report["memory"]["host"]["model_states"] for report in nodes]
    assert states[0] > states[1] > states[2]


@pytest.mark.parametrize(("model", "train", "reason"), [
    ({}, {}, "model.base is not set"), ({"base": "/models/nobody-knows"}, {}, "not the name of a model"),
    ({"base": "/models/Llama-3.1-8B"}, {"objective": "tag"}, "knows the objective generate alone"),
    ({"base": "/models/Llama-3.1-8B"}, {"targets": ("nowhere",)}, "it has q_proj"),
    ({"base": "/models/Llama-3.1-8B"}, {"offload": "all", "zero": 2, "use_gpu": True}, "needs train.zero of 3"),
])  # fmt: skip
def test_what_cannot_be_planned_is_said(model, train, reason):
    with pytest.raises(ConfigError, match=reason):
        plan(ModelConfig(**model), TrainConfig(**train), 512, PlanConfig())


def test_a_model_directory_is_read(base, tmp_path):
    found, known_by = shapes.of_model(base)
    assert known_by.endswith("config.json") and found.num_layers == 2 and found.tied
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="the planner knows"):
        shapes.of_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    with pytest.raises(ConfigError, match="not all there"):
        shapes.of_model(str(tmp_path))
