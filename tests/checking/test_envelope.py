"""Plain data survives the envelope with its layout; hostile bytes only ever raise EnvelopeError."""

import contextlib
import json
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from dlcv_lab.checking.copying import settled
from dlcv_lab.checking.envelope import MAGIC, EnvelopeError, _block, clone, decode, encode, leaves, to_float64
from dlcv_lab.checking.model import Outcome
from dlcv_lab.checking.wire import decode_outcome, encode_outcome

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.booleans() | st.none()
PLAIN = st.recursive(
    NUMBERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text("abc'\"", max_size=3) | st.integers(-5, 5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(PLAIN)
def test_plain_data_comes_back_equal_and_of_the_same_types(value):
    back = decode(encode(value))
    assert back == value
    assert repr(back) == repr(value)
    assert encode(back) == encode(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), -0.0, 1 + 2j, 5e-324])
def test_every_number_comes_back(number):
    assert repr(decode(encode(number))) == repr(number)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64,
                                   torch.uint8, torch.bool, torch.complex64])  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_tensors_keep_dtype_shape_and_values(dtype, shape):
    tensor = (torch.arange(24)[: int(np.prod(shape))].reshape(shape) % 2).to(dtype)
    back = decode(encode(tensor))
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert torch.equal(back, tensor)


def test_layout_and_shared_storage_are_kept():
    base = torch.randn(4, 6)
    value = {"view": base[1:, ::2], "turned": base.t(), "wide": torch.ones(1).expand(5, 5), "own": torch.randn(2)}
    back = decode(encode(value))
    for name, tensor in value.items():
        assert back[name].stride() == tensor.stride()
        assert back[name].storage_offset() == tensor.storage_offset()
        assert torch.equal(back[name], tensor)
    assert back["view"].untyped_storage().data_ptr() == back["turned"].untyped_storage().data_ptr()
    assert back["own"].untyped_storage().data_ptr() != back["turned"].untyped_storage().data_ptr()
    back["turned"].zero_()
    assert not back["view"].any()


def test_gradients_are_asked_for_again_and_leaves_stay_leaves():
    back = decode(encode({"w": torch.randn(3, requires_grad=True), "p": torch.nn.Parameter(torch.ones(2))}))
    assert back["w"].requires_grad
    assert back["w"].is_leaf
    assert type(back["p"]) is torch.Tensor


def test_an_answer_is_written_without_layout_or_gradient():
    answer = torch.randn(4, 6, requires_grad=True).t()[::2]
    back = decode(encode(answer, layout=False))
    assert back.is_contiguous()
    assert not back.requires_grad
    assert torch.equal(back, answer.detach())


