"""A trained model as a graph of ONNX's standard operators, whose weights stay where they are: in model.safetensors.

The three base models are one network with three sets of weights, so the network is traced once. The file of the graph
holds no weight; each is named by its place among the bytes of model.safetensors, which both engines read.
"""

import copy
import json
import struct
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, compose, helper
from onnx.utils import Extractor
from torch import Tensor, nn

from dfxlib import __version__
from dfxlib.models.networks import BaseModel, DeepFeatureXNet
from dfxlib.names import CLASSES
from dfxlib.system.files import write_atomic

#: Of ONNX's operators; onnxruntime 1.20, the oldest that dfxlib installs, knows 21.
OPSET = 20

INPUT, PROBABILITIES, FEATURES = "pictures", "probabilities", "features"

_VECTOR = "vector"

_BYTES = {TensorProto.FLOAT: 4, TensorProto.INT64: 8}


class _Parts(nn.Module):
    """A base model and the head, which have no value in common: of two traces each would take seconds to begin."""

    def __init__(self, base: BaseModel, head: nn.Module, temperature: float):
        super().__init__()
        self.base, self.head, self.temperature = base, head, temperature

    def forward(self, pictures: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, S, 3] uint8 -> [B, crops * D], and [B, 3, crops * D] -> [B, 3]."""
        parts = self.base._crops(pictures.permute(0, 3, 1, 2))
        # All crops are one batch: else the network would stand in the graph once for each, and be traced as often.
        vectors = self.base.backbone(self.base.front_end(torch.cat(parts)))  # [crops * B, D]
        vectors = vectors.unflatten(0, (len(parts), -1)).movedim(0, 1).flatten(1)
        return vectors, torch.softmax(self.head(features) / self.temperature, dim=1)


def write_graph(
    path: Path,
    model: DeepFeatureXNet,  # in evaluation mode, on the CPU
    weights: Path,  # what `save_model` wrote of it, in the folder of `path`
    *,
    image_size: int,  # pixels
    temperature: float,  # of the calibration
) -> Path:
    """Write the graph: `pictures` [B, S, S, 3] uint8 to `probabilities` [B, 3], calibrated, and `features` [B, 3, D].

    Front end, normalisation and crops are inside, the number of pictures is open. Raises ValueError where a weight of
    the graph is not one of the file's, which would be a fault of the exporter.
    """
    bases, places = model.each_base_model(), _places(weights)
    pictures = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8)
    features = torch.zeros(2, len(CLASSES), bases[0].crops * bases[0].classifier.in_features)
    traced = _traced(_Parts(bases[0], model.head, temperature), (pictures, features))
    base, head = traced.extract_model([INPUT], [_VECTOR]), traced.extract_model([FEATURES], [PROBABILITIES])
    nodes, initializers = [], []
    for number in range(len(bases)):
        own = _renamed(base, f"base_models.{number}.", "base.", kept=INPUT)
        initializers += [_placed(tensor, places, weights.name) for tensor in own.initializer]
        nodes += own.node
        nodes.append(helper.make_node("Unsqueeze", [own.output[0].name, "stack_axis"], [f"vector_{number}"]))
    nodes.append(helper.make_node("Concat", [f"vector_{n}" for n in range(len(bases))], [FEATURES], axis=1))
    last = _renamed(head, "head.", "head.", kept=FEATURES)
    initializers += [_placed(tensor, places, weights.name) for tensor in last.initializer]
    initializers.append(helper.make_tensor("stack_axis", TensorProto.INT64, [1], [1]))
    nodes += [*last.node, helper.make_node("Identity", [last.output[0].name], [PROBABILITIES])]
    graph = helper.make_graph(
        nodes,
        "DeepFeatureX Net",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", image_size, image_size, 3])],
        [
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", len(CLASSES)]),
            helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", *features.shape[1:]]),
        ],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    made.producer_name, made.producer_version = "dfxlib", __version__
    return write_atomic(path, lambda partial: partial.write_bytes(made.SerializeToString(deterministic=True)))


def _traced(module: _Parts, example: tuple[Tensor, Tensor]) -> Extractor:
    """The names of the weights are as in the module: nothing is folded into them."""
    module = copy.deepcopy(module).eval()
    for part in module.modules():
        vars(part)["inplace"] = False  # the tracer takes twice as long over activations that write in place
    with warnings.catch_warnings(action="ignore"):  # of versions of operators that nobody here chooses
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            optimize=False,  # onnxruntime does that when it opens a graph, and weights stay those of the file
            opset_version=OPSET,
            input_names=[INPUT, FEATURES],
            output_names=[_VECTOR, PROBABILITIES],
            dynamic_shapes=({0: torch.export.Dim("batch")}, {0: torch.export.Dim("others")}),
            verbose=False,
        )
    assert program is not None  # as without dynamo
    return Extractor(program.model_proto)


def _renamed(model: onnx.ModelProto, prefix: str, inner: str, *, kept: str) -> onnx.GraphProto:
    """A copy whose values begin with `prefix`; names of weights lose what the tracing module put before them."""
    named = compose.add_prefix(model, prefix).graph
    old, new = [prefix + kept], [kept]
    for tensor in named.initializer:
        old.append(tensor.name)
        new.append(prefix + tensor.name.removeprefix(prefix).removeprefix(inner))
    names = dict(zip(old, new))
    for tensor in named.initializer:
        tensor.name = names[tensor.name]
    for node in named.node:
        node.ClearField("metadata_props")  # the tracer's notes, with paths of this machine
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
    return named


def _places(weights: Path) -> dict[str, tuple[int, int, list[int]]]:  # offset in the file, bytes, shape; by name
    with open(weights, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    return {
        name: (
            8 + length + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
            entry["shape"],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _placed(tensor: TensorProto, places: dict[str, tuple[int, int, list[int]]], file: str) -> TensorProto:
    """A weight as its place in the file of weights; a small constant of the network itself as it is."""
    if tensor.name not in places:
        if len(tensor.raw_data) > 2**16:
            raise ValueError(f"the graph holds {tensor.name}, which {file} lacks; this network cannot be exported")
        return tensor
    offset, size, shape = places[tensor.name]
    if list(tensor.dims) != shape or len(tensor.raw_data) != size:
        raise ValueError(f"the graph holds another {tensor.name} than {file}; this network cannot be exported")
    outside = TensorProto.EXTERNAL
    placed = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=outside)
    for key, value in {"location": file, "offset": offset, "length": size}.items():
        placed.external_data.add(key=key, value=str(value))
    return placed
