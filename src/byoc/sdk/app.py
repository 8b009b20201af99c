"""``App``: the functions that belong together, declared by decorators and run in one session."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, InvalidError, NotFoundError
from ..images.recipe import Image, in_container
from ..notices import deprecated, warn
from . import context, declare, hooks, marks, parameters, params, running
from .cls import Cls
from .entrypoint import LocalEntrypoint
from .function import Function, remember
from .later import Later
from .options import FunctionOptions, SharedOptions, refuse_later, settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Unpack

    from ..engine.session import Session
    from ..engine.spec import FunctionSpec
    from .secret import Secret


class App:
    """An app. Making one does no I/O.

    ``name``: up to 64 letters, digits, ``-``, ``_`` and ``.``. ``image``: the default image of its
    functions. ``secrets``: given to each function, before its own. ``include_source``: whether
    functions bring their file or package (each may say otherwise).
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        image: Image | None = None,
        secrets: Sequence[Secret] = (),
        volumes: Mapping[str, Any] | None = None,
        include_source: bool = True,
        tags: Mapping[str, str] | None = None,
        mounts: Sequence[Any] = (),
    ) -> None:
        if name is not None and (not isinstance(name, str) or not declare.NAME.match(name)):
            raise InvalidError(
                f"App({name!r}): a name has 1 to 64 letters, digits, '-', '_' and '.'"
            )
        refuse_later("App", {"volumes": volumes, "tags": tags})
        self.name = name
        self.image = None if image is None else params.image("App", image)
        self.secrets = params.secrets("App", secrets)
        self.include_source = params.flag("App", "include_source", include_source)
        self.registered_functions: dict[str, Function] = {}
        self.registered_classes: dict[str, Cls] = {}
        self.registered_entrypoints: dict[str, LocalEntrypoint] = {}
        self._mounts = settled("App", {"mounts": mounts}, SharedOptions)["mounts"] if mounts else ()
        self._session: Session | None = None
        self._included_by: list[App] = []

    @property
    def session(self) -> Any:
        """Where its functions are called: of its run, of the run of an app that includes it, or of
        the container that this process is; None elsewhere."""
        for app in (self, *self._included_by):
            if app._session is not None:
                return app._session
        return context.container_session()

    @property
    def app_id(self) -> str | None:
        """The id of its run, ``run-...``; None while it does not run."""
        return getattr(self.session, "run_id", None)

    @property
    def description(self) -> str | None:
        """Its name."""
        return self.name

    def __repr__(self) -> str:
        return f"<byoc.App {self.name or '(no name)'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Functions that mention their app may travel; its session never does."""
        return App, (self.name,)

    # --- declaring ------------------------------------------------------------------------

    def function(
        self, *args: Any, **options: Unpack[FunctionOptions]
    ) -> Callable[[Callable[..., Any]], Function]:
        """Decorator: make a function of this app. The parameters are Modal's, see
        :class:`FunctionOptions`; old names are accepted with a warning.

        Raises InvalidError here, NotYetError for what a later version brings, ArgumentError (a
        TypeError) for a keyword that does not exist.
        """
        if args:
            raise ArgumentError("write @app.function() with parentheses and keyword arguments")
        given = settled("@app.function", options, FunctionOptions)

        def decorate(raw: Callable[..., Any]) -> Function:
            return self._add_function(raw, given)

        return decorate

    def cls(self, *args: Any, **options: Unpack[SharedOptions]) -> Callable[[type], Any]:
        """Decorator: make a class of this app, whose objects keep their state in their containers.

        The parameters are those of :meth:`function`, less ``name`` and ``schedule``.
        """
        if args:
            raise ArgumentError("write @app.cls() with parentheses and keyword arguments")
        given = settled("@app.cls", options, SharedOptions)

        def decorate(raw: type) -> Cls:
            return self._add_class(raw, given)

        return decorate

    @property
    def _home(self) -> declare.Home:
        return declare.Home(
            self.name or "", self.image, self.secrets, self.include_source, self._mounts
        )

    def _add_function(self, raw: Any, given: dict[str, Any]) -> Function:
        _check_function(raw)
        where = f"@app.function on {raw.__qualname__}"
        many = marks.many_of(raw)
        if many.batching is not None:
            marks.check_batched(raw, 0)
        generator = given.get("is_generator")
        if generator is None:
            generator = marks.is_generator(raw)
        kind = declare.Kind(raw, many, params.flag(where, "is_generator", generator))
        spec = declare.spec_of(self._home, kind, where, given)
        if spec.on_preempt is not None:
            setattr(raw, marks.PREEMPT, spec.on_preempt)
        function = Function(self, spec)
        self._register(spec, self.registered_functions)
        self.registered_functions[spec.name] = function
        remember(function)
        return function

    def _add_class(self, raw: Any, given: dict[str, Any]) -> Cls:
        _check_class(raw)
        where = f"@app.cls on {raw.__qualname__}"
        hooks.adopt(raw)
        hooks.check(raw)
        if parameters.check(raw):
            deprecated(
                f"{raw.__qualname__}.__init__ with arguments",
                "declare them: name: str = byoc.parameter()",
            )
        kind = declare.Kind(raw, hooks.many(raw), methods=hooks.listed(raw))
        spec = declare.spec_of(self._home, kind, where, given)
        cls = Cls(self, spec)
        setattr(raw, marks.CLASS, cls)
        self._register(spec, self.registered_classes)
        self.registered_classes[spec.name] = cls
        remember(cls)
        return cls

    def _register(self, spec: FunctionSpec, known: Mapping[str, Any]) -> None:
        if in_container():
            return
        if spec.name in known:
            warn(f"the app has two called {spec.name}: the later one counts", UserWarning)
        spec.check_travel()

    def local_entrypoint(
        self, *args: Any, name: str | None = None
    ) -> Callable[[Callable[..., Any]], LocalEntrypoint]:
        """Decorator: what ``byoc run`` runs here, its arguments from the command line."""
        if args:
            raise ArgumentError("write @app.local_entrypoint() with parentheses")

        def decorate(raw: Callable[..., Any]) -> LocalEntrypoint:
            _check_function(raw, "local_entrypoint")
            tag = name or raw.__qualname__
            if tag in self.registered_entrypoints:
                raise InvalidError(f"the app has two local entrypoints called {tag}")
            entrypoint = LocalEntrypoint(self, raw, tag)
            self.registered_entrypoints[tag] = entrypoint
            return entrypoint

        return decorate

    def include(self, other_app: App, inherit_tags: bool = True) -> App:
        """Take over another app's functions, classes and entrypoints: they run where this app runs.
        Of two with one name the later one counts. Returns this app."""
        if not isinstance(other_app, App):
            raise InvalidError(f"App.include takes an App, not {other_app!r}")
        registers: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
            (self.registered_functions, dict(other_app.registered_functions)),
            (self.registered_classes, dict(other_app.registered_classes)),
            (self.registered_entrypoints, dict(other_app.registered_entrypoints)),
        )
        for mine, others in registers:
            for tag, one in others.items():
                if mine.get(tag, one) is not one and not in_container():
                    warn(f"the app has two called {tag}: the later one counts", UserWarning)
                mine[tag] = one
        other_app._included_by.append(self)
        return self

    def resolve(self, tag: str, parameters: str, variant: str) -> FunctionSpec:
        """The spec that a container names: of a function or class of this app, with parameters and
        a variant as canonical JSON. Raises NotFoundError."""
        function = self.registered_functions.get(tag)
        if function is not None:
            return function.variant(variant).spec
        found = self.registered_classes.get(tag)
        if found is None:
            raise NotFoundError(
                f"the running app has no function or class called {tag}",
                hints=("include its app in the one that runs: app.include(other)",),
            )
        return found.variant(variant).spec_with(parameters)

    deploy = Later("apps run while a program of yours does: use app.run() or byoc run")
    lookup = Later("deployed apps come later")
    stop = Later("leave the `with app.run():` block, or use byoc down")
    set_tags = Later()
    get_tags = Later()
    stats = Later()
    info = Later()
    logs = Later("follow the run: byoc logs -f")
    sandboxes = Later()
    server = Later()
    get_dashboard_url = Later("byoc ps and byoc why say what runs where")
    registered_web_endpoints = Later()

    # --- running --------------------------------------------------------------------------

    def run(
        self,
        *,
        name: str | None = None,
        client: Any = None,
        detach: bool = False,
        interactive: bool = False,
        environment_name: str | None = None,
    ) -> running.RunContext:
        """A context (``with`` or ``async with``) in which functions can be called remotely.

        At its end all containers stop and the instance stays warm for the idle window. Silent
        unless inside ``with byoc.enable_output():``.
        """
        refuse_later(
            "App.run",
            {
                "client": client,
                "detach": detach,
                "interactive": interactive,
                "environment_name": environment_name,
            },
        )
        if in_container():
            raise InvalidError("App.run() was called while a container imports this module")
        if self._session is not None:
            raise InvalidError("the app is running already")
        return running.RunContext(self, name or "")

    def _kept(self) -> list[FunctionSpec]:
        """What may have ``min_containers``: functions, and classes that need no parameters."""
        functions = [one.spec for one in self.registered_functions.values()]
        classes = [one.bare() for one in self.registered_classes.values()]
        return [*functions, *(spec for spec in classes if spec is not None)]

    @contextlib.contextmanager
    def bound(self, session: Session) -> Iterator[App]:
        """Calls of this app's functions go to ``session`` meanwhile."""
        if self._session is not None:
            raise InvalidError("the app is running already")
        self._session = session
        session.resolve = self.resolve
        session.kept = self._kept
        try:
            with context.opened(session):
                yield self
        finally:
            self._session = None


