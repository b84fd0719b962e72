"""The ONNX graph: the network as PyTorch exports it, and the head, a few nodes, behind it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._optional import require
from ..backbones import Backbone
from ..errors import BackboneError
from ..heads.kernel import STEEPNESS
from .linear import KernelHead, LinearHead, Normalise

OPSET = 18
"""The oldest that PyTorch's exporter writes without converting back."""

_SIDES = (("for_first", -1.0), ("for_second", 1.0))
_REDUCTIONS = {"l1": "ReduceL1", "l2": "ReduceL2", "max": "ReduceMax"}


def require_onnx(module: str = "onnx") -> Any:
    """Import one of the packages that the export needs, or say how to install them."""
    return require(module, extra="onnx", purpose="Exporting to ONNX")


def network_model(backbone: Backbone) -> Any:
    """The network with its normalisation: ``pixels``, uint8 (n, crop, crop, 3), to ``features``, float32 (n, d).

    Parameters
    ----------
    backbone : Backbone
        Of precision float32.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    WeightsError
        If the weights do not fit the network.
    BackboneError
        If PyTorch cannot export it.
    """
    import torch

    from ..runtime.torch_runtime import ImagesToRows

    crop = backbone.spec.preprocessing.crop
    network = ImagesToRows(backbone, (backbone.rows,)).eval()
    # Two images: PyTorch would take a one for a size that is always one.
    example = torch.zeros((2, crop, crop, 3), dtype=torch.uint8, device="cpu")
    try:
        # The exporter warns of its own inner workings; what matters is compared afterwards.
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            program: Any = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                verbose=False,
                external_data=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=["features"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
            )
        model = program.model_proto
    except Exception as error:  # the exporter raises errors of its own kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BackboneError(f"{backbone.spec.name} cannot be exported to ONNX: {reason}") from error
    # For debugging, each node brings the lines of source that made it, with the paths of this machine.
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    del model.graph.metadata_props[:]
    return model


def head_graph(head: LinearHead | KernelHead) -> Any:
    """The head: ``features`` to ``decisions``, float32 (n, k), and ``probabilities``, float32 (n, classes), if any.

    Parameters
    ----------
    head : LinearHead or KernelHead

    Returns
    -------
    onnx.GraphProto
    """
    onnx = require_onnx()
    helper, nodes, constants = onnx.helper, [], []

    def constant(name: str, value: Any, dtype: Any = np.float32) -> str:
        constants.append(onnx.numpy_helper.from_array(np.array(value, dtype=dtype), f"head.{name}"))
        return f"head.{name}"

    def compute(operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [name], f"node.{name}", **attributes))
        return name

    rows = "features"
    for i, step in enumerate(head.steps):
        if isinstance(step, Normalise):
            sizes = compute("Abs", [rows], f"head.{i}.sizes")
            axis = constant(f"{i}.axis", [1], np.int64)
            length = compute(_REDUCTIONS[step.norm], [sizes, axis], f"head.{i}.length", keepdims=1)
            is_zero = compute("Equal", [length, constant(f"{i}.zero", 0)], f"head.{i}.is_zero")
            length = compute("Where", [is_zero, constant(f"{i}.one", 1), length], f"head.{i}.divisor")
            rows = compute("Div", [rows, length], f"head.{i}.rows")
        else:
            centred = compute("Sub", [rows, constant(f"{i}.mean", step.mean)], f"head.{i}.centred")
            rows = compute("Div", [centred, constant(f"{i}.scale", step.scale)], f"head.{i}.rows")
    width = len(head.coef)
    if isinstance(head, KernelHead):
        # The squared distance as |row|^2 - 2 row @ support + |support|^2.
        squares = constant("squares", np.square(head.support, dtype=np.float64).sum(axis=1))
        product = [rows, constant("support", head.support), squares]
        crossed = compute("Gemm", product, "head.cross", alpha=-2.0, transB=1)
        own = compute("ReduceSumSquare", [rows, constant("axis", [1], np.int64)], "head.square", keepdims=1)
        apart = compute("Max", [compute("Add", [crossed, own], "head.sum"), constant("zero", 0)], "head.distances")
        rows = compute("Exp", [compute("Mul", [apart, constant("width", -head.gamma)], "head.powers")], "head.kernel")
    product = [rows, constant("coef", head.coef), constant("intercept", head.intercept)]
    if isinstance(head, KernelHead) and head.votes is not None:
        width = len(head.votes)
        pairs = compute("Gemm", product, "head.pairs", transB=1)
        steep = [
            compute("Mul", [pairs, constant(name, sign * STEEPNESS)], f"head.{name}.value") for name, sign in _SIDES
        ]
        lost = compute("Softplus", [compute("Concat", steep, "head.sides", axis=1)], "head.lost")
        sums = -np.concatenate([head.votes.T > 0, head.votes.T < 0]).astype(np.float32)
        compute("MatMul", [lost, constant("sums", sums)], "decisions")
    else:
        compute("Gemm", product, "decisions", transB=1)
    outputs = {"decisions": width}
    if head.link == "sigmoid":
        values = compute("Div", ["decisions", constant("temperature", head.temperature)], "head.tempered")
        outputs[compute("Sigmoid", [values], "probabilities")] = width
    elif head.link == "softmax":
        values = compute("Div", ["decisions", constant("temperature", head.temperature)], "head.tempered")
        if width == 1:
            # The sigmoid of one value is the softmax of it and a zero before it.
            values = compute("Pad", [values, constant("pads", [0, 1, 0, 0], np.int64)], "head.both")
        outputs[compute("Softmax", [values], "probabilities", axis=1)] = max(2, width)

    def values_of(name: str, width: int) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width])

    return helper.make_graph(
        nodes,
        "head",
        [values_of("features", head.dim)],
        [values_of(name, width) for name, width in outputs.items()],
        constants,
    )


def joined(network: Any, head: Any, properties: dict[str, str]) -> bytes:
    """The network with the head behind it and its properties, checked, as the bytes of a file.

    Parameters
    ----------
    network : onnx.ModelProto
        From :func:`network_model`. It is changed.
    head : onnx.GraphProto
        From :func:`head_graph`.
    properties : dict of str

    Returns
    -------
    bytes
    """
    onnx = require_onnx()
    graph = network.graph
    graph.name = "featurekit"
    graph.node.extend(head.node)
    graph.initializer.extend(head.initializer)
    graph.output.extend(head.output)
    onnx.helper.set_model_props(network, properties)
    network.producer_name, network.producer_version = "featurekit", properties["featurekit"]
    onnx.checker.check_model(network, full_check=True)
    data: bytes = network.SerializeToString()
    return data
