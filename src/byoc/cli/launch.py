"""What ``byoc run`` does: find the program, read its arguments, run it in a session."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from .. import _lazy
from ..errors import InvalidError
from ..resources import Resources
from ..sdk import load
from ..sdk.load import Reference
from . import context, drive, drivers, entry_args, failure, ladders, names
from .console import Console
from .options import Asked, Common

if TYPE_CHECKING:
    from ..engine.command import Commands
    from ..engine.session import Session
    from ..engine.spec import FunctionSpec
    from ..images.mounts import FileEntry
    from ..sdk.choose import Runnable


def launch(console: Console, common: Common, typed: Asked) -> int:
    """Run what was asked for. Returns the exit code."""
    opened = open_program(typed)
    common, typed = lifted(console, common, typed, opened)
    settings = context.merged(common.flags())
    names.check(common.gpu or (), common.region, settings.used_clouds())
    if common.detach and not typed.driver and not common.dry_run:
        if opened.asked.kind == load.STDIN:
            raise InvalidError(
                "a program on standard input cannot go on in the background",
                hints=("save it in a file, or leave out --detach",),
            )
        return drivers.detach(console, settings, typed.line, "run")
    job = prepare(console, opened, typed)
    return drive.drive(console, settings, common, job, typed.driver)


class Opened(NamedTuple):
    """What was named: its source, and the imported module unless it is a plain program."""

    asked: Reference
    source: bytes
    program: ModuleType | None


def open_program(typed: Asked) -> Opened:
    """Find the program and import it (a plain one is read). Raises what is wrong with it."""
    asked = load.parse_reference(typed.reference, module=typed.module)
    source = load.read(asked, sys.stdin.buffer)
    with failure.program():
        plain = load.is_plain(asked, source)
        return Opened(asked, source, None if plain else load.load(asked, source))


def lifted(console: Console, common: Common, typed: Asked, opened: Opened) -> tuple[Common, Asked]:
    """The same with those of byoc's options that stand behind FILE taken out."""
    if not any(word.startswith("--") for word in typed.args):
        return common, typed
    own: frozenset[str] | None = None
    if opened.program is not None:
        choose = _lazy.load("byoc.sdk.choose:choose")
        if not opened.asked.name and "--help" in typed.args:
            return common, typed
        own = _options_of(choose(opened.program, opened.asked.name, opened.asked.target))
    common, args = _lazy.load("byoc.cli.trailing:lifted")(console, common, typed.args, own)
    return common, typed._replace(args=args)


def _options_of(chosen: Runnable) -> frozenset[str] | None:
    """The options that a function has; None when it takes any words."""
    target: Any = chosen.target
    owner = getattr(target, "owner", None)
    if owner is None:
        return entry_args.flags(inspect.signature(target.raw_f))
    constructor = _lazy.load("byoc.sdk.parameters:command_line")(owner.raw)
    method = _lazy.load("byoc.sdk.hooks:raw_method")(owner.raw, target.method)
    return entry_args.flags(constructor, inspect.signature(method))


def prepare(console: Console, opened: Opened, typed: Asked) -> drive.Job:
    """What is to be done, the program's arguments parsed. Raises what is wrong with them."""
    rest = list(typed.args)
    asked, source, program = opened
    if program is None:
        job = _script(asked, source, rest)
    else:
        job = _function(console, program, asked, rest)
    if typed.result:
        job = _written(job, Path(typed.result))
    if typed.name:
        job = job._replace(name=typed.name)
    return job


def _script(asked: Reference, source: bytes, args: list[str]) -> drive.Job:
    """A program without an App: it runs remotely as ``__main__``."""

    def work(session: Commands) -> tuple[int, Any]:
        if asked.kind == load.MODULE:
            here, stdin = context.here(), context.program_input()
            return session.module(asked.target, here, args, stdin=stdin), None
        if asked.kind == load.FILE:
            return session.script(asked.path, args, stdin=context.program_input()), None
        with context.scratch() as folder:
            path = folder / "stdin.py"
            path.write_bytes(source)
            return session.script(path, args), None

    name = {load.STDIN: "stdin", load.FILE: Path(asked.target).stem}.get(asked.kind, asked.target)
    typed, asks = _typed(asked, args), (ladders.Ask(name, Resources()),)
    return drive.Job("run", "script", name, typed, work, asks, functools.partial(_beside, asked))