def _check_function(raw: Any, decorator: str = "function") -> None:
    if isinstance(raw, type):
        raise ArgumentError(
            f"@app.{decorator}() cannot decorate a class", hints=("use @app.cls() instead",)
        )
    if isinstance(raw, (Function, Cls, LocalEntrypoint)):
        raise InvalidError(f"{raw.name} is decorated twice")
    if isinstance(raw, marks.Method):
        raise InvalidError(
            f"{raw.__name__} is a @byoc.method(), which belongs into a class",
            hints=("decorate the class with @app.cls() and leave out @app.function()",),
        )
    if not (callable(raw) and inspect.isfunction(inspect.unwrap(raw))):
        raise ArgumentError(f"@app.{decorator}() decorates a function, not {type(raw).__name__}")
    outer = raw.__qualname__.rpartition(".")[0]
    if decorator == "function" and outer and not outer.endswith("<locals>"):
        raise InvalidError(
            f"@app.function() cannot decorate {raw.__qualname__}, a method of a class",
            hints=("decorate the class with @app.cls() and the method with @byoc.method()",),
        )


def _check_class(raw: Any) -> None:
    if isinstance(raw, (Function, Cls, LocalEntrypoint)):
        raise InvalidError(f"{raw.name} is decorated twice")
    if not isinstance(raw, type):
        raise ArgumentError(
            f"@app.cls() decorates a class, not {type(raw).__name__}",
            hints=("use @app.function() for a function",),
        )
