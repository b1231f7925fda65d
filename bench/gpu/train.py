"""Fine-tuning on one GPU, without a network: this product's own loop, on Llama-type models of random weights that are made on the spot.

    python bench/gpu/train.py [--cases 'lora-*,resume-*'] [--minutes 10]      one JSON line a case
    python bench/gpu/train.py --cpu        toy sizes of every case that a CPU can run: tests this script

METHOD-SIZE[-zeroN]  tokens a second, MFU against the card's dense bf16 peak, peak memory against the planner's
resume-…             a training is killed (SIGKILL) between two checkpoints and started again: its losses against one that was left alone
attention-SIZE       the kernel and mask that the product takes, beside every other one here that keeps a block's documents apart

Each case has processes of its own; what cannot run has a line with `skipped` and why, what fails one with `error`; the last line sums up.
It needs torch, transformers, peft, pydantic and pyarrow, no Ray; -zeroN deepspeed, qlora bitsandbytes. Fields: docs/benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import machine

WARM = 3  # steps that are not measured: kernels are chosen, memory is taken
RESUME_STEPS, CHECKPOINT_STEPS, KILLED_AT = 16, 5, 12
NEEDED = {"torch": "torch", "transformers": "transformers", "peft": "peft", "pydantic": "pydantic", "pyarrow": "pyarrow", "yaml": "pyyaml",
          "nosology": f"-e {machine.ROOT}"}  # fmt: skip
SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "tie_word_embeddings")
# then blocks in a forward pass and tokens in a block; 1b, 3b and 8b are Llama 3.2's and 3.1's, 0.5b (509 M) is made up after them
SIZES: dict[str, tuple[Any, ...]] = {
    "0.5b": (1024, 24, 16, 4096, True, 8, 2048), "1b": (2048, 16, 32, 8192, True, 4, 4096),
    "3b": (3072, 28, 24, 8192, True, 2, 4096), "8b": (4096, 32, 32, 14336, False, 2, 4096),
}  # fmt: skip
TOY = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 16, "intermediate_size": 256, "vocab_size": 512}
# the most telling ones first, for what does not fit in the time is left out; keys of TrainConfig that the name does not say
CASES: dict[str, dict[str, Any]] = {
    "lora-0.5b": {}, "attention-1b": {}, "resume-lora-0.5b": {}, "full-0.5b": {}, "full-0.5b-zero0": {}, "lora-8b": {}, "qlora-8b": {},
    "lora-1b": {}, "full-1b": {}, "full-3b": {}, "full-3b-zero0": {}, "lora-3b": {}, "attention-8b": {}, "full-1b-zero2": {},
    "qlora-1b": {}, "lora-8b-recompute": {"gradient_checkpointing": True, "batch_size": 4}, "lora-1b-zero3": {},
    "resume-lora-0.5b-zero3": {}, "full-1b-zero2-offload": {"offload": "optimizer"}, "full-1b-zero3-offload": {"offload": "all"},
    "full-8b": {},
}  # fmt: skip


def findable(folder: Path) -> None:
    """This tree's package for this process and those that it starts, also in a copied tree that nobody has installed."""
    paths = [str(machine.ROOT / "platform"), str(folder / "installed")]
    told = Path(paths[1], "nosology-0.dist-info")  # the package asks its installation for its version
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: nosology\nVersion: 0\n")
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")


