"""``App``: the functions that belong together, declared by decorators and run in one session."""

from __future__ import annotations

import contextlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import limits
from ..engine.spec import FunctionSpec
from ..errors import InvalidError, NotYetError
from ..images.recipe import Image, in_container
from . import params, running
from .entrypoint import LocalEntrypoint
from .function import Function
from .origin import source_of
from .secret import Secret, resolve_all

if TYPE_CHECKING:
    from ..engine.session import Session

_NAME = re.compile(r"^[a-zA-Z0-9\-_.]{1,64}$")


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
    ) -> None:
        if name is not None and (not isinstance(name, str) or not _NAME.match(name)):
            raise InvalidError(
                f"App({name!r}): a name has 1 to 64 letters, digits, '-', '_' and '.'"
            )
        params.refuse_later("App", {"volumes": volumes, "tags": tags})
        self.name = name
        self.image = None if image is None else params.image("App", image)
        self.secrets = params.secrets("App", secrets)
        self.include_source = params.flag("App", "include_source", include_source)
        self.registered_functions: dict[str, Function] = {}
        self.registered_entrypoints: dict[str, LocalEntrypoint] = {}
        self.session: Session | None = None

    def __repr__(self) -> str:
        return f"<byoc.App {self.name or '(no name)'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Functions that mention their app may travel; its session never does."""
        return App, (self.name,)

    # --- declaring ------------------------------------------------------------------------

    def function(
        self,
        *args: Any,
        image: Image | None = None,
        schedule: Any = None,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[Secret] | None = None,
        gpu: str | Sequence[str] | None = None,
        serialized: bool = False,
        network_file_systems: Mapping[str, Any] | None = None,
        volumes: Mapping[str, Any] | None = None,
        cpu: float | tuple[float, float] | None = None,
        memory: int | tuple[int, int] | None = None,
        ephemeral_disk: int | None = None,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: int | None = None,
        proxy: Any = None,
        retries: Any = None,
        timeout: float = limits.FUNCTION_TIMEOUT,
        startup_timeout: float | None = None,
        name: str | None = None,
        is_generator: bool | None = None,
        cloud: str | Sequence[str] | None = None,
        region: str | Sequence[str] | None = None,
        routing_region: str | None = None,
        nonpreemptible: bool = False,
        enable_memory_snapshot: bool = False,
        block_network: bool = False,
        restrict_modal_access: bool = False,
        single_use_containers: bool = False,
        i6pn: bool | None = None,
        include_source: bool | None = None,
        experimental_options: Mapping[str, Any] | None = None,
    ) -> Callable[[Callable[..., Any]], Function]:
        """Decorator: make a function of this app. Parameters as in Modal's ``@app.function``.

        ``gpu``: ``"H100"``, ``"H100:8"`` or a list in order of preference. ``cpu``: physical cores.
        ``memory``, ``ephemeral_disk``: MiB. ``timeout``: seconds of each attempt, queueing and
        start-up not counted (``startup_timeout``, else the same). ``secrets``, ``env``: variables,
        later ones win. ``serialized``: send the function pickled (notebooks, closures).
        Raises InvalidError here, NotYetError for what a later version brings.
        """
        if args:
            raise TypeError("write @app.function() with parentheses and keyword arguments")
        given = {key: value for key, value in locals().items() if key not in ("self", "args")}

        def decorate(raw: Callable[..., Any]) -> Function:
            return self._add(raw, given)

        return decorate

    def _add(self, raw: Any, given: dict[str, Any]) -> Function:
        _check_decorated(raw)
        where = f"@app.function on {raw.__qualname__}"
        later = {name: given[name] for name in given if name in params.LATER}
        params.refuse_later(where, later)
        spec = self._spec(raw, where, given)
        if spec.name in self.registered_functions and not in_container():
            warnings.warn(
                f"the app has two functions called {spec.name}: the later one counts", stacklevel=3
            )
        if not in_container():
            spec.check_travel()
        function = Function(self, spec)
        self.registered_functions[spec.name] = function
        return function

    def _spec(self, raw: Callable[..., Any], where: str, given: dict[str, Any]) -> FunctionSpec:
        generator = given["is_generator"]
        if generator is None:
            generator = inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw)
        serialized = params.flag(where, "serialized", given["serialized"])
        timeout = params.timeout(where, "timeout", given["timeout"])
        startup = given["startup_timeout"]
        least, most, spare = params.containers(
            where, given["min_containers"], given["max_containers"], given["buffer_containers"]
        )
        include = given["include_source"]
        resources = params.resources(
            where,
            gpu=given["gpu"],
            cpu=given["cpu"],
            memory=given["memory"],
            disk=given["ephemeral_disk"],
            cloud=given["cloud"],
            region=given["region"],
            nonpreemptible=given["nonpreemptible"],
        )
        return FunctionSpec(
            app=self.name or "",
            name=_checked_name(where, given["name"]) or raw.__qualname__,
            raw=raw,
            source=source_of(raw, serialized),
            image=params.image(where, given["image"] or self.image),
            resources=resources,
            environ=self._environ(where, given["secrets"], given["env"]),
            timeout=timeout,
            startup_timeout=timeout
            if startup is None
            else params.timeout(where, "startup_timeout", startup),
            serialized=serialized,
            generator=bool(generator),
            include_source=self.include_source
            if include is None
            else params.flag(where, "include_source", include),
            retries=params.retries(where, given["retries"], bool(generator)),
            min_containers=least,
            max_containers=most,
            buffer_containers=spare,
            scaledown_window=params.window(where, given["scaledown_window"]),
            single_use=params.flag(where, "single_use_containers", given["single_use_containers"]),
        )

    def _environ(self, where: str, own: Any, env: Any) -> Callable[[], dict[str, str]]:
        """The variables of the app's secrets, the function's and its ``env``; later ones win."""
        secrets = (*self.secrets, *params.secrets(where, () if own is None else own))
        extra = params.environment(where, env)

        def read() -> dict[str, str]:
            return {**resolve_all(secrets), **extra}

        return read

    def local_entrypoint(
        self, *args: Any, name: str | None = None
    ) -> Callable[[Callable[..., Any]], LocalEntrypoint]:
        """Decorator: what ``byoc run`` runs here, its arguments from the command line."""
        if args:
            raise TypeError("write @app.local_entrypoint() with parentheses")

        def decorate(raw: Callable[..., Any]) -> LocalEntrypoint:
            _check_decorated(raw)
            tag = name or raw.__qualname__
            if tag in self.registered_entrypoints:
                raise InvalidError(f"the app has two local entrypoints called {tag}")
            entrypoint = LocalEntrypoint(self, raw, tag)
            self.registered_entrypoints[tag] = entrypoint
            return entrypoint

        return decorate

    def cls(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: classes come with a later version."""
        raise NotYetError("@app.cls is not available in this version of byoc (use functions)")

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
        params.refuse_later(
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
        if self.session is not None:
            raise InvalidError("the app is running already")
        return running.RunContext(self, name or "")

    @contextlib.contextmanager
    def bound(self, session: Session) -> Iterator[App]:
        """Calls of this app's functions go to ``session`` meanwhile."""
        if self.session is not None:
            raise InvalidError("the app is running already")
        self.session = session
        try:
            yield self
        finally:
            self.session = None


def _check_decorated(raw: Any) -> None:
    if isinstance(raw, type):
        raise TypeError("@app.function() cannot decorate a class")
    if isinstance(raw, (Function, LocalEntrypoint)):
        raise InvalidError(f"{raw.name} is decorated twice")
    if not inspect.isfunction(raw):
        raise TypeError(f"@app.function() decorates a function, not {type(raw).__name__}")


def _checked_name(where: str, name: Any) -> str:
    if name is None:
        return ""
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidError(
            f"{where}: name={name!r} must have 1 to 64 letters, digits, '-', '_' and '.'"
        )
    return name
