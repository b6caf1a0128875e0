"""Published label files that are pickles, read without running what they say.

A pickle is a program that can do anything. Here its steps build lists, dicts and notes
of what they would call, `_Call`; nothing is called, and a name that labels do not need
is refused. `_Columns` reads the notes of arrays, whose sizes must be plain integers
that fit the bytes in the file. Nothing is compared, hashed or shown before its type is
known: a few bytes can nest lists a million times.
"""

import dataclasses
import io
import operator
import pickletools
import re
import zipfile
from typing import Any

import numpy as np

from keras_noisy._data import npz
from keras_noisy.datasets import _shared

# Each takes up to 100 bytes and some microseconds.
_MAX_STEPS = 1 << 24
_ANY = [pickletools.anyobject]
_encode = operator.methodcaller("encode", "latin1")
_STORAGES = {"BoolStorage": "?", "ByteStorage": "u1", "CharStorage": "i1"}
_STORAGES |= {"ShortStorage": "<i2", "IntStorage": "<i4", "LongStorage": "<i8"}
_STORAGES |= {"FloatStorage": "<f4", "DoubleStorage": "<f8"}
_NAMES = (
    *("_codecs.encode", "collections.OrderedDict", "torch._utils._rebuild_tensor_v2"),
    *("numpy.ndarray", "numpy.dtype", "numpy.core.numeric._frombuffer"),
    *("numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar"),
    *(f"torch.{name}" for name in _STORAGES),
)


class Refused(ValueError):
    """A pickle names something that is not a plain array."""


@dataclasses.dataclass(eq=False, repr=False, slots=True)
class _Call:
    """A name, with what a pickle would call it, and the state that it would set."""

    name: str
    args: Any = None
    state: Any = None