def make_blocks(folder: Path, tokens: int, vocabulary: int) -> str:
    """Packed blocks without padding: random documents, their median an eighth of a block; every token is an answer."""
    import numpy as np
    import pyarrow.parquet as pq
    from nosology.records import PackedBlock, to_table

    if not folder.exists():
        chance, rows = np.random.default_rng(0), []
        for number in range(64):
            ids = tuple(int(x) for x in 3 + chance.zipf(1.2, size=tokens) % (vocabulary - 3))
            drawn = (tokens / 8 * np.exp(chance.normal(0, 0.7, size=tokens // 16))).clip(16, tokens).astype(int)
            drawn = drawn[drawn.cumsum() < tokens]
            lengths = [int(length) for length in (*drawn, tokens - drawn.sum())]
            places = tuple(place for length in lengths for place in range(length))
            parts = tuple(part for part, length in enumerate(lengths, 1) for _ in range(length))
            rows.append(PackedBlock(block_id=number, split="train", input_ids=ids, labels=ids, position_ids=places, segment_ids=parts))
        folder.mkdir()
        pq.write_table(to_table(PackedBlock, rows), folder / "blocks.parquet")
    return str(folder)


class Enough(Exception): ...  # all steps that are measured are done


def train_child(spec: dict[str, Any]) -> dict[str, Any]:
    """A training, or as many steps of it as are measured; in a process of its own."""
    import torch
    from nosology.config import ModelConfig, TrainConfig
    from nosology.training.adapters import count
    from nosology.training.generate import Generate
    from nosology.training.loop import train
    from nosology.training.step import DeepSpeedStepper, LocalStepper
    from transformers import AutoModelForCausalLM, LlamaConfig

    config, on_gpu = TrainConfig(**spec["train"]), spec["device"] == "cuda"
    if not Path(spec["base"]).exists():  # random weights, made on the GPU
        torch.manual_seed(0)
        llama = LlamaConfig(**spec["shape"], max_position_embeddings=8192, pad_token_id=0, bos_token_id=1, eos_token_id=2)
        with torch.device(spec["device"]):
            made = AutoModelForCausalLM.from_config(llama, dtype=torch.bfloat16 if on_gpu else torch.float32)
        made.save_pretrained(spec["base"])
        del made
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if spec["deepspeed"]:
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo", f"file://{spec['answer']}.{os.getpid()}", rank=0, world_size=1)
    kind: Any = DeepSpeedStepper if spec["deepspeed"] else LocalStepper
    groups: list[Any] = []
    seen: list[dict[str, float]] = []

    def on_step(measures: dict[str, float]) -> None:
        seen.append(measures)
        if len(seen) == spec["kill_at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(seen) == config.max_steps and spec["kind"] == "train":
            raise Enough  # before the last checkpoint, whose speed is that of a disk

    with contextlib.suppress(Enough):
        report = train(Generate(), config, ModelConfig(base=spec["base"]), spec["data"], Path(spec["out"]), on_step=on_step,
                       stepper=lambda *given: groups.append(kind(*given)) or groups[0])  # fmt: skip
        return {"stepper": kind.__name__, "start_step": report["start_step"], "ledger_exact": report["ledger"]["exact"]}
    free, total = torch.cuda.mem_get_info() if on_gpu else (0, 0)
    return {
        "stepper": kind.__name__, "attention": groups[0].bare.config._attn_implementation,
        **dict(zip(("parameters_learning", "parameters"), count(groups[0].bare), strict=True)), "steps": len(seen),
        "first_loss": seen[0]["value"], "last_loss": seen[-1]["value"],
        "tokens_per_second": statistics.median(one["tokens_per_second"] for one in seen[WARM:]),
        "step_seconds": statistics.median(one["seconds"] for one in seen[WARM:]), "memory_gib": seen[-1]["memory_gib"],
        **({"reserved_gib": torch.cuda.max_memory_reserved() / 2**30, "card_gib": (total - free) / 2**30} if on_gpu else {}),
    }  # fmt: skip


def attention_child(spec: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of a forward and a backward pass of one layer's attention, by kernel; in a process of its own."""
    import torch
    from nosology.training.generate import Generate
    from torch.nn.attention import SDPBackend

    shape, device, batch = spec["shape"], spec["device"], spec["train"]["batch_size"]
    segments = Generate().collate(Generate().rows(spec["data"], "train")[:batch])["segment_ids"].to(device)
    tokens, heads, shared = segments.shape[1], shape["num_attention_heads"], shape["num_key_value_heads"]
    size, dtype = shape["hidden_size"] // heads, torch.bfloat16 if device == "cuda" else torch.float32
    torch.manual_seed(0)
    same = segments[:, None, :, None] == segments[:, None, None, :]  # transformers makes this mask from positions that begin again
    leaves = [torch.randn(batch * tokens, n, size, device=device, dtype=dtype, requires_grad=True) for n in (heads, shared, shared)]
    q, k, v = (leaf.view(batch, tokens, -1, size).transpose(1, 2) for leaf in leaves)  # as the layer before leaves them
    gradient, mask, sdpa = (
        torch.randn_like(leaves[0]),
        same & torch.ones_like(same).tril(),
        torch.nn.functional.scaled_dot_product_attention,
    )
    ends = (segments + (int(segments.max()) + 1) * torch.arange(batch, device=device)[:, None]).flatten().diff().nonzero()[:, 0] + 1
    starts = torch.cat([ends.new_zeros(1), ends, ends.new_tensor([batch * tokens])]).int()
    longest = int(starts.diff().max())

    def wide(x: Any) -> Any:  # as transformers does it where there is a mask
        return x.repeat_interleave(heads // shared, dim=1)

    def flat(x: Any) -> Any:
        return x.transpose(1, 2).reshape(batch * tokens, -1, size) if x.dim() == 4 else x

    def variable(module: str, name: str) -> Any:
        call = getattr(importlib.import_module(module), name)
        asked = inspect.signature(call).parameters  # releases differ in how they are asked for causal attention and for shared keys
        options = {"causal": True, "is_causal": True, "window_size": (-1, 0), "enable_gqa": True}.items()
        chosen, keep = {key: value for key, value in options if key in asked}, "enable_gqa" in asked or module == "flash_attn"
        return lambda: call(leaves[0], *(x if keep else wide(x) for x in leaves[1:]), starts, starts, longest, longest, **chosen)

    def flexible() -> Any:
        if device == "cpu":
            raise RuntimeError("trains on a GPU alone")
        flex = importlib.import_module("torch.nn.attention.flex_attention")
        same = lambda b, _, i, j: (i >= j) & (segments[b, i] == segments[b, j])  # noqa: E731
        blocks, call = flex.create_block_mask(same, batch, None, tokens, tokens, device=device), torch.compile(flex.flex_attention)
        return lambda: call(q, k, v, block_mask=blocks, enable_gqa=True)

    kernels: dict[str, Any] = {
        "product": lambda: lambda: sdpa(q, wide(k), wide(v), attn_mask=mask),
        "one_document": lambda: lambda: sdpa(q, k, v, is_causal=True, enable_gqa=True),  # mixes documents: for comparison alone
        "varlen": lambda: variable("torch.nn.attention.varlen", "varlen_attn"),
        "flash_attn": lambda: variable("flash_attn", "flash_attn_varlen_func"),
        "flex": flexible,
    }
    times, apart, absent, due = {}, {}, {}, flat(kernels["product"]()()).detach().float()
    wait: Any = torch.cuda.synchronize if device == "cuda" else int
    for name, make in kernels.items():
        try:
            call, took = make(), []
            result = flat(call()).detach().float()
            for _ in range(3 + 10):
                wait()
                began = time.perf_counter()
                torch.autograd.grad(flat(call()), leaves, gradient)
                wait()
                took.append(1000 * (time.perf_counter() - began))
            times[name], apart[name] = statistics.median(took[3:]), float((result - due).norm() / due.norm())
        except Exception as error:
            absent[name] = short(error)
    fastest = min(times.keys() - {"one_document"}, key=lambda name: times[name])
    return {
        "product_kernel": SDPBackend(torch._fused_sdp_choice(q, wide(k), wide(v), attn_mask=mask)).name, "documents": len(starts) - 1,
        "milliseconds": times, "relative_difference": apart, "unavailable": absent, "fastest": fastest,
        "product_over_fastest": times["product"] / times[fastest],
        "lost_seconds_a_step": shape["num_hidden_layers"] * (times["product"] - times[fastest]) / 1000,
    }  # fmt: skip


def short(error: BaseException) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:240]}"


def child(path: str) -> None:
    """The process of a case: does what a file says and writes what it found beside it."""
    spec = json.loads(Path(path).read_text())
    try:
        found = (attention_child if spec["kind"] == "attention" else train_child)(spec)
    except Exception as error:
        sys.excepthook(*sys.exc_info())
        found = {"error": short(error)}
    Path(spec["answer"]).write_text(json.dumps(found))
    os._exit(0)  # a group that an error left half made would be waited for


class Bench:
    """The cases of one call, in a folder, on a card, until their time is over."""

    def __init__(self, folder: Path, asked: argparse.Namespace, card: str) -> None:
        self.folder, self.asked, self.card = folder, asked, card
        self.ends = time.monotonic() + 60 * asked.minutes

    def run(self, spec: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """What a child found, or `error`; and its exit status. It is ended when the time is over."""
        told, answer, log = (self.folder / name for name in ("spec.json", "answer.json", "log.txt"))
        answer.unlink(missing_ok=True)
        told.write_text(json.dumps({**spec, "answer": str(answer)}))
        command = [sys.executable, __file__, "--child", str(told)]
        with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True) as process:
            try:
                status = process.wait(timeout=max(1.0, self.ends - time.monotonic()))
            except BaseException as error:  # a Ctrl-C too
                os.killpg(process.pid, signal.SIGKILL)  # with compilers that it has started
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return {"error": "TimeoutExpired: ended when --minutes were over"}, -signal.SIGALRM
        said = log.read_text(errors="replace").strip()
        found = json.loads(answer.read_text()) if answer.exists() else {"error": f"exit status {status}: {said[-240:]}"}
        if "error" in found and not spec["kill_at"]:
            machine.say(said[-2000:])
        return found, status

    def go(self, name: str) -> dict[str, Any]:
        """The line of a case. Raises ConfigError for a combination that the product refuses."""
        from nosology.config import PlanConfig, TrainConfig
        from nosology.training import zero
        from nosology.training.planning.architecture import of_config
        from nosology.training.planning.plan import Site

        kind = next((word for word in ("resume", "attention") if name.startswith(word)), "train")
        method, size, stage = re.findall(r"(\w+)-([\d.]+b)(?:-zero(\d))?", name)[0]
        cpu, resumes = self.asked.cpu, kind == "resume"
        *widths, batch, tokens = (*SIZES[size][:5], 2, 128) if cpu else SIZES[size]
        shape = {**dict(zip(SHAPE, widths, strict=True)), "num_key_value_heads": 8, "vocab_size": 128256, **(TOY if cpu else {})}
        fields = {
            "method": "lora" if kind == "attention" else method, "zero": int(stage or 0), "workers": 1, "batch_size": batch,
            "use_gpu": not cpu, "precision": "fp32" if cpu else "bf16", "max_steps": RESUME_STEPS if resumes else self.asked.steps,
            "checkpoint_steps": CHECKPOINT_STEPS if resumes else 1_000_000, "learning_rate": 1e-3 if resumes else 2e-4,
            "epochs": 10_000, **CASES[name],
        }  # fmt: skip
        zero.check(TrainConfig(**fields))
        architecture = of_config({"model_type": "llama", **shape}, size)
        given = PlanConfig(hardware=self.card, gpus_per_node=1, disk_gib=1e6)  # what is measured writes no checkpoint
        ways = [TrainConfig(**{"gradient_checkpointing": again, **fields}) for again in (False, True)]
        plans = [Site(architecture, given, 64, 0.0, None).run(way, tokens) for way in ways]
        plan = next((one for one in plans if one.fits), plans[-1])  # activations are computed again where the planner finds no room
        base = self.folder / f"base-{size}"
        weights = 0.0 if kind == "attention" or base.exists() else 2 * architecture.num_parameters / 2**30
        free, left = shutil.disk_usage(self.folder).free / 2**30, max(0.0, self.ends - time.monotonic())
        # guesses, until a GPU tells better: 20 s for a start, 3 for each GiB that is made and written, a minute for DeepSpeed's compiler
        due = (3 if resumes else 1) * (20 + 2 * plan.step.seconds * plan.train.max_steps) + 3 * weights + 60 * (bool(stage) and not cpu)
        wanted = [package for package, wants in (("deepspeed", stage), ("bitsandbytes", method == "qlora")) if wants]
        reasons = [f"needs {package}: pip install {package}" for package in wanted if importlib.util.find_spec(package) is None]
        reasons += [f"the planner: {lack}" for lack in plan.lacks]
        reasons += [f"{weights:.1f} GiB of weights, {free:.1f} free in {self.folder}"] * (weights + resumes > free)
        reasons += [f"takes some {due:.0f} s, and {left:.0f} s of --minutes are left"] * (due > left)
        if reasons:
            return {"case": name, "skipped": "; ".join(reasons)}
        spec = {
            "kind": kind, "device": "cpu" if cpu else "cuda", "shape": shape, "train": plan.train.model_dump(mode="json"), "kill_at": None,
            "deepspeed": bool(stage), "base": str(base), "out": str(self.folder / name),
            "data": make_blocks(self.folder / f"blocks-{tokens}-{architecture.vocabulary}", tokens, architecture.vocabulary),
        }  # fmt: skip
        told = ("batch_size", *(("method", "zero", "offload", "gradient_checkpointing") if kind != "attention" else ()))
        line = {"case": name, "model": size, "sequence": tokens, **{key: getattr(plan.train, key) for key in told}}
        line |= self.resumed(spec) if resumes else self.run(spec)[0]
        if kind == "train" and "error" not in line:
            line |= self.against(plan, architecture, line)
        shutil.rmtree(spec["out"], ignore_errors=True)
        return {**line, "seconds": left - (self.ends - time.monotonic())}

    def resumed(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A run that is left alone, one that is killed, and the latter again."""
        from nosology.training import lines

        curves: dict[str, dict[int, float]] = {}
        for turn, out, kill in (("whole", "whole", None), ("killed", "cut", KILLED_AT), ("again", "cut", None)):
            where = Path(spec["out"], out)
            found, status = self.run({**spec, "out": str(where), "kill_at": kill})
            if (status != -signal.SIGKILL) if kill else ("error" in found):
                return {"error": f"{turn}: {found.get('error', 'came to its end before it was killed')}"}
            curves[turn] = {one["step"]: one["value"] for one in lines.read(where / "metrics.jsonl") if one["name"] == "loss"}
        whole = curves["whole"]
        return {
            "stepper": found["stepper"], "steps": RESUME_STEPS, "checkpoint_steps": CHECKPOINT_STEPS, "killed_at": KILLED_AT,
            "resumed_from": found["start_step"], "loss_max_diff": max(abs(curves["again"][step] - whole[step]) for step in whole),
            # of the steps before, in two runs that nothing disturbed: what the kernels' order of summing makes by itself
            "noise_max_diff": max(abs(curves["killed"][step] - whole[step]) for step in curves["killed"]),
            "first_loss": whole[0], "last_loss": whole[RESUME_STEPS - 1], "ledger_exact": found["ledger_exact"],
        }  # fmt: skip

    def against(self, plan: Any, architecture: Any, found: dict[str, Any]) -> dict[str, Any]:
        """Measured beside planned."""
        from nosology.training import figures
        from nosology.training.planning.hardware import CARDS

        speed, card, items = found["tokens_per_second"], CARDS[self.card], dict(plan.memory.gpu)
        share = figures.mfu(architecture, card, plan.train, plan.tokens, speed)
        context, loose = items.pop("reserved"), items.pop("fragmentation")
        held = sum(items.values())
        planned = {"memory": held, "reserved": held + loose, "card": held + loose + context}
        more: dict[str, Any] = {
            "mfu": share, "planned_mfu": plan.step.model_flops_share, "flops_per_token": share * card.peak_flops / speed,
            "planned_tokens_per_second": plan.step.tokens_per_second, "speed_ratio": speed / plan.step.tokens_per_second,
            **{f"planned_{name}_gib": size for name, size in planned.items()},
            **{f"{name}_ratio": found[f"{name}_gib"] / size for name, size in planned.items() if "card_gib" in found},
        }  # fmt: skip
        if plan.train.method == "full" and found["stepper"] == "LocalStepper" and not self.asked.cpu:
            more["note"] = (
                "LocalStepper: fp32 weights under autocast, 16 bytes a parameter; the planner counts DeepSpeed's 20, as in -zero0"
            )
        return more


def card_here(card: str | None) -> tuple[str, str | None]:
    """What the driver calls the card, and what the planner does; asked without torch, which would take memory of it."""
    from nosology.training.figures import card_of
    from nosology.training.planning.hardware import CARDS

    name = os.popen("nvidia-smi -i 0 --query-gpu=name --format=csv,noheader 2>&1").read().strip()
    return name, card or next((known for known, held in CARDS.items() if held is card_of(name)), None)


def main() -> int:
    parser = machine.parser(__doc__)  # its --json is always on here
    parser.add_argument("--cases", default="*", help=f"names or patterns, with commas: {', '.join(CASES)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="what does not fit in so many is skipped, what exceeds them is ended")
    parser.add_argument("--steps", type=int, default=10, help=f"of each training, of which {WARM} are not measured")
    parser.add_argument("--cpu", action="store_true", help="toy sizes, without a GPU; its figures mean nothing")
    parser.add_argument("--card", help="what the card is to the planner (plan.hardware), where its name does not say so")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child)
    names = [name for name in CASES if any(Path(name).match(pattern.strip()) for pattern in asked.cases.split(","))]
    if not names or asked.steps <= WARM:
        parser.error(f"--steps is more than {WARM}, --cases are of {', '.join(CASES)}")
    began, counts = time.monotonic(), {"done": 0, "skipped": 0, "failed": 0}

    def tell(line: dict[str, Any]) -> None:
        counts["failed" if "error" in line else "skipped" if "skipped" in line else "done"] += 1
        print(json.dumps(json.loads(json.dumps(line), parse_float=lambda text: float(f"{float(text):.6g}"))), flush=True)

    if asked.cpu:
        os.environ["OMP_NUM_THREADS"] = "1"
    with machine.folder() as folder:
        findable(folder)
        lacking = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
        told, card = ("unknown", None) if lacking else ("CPU, toy sizes", "cpu") if asked.cpu else card_here(asked.card)
        if lacking:
            tell({"case": "setup", "error": f"missing: {', '.join(lacking)}. {sys.executable} -m pip install {' '.join(lacking)}"})
        elif card is None:
            tell({"case": "setup", "error": f"the planner knows no card of this name: {told}. Give --card, or --cpu"})
        bench = Bench(folder, asked, card or "")
        for name in names if card else []:
            try:
                tell(bench.go(name))
            except Exception as error:  # of one case; the others still run
                tell({"case": name, "skipped" if type(error).__name__ == "ConfigError" else "error": short(error)})
    packages = ("torch", "transformers", "peft", "deepspeed", "bitsandbytes", "flash-attn", "flash_attn")
    versions = {held.name: held.version for held in importlib.metadata.distributions() if held.name in packages}
    hardware = f"{told}, {os.cpu_count()} cores, Python {sys.version.split()[0]}"
    summary = {"benchmark": "gpu_train", "hardware": hardware, "planned_as": card, "date": time.strftime("%Y-%m-%d"), "cases": len(names)}
    print(json.dumps({**summary, **counts, "seconds": round(time.monotonic() - began, 1), "packages": versions}), flush=True)
    return 2 if card is None else 1 if counts["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
