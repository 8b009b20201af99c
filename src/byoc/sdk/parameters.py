"""The parameters of a class: found in it, checked, written as canonical JSON and read again.

The JSON names a set of containers, on the client and inside them, so it is the same for equal
values: keys sorted, no spaces; what JSON lacks is an object with one key that names its type.
"""

from __future__ import annotations

import binascii
import difflib
import functools
import inspect
import json
import typing
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ArgumentError, ConflictError, InvalidError
from .marks import UNSET, Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 16 * 1024
"""Bytes of all parameters of an object together, Modal's limit."""
KEPT = 256
"""Classes whose parameters are remembered; a program has a few."""
TYPES: tuple[type, ...] = (str, int, bool, bytes)


class Field(NamedTuple):
    """One ``parameter()``: its type, its default (or UNSET), whether the constructor takes it."""

    kind: type
    default: Any
    init: bool


@functools.lru_cache(maxsize=KEPT)
def fields(raw: type) -> dict[str, Field]:
    """The parameters of a class, those of its bases first. Raises InvalidError for wrong ones."""
    marked: dict[str, Parameter] = {}
    for base in reversed(raw.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Parameter):
                marked[name] = value
            else:
                marked.pop(name, None)
    if not marked:
        return {}
    hints = _annotations(raw)
    return {name: _field(raw, name, one, hints) for name, one in marked.items()}


def _annotations(raw: type) -> dict[str, Any]:
    """By name; what cannot be evaluated stays a text."""
    found: dict[str, Any] = {}
    for base in reversed(raw.__mro__):
        try:
            found.update(typing.get_type_hints(base))
        except (NameError, TypeError, AttributeError, SyntaxError):
            found.update(vars(base).get("__annotations__", {}))
    return found


def _field(raw: type, name: str, one: Parameter, hints: Mapping[str, Any]) -> Field:
    where = f"{raw.__qualname__}.{name}"
    if name not in hints:
        raise InvalidError(
            f"the parameter {where} has no type",
            hints=(f"annotate it: {name}: str = byoc.parameter(...)",),
        )
    by_name = {kind.__name__: kind for kind in TYPES}
    kind = by_name.get(hints[name], hints[name]) if isinstance(hints[name], str) else hints[name]
    if kind not in TYPES:
        raise InvalidError(
            f"the parameter {where} has the type {inspect.formatannotation(hints[name])}: "
            "it must be str, int, bool or bytes"
        )
    if one.default is not UNSET:
        _check(where, kind, one.default)
    return Field(kind, one.default, one.init)


def _check(where: str, kind: type, value: Any) -> None:
    if type(value) is not kind:
        raise ArgumentError(
            f"the parameter {where} takes {kind.__name__}, not {type(value).__name__}"
        )


@functools.lru_cache(maxsize=KEPT)
def constructor(raw: type) -> inspect.Signature | None:
    """The signature, less ``self``, of a constructor of the user's that takes arguments."""
    init = raw.__init__  # type: ignore[misc]
    if not inspect.isfunction(init):
        return None  # inherited from object, or from a class written in C
    signature = inspect.signature(init)
    rest = list(signature.parameters.values())[1:]
    return signature.replace(parameters=rest) if rest else None


class Shape(NamedTuple):
    """What has to be known of a class to make objects of it: see :func:`fields` and
    :func:`constructor`. Types are left out of the latter, they may not travel."""

    fields: dict[str, Field]
    constructor: inspect.Signature | None


@functools.lru_cache(maxsize=KEPT)
def shape(raw: type) -> Shape:
    """Of a class."""
    own = constructor(raw)
    if own is not None:
        own = inspect.Signature([_portable(one) for one in own.parameters.values()])
    return Shape(fields(raw), own)


def _portable(one: inspect.Parameter) -> inspect.Parameter:
    """Without its type, and without a default that could be no parameter anyway."""
    empty, default = inspect.Parameter.empty, one.default
    if default is not empty:
        try:
            _to_json(default)
        except TypeError:
            default = ...
    return one.replace(annotation=empty, default=default)


def shell(name: str, known: Shape, members: Mapping[str, Any]) -> type:
    """A class of that shape with nothing else in it but ``members``."""
    inside: dict[str, Any] = {
        one: Parameter(field.default, field.init) for one, field in known.fields.items()
    }
    inside["__annotations__"] = {one: field.kind for one, field in known.fields.items()}
    if known.constructor is not None:
        this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            """Takes what the class takes."""

        whole = [this, *known.constructor.parameters.values()]
        init.__signature__ = inspect.Signature(whole)  # type: ignore[attr-defined]
        inside["__init__"] = init
    return type(name, (), {**inside, **members})