def read_npy(file):
    """Return the array of a `.npy` file, or what its object array holds by name.

    Raises `Refused` for other than plain arrays, half a dozen others for damage.
    """
    content = file.read()
    shape, dtype, start = npz.read_header(content)
    if dtype.hasobject:
        content = _parse(io.BytesIO(content[start:]))
        # Without axes it holds one dict.
        return _Columns().read(content if shape else content.state[4][0])
    npz.check_room(shape, dtype, len(content) - start)
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def read_torch(file):
    """Return what `torch.save` wrote, arrays by name; raises as `read_npy`.

    Without torch both of its formats are read; tensors in that of torch 1.6 and later.
    """
    if not zipfile.is_zipfile(file):
        file.seek(0)
        content = io.BytesIO(file.read())
        for _ in range(3):  # A magic number, a version, the sizes of a machine.
            _parse(content)
        return _Columns().read(_parse(content))
    with npz.open_zip(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is not a file of torch.save")
        folder = pickles[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in names and npz.read_member(archive, order) != b"little":
            raise ValueError("it was written by a big-endian machine")
        content = _parse(io.BytesIO(npz.read_member(archive, pickles[0])))
        return _Columns(archive, folder).read(content)


def _parse(file):
    """Return what a pickle builds, with a `_Call` in the place of each call."""
    stack, marks, memo = [], [], {}
    for number, (step, argument, _) in enumerate(pickletools.genops(file)):
        if number > _MAX_STEPS:
            raise ValueError("its pickle has more steps than any file of labels")
        first = len(stack) - len(step.stack_before)
        if pickletools.stackslice in step.stack_before:
            # What is above the mark, and the list or dict below it that it goes into.
            first = marks.pop() - (step.stack_before[0] is not pickletools.markobject)
        items = stack[first:]
        del stack[first:]
        match step.name, items:
            # A number or a text that the step brings along.
            case _, [] if step.arg and step.stack_after not in ([], _ANY):
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE", _:
                stack.append({"NEWTRUE": True, "NEWFALSE": False}.get(step.name))
            case "MARK", _:
                marks.append(len(stack))
            case "EMPTY_LIST" | "LIST", _:
                stack.append(items)
            case "EMPTY_TUPLE" | "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3", _:
                stack.append(tuple(items))
            case "EMPTY_DICT" | "DICT", _:
                stack.append(_fill({}, items))
            case "APPEND" | "APPENDS", [list() as target, *new]:
                target.extend(new)
                stack.append(target)
            case "SETITEM" | "SETITEMS", [dict() as target, *new]:
                stack.append(_fill(target, new))
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE", _:
                stack += items
                memo[len(memo) if argument is None else argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET", _:
                stack.append(memo[argument])
            case "GLOBAL" | "STACK_GLOBAL", _:
                stack.append(_look_up(*(items or argument.split(" ", 1))))
            case "REDUCE", [_Call("OrderedDict", None), ()]:
                stack.append({})
            case "REDUCE", [_Call(name, None), tuple() as args]:
                stack.append(_Call(name, args))
            case "BINPERSID", [("storage", _Call(), str(), _, int()) as key]:
                stack.append(_Call("storage", key))
            case "BINPERSID", _:
                raise ValueError("it holds tensors in the format before torch 1.6")
            case "BUILD", [_Call(_, tuple()) as call, tuple() as state]:
                call.state = state
                stack.append(call)
            case "PROTO" | "FRAME" | "STOP", _:
                stack += items
            case _:
                raise Refused(f"the step {step.name}")
    return stack[-1]


def _fill(target, items):
    for key, value in zip(items[::2], items[1::2], strict=True):
        # As text: whoever writes a file can choose integers that share a hash.
        if type(key) not in (str, int) or str(key) in target:
            raise ValueError("it has a name twice, or one that is no text")
        target[str(key)] = value
    return target


def _look_up(module, name):
    full = ".".join((module, name))
    # NumPy 2 moved its functions.
    if full.replace("numpy._core", "numpy.core") not in _NAMES:
        raise Refused(full[:100])
    return _Call(full.rpartition(".")[2])


class _Columns:
    """Reads labels out of what a pickle builds, and storages out of a zip file."""

    def __init__(self, archive=None, folder=""):
        self._archive, self._folder = archive, folder
        self._done = {}

    def read(self, content):
        """Return arrays `(n,)` or `()` by name; of other things what they are."""
        columns = content if type(content) is dict else {"noisy": content}
        return {name: self._column(value) for name, value in columns.items()}

    def _column(self, value):
        match value:
            case list() | tuple():
                return self._once(self._list, value)
            case int() if value.bit_length() < 64:
                return np.array(value)
            case _Call("_reconstruct", _, (_, shape, dtype, _, data)):
                return self._array(data, dtype, shape)
            case _Call("_frombuffer", (data, dtype, shape, *_)):
                return self._array(data, dtype, shape)
            case _Call("scalar", (dtype, data)):
                return self._array(data, dtype, ())
            case _Call("_rebuild_tensor_v2", (_Call("storage", key), *layout)):
                return self._tensor(key, *layout[:3])
            case _Call():
                raise Refused(f"{value.name} alone")
        return f"a {type(value).__name__}"

    def _once(self, read, value):
        # What a file names a thousand times is read once.
        key = read, value if type(value) is str else id(value)
        if key not in self._done:
            self._done[key] = read(value)
        return self._done[key]

    def _list(self, values):
        scalars = (self._column(v).item() if type(v) is _Call else v for v in values)
        return _shared.as_column(scalars)

    def _array(self, data, dtype, shape):
        dtype, size = _dtype(dtype), (*_sizes(shape), 1)[0]
        if shape[1:] not in ((), (1,)):
            return f"an array with {len(shape)} axes"
        match data:
            case list() if dtype.hasobject and len(data) == size:
                return self._once(self._list, data)
            # Old pickles spell bytes as text, and Python 2 did not tell them apart.
            case _Call("encode", (str() as data, "latin1")) | (str() as data):
                data = self._once(_encode, data)
        return np.frombuffer(data, dtype, size).reshape(shape[:1])

    def _tensor(self, storage, offset, size, stride):
        """Return a part of a storage; without a copy, none can outgrow the file."""
        (offset,), size, stride = _sizes((offset,)), _sizes(size), _sizes(stride)
        if not size or size[1:] not in ((), (1,)):
            return f"a tensor with {len(size)} axes"
        _, kind, name, _, count = storage
        content = self._once(self._storage, name)
        array = np.frombuffer(content, _STORAGES[kind.name], *_sizes((count,)))
        last = offset + (size[0] - 1) * stride[0]
        if last >= len(array) or (size[0] > 1 and not stride[0]):
            raise ValueError("it holds a tensor that is larger than its storage")
        return array[offset : last + 1 : stride[0] or 1][: size[0]]

    def _storage(self, name):
        return npz.read_member(self._archive, f"{self._folder}data/{name}")


def _sizes(sizes):
    """Return plain integers; NumPy's, and products of large ones, would wrap around."""
    if type(sizes) is tuple and all(type(n) is int and 0 <= n < 1 << 40 for n in sizes):
        return sizes
    raise ValueError("it has an array with sizes that are no plain integers from 0")


def _dtype(call):
    """Return the dtype that a call stands for."""
    match call:
        case _Call("dtype", (str() as code, *_), None | (_, str(), *_) as state):
            if re.fullmatch(r"[iuf][1248]|b1|O8?|[SU]\d{1,4}", code):
                return np.dtype(code).newbyteorder(state[1] if state else "=")
    raise Refused("a dtype that labels do not have")
