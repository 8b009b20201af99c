"""The rules on what a room may touch. Each gives findings; none is fine."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator

from .graph import imports
from .source import Finding, Module, docstring, docstrings, dotted, functions

CLOUD = re.compile(r"(?<![A-Za-z])(aws|gcp|oci|ec2|azure)(?![A-Za-z])", re.IGNORECASE)
"""A cloud's name as a word, also within an identifier such as ``aws_profile``."""
CLOUD_ROOMS = ("providers", "pricing/data", "emulator")
CLOUD_CONSTANTS = frozenset(
    {
        ("byoc.images.selection", "_SECRET_DIRS"),
        ("byoc.runtime_agent.notices", "SOURCES"),
        ("byoc.settings", "KEYS"),
    }
)
"""Constants that may name the clouds, by module: folders of credentials, which are never sent;
where a machine reads that it is preempted, by the name in its provider's traits; the settings that
are one cloud's own."""
CLOUD_WORDS = frozenset({"from_aws_ecr", "from_gcp_artifact_registry"})
"""Public names that users know from elsewhere."""

SDKS = {"boto3": "aws", "botocore": "aws", "google": "gcp", "oci": "oci"}
"""Top-level modules of the clouds' SDKs, and the provider that may import them."""
LIBRARIES = {
    "rich": ("byoc.cli.console", "only cli/console*.py draws"),
    "typer": ("byoc.cli", "only cli/ knows the command line"),
    "click": ("byoc.cli", "only cli/ knows the command line"),
    "sqlite3": ("byoc.state", "only state/ opens the journal"),
}
"""Libraries with one owner: the prefix of the modules that may import each, and why."""
STANDARD_ONLY = ("container", "runtime_agent", "wire")
"""Rooms that travel to the instance and find nothing there but Python."""
TRAVELS_ALONG = ("byoc", "cloudpickle")
"""What else those rooms may import: byoc's own modules and what the agent's bundle carries."""