def _beside(asked: Reference) -> list[FileEntry]:
    """The files that travel with a plain program."""
    mounts = _lazy.load("byoc.images.mounts")
    folder = asked.path.parent if asked.kind == load.FILE else context.here()
    files: list[FileEntry] = mounts.for_folder(folder)
    return files


def _typed(asked: Reference, args: list[str]) -> tuple[str, ...]:
    """The command as the user would type it, without options."""
    name = f"::{asked.name}" if asked.name else ""
    option = ("-m",) if asked.kind == load.MODULE else ()
    return ("byoc", "run", *option, asked.target + name, *args)


def _function(
    console: Console, program: ModuleType, asked: Reference, args: list[str]
) -> drive.Job:
    shown = asked.target
    choose = _lazy.load("byoc.sdk.choose")
    several = choose.candidates(program) if not asked.name and "--help" in args else ()
    if len(several) > 1:
        for name in several:
            console.data(f"{shown}::{name}")
        raise typer.Exit
    chosen: Runnable = choose.choose(program, asked.name, shown)
    target = chosen.target
    if getattr(target, "is_generator", False):
        raise InvalidError(
            f"{chosen.name} is a generator: it cannot be run from the command line",
            hints=("call it by .remote_gen() in a local entrypoint",),
        )
    call = _call(chosen, args, f"byoc run {shown}::{chosen.name}")

    def work(session: Session) -> tuple[int, Any]:
        sys.argv = [shown, *args]
        with chosen.app.bound(session):
            value = call()
            return 0, _awaited(value) if inspect.isawaitable(value) else value

    specs = _specs(chosen)
    asks = [ladders.ask_of(spec) for spec in specs]
    contents = functools.partial(_files, asked, specs)
    return drive.Job("run", "run", chosen.name, _typed(asked, args), work, asks, contents)


def _call(chosen: Runnable, args: list[str], shown: str) -> Callable[[], Any]:
    """What to do with the program's arguments; wrong ones are refused now."""
    target: Any = chosen.target
    owner = getattr(target, "owner", None)
    if owner is not None:
        constructor = _lazy.load("byoc.sdk.parameters:command_line")(owner.raw)
        method = _lazy.load("byoc.sdk.hooks:raw_method")(owner.raw, target.method)
        of_object, of_method = entry_args.parse_method(constructor, method, args, shown)
        call = getattr(owner(*of_object[0], **of_object[1]), target.method).remote
        return functools.partial(call, *of_method[0], **of_method[1])
    positional, named = entry_args.parse(target.raw_f, args, shown)
    return functools.partial(getattr(target, "remote", target), *positional, **named)


def _specs(chosen: Runnable) -> list[FunctionSpec]:
    """The functions and classes that may be called."""
    target: Any = chosen.target
    spec = getattr(getattr(target, "owner", target), "spec", None)
    app = chosen.app
    several: list[Any] = [*app.registered_functions.values(), *app.registered_classes.values()]
    return [spec] if spec is not None else [one.spec for one in several]


def _files(asked: Reference, specs: list[FunctionSpec]) -> list[FileEntry]:
    """The program's own file, and what travels with its functions."""
    mounts = _lazy.load("byoc.images.mounts")
    files_of = _lazy.load("byoc.engine.sources:files_of")
    own = mounts.for_module_file(asked.path) if asked.kind == load.FILE else []
    found: list[FileEntry] = mounts.collect(
        own, *(files_of(spec, mounts.ignore_notice) for spec in specs)
    )
    return found


def _written(job: drive.Job, file: Path) -> drive.Job:
    """The same job, whose value, a text or bytes, goes into a file."""
    if not file.absolute().parent.is_dir():
        raise InvalidError(f"--write-result: there is no folder {file.absolute().parent}")

    def work(session: Any) -> tuple[int, Any]:
        code, value = job.work(session)
        if isinstance(value, str):
            file.write_text(value)
        elif isinstance(value, bytes):
            file.write_bytes(value)
        elif code == 0:
            raise InvalidError(
                f"--write-result takes a text or bytes, and {job.name} returned "
                f"{type(value).__name__}"
            )
        return code, value

    return job._replace(work=work)


def _awaited(value: Any) -> Any:
    import asyncio  # 30 ms: only an async entrypoint pays

    async def whole() -> Any:
        return await value

    return asyncio.run(whole())
