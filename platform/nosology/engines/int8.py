"""BERT-type token classifiers in int8 on a CPU: their layers as one ONNX graph for ONNX Runtime, their word vectors read from disk.

Linear layers hold int8 weights with one scale an output (symmetric); their inputs are quantized while running, one scale a tensor.
That scale depends on everything in the tensor, so one text window is one call: what comes out never depends on what else runs, and no
padding is computed. On two cores with AVX-512 VNNI a call of 126 tokens costs as much per token as a batch of 32 of them.
Attention, normalisation, GELU and the classifier run in fp32.

Shapes: T tokens, D width, C classes, V vocabulary, I inputs and O outputs of a linear layer.
Sources: ONNX Runtime, "Contrib operators" (DynamicQuantizeMatMul, MultiHeadAttention, BiasGelu); ONNX operator set 18.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nosology.errors import ModelError

Floats = NDArray[np.float32]
_LINEAR = re.compile(
    r"encoder\.layer\.\d+\.(?:attention\.self\.(?:query|key|value)|attention\.output\.dense|intermediate\.dense|output\.dense)\.weight"
)
_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8}


def quantized(weight_OI: Floats) -> tuple[NDArray[np.int8], Floats]:
    """A linear layer's weight as int8 (O, I) and its scales (O,): weight = int8 * scale, in steps of the largest of a row / 127."""
    scale_O = np.abs(weight_OI).max(axis=1) / 127
    scale_O[scale_O == 0] = 1
    rounded_OI = np.round(weight_OI / scale_O[:, None]).clip(-127, 127).astype(np.int8)
    return rounded_OI, scale_O.astype(np.float32)


