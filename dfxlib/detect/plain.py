"""What a graph from elsewhere may be: operators of ONNX itself, and weights that lie whole in the file of weights.

The graph is read here before onnxruntime reads it, field by field as ONNX's onnx.proto numbers them, and without the
package onnx, which a small installation lacks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LARGEST_GRAPH = 2**26  # bytes; ours hold no weights

# Fields of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto and OperatorSetIdProto.
_GRAPH, _OPSET, _FUNCTIONS = 7, 8, 25
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
_OPERATOR, _ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_TENSOR_OF, _GRAPH_OF, _TENSORS_OF, _GRAPHS_OF, _SPARSE_OF = 5, 6, 10, 11, (22, 23)
_DIMS, _TYPE, _EXTERNAL = 1, 2, 13
_KEY, _VALUE = 1, 2

_SIZES = {1: 4, 7: 8}  # bytes of a float32 and of an int64, the types that weights have

_STANDARD = {b"", b"ai.onnx"}


def require_plain(graph: Path, weights: Path) -> None:
    """Raise ValueError for a graph with operators of others, functions or inner graphs, or with weights elsewhere.

    Each external weight must be as large as its shape says, and lie inside `weights`: onnxruntime takes memory by what
    is stated.
    """
    if graph.stat().st_size > _LARGEST_GRAPH:
        raise ValueError(f"{graph} is larger than any graph that dfx writes; export the run again")
    try:
        fault = _fault(graph.read_bytes(), weights)
    except (IndexError, TypeError, AttributeError, ValueError) as error:  # an int for bytes, or bytes for an int
        fault = f"no message that can be read ({error})"
    if fault:
        raise ValueError(f"{graph} holds {fault}; expected a graph that `dfx export` wrote")


def _fault(data: bytes, weights: Path) -> str:  # empty: none
    room, found = weights.stat().st_size, dict.fromkeys(("graphs", "nodes"), 0)
    for number, value in _fields(data):
        if number == _FUNCTIONS:
            return "functions of its own"
        if number == _OPSET and dict(_fields(value)).get(1, b"") not in _STANDARD:
            return "operators that are not ONNX's own"
        if number != _GRAPH:
            continue
        found["graphs"] += 1
        for kind, part in _fields(value):
            if kind == _SPARSE:
                return "sparse weights"
            if kind == _INITIALIZER and (fault := _tensor_fault(part, weights.name, room)):
                return fault
            if kind == _NODE:
                found["nodes"] += 1
                if fault := _node_fault(part):
                    return fault
    return "" if found["graphs"] == 1 and found["nodes"] else "no graph"


def _node_fault(node: bytes) -> str:
    for number, value in _fields(node):
        if number == _NODE_DOMAIN and value not in _STANDARD:
            return "operators that are not ONNX's own"
        if number == _ATTRIBUTE:
            for kind, part in _fields(value):
                if kind in (_GRAPH_OF, _GRAPHS_OF):
                    return "an operator with a graph inside"
                if kind in _SPARSE_OF:
                    return "an operator with sparse weights"
                if kind in (_TENSOR_OF, _TENSORS_OF) and any(field == _EXTERNAL for field, _ in _fields(part)):
                    return "an operator whose constant lies in another file"
    return ""


def _tensor_fault(tensor: bytes, weights: str, room: int) -> str:  # room: bytes
    count, kind, stated = 1, 0, {}
    for number, value in _fields(tensor):
        if number == _DIMS:
            for size in [value] if isinstance(value, int) else _numbers(value):
                count *= size
        elif number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _EXTERNAL:
            entry = dict(_fields(value))
            stated[entry.get(_KEY, b"").decode()] = entry.get(_VALUE, b"").decode()
    if not stated:
        # Its bytes are in the graph, and onnxruntime refuses another number of them than the shape says.
        return ""
    if stated.get("location") != weights:
        return "weights that lie in another file"
    offset, length = stated.get("offset", "0"), stated.get("length", "")
    if not (offset.isdecimal() and length.isdecimal() and len(offset + length) < 40):
        return "a weight without a place"
    fits = int(length) == count * _SIZES.get(kind, 0) and int(offset) + int(length) <= room
    return "" if fits else f"a weight that {weights} has no room for"


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values (bytes, or an int) of a message's fields; IndexError where it ends too early."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        wire = key & 7
        if wire not in (0, 1, 2, 5) or not 0 < key >> 3 < 2**29:  # of a longer tag others read the lower bits
            raise IndexError(f"tag {key}")
        if wire == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        size, place = _varint(data, place) if wire == 2 else (8 if wire == 1 else 4, place)
        if place + size > len(data):
            raise IndexError("it ends too early")
        yield key >> 3, data[place : place + size]
        place += size


def _numbers(packed: bytes) -> Iterator[int]:
    place = 0
    while place < len(packed):
        value, place = _varint(packed, place)
        yield value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise IndexError("a number without an end")