def test_a_subclass_that_lies_about_itself_is_written_as_what_it_holds():
    class Liar(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            raise RuntimeError("asked")

    class Number(float):
        def __eq__(self, other):
            return True

        def __repr__(self):
            return "42.0"

        __hash__ = float.__hash__

    back = decode(encode([torch.ones(2).as_subclass(Liar), Number(1.5)], layout=False))
    assert type(back[0]) is torch.Tensor
    assert torch.equal(back[0], torch.ones(2))
    assert type(back[1]) is float
    assert back[1] == 1.5


def test_numpy_stays_numpy():
    back = decode(encode({"a": np.arange(6, dtype=np.int16).reshape(2, 3), "s": np.float32(2)}))
    assert isinstance(back["a"], np.ndarray)
    assert back["a"].dtype == np.int16
    assert back["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert isinstance(back["s"], np.ndarray)
    assert float(back["s"]) == 2


@pytest.mark.parametrize("value", [object(), {1, 2}, lambda: 1, np.array([None]), {(1, 2): 3}, {None: 1}, range(3),
                                   torch.empty(2, device="meta"), torch.eye(2).to_sparse()])  # fmt: skip
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(EnvelopeError):
        encode([value])


def test_a_list_that_holds_itself_is_refused():
    knot: list = []
    knot.append(knot)
    with pytest.raises(EnvelopeError):
        encode(knot)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_only_raise_envelope_errors(raw, with_magic):
    with contextlib.suppress(EnvelopeError):
        decode(MAGIC + raw if with_magic else raw)


GOOD = encode({"x": torch.randn(3, 4), "n": [1, 2.5, "text"], "a": np.ones(3)})


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_only_raise_envelope_errors(changes):
    raw = bytearray(GOOD)
    for place, byte in changes:
        raw[place] = byte
    with contextlib.suppress(EnvelopeError):
        decode(bytes(raw))
    assert isinstance(decode_outcome(bytes(raw)), Outcome)


def test_every_cut_is_noticed():
    for length in range(len(GOOD)):
        with pytest.raises(EnvelopeError):
            decode(GOOD[:length])


def envelope(text: str, **storages: torch.Tensor) -> bytes:
    body = text.encode()
    return MAGIC + struct.pack(">Q", len(body)) + body + save(storages)


BYTES = torch.arange(16, dtype=torch.uint8)
TRUTH = torch.tensor([0, 1, 2, 255], dtype=torch.uint8)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        envelope("[" * 100_000 + "]" * 100_000),
        envelope("[" * 3_000_000),
        envelope('["l",' * 70 + "1" + "]" * 70),
        envelope("{}"),
        envelope('{"a": 1}'),
        envelope("[]"),
        envelope("[1]"),
        envelope("NaN"),
        envelope("1e999"),
        envelope("9" * 5000),
        envelope('["f", "1"]'),
        envelope('["d", ["a", 1], ["a", 2]]'),
        envelope('["d", [1.5, 1]]'),
        envelope('["d", [true, 1]]'),
        envelope('["T", 0, "float32", [4], [1], 0, false]'),
        envelope('["T", 0, "float32", [5], [1], 0, false]', **{"0": BYTES}),
        envelope('["T", 0, "float32", [4], [1], 1, false]', **{"0": BYTES}),
        envelope('["T", 0, "float32", [4], [-1], 3, false]', **{"0": BYTES}),
        envelope('["T", 0, "float32", [4], [1], -1, false]', **{"0": BYTES}),
        envelope('["T", 0, "float32", [-4], [1], 0, false]', **{"0": BYTES}),
        envelope('["T", 0, "float32", [2], [1, 1], 0, false]', **{"0": BYTES}),
        envelope('["T", 0, "float32", [1000000000, 1000000000], [0, 0], 0, false]', **{"0": BYTES}),
        envelope('["T", 0, "float32", [1099511627776, 1099511627776, 0], [1, 1, 1], 0, false, 1]', **{"0": BYTES}),
        envelope('["T", 0, "int64", [2], [1], 0, true]', **{"0": BYTES}),
        envelope('["T", 0, "object", [2], [1], 0, false]', **{"0": BYTES}),
        envelope('["T", 0, "bool", [4], [1], 0, false]', **{"0": TRUTH}),
        envelope('["T", true, "bool", [4], [1], 0, false]', **{"True": TRUTH}),
        envelope('["T", 0, "float32", [4], [1], 0, false]', **{"0": torch.ones(4)}),
        envelope('["A", 0, "float32", [3]]', **{"0": BYTES}),
        envelope('["A", 0, "O", [2]]', **{"0": BYTES}),
        envelope('["z", 1]'),
        envelope('["T"]'),
        envelope("[null, 1]"),
    ],
)
def test_hostile_envelopes_are_refused(raw):
    with pytest.raises(EnvelopeError):
        decode(raw)
    assert decode_outcome(raw).status == "type"


def test_many_views_of_one_storage_cannot_outgrow_the_limit():
    part = '["T", 0, "uint8", [1000, 1000], [0, 0], 0, false]'
    raw = envelope(f'["l", {", ".join([part] * 100)}]', **{"0": BYTES})
    with pytest.raises(EnvelopeError, match="too large"):
        decode(raw, max_bytes=2**20)


