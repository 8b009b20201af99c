"""The command line of the user's own function: an option per parameter, read from its signature.

The rules are Modal's (client 1.6.4): every parameter is an option, required without a default;
``foo_bar`` is ``--foo-bar``; ``bool`` is ``--x/--no-x``; without annotation it is a text;
``*args`` takes what is left as it stands. Anything else is refused before something is rented.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from datetime import datetime
from typing import Any

import typer

from ..errors import InvalidError

_DATE = "YYYY-MM-DD[THH:MM:SS]"
_PLAIN = (str, int, float, bool, datetime)


Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword ones."""


def parse(function: Callable[..., Any], args: list[str], shown_as: str) -> Arguments:
    """``args`` -> the positional and keyword arguments to call ``function`` with.

    Only what was given is passed, so that Python's own defaults apply. ``shown_as``: the command so
    far, for usage and errors. Raises :class:`InvalidError` for a signature that has no command line
    and typer's usage errors for wrong ``args``; ``--help`` prints and raises :class:`typer.Exit`.
    """
    signature = inspect.signature(function)
    command = build(function, _typed(function, signature))
    return arrange(signature, *_given(command, args, shown_as))


def parse_method(
    constructor: inspect.Signature, method: Callable[..., Any], args: list[str], shown_as: str
) -> tuple[Arguments, Arguments]:
    """As :func:`parse`, for an object's constructor and its method, whose options stand side by
    side. ``constructor``: its annotations are types. Raises InvalidError for a name that both
    have."""
    whole = inspect.signature(method)
    own = whole.replace(parameters=list(whole.parameters.values())[1:])
    both = set(constructor.parameters) & set(own.parameters)
    if both:
        raise InvalidError(
            f"{', '.join(sorted(both))} is a parameter of the class and of its method",
            hints=("rename one of them, or call the method in a local entrypoint",),
        )
    parameters = [*constructor.parameters.values(), *_typed(method, own)]
    given, rest = _given(build(method, parameters), args, shown_as)
    first = {name: given.pop(name) for name in constructor.parameters if name in given}
    return arrange(constructor, first, ()), arrange(own, given, rest)


def flags(*signatures: inspect.Signature) -> frozenset[str] | None:
    """The options of functions with these signatures; None when one takes words as they stand."""
    parameters = [one for signature in signatures for one in signature.parameters.values()]
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    names = [one.name.replace("_", "-") for one in parameters]
    return frozenset([f"--{name}" for name in names] + [f"--no-{name}" for name in names])


def _given(command: Any, args: list[str], shown_as: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The options that were given, and the words that are none."""
    with command.make_context(shown_as, list(args)) as context:
        given: dict[str, Any] = command.invoke(context)
        return given, tuple(context.args)


def _typed(function: Callable[..., Any], signature: inspect.Signature) -> list[inspect.Parameter]:
    """The parameters with their annotations evaluated."""
    hints = _hints(function)
    return [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in signature.parameters.values()
    ]


def build(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> Any:
    """A typer command that returns the options that were given, by parameter name."""
    rest = [one for one in parameters if one.kind is one.VAR_POSITIONAL]
    options = [_option(one, one.annotation) for one in parameters if one not in rest]
    takes_rest = bool(rest)

    def collect(**given: Any) -> dict[str, Any]:
        return {name: value for name, value in given.items() if value is not None}

    collect.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    collect.__annotations__ = {}
    # Without rich: its markup would eat the square brackets of the user's docstring.
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    passing = {"allow_extra_args": takes_rest, "ignore_unknown_options": takes_rest}
    text = inspect.cleandoc(function.__doc__ or "")
    app.command(function.__name__, help=text, context_settings=passing)(collect)
    return typer.main.get_command(app)


def arrange(
    signature: inspect.Signature, given: dict[str, Any], rest: tuple[str, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Sort the given options into positional and keyword arguments.

    With ``*args``, what stands before it must be passed by position, defaults included.
    """
    parameters = signature.parameters.values()
    has_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    positional: list[Any] = []
    for parameter in parameters:
        by_position = parameter.kind is parameter.POSITIONAL_ONLY or (
            has_rest and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        )
        if by_position:
            positional.append(given.pop(parameter.name, parameter.default))
    return (*positional, *rest), given


def _option(parameter: inspect.Parameter, annotation: Any) -> inspect.Parameter:
    name = parameter.name
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        raise InvalidError(
            f"parameter '**{name}' cannot be set from the command line",
            hints=("name each parameter in the signature",),
        )
    required = parameter.default is inspect.Parameter.empty
    flag = "--" + name.replace("_", "-")
    kind = _kind(name, annotation)
    declared = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    # The default is only shown, never converted: Python applies it.
    shown = "" if required or parameter.default is None else f"[default: {parameter.default}]"
    metavar = _DATE if kind is datetime else None
    info = typer.Option(... if required else None, declared, help=shown, metavar=metavar)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=info,
        annotation=kind if required else kind | None,
    )


def _kind(name: str, annotation: Any) -> Any:
    """The type to parse to. Raises :class:`InvalidError` naming the parameter."""
    if annotation is inspect.Parameter.empty:
        return str
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        members = [one for one in typing.get_args(annotation) if one is not type(None)]
        if len(members) == 1 and len(typing.get_args(annotation)) == 2:
            return _kind(name, members[0])
    elif annotation in _PLAIN or (origin is typing.Literal and _is_uniform(annotation)):
        return annotation
    shown = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    raise InvalidError(
        f"parameter '{name}' has an annotation that cannot be read from a command line: {shown}",
        hints=("use str, int, float, bool, datetime, Literal or Optional of one of these",),
    )


def _is_uniform(literal: Any) -> bool:
    """All texts, or all whole numbers."""
    return {type(value) for value in typing.get_args(literal)} in ({str}, {int})


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, evaluated. One that names what is not there is reported as it is written."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}
