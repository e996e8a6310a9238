"""Graphs in int8, written from graphs in float32."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from braid.export.writing import write_int8

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper, FLOAT = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT


@pytest.mark.parametrize("uses", [1, 2, 3])
@pytest.mark.parametrize("of", ["encoder", "network._heads.t"])
def test_a_weight_that_layers_share_stays_itself(uses: int, of: str, tmp_path: Path) -> None:
    """x W^T + b, again and again with one square weight; which is a table of tokens as well."""
    weight = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    bias = np.arange(16, dtype=np.float32)
    names = ["x", *(f"y{number}" for number in range(uses))]
    nodes = [
        helper.make_node("Gemm", [before, f"{of}.weight", "b"], [after], name=f"layer_{after}", transB=1)
        for before, after in pairwise(names)
    ]
    nodes.append(helper.make_node("Gather", [f"{of}.weight", "i"], ["rows"]))
    graph = helper.make_graph(
        nodes,
        "layers",
        [
            helper.make_tensor_value_info("x", FLOAT, ["n", 16]),
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, ["k"]),
        ],
        [
            helper.make_tensor_value_info(names[-1], FLOAT, ["n", 16]),
            helper.make_tensor_value_info("rows", FLOAT, ["k", 16]),
        ],
        [numpy_helper.from_array(weight, f"{of}.weight"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, str(tmp_path / "model.onnx"))
    write_int8(tmp_path / "model.onnx", tmp_path / "small.onnx")

    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    expected = x
    for _ in range(uses):
        expected = expected @ weight.T + bias
    session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"))
    found, rows = session.run([names[-1], "rows"], {"x": x, "i": np.array([3, 0])})
    rounding = 1e-5 if of.startswith("network._heads") else 0.02
    assert np.abs(found - expected).max() < rounding * np.abs(expected).max()
    assert np.array_equal(rows, weight[[3, 0]])
    products = [node.op_type for node in onnx.load(str(tmp_path / "small.onnx")).graph.node]
    assert products.count("MatMulInteger") == (0 if of.startswith("network._heads") else uses)