def test_float64_copies_keep_layout_and_sharing():
    base = torch.randn(4, 6)
    value = {"a": base[1:, ::2], "b": base.t(), "w": torch.randn(3, requires_grad=True), "i": torch.arange(3)}
    wide = to_float64(value)
    assert wide["a"].stride() == value["a"].stride()
    assert torch.equal(wide["b"], base.t().double())
    assert wide["a"].untyped_storage().data_ptr() == wide["b"].untyped_storage().data_ptr()
    assert wide["w"].dtype == torch.float64
    assert wide["w"].requires_grad
    assert wide["w"].is_leaf
    assert wide["i"].dtype == torch.int64
    assert base.dtype == torch.float32


def test_clones_share_nothing_with_the_original():
    value = {"x": torch.zeros(3)}
    clone(value)["x"].add_(1)
    assert not value["x"].any()


def test_leaves_come_in_a_fixed_order_with_their_paths():
    assert [path for path, _ in leaves({"b": [1, (2, 3)], "a": None})] == ["['b'][0]", "['b'][1][0]", "['b'][1][1]",
                                                                         "['a']"]  # fmt: skip


@pytest.mark.parametrize("status", ["timeout", "signal", "fault", "OK", ""])
def test_a_process_cannot_say_of_itself_what_only_its_runner_knows(status):
    assert decode_outcome(encode({"status": status})).status == "type"


@pytest.mark.parametrize(
    "plain",
    [
        {"status": "value"},
        {"status": "raised", "error": 3},
        {"status": "raised", "error_bases": "abc"},
        {"status": "value", "value": 1, "seconds": "long"},
        {"status": "value", "value": 1, "mutated": [1]},
        {"status": ["value"]},
        [1],
        json.dumps({"status": "value"}),
    ],
)
def test_an_outcome_of_the_wrong_form_is_no_answer(plain):
    assert decode_outcome(encode(plain)).status == "type"


def test_an_outcome_comes_back():
    outcome = Outcome("raised", error="ValueError", error_bases=("ValueError", "Exception"), message="no", line="f()",
                      mutated=("x",), seconds=0.5)  # fmt: skip
    assert decode_outcome(encode_outcome(outcome)) == outcome


@pytest.mark.parametrize("count", [0, 1, 3, 12])
def test_the_block_is_what_the_library_writes(count):
    rows = [bytes(range(length % 7)) * (length + 1) for length in range(count)]
    tensors = {
        str(index): torch.tensor(list(row), dtype=torch.uint8) if row else torch.empty(0, dtype=torch.uint8)
        for index, row in enumerate(rows)
    }
    assert b"".join(_block(rows)) == save(tensors)


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(2, 3).t(),
        torch.ones(2, 3, requires_grad=True) * 2,
        torch.tensor(3),
        torch.tensor([1 + 2j]).conj(),
        torch.nn.Parameter(torch.ones(2)),
        torch.zeros(1).expand(4, 5),
        [torch.ones(2), None, True, 3, 2.5, math.inf],
        (torch.ones(0, 3), 2**70),
        {"loss": 0.5, "grad": torch.ones(2, dtype=torch.bfloat16)},
        {"é": 1, 3: [torch.ones(1)]},
        [[1], {"a": ("text", b"raw")}],
        np.float32(0.5),
        math.nan,
    ],
)
def test_settled_is_the_way_through_bytes(value):
    short, long = settled(value), decode(encode(value, layout=False))
    assert encode(short) == encode(long)
    assert [type(leaf) for _, leaf in leaves(short)] == [type(leaf) for _, leaf in leaves(long)]


@pytest.mark.parametrize("value", [object(), [object()], {"a": {1, 2}}, torch.ones(2).to_sparse()])
def test_settled_refuses_what_cannot_be_sent(value):
    with pytest.raises(EnvelopeError):
        settled(value)


def test_settled_shares_nothing():
    base = torch.zeros(3)
    first, second = settled([base, base])
    base += 1
    first += 2
    assert second.tolist() == [0, 0, 0]