CLOCK_FREE = ("clock", "container", "runtime_agent", "wire", "emulator")
"""Rooms that may read the clock: the clock itself, and what runs on the instance."""
CLOCK_FREE_MODULES = ("byoc.providers.local.machine", "byoc.providers.oci.selfend")
"""What runs as a machine, or on one, without the client."""
CLOCK_CALLS = frozenset(
    {f"time.{name}" for name in ("time", "monotonic", "perf_counter", "process_time", "sleep")}
    | {f"time.{name}_ns" for name in ("time", "monotonic", "perf_counter", "process_time")}
    | {"asyncio.sleep", "os.urandom", "datetime.now", "datetime.utcnow", "date.today"}
    | {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"}
)
CLOCK_OPTIONAL = {"time.gmtime": 0, "time.localtime": 0, "time.ctime": 0, "time.strftime": 1}
RANDOM_MODULES = frozenset({"random", "secrets", "uuid"})

DYNAMIC_IMPORT = frozenset(
    {
        "byoc._lazy",  # the public names
        "byoc.providers",  # the table of providers
        "byoc.sdk.load",  # the user's program
        "byoc.container.worker",  # the user's program, and what of byoc it uses
        "byoc.providers.gcp.sdk",  # the parts of its own cloud's SDK, as they are needed
    }
)
"""Modules that may import by a computed name; elsewhere that would hide an edge from the layers."""
DEBT = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
TRUST = re.compile(r"AutoAddPolicy|WarningPolicy|StrictHostKeyChecking[= ]no", re.IGNORECASE)


def cloud_names(module: Module) -> Iterator[Finding]:
    """A cloud named outside providers/: a string, an identifier or a keyword."""
    if module.name.removeprefix("byoc.").replace(".", "/").startswith(CLOUD_ROOMS):
        return
    prose = docstrings(module) | _allowed_constants(module)
    for node in module.nodes:
        words = _words(node)
        found = CLOUD.search(words)
        if found and words not in CLOUD_WORDS and id(node) not in prose:
            yield module.finding(node, f"names the cloud {found.group()!r}")


def _allowed_constants(module: Module) -> set[int]:
    allowed: set[int] = set()
    for node in module.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any((module.name, dotted(target)) in CLOUD_CONSTANTS for target in targets):
            allowed |= {id(inner) for inner in ast.walk(node)}
    return allowed


def _words(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    for field in ("id", "attr", "arg", "name"):
        value = getattr(node, field, None)
        if isinstance(value, str):
            return value
    return ""


def direct_clock(module: Module) -> Iterator[Finding]:
    """Time, sleep and randomness taken from the system instead of the constructor's clock."""
    if module.room in CLOCK_FREE or module.name.startswith(CLOCK_FREE_MODULES):
        return
    for node, target, _ in imports(module):
        if target.split(".")[0] in RANDOM_MODULES:
            yield module.finding(node, f"draws random numbers by {target}; take clock.Ids")
        elif target in CLOCK_CALLS:
            yield module.finding(node, f"imports {target}; take a clock.Clock")
    for use in module.nodes:
        if isinstance(use, ast.Attribute) and (name := dotted(use)) in CLOCK_CALLS:
            yield module.finding(use, f"uses {name}; take a clock.Clock")
        elif isinstance(use, ast.Call) and _reads_clock(use):
            yield module.finding(use, f"{dotted(use.func)}() without a time reads the clock")


def _reads_clock(node: ast.Call) -> bool:
    name = dotted(node.func)
    return name in CLOCK_OPTIONAL and len(node.args) <= CLOCK_OPTIONAL[name]


def owned_libraries(module: Module) -> Iterator[Finding]:
    """A library imported outside the room that owns it."""
    for node, target, _ in imports(module):
        top = target.split(".")[0]
        owner, why = LIBRARIES.get(top, ("", ""))
        if owner and not module.name.startswith(owner):
            yield module.finding(node, f"imports {top}: {why}")
        cloud = SDKS.get(top)
        owners = (f"byoc.providers.{cloud}", f"byoc.emulator.{cloud}")
        if cloud and not module.name.startswith(owners):
            yield module.finding(node, f"imports {top}: only providers/{cloud} may")


def standard_library_only(module: Module) -> Iterator[Finding]:
    """A room that travels to the instance importing what is not there."""
    if module.room not in STANDARD_ONLY:
        return
    for node, target, _ in imports(module):
        top = target.split(".")[0]
        if top not in sys.stdlib_module_names and top not in TRAVELS_ALONG:
            yield module.finding(node, f"imports {top}, which an instance does not have")


def dynamic_imports(module: Module) -> Iterator[Finding]:
    """An import by a computed name where the layers could not see it."""
    if module.name in DYNAMIC_IMPORT:
        return
    for node in module.nodes:
        if isinstance(node, ast.Call) and not _names_a_stranger(node):
            name = dotted(node.func)
            if name.rpartition(".")[2] in ("import_module", "__import__"):
                yield module.finding(node, f"{name}() hides an import from the layer contract")


def _names_a_stranger(node: ast.Call) -> bool:
    """Whether the first argument is the plain name of a library that is nobody's own."""
    first = node.args[0] if node.args else None
    top = str(getattr(first, "value", "byoc")).split(".")[0]
    return isinstance(first, ast.Constant) and top not in {"byoc", *LIBRARIES, *SDKS}


def blind_handlers(module: Module) -> Iterator[tuple[ast.ExceptHandler, str]]:
    """Each handler that swallows any exception, with the reason its line gives.

    A handler that ends by raising, the same or what it means, swallows nothing.
    """
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and _blind(node.type):
            last = node.body[-1]
            if not isinstance(last, ast.Raise):
                yield node, _reason(module.comments.get(node.lineno, ""))


def _blind(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    if isinstance(kind, ast.Tuple):
        return any(_blind(part) for part in kind.elts)
    return dotted(kind) in ("Exception", "BaseException", "builtins.BaseException")


def _reason(comment: str) -> str:
    return re.sub(r"^noqa(: *[A-Z]+\d+[, ]*)*", "", comment).strip(" -#:")


def unexplained_handlers(module: Module) -> Iterator[Finding]:
    """A handler that swallows any exception without saying why on its line."""
    for node, reason in blind_handlers(module):
        if len(reason.split()) < 2:
            yield module.finding(node, "catches every exception and does not say why")


def stubs(module: Module) -> Iterator[Finding]:
    """Functions that only pretend: they raise NotImplementedError, or have no body at all."""
    abstract = _abstract(module)
    for name, node in functions(module):
        body = node.body[1:] if docstring(node) else node.body
        for statement in ast.walk(node):
            if isinstance(statement, ast.Raise) and _not_implemented(statement.exc):
                yield module.finding(statement, f"{name} raises NotImplementedError")
        if all(map(_empty, body)) and not docstring(node) and id(node) not in abstract:
            yield module.finding(node, f"{name} has no body")


def _not_implemented(raised: ast.expr | None) -> bool:
    target = raised.func if isinstance(raised, ast.Call) else raised
    return target is not None and dotted(target) == "NotImplementedError"


def _empty(statement: ast.stmt) -> bool:
    ellipsis = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or ellipsis


def _abstract(module: Module) -> set[int]:
    """Ids of the functions that are meant to be empty: protocols' methods and overloads."""
    meant: set[int] = set()
    for node in module.nodes:
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.dump(b) for b in node.bases):
            meant |= {id(child) for child in node.body}
        marks = [dotted(d) for d in getattr(node, "decorator_list", [])]
        if any(mark.rpartition(".")[2] in ("overload", "abstractmethod") for mark in marks):
            meant.add(id(node))
    return meant


def debts(module: Module) -> Iterator[Finding]:
    """Notes of work left over, and settings that would trust an unknown host."""
    for number, line in enumerate(module.text.splitlines(), 1):
        if found := DEBT.search(line) or TRUST.search(line):
            yield Finding(module.path, number, f"holds {found.group()!r}")


Rule = Callable[[Module], Iterable[Finding]]

RULES: dict[str, Rule] = {
    "cloud names outside providers/": cloud_names,
    "direct clock, sleep, random": direct_clock,
    "libraries outside their owner": owned_libraries,
    "agent and wire: standard library": standard_library_only,
    "imports by a computed name": dynamic_imports,
    "blind except without a reason": unexplained_handlers,
    "stubs": stubs,
    "leftovers and blind trust": debts,
}
"""Name of each rule, as the table shows it, and the function that finds its breaches."""
