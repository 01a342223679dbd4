"""Plain data as bytes and back: what crosses the border between the student's process and the judge.

An envelope is the magic, the length of a JSON text, the text, and one safetensors block with the storages. The text
describes the structure; every container in it is a list whose first item names its kind, so there are no JSON objects
and nothing to look up by name. Tensors keep their layout (shape, strides, offset, requires_grad) and shared storages
stay shared. Nothing is ever unpickled, and hostile bytes can only raise `EnvelopeError`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, deserialize

MAGIC = b"DLCV\x01"
MAX_BYTES = 64 * 2**20
MAX_JSON = 8 * 2**20
MAX_NODES = 500_000
MAX_DEPTH = 64
MAX_DIMS = 16

_HEAD = struct.Struct(">Q")
_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
        "complex64", "complex128",
    )
}  # fmt: skip
NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_NUMPY_DTYPES = frozenset(_DTYPES) - {"bfloat16"} | {"uint16", "uint32", "uint64"}


class EnvelopeError(ValueError):
    """The object is not plain data, or the bytes are not an envelope."""


def encode(obj: Any, *, layout: bool = True) -> bytes:
    """Encode plain data as bytes; the same object always gives the same bytes.

    With `layout`, tensors keep strides, offset, requires_grad and shared storages; without, each tensor is written
    detached and contiguous, as the answer of a probe is. Tensor subclasses, named tuples and numpy scalars are
    written as the plain thing they hold. Raises `EnvelopeError` for anything else.
    """
    return _Writer(layout).envelope(obj)


def decode(raw: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Decode an envelope into fresh plain data; raise `EnvelopeError` for anything that is not a sound envelope.

    `max_bytes` bounds the bytes and also the memory that all tensors together would take written out, so that a
    stride of 0 cannot make a large tensor from a small envelope.
    """
    try:
        return _Reader(raw, max_bytes).envelope()
    except EnvelopeError:
        raise
    except (SafetensorError, ValueError, TypeError, KeyError, IndexError, RuntimeError, RecursionError, MemoryError,
            OverflowError, struct.error) as error:  # fmt: skip
        raise EnvelopeError(f"not a sound envelope: {type(error).__name__}") from None


def clone(obj: Any) -> Any:
    """Copy plain data deeply, layout and shared storages included."""
    return decode(encode(obj), max_bytes=2**62)