def quantized_state(state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Weights by name with each linear layer of the encoder as `NAME.weight` (int8) and `NAME.scale`; the rest as it is."""
    out: dict[str, NDArray[Any]] = {}
    for name, value in state.items():
        if _LINEAR.fullmatch(name):
            out[name], out[name.removesuffix("weight") + "scale"] = quantized(value.astype(np.float32))
        else:
            out[name] = value
    return out


def tensors(file: Path) -> dict[str, NDArray[Any]]:
    """Views of a safetensors file, mapped and not read, so that processes share them; bfloat16 becomes fp32 (a copy).

    Raises:
        ModelError: no safetensors file, or a type that it cannot hold.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > size:
                raise ValueError
            header = json.loads(stream.read(length))
        found: dict[str, NDArray[Any]] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            shape = tuple(entry["shape"])
            if entry["dtype"] == "BF16":
                half = np.fromfile(file, np.uint16, (end - start) // 2, offset=8 + length + start)
                found[name] = (half.astype(np.uint32) << 16).view(np.float32).reshape(shape)
            elif entry["dtype"] in _TYPES:
                found[name] = np.memmap(file, _TYPES[entry["dtype"]], "r", 8 + length + start, shape) if end > start else np.zeros(shape)
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:
        raise ModelError(f"{file.parent.name}/{file.name} is no safetensors file ({type(error).__name__})") from error
    return found


@dataclass(frozen=True, slots=True)
class Shape:
    """What the graph needs beside the weights.

    Attributes:
        num_heads: attention heads.
        epsilon: of the layer normalisations.
        first_position: of the first token (RoBERTa counts from the padding id + 1).
    """

    num_heads: int
    epsilon: float
    first_position: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape | None:
        """From a model's `config.json`; None for an architecture or an activation that the graph does not speak."""
        kind = config.get("model_type")
        plain = config.get("hidden_act") == "gelu" and config.get("position_embedding_type", "absolute") == "absolute"
        if kind not in ("bert", "roberta", "xlm-roberta", "camembert") or not plain:
            return None
        first = 0 if kind == "bert" else int(config.get("pad_token_id") or 1) + 1
        return cls(int(config["num_attention_heads"]), float(config.get("layer_norm_eps", 1e-12)), first)


class Int8Classifier:
    """Token classifier: word, position, type and (where it has them) shape vectors -> layers -> classes.

    Args:
        state: `embeddings.*`, `encoder.layer.*` and `classifier.*` by their names in transformers without the model's prefix, linear
            layers quantized (`quantized_state`); `shapes.weight` where the model takes shapes.
        shape: see `Shape`.

    Raises:
        ModelError: a weight is missing, or the graph cannot be built from them.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]], shape: Shape) -> None:
        import onnxruntime

        try:
            self._words_VD = state["embeddings.word_embeddings.weight"]
            fixed_TD = np.asarray(state["embeddings.position_embeddings.weight"], np.float32)[shape.first_position :]
            kinds = state.get("embeddings.token_type_embeddings.weight")
            self._fixed_TD = fixed_TD + np.asarray(kinds[0], np.float32) if kinds is not None else fixed_TD
            shapes = state.get("shapes.weight")
            self._shapes_SD = None if shapes is None else np.asarray(shapes, np.float32)
            graph = _graph(state, shape)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise ModelError(f"the weights are not those of a BERT-type token classifier ({type(error).__name__})") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    @property
    def max_tokens(self) -> int:
        """Positions that the model has."""
        return len(self._fixed_TD)

    def logits(self, ids_T: Sequence[int], shapes_T: Sequence[int] | None = None) -> Floats:
        """Logits (T, C) of one window of tokens, special ones included."""
        x_TD = self._words_VD[np.asarray(ids_T)].astype(np.float32) + self._fixed_TD[: len(ids_T)]
        if self._shapes_SD is not None and shapes_T is not None:
            x_TD += self._shapes_SD[np.asarray(shapes_T)]
        logits_1TC: Floats = self._session.run(None, {"x": x_TD[None]})[0]
        logits_TC: Floats = logits_1TC[0]
        return logits_TC


def _graph(state: Mapping[str, NDArray[Any]], shape: Shape) -> bytes:
    """The ONNX model: x (1, T, D) -> logits (1, T, C)."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    weights: list[Any] = []

    def weight(name: str, value: NDArray[Any] | None = None) -> str:
        array = state[name].astype(np.float32) if value is None else value
        weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def linear(x: str, name: str, output: str, *, bias: bool = True) -> str:
        scale_O = state[f"{name}.scale"]
        inputs = [
            x,
            weight(f"{name}.weight", state[f"{name}.weight"].T),
            weight(f"{name}.scale"),
            weight(f"{name}.zero", np.zeros(len(scale_O), np.int8)),
        ]
        return node("DynamicQuantizeMatMul", [*inputs, *([weight(f"{name}.bias")] if bias else [])], output, "com.microsoft")

    def normal(x: str, name: str, output: str) -> str:
        return node("LayerNormalization", [x, weight(f"{name}.weight"), weight(f"{name}.bias")], output, axis=-1, epsilon=shape.epsilon)

    num_layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layer."))
    x = normal("x", "embeddings.LayerNorm", "h")
    for number in range(num_layers):
        layer = f"encoder.layer.{number}"
        parts = [linear(x, f"{layer}.attention.self.{part}", f"{part}{number}") for part in ("query", "key", "value")]
        seen = node("MultiHeadAttention", parts, f"seen{number}", "com.microsoft", num_heads=shape.num_heads)
        # SkipLayerNormalization does both at once, in four times the time
        added = node("Add", [linear(seen, f"{layer}.attention.output.dense", f"attended{number}"), x], f"sum{number}")
        x = normal(added, f"{layer}.attention.output.LayerNorm", f"middle{number}")
        wide = linear(x, f"{layer}.intermediate.dense", f"wide{number}", bias=False)
        active = node("BiasGelu", [wide, weight(f"{layer}.intermediate.dense.bias")], f"active{number}", "com.microsoft")
        added = node("Add", [linear(active, f"{layer}.output.dense", f"narrow{number}"), x], f"total{number}")
        x = normal(added, f"{layer}.output.LayerNorm", f"out{number}")
    scores = node("MatMul", [x, weight("classifier.weight", state["classifier.weight"].astype(np.float32).T)], "scores")
    node("Add", [scores, weight("classifier.bias")], "logits")
    width, classes = state["embeddings.word_embeddings.weight"].shape[1], len(state["classifier.bias"])
    graph = helper.make_graph(
        nodes,
        "token classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "T", width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "T", classes])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 9
    serialized: bytes = model.SerializeToString()
    return serialized