def check(raw: type) -> bool:
    """Refuse a class whose parameters are wrong; whether they are those of its constructor, as in
    older versions of Modal."""
    found, own = fields(raw), constructor(raw)
    if found and own is not None:
        raise ConflictError(
            f"{raw.__qualname__} has both parameter() and a constructor with arguments",
            hints=("leave out __init__ and set things up in an @byoc.enter() method",),
        )
    return own is not None


def command_line(raw: type) -> inspect.Signature:
    """What a command line may set of an object: each has its type as annotation.

    Optional ones of bytes are left out, since a command line has no bytes.
    """
    own = constructor(raw)
    found = fields(raw)
    if own is not None and not found:
        try:
            hints = typing.get_type_hints(raw.__init__)  # type: ignore[misc]
        except (NameError, TypeError, AttributeError, SyntaxError):
            hints = {}
        typed = [
            one.replace(annotation=hints.get(name, one.annotation))
            for name, one in own.parameters.items()
        ]
        return own.replace(parameters=typed)
    kind = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(
            name,
            kind,
            default=inspect.Parameter.empty if field.default is UNSET else field.default,
            annotation=field.kind,
        )
        for name, field in found.items()
        if field.init and (field.kind is not bytes or field.default is UNSET)
    ]
    return inspect.Signature(options)


# --- to JSON ----------------------------------------------------------------------------------


def write(raw: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What ``Class(*args, **kwargs)`` means, as canonical JSON; empty when there are no parameters.

    Raises ArgumentError for arguments that the class does not take, InvalidError for values that
    cannot be parameters.
    """
    found = fields(raw)
    own = constructor(raw)
    values = (
        _bound(raw, own, args, kwargs) if own and not found else _taken(raw, found, args, kwargs)
    )
    if not values:
        return ""
    text = json.dumps(_encoded(raw, values), sort_keys=True, separators=(",", ":"))
    if len(text) > LIMIT:
        raise InvalidError(
            f"the parameters of {raw.__qualname__} have {len(text)} bytes, more than {LIMIT}",
            hints=("pass large values to its methods",),
        )
    return text


def _taken(
    raw: type, found: Mapping[str, Field], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    name = raw.__qualname__
    settable = {one: field for one, field in found.items() if field.init}
    if args:
        raise ArgumentError(f"{name}() takes its parameters by keyword", hints=_example(settable))
    for one in kwargs:
        if one not in settable:
            close = difflib.get_close_matches(one, settable, 1)
            raise ArgumentError(
                f"{name}() has no parameter {one!r}",
                hints=(f"did you mean {close[0]}?",) if close else _example(settable),
            )
    values = {}
    for one, field in settable.items():
        value = kwargs.get(one, field.default)
        if value is UNSET:
            raise ArgumentError(f"{name}() needs the parameter {one!r}")
        _check(f"{name}.{one}", field.kind, value)
        values[one] = value
    return values


def _example(settable: Mapping[str, Field]) -> tuple[str, ...]:
    given = ", ".join(f"{one}=..." for one in settable)
    return (f"write ({given})",) if given else ("it takes none",)


def _bound(
    raw: type, own: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        bound = own.bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"{raw.__qualname__}(): {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _encoded(raw: type, values: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        try:
            found[name] = _to_json(value)
        except TypeError as error:
            raise InvalidError(
                f"{raw.__qualname__}(): the parameter {name} cannot be sent: {error}",
                hints=("use texts, numbers, bytes, None, and lists, tuples and dicts of these",),
            ) from None
    return found


def _to_json(value: Any) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    if type(value) is bytes:
        return {"b64": binascii.b2a_base64(value, newline=False).decode()}
    if type(value) is list:
        return [_to_json(one) for one in value]
    if type(value) is tuple:
        return {"tuple": [_to_json(one) for one in value]}
    if type(value) is dict:
        return {"dict": [[_to_json(key), _to_json(one)] for key, one in value.items()]}
    raise TypeError(f"it holds a {type(value).__name__}")


# --- from JSON --------------------------------------------------------------------------------


def read(text: str) -> dict[str, Any]:
    """The values that :func:`write` wrote."""
    return {name: _from_json(value) for name, value in json.loads(text or "{}").items()}


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "b64":
        return binascii.a2b_base64(inner)
    if kind == "tuple":
        return tuple(_from_json(one) for one in inner)
    return {_from_json(key): _from_json(one) for key, one in inner}


def build(raw: type, text: str) -> Any:
    """An instance of the class with these parameters. Hooks have not run."""
    values = read(text)
    own = constructor(raw)
    found = fields(raw)
    if own is not None and not found:
        bound = inspect.BoundArguments(own, OrderedDict(values))
        return raw(*bound.args, **bound.kwargs)
    new: Any = raw.__new__
    instance = new(raw)
    for name, field in found.items():
        value = values.get(name, field.default)
        if value is not UNSET:
            setattr(instance, name, value)
    instance.__init__()
    return instance