def leaves(obj: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) in a fixed order: `[0]`, `['loss']`; containers themselves are not leaves."""
    if isinstance(obj, list | tuple):
        for index, item in enumerate(obj):
            yield from leaves(item, f"{path}[{index}]")
    elif isinstance(obj, dict):
        for key, item in obj.items():
            yield from leaves(item, f"{path}[{key!r}]")
    else:
        yield path, obj


def to_float64(obj: Any) -> Any:
    """Copy plain data with every floating tensor or array in float64 (complex in complex128), layout kept."""
    return float64_of(encode(obj))


def float64_of(raw: bytes) -> Any:
    """Decode plain data as `to_float64` copies it."""
    return _map_storages(decode(raw, max_bytes=2**62), {})


def _map_storages(obj: Any, seen: dict[int, Any]) -> Any:
    if isinstance(obj, list | tuple):
        return type(obj)(_map_storages(item, seen) for item in obj)
    if isinstance(obj, dict):
        return {key: _map_storages(item, seen) for key, item in obj.items()}
    if isinstance(obj, np.ndarray) and obj.dtype.kind in "fc":
        return obj.astype(np.complex128 if obj.dtype.kind == "c" else np.float64)
    if isinstance(obj, torch.Tensor) and (obj.is_floating_point() or obj.is_complex()):
        storage = obj.untyped_storage()
        wide = torch.complex128 if obj.is_complex() else torch.float64
        key = storage.data_ptr() or id(obj)
        if key not in seen:
            count = storage.nbytes() // obj.element_size()
            flat = obj.detach().as_strided((count,), (1,), 0)
            seen[key] = (flat.to(wide, copy=True), storage)
        base = seen[key][0]
        if base.dtype != wide:
            return obj.detach().to(wide).requires_grad_(obj.requires_grad)
        return base.as_strided(obj.shape, obj.stride(), obj.storage_offset()).requires_grad_(obj.requires_grad)
    return obj


class _Writer:
    def __init__(self, layout: bool) -> None:
        self.layout = layout
        self.storages: list[bytes] = []
        self.known: dict[int, tuple[int, Any]] = {}  # address -> (index, what keeps the address alive)
        self.count = 0

    def envelope(self, obj: Any) -> bytes:
        try:
            tree = self.node(obj, 0)
            text = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode("ascii")
        except (EnvelopeError, MemoryError):
            raise
        except Exception as error:  # sparse tensors, integers of a million digits, objects with hostile attributes
            raise EnvelopeError(f"a value of this kind cannot be sent ({type(error).__name__})") from None
        return b"".join([MAGIC, _HEAD.pack(len(text)), text, *_block(self.storages)])

    def node(self, obj: Any, depth: int) -> Any:
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_NODES:
            raise EnvelopeError("the value is nested too deeply or has too many parts")
        if obj is None or obj is True or obj is False:
            return obj
        if isinstance(obj, torch.Tensor):
            return self.tensor(obj)
        if isinstance(obj, np.ndarray | np.generic):
            return self.array(np.asarray(obj))
        if isinstance(obj, int):
            return int.__int__(obj)
        if isinstance(obj, float):
            number = float.__float__(obj)
            return number if math.isfinite(number) else ["f", repr(number)]
        if isinstance(obj, complex):
            return ["c", self.node(float(obj.real), depth), self.node(float(obj.imag), depth)]
        if isinstance(obj, str):
            return str.__str__(obj).encode("utf-8", "replace").decode("utf-8")
        if isinstance(obj, bytes):
            return ["b", self.store(bytes(obj))]
        if isinstance(obj, list | tuple):
            return ["l" if isinstance(obj, list) else "t", *(self.node(item, depth + 1) for item in obj)]
        if isinstance(obj, dict):
            return ["d", *([self.key(key), self.node(item, depth + 1)] for key, item in obj.items())]
        raise EnvelopeError(f"a {type(obj).__name__} is not plain data (tensors, numbers, text, lists, dictionaries)")

    def key(self, key: Any) -> str | int:
        if type(key) is int:
            return key
        if isinstance(key, str):
            return str.__str__(key).encode("utf-8", "replace").decode("utf-8")
        raise EnvelopeError(f"a dictionary key of type {type(key).__name__} is not plain data (text or int)")

    def tensor(self, given: torch.Tensor) -> list[Any]:
        with torch._C.DisableTorchFunctionSubclass():
            tensor = given.detach().as_subclass(torch.Tensor)
            if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
                raise EnvelopeError("only dense tensors with values are plain data")
            if tensor.dtype not in NAMES:
                raise EnvelopeError(f"tensors of {tensor.dtype} are not plain data")
            tensor = tensor.resolve_conj().resolve_neg().cpu()
            name = NAMES[tensor.dtype]
            if not self.layout:
                tensor = tensor.clone(memory_format=torch.contiguous_format)
                index = self.store(_bytes_of(tensor))
                return ["T", index, name, list(tensor.shape), list(tensor.stride()), 0, False]
            storage = tensor.untyped_storage()
            address = storage.data_ptr()
            if address in self.known:
                index = self.known[address][0]
            else:
                flat = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (storage.nbytes(),), (1,))
                index = self.store(flat.numpy().tobytes())
                if address:
                    self.known[address] = (index, storage)
            place = [list(tensor.shape), list(tensor.stride()), tensor.storage_offset()]
            return ["T", index, name, *place, bool(given.requires_grad)]

    def array(self, array: np.ndarray) -> Any:
        if array.dtype.kind == "U" and array.ndim == 0:
            return self.node(str(array), 1)
        name = "bool" if array.dtype.kind == "b" else array.dtype.name
        if name not in _NUMPY_DTYPES:
            raise EnvelopeError(f"numpy arrays of {array.dtype} are not plain data")
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        index = self.store(data)
        return ["A", index, name, list(array.shape)]

    def store(self, raw: bytes) -> int:
        self.storages.append(raw)
        return len(self.storages) - 1


class _Reader:
    def __init__(self, raw: bytes, max_bytes: int) -> None:
        self.raw, self.max_bytes = raw, max_bytes
        self.nodes = 0
        self.room = max_bytes

    def envelope(self) -> Any:
        if not isinstance(self.raw, bytes | bytearray | memoryview):
            raise EnvelopeError("an envelope is bytes")
        raw = bytes(self.raw)
        start = len(MAGIC) + _HEAD.size
        if len(raw) < start or not raw.startswith(MAGIC):
            raise EnvelopeError("these bytes are not an envelope")
        if len(raw) > self.max_bytes + MAX_JSON:
            raise EnvelopeError("the envelope is too large")
        (length,) = _HEAD.unpack_from(raw, len(MAGIC))
        if length > min(MAX_JSON, len(raw) - start):
            raise EnvelopeError("the envelope is cut short or its text is too large")
        tree = json.loads(raw[start : start + length].decode("ascii"), parse_constant=_refuse)
        self.storages = {name: _row(spec) for name, spec in deserialize(raw[start + length :])}
        return self.node(tree, 0)

    def node(self, tree: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise EnvelopeError("the value is nested too deeply or has too many parts")
        if tree is None or type(tree) in (bool, int):
            return tree
        if type(tree) is float:
            if not math.isfinite(tree):
                raise EnvelopeError("a number is out of range")
            return tree
        if type(tree) is str:
            return tree.encode("utf-8", "replace").decode("utf-8")
        if type(tree) is not list or not tree or type(tree[0]) is not str:
            raise EnvelopeError("a part has no kind")
        kind, parts = tree[0], tree[1:]
        if kind in ("l", "t"):
            items = [self.node(part, depth + 1) for part in parts]
            return items if kind == "l" else tuple(items)
        if kind == "d":
            return self.dictionary(parts, depth)
        if kind == "T":
            return self.tensor(*parts)
        if kind == "A":
            return self.array(*parts)
        if kind == "f" and len(parts) == 1 and parts[0] in ("nan", "inf", "-inf"):
            return float(parts[0])
        if kind == "c" and len(parts) == 2:
            real, imag = (self.node(part, depth + 1) for part in parts)
            if type(real) is float and type(imag) is float:
                return complex(real, imag)
        if kind == "b" and len(parts) == 1:
            return bytes(self.storage(parts[0]).numpy())
        raise EnvelopeError("a part has an unknown kind")

    def dictionary(self, parts: list[Any], depth: int) -> dict[str | int, Any]:
        result: dict[str | int, Any] = {}
        for part in parts:
            if type(part) is not list or len(part) != 2 or type(part[0]) not in (str, int) or part[0] in result:
                raise EnvelopeError("a dictionary has a bad or repeated key")
            result[part[0]] = self.node(part[1], depth + 1)
        return result

    def storage(self, index: Any) -> torch.Tensor:
        if type(index) is not int or str(index) not in self.storages:
            raise EnvelopeError("a storage is missing")
        return self.storages[str(index)]

    def take(self, shape: Any, itemsize: int) -> int:
        """Check a shape, count its bytes against the room left, and return its number of elements."""
        if type(shape) is not list or len(shape) > MAX_DIMS or any(type(n) is not int or n < 0 for n in shape):
            raise EnvelopeError("a shape is not a short list of sizes")
        if any(n >= 2**48 for n in shape):
            raise EnvelopeError("a tensor is too large")
        count = math.prod(shape)
        self.room -= count * itemsize
        if self.room < 0:
            raise EnvelopeError("the tensors are too large")
        return count

    def tensor(self, index: Any, name: Any, shape: Any, strides: Any, offset: Any, grad: Any) -> torch.Tensor:
        if type(name) is not str or name not in _DTYPES or type(grad) is not bool or type(offset) is not int:
            raise EnvelopeError("a tensor has an unknown dtype or layout")
        dtype = _DTYPES[name]
        storage = self.storage(index)
        itemsize = dtype.itemsize
        count = self.take(shape, itemsize)
        if type(strides) is not list or len(strides) != len(shape) or offset < 0:
            raise EnvelopeError("strides do not fit the shape")
        if any(type(step) is not int or not 0 <= step < 2**48 for step in strides):
            raise EnvelopeError("a stride is out of range")
        last = offset + sum((size - 1) * step for size, step in zip(shape, strides)) if count else offset - 1
        if (last + 1) * itemsize > storage.numel() or offset >= 2**48:
            raise EnvelopeError("a tensor reaches outside its storage")
        if dtype == torch.bool and bool((storage > 1).any()):
            raise EnvelopeError("a truth value is neither 0 nor 1")
        if grad and not (dtype.is_floating_point or dtype.is_complex):
            raise EnvelopeError("only floating tensors can require a gradient")
        tensor = torch.empty(0, dtype=dtype).set_(storage.untyped_storage(), offset, tuple(shape), tuple(strides))
        return tensor.requires_grad_(True) if grad else tensor

    def array(self, index: Any, name: Any, shape: Any) -> np.ndarray:
        if type(name) is not str or name not in _NUMPY_DTYPES:
            raise EnvelopeError("an array has an unknown dtype")
        storage = self.storage(index)
        dtype = np.dtype(name).newbyteorder("<")
        if self.take(shape, dtype.itemsize) * dtype.itemsize != storage.numel():
            raise EnvelopeError("an array does not fit its storage")
        if name == "bool" and bool((storage > 1).any()):
            raise EnvelopeError("a truth value is neither 0 nor 1")
        return np.frombuffer(bytearray(storage.numpy()), dtype=dtype).reshape(shape).astype(np.dtype(name))


def _bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _block(storages: list[bytes]) -> list[bytes]:
    """Return the parts of a safetensors block with rows of bytes called "0", "1", and so on, as the library writes it.

    The library's own way for a block of many small rows takes longer than all the rest of an envelope.
    """
    order = sorted(range(len(storages)), key=str)
    entries, end = [], 0
    for index in order:
        size = len(storages[index])
        entries.append(f'"{index}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{end},{end + size}]}}')
        end += size
    text = f"{{{','.join(entries)}}}".encode("ascii")
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)), text, *(storages[index] for index in order)]


def _row(spec: dict[str, Any]) -> torch.Tensor:
    """Return one storage of a block as a row of bytes, aligned and writable."""
    if spec["dtype"] != "U8" or len(spec["shape"]) != 1:
        raise EnvelopeError("a storage is not a row of bytes")
    data = spec["data"]
    return torch.frombuffer(data, dtype=torch.uint8).clone() if len(data) else torch.empty(0, dtype=torch.uint8)


def _refuse(name: str) -> Any:
    raise EnvelopeError(f"{name} is not plain data")
