"""From a traced model to files: an ONNX graph, the same with int8 weights, or a `torch.export` program."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from braid.errors import BraidError
from braid.export.graph import INPUTS, Graph

ONE_FILE = 1_800_000_000
"""Bytes of weights up to which a graph is one file; protobuf allows no more than 2 GiB."""

HEADS = "network._heads."
"""What the names of heads' weights begin with."""


def trace(graph: Graph) -> torch.export.ExportedProgram:
    """The graph with any number of rows, tokens and units. Raises BraidError for an encoder or a head that cannot be
    traced."""
    example = graph.example()[: len(graph.inputs)]
    longest = graph.network.encoder.max_positions
    auto = torch.export.Dim.DYNAMIC
    tokens: Any = auto if longest is None else torch.export.Dim("tokens", min=1, max=max(longest, 2))
    sizes = {name: {0: auto, 1: auto if name == INPUTS[3] else tokens} for name in graph.inputs}
    try:
        with torch.no_grad(), _quietly():
            return torch.export.export(graph, example, dynamic_shapes=sizes, strict=False)
    except BraidError:
        raise
    except Exception as error:
        name = type(graph.network.encoder).__name__
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BraidError(
            f"this model cannot be traced into a graph of any size; its encoder ({name}), or one of the heads "
            f"{', '.join(graph.tasks)}, computes in a way that hangs on its rows' lengths: {reason:.200}"
        ) from error


def write_torch(graph: Graph, path: Path) -> None:
    """Write a `torch.export` program."""
    program = trace(graph)
    with _quietly():
        torch.export.save(program, path)


def write_onnx(graph: Graph, path: Path) -> int:
    """Write an ONNX graph, its weights beside it where they are too many for one file; gives its opset. Raises
    BraidError where the packages for it are missing."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise BraidError(f"--to onnx needs {', '.join(missing)}: pip install 'braid-nlp[onnx]'")
    program = trace(graph)
    with torch.no_grad(), _quietly():
        found = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(graph.inputs),
            optimize=True,
            verbose=False,
        )
        assert found is not None
        _name(found.model.graph, graph.outputs)
        size = sum(weight.numel() * weight.element_size() for weight in graph.parameters())
        found.save(str(path), external_data=size > ONE_FILE)
    return int(found.model.opset_imports[""])


def _name(graph: Any, outputs: list[str]) -> None:
    """Call the outputs by their names, and what lies between so that no task's name is taken."""
    ends = set(map(id, graph.outputs))
    for node in graph:
        for value in node.outputs:
            if id(value) not in ends:
                value.name = f"between.{value.name}"
    for value, name in zip(graph.outputs, outputs, strict=True):
        value.name = name


def write_int8(source: Path, target: Path) -> list[str]:
    """Write an ONNX graph whose encoder multiplies in int8: weights as int8 with a scale for each output, activations
    quantised as they come. Embeddings and heads, which are small work and decide most, stay in float32.
    Gives the names of the weights that were quantised."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(source))
    graph = model.graph
    # The exporter's notes on shapes are of weights that have been turned since.
    del graph.value_info[:]
    _turn(graph)
    weights = {tensor.name for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    heads = [node.name for node in products if _of_head(node)]
    with _quietly():
        quantize_dynamic(
            model,
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
            # A Gemm is first divided into a product of this other name, and a sum.
            nodes_to_exclude=[*heads, *(f"{name}_MatMul" for name in heads)],
            use_external_data_format=source.with_name(f"{source.name}.data").exists(),
            extra_options={"MatMulConstBOnly": True},
        )
    return [name for node in products if node.name not in heads for name in node.input if name in weights]


def _turn(graph: Any) -> None:
    """Give every Gemm its weight as MatMul wants it. What quantises would turn a weight once for each of its uses, and
    layers may share one (ALBERT's do, and the steps of an answer network)."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    turned: dict[str, str] = {}
    for node in graph.node:
        attribute = next((one for one in node.attribute if one.name == "transB" and one.i == 1), None)
        if node.op_type != "Gemm" or attribute is None or node.input[1] not in weights:
            continue
        name = node.input[1]
        if name not in turned:
            turned[name] = f"{name}.turned"
            array = numpy_helper.to_array(weights[name]).T.copy()
            graph.initializer.append(numpy_helper.from_array(array, turned[name]))
        node.input[1] = turned[name]
        attribute.i = 0
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _of_head(node: Any) -> bool:
    """Whether a product belongs to a head: by its weight's name, or by where in the model it was traced."""
    traced = any("name_scopes" in entry.key and HEADS[:-1] in entry.value for entry in node.metadata_props)
    return traced or any(name.startswith(HEADS) for name in node.input)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks, which say nothing that a user could change."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "root", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
