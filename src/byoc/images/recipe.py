"""``Image``: the environment that functions run in, declared and built later.

Every method returns a new image. Nothing is read, built or fetched where an image is declared, so
that the same module can be imported inside a container; wrong arguments are refused at once.
Standard library only.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union

from ..errors import InvalidError, NotYetError
from ..notices import CONTAINER_VARIABLE, deprecated
from .checks import (
    IndexOptions,
    PipOptions,
    blank_credentials,
    check_bool,
    check_files,
    check_local,
    check_packages,
    check_python,
    check_remote,
    check_variables,
    pip_fields,
    split_options,
)
from .patterns import NON_PYTHON_FILES, Ignore, as_predicate

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Concatenate, ParamSpec

    from typing_extensions import Unpack

    P = ParamSpec("P")

R = TypeVar("R")


@dataclass(frozen=True)
class PipStep:
    """Install packages. ``packages`` are sorted; ``requirements`` are files, read when planned.

    The others go by keyword. ``env``: variables of this build step only. Index URLs may hold
    credentials: they never enter a digest, a log or a command line.
    """

    method: str
    packages: tuple[str, ...] = field(repr=False)
    requirements: tuple[str, ...] = ()
    find_links: str | None = field(default=None, repr=False)
    index_url: str | None = field(default=None, repr=False)
    extra_index_url: str | None = field(default=None, repr=False)
    pre: bool = False
    extra_options: tuple[str, ...] = ()
    force: bool = False
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class EnvStep:
    """Set variables of the container and of later build steps."""

    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class WorkdirStep:
    """Set the working folder."""

    path: str


@dataclass(frozen=True)
class LocalFiles:
    """Bring local files. ``kind``: ``file`` | ``dir`` | ``python``.

    ``local``: an absolute local path, or a module name. ``copy``: part of the image, so that build
    steps may follow; otherwise put in place when a container starts.
    """

    kind: str
    local: str
    remote: str
    copy: bool
    ignore: Callable[[Path], bool] | None = None


Step = Union[PipStep, EnvStep, WorkdirStep, LocalFiles]


def _builder(method: Callable[Concatenate[Image, P], R]) -> Callable[Concatenate[Image, P], R]:
    """Refuses ``Image.pip_install("x")`` on the class with a hint instead of a strange error."""

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> R:
        if not args or not isinstance(args[0], Image):
            raise InvalidError(
                f"Image.{method.__name__} extends an image and was called on the class",
                hints=(f"start from a base: byoc.Image.debian_slim().{method.__name__}(...)",),
            )
        return method(*args, **kwargs)

    return checked


class _Later:
    """A documented method that this version refuses, whatever it is called on and with."""

    def __init__(self, hint: str = "") -> None:
        self._hint = hint
        self.__name__ = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: object, **kwargs: object) -> Image:
        raise NotYetError(
            f"Image.{self.__name__} is not available in this version of byoc",
            hints=(self._hint,) if self._hint else (),
        )


_UV_EXPORT = "run `uv export -o requirements.txt` and use pip_install_from_requirements"
_PIP_ONLY = "use Image.debian_slim() with pip_install; system packages and commands come later"


class Image:
    """A declared environment; see the module. Start from :meth:`debian_slim`."""

    __slots__ = ("_force", "_import_errors", "_python", "_steps")

    _python: str | None
    _force: bool
    _steps: tuple[Step, ...]
    _import_errors: list[BaseException]

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise InvalidError(
            "Image() cannot be called",
            hints=("start from a base: byoc.Image.debian_slim().pip_install(...)",),
        )

    # --- bases ------------------------------------------------------------------------------

    @staticmethod
    def debian_slim(python_version: str | None = None, force_build: bool = False) -> Image:
        """An environment with Python ``python_version`` and nothing else.

        ``python_version``: a minor such as ``"3.12"`` or a full version such as ``"3.12.1"``; None
        is the client's own minor. ``force_build``: build anew even when it is cached. On the native
        builder this is a virtual environment on the instance's own system.
        """
        image = object.__new__(Image)
        image._python = check_python(python_version)
        image._force = check_bool("force_build", force_build)
        image._steps = ()
        image._import_errors = []
        return image

    from_registry = _Later(_PIP_ONLY)
    from_dockerhub = _Later(_PIP_ONLY)
    conda = _Later(_PIP_ONLY)
    conda_install = _Later("use pip_install for packages that PyPI has")
    from_aws_ecr = _Later(_PIP_ONLY)
    from_gcp_artifact_registry = _Later(_PIP_ONLY)
    from_dockerfile = _Later(_PIP_ONLY)
    from_scratch = _Later(_PIP_ONLY)
    from_name = _Later()
    from_id = _Later()
    micromamba = _Later(_PIP_ONLY)
    micromamba_install = _Later("use pip_install for packages that PyPI has")

    # --- packages ---------------------------------------------------------------------------

    @_builder
    def pip_install(self, *packages: str | list[str], **options: Unpack[PipOptions]) -> Image:
        """Install packages, each a requirement such as ``"numpy>=2"``; lists are flattened.

        uv does the work here too and takes pip's usual options in ``extra_options``. No packages:
        the image as it is. The options are those of :class:`PipOptions`.
        """
        plain, given = split_options("pip_install", packages, options)
        names = check_packages("pip_install", plain)
        step = PipStep("pip_install", names, **pip_fields("pip_install", given))
        return self._with(step) if names else self

    @_builder
    def uv_pip_install(
        self,
        *packages: str | list[str],
        requirements: Sequence[str | Path] | None = None,
        uv_version: str | None = None,
        **options: Unpack[PipOptions],
    ) -> Image:
        """As :meth:`pip_install`, and ``requirements``: files whose lines are installed too."""
        if uv_version is not None:
            raise NotYetError(
                "uv_version= of Image.uv_pip_install is not available in this version of byoc",
                hints=("leave it out: the uv that byoc brings is used",),
            )
        names = check_packages("uv_pip_install", packages)
        files = check_files("requirements= of Image.uv_pip_install", requirements or ())
        fields = pip_fields("uv_pip_install", options)
        step = PipStep("uv_pip_install", names, files, **fields)
        return self._with(step) if names or files else self

    @_builder
    def pip_install_from_requirements(
        self,
        requirements_txt: str | Path,
        find_links: str | None = None,
        **options: Unpack[IndexOptions],
    ) -> Image:
        """Install what a local requirements file lists; its content counts for the digest."""
        file = check_local("requirements_txt", requirements_txt)
        given = {"find_links": find_links, **options}
        fields = pip_fields("pip_install_from_requirements", given)
        return self._with(PipStep("pip_install_from_requirements", (), (file,), **fields))

    uv_sync = _Later(_UV_EXPORT)
    pip_install_from_pyproject = _Later(_UV_EXPORT)
    pip_install_private_repos = _Later("use pip_install with a git+https URL that needs no token")
    poetry_install_from_file = _Later(
        "run `poetry export -o requirements.txt` and use pip_install_from_requirements"
    )

    # --- system -----------------------------------------------------------------------------

    apt_install = _Later("look for a package on PyPI that brings the library with it")
    run_commands = _Later("do it at the start of the function for now")
    run_function = _Later("do it at the start of the function for now")
    dockerfile_commands = _Later(_PIP_ONLY)
    entrypoint = _Later()
    cmd = _Later()
    shell = _Later()
    build = _Later("images are built when a run first needs them")
    publish = _Later()

    @_builder
    def env(self, vars: Mapping[str, str]) -> Image:
        """Set environment variables (names and values are strings) for what follows."""
        variables = check_variables("vars", vars)
        return self._with(EnvStep(variables)) if variables else self

    @_builder
    def workdir(self, path: str | Path) -> Image:
        """Set the folder that functions start in; ``/root`` unless set. Must be absolute."""
        text = check_remote("path", path)
        return self._with(WorkdirStep(text.rstrip("/") or "/"))

    # --- local files ------------------------------------------------------------------------

    @_builder
    def add_local_file(
        self, local_path: str | Path, remote_path: str | Path, *, copy: bool = False
    ) -> Image:
        """Bring one local file to ``remote_path``, absolute; a trailing slash means: into it.

        ``copy=False``: put in place when a container starts, a change rebuilds nothing, and no
        build step may follow. ``copy=True``: part of the image.
        """
        local = check_local("local_path", local_path)
        remote = check_remote("remote_path", remote_path)
        if remote.endswith("/"):
            remote += os.path.basename(local)
        return self._with(LocalFiles("file", local, remote, check_bool("copy", copy)))

    @_builder
    def add_local_dir(
        self,
        local_path: str | Path,
        remote_path: str | Path,
        *,
        copy: bool = False,
        ignore: Ignore = (),
    ) -> Image:
        """Bring a local folder's content to the folder ``remote_path``, absolute.

        ``ignore``: patterns in dockerignore syntax, or a function that takes a path relative to the
        folder and says whether to leave it out. ``copy``: as in :meth:`add_local_file`.
        """
        local = check_local("local_path", local_path)
        remote = check_remote("remote_path", remote_path).rstrip("/") or "/"
        copied = check_bool("copy", copy)
        return self._with(LocalFiles("dir", local, remote, copied, as_predicate(ignore)))

    @_builder
    def add_local_python_source(
        self, *modules: str, copy: bool = False, ignore: Ignore = NON_PYTHON_FILES
    ) -> Image:
        """Bring modules or packages that can be imported here to ``/root``, so that functions can.

        Only ``.py`` files travel unless ``ignore`` says otherwise.
        """
        copied, predicate = check_bool("copy", copy), as_predicate(ignore)
        steps = []
        for module in modules:
            if not isinstance(module, str) or not all(p.isidentifier() for p in module.split(".")):
                raise InvalidError(
                    f"add_local_python_source takes names of modules, not {module!r}",
                    hints=("name it as in an import statement, such as 'my_package'",),
                )
            remote = "/root/" + module.replace(".", "/")
            steps.append(LocalFiles("python", module, remote, copied, predicate))
        return self._with(*steps) if steps else self

    @_builder
    def copy_local_file(self, local_path: str | Path, remote_path: str | Path = "./") -> Image:
        """The old name of :meth:`add_local_file` with ``copy=True``; ``remote_path`` may be
        relative to the working folder."""
        deprecated("Image.copy_local_file", "write .add_local_file(local, remote, copy=True)")
        return self.add_local_file(local_path, self._below(remote_path), copy=True)

    @_builder
    def copy_local_dir(
        self, local_path: str | Path, remote_path: str | Path = ".", ignore: Ignore = ()
    ) -> Image:
        """The old name of :meth:`add_local_dir` with ``copy=True``; ``remote_path`` may be relative
        to the working folder."""
        deprecated("Image.copy_local_dir", "write .add_local_dir(local, remote, copy=True)")
        remote = self._below(remote_path)
        return self.add_local_dir(local_path, remote, copy=True, ignore=ignore)

    copy_mount = _Later("use add_local_dir(local, remote, copy=True)")

    def _below(self, remote_path: str | Path) -> str:
        """An old method's remote path, relative to the working folder unless absolute."""
        if not isinstance(remote_path, (str, Path)):
            raise InvalidError(f"remote_path={remote_path!r} must be a path")
        folders = [step.path for step in self._steps if isinstance(step, WorkdirStep)]
        text = str(remote_path)
        slash = "/" if text.endswith("/") else ""
        return os.path.normpath(os.path.join(folders[-1] if folders else "/root", text)) + slash

    # --- using it ---------------------------------------------------------------------------

    @_builder
    def pipe(
        self, func: Callable[Concatenate[Image, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """``image.pipe(f, *args)`` is ``f(image, *args)``, to keep a chain readable."""
        if not callable(func):
            raise InvalidError(f"Image.pipe takes a function first, not {func!r}")
        return func(self, *args, **kwargs)

    @_builder
    def imports(self) -> AbstractContextManager[None]:
        """``with image.imports(): import torch``: only containers of this image need to have it.

        A failed import inside the block is passed over on the client, and in containers of other
        images; in a container of this image it is raised.
        """
        return _Imports(self)

    def raise_import_errors(self) -> None:
        """For the worker, once it knows that this is the image of its function: raises the first
        error that :meth:`imports` passed over, when key and container did not match."""
        if self._import_errors:
            raise self._import_errors[0]

    @property
    def key(self) -> str:
        """A digest of the recipe as written, the same on the client and in a container.

        Local paths count by their last part and variables by their names, because both may be
        computed from the place that the module runs in; contents count in the build's digest only.
        """
        written = [["python", self._python], *(_written(step) for step in self._steps)]
        return hashlib.sha256(json.dumps(written).encode()).hexdigest()

    @property
    def python_version(self) -> str | None:
        """As given to :meth:`debian_slim`."""
        return self._python

    @property
    def force_build(self) -> bool:
        """Was a rebuild asked for, in the base or in any step?"""
        return self._force or any(isinstance(s, PipStep) and s.force for s in self._steps)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in order."""
        return self._steps

    def __repr__(self) -> str:
        python = "" if self._python is None else repr(self._python)
        names = (step_method(step) for step in self._steps)
        return ".".join([f"Image.debian_slim({python})", *(f"{name}(...)" for name in names)])

    def __reduce__(self) -> tuple[Any, ...]:
        # An image inside a pickled function is never built from there: its recipe suffices, and
        # ignore functions, which may not pickle, and credentials in URLs stay behind.
        return _from_recipe, (self._python, self._force, tuple(map(_portable, self._steps)))

    def __copy__(self) -> Image:
        return self

    def __deepcopy__(self, memo: object) -> Image:
        return self

    def _with(self, *steps: Step) -> Image:
        builds = any(not isinstance(s, LocalFiles) or s.copy for s in steps)
        pending = [s for s in self._steps if isinstance(s, LocalFiles) and not s.copy]
        if builds and pending:
            raise InvalidError(
                f"{step_method(steps[0])} is a build step and cannot follow "
                f"{step_method(pending[0])}, whose files come only when a container starts",
                hints=(
                    "move the add_local_* calls to the end of the image",
                    "or pass copy=True to them, which makes the files part of the image",
                ),
            )
        return _from_recipe(self._python, self._force, (*self._steps, *steps))


class _Imports:
    """What :meth:`Image.imports` gives."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        # Importing runs code that may fail in its own ways, not by ImportError only: a library
        # that finds no GPU, or no shared object of the system. The end of the process is neither.
        if not isinstance(error, Exception) or container_image() == self._image.key:
            return False
        self._image._import_errors.append(error)
        if not isinstance(error, ImportError):
            warnings.warn(f"passed over in an imports() block: {error!r}", stacklevel=2)
        return True


def set_container_image(key: str | None) -> None:
    """The worker says which image (:attr:`Image.key`) its container was made from; ``""`` when
    none. None: this process is not in a container after all (for tests)."""
    if key is None:
        os.environ.pop(CONTAINER_VARIABLE, None)
    else:
        os.environ[CONTAINER_VARIABLE] = key


def container_image() -> str | None:
    """The key of this container's image; None outside containers."""
    return os.environ.get(CONTAINER_VARIABLE)


def in_container() -> bool:
    """Does this process run inside a container of byoc's?"""
    return CONTAINER_VARIABLE in os.environ


def _from_recipe(python: str | None, force: bool, steps: tuple[Step, ...]) -> Image:
    image = Image.debian_slim(python, force)
    image._steps = steps
    return image


def _portable(step: Step) -> Step:
    if isinstance(step, LocalFiles):
        return LocalFiles(step.kind, step.local, step.remote, step.copy)
    if isinstance(step, PipStep):
        fields = {f: blank_credentials(getattr(step, f)) for f in _URL_FIELDS}
        packages = tuple(map(blank_credentials, step.packages))
        return PipStep(**{**step.__dict__, **fields, "packages": packages})
    return step


_URL_FIELDS = ("find_links", "index_url", "extra_index_url")


def _written(step: Step) -> list[Any]:
    if isinstance(step, PipStep):
        files = [os.path.basename(path) for path in step.requirements]
        urls = [blank_credentials(getattr(step, f)) for f in _URL_FIELDS]
        packages = [blank_credentials(p) for p in step.packages]
        return [step.method, packages, files, urls, step.pre, list(step.extra_options)]
    if isinstance(step, EnvStep):
        return ["env", sorted(name for name, _ in step.variables)]
    if isinstance(step, WorkdirStep):
        return ["workdir", step.path]
    return [step.kind, os.path.basename(step.local), step.remote, step.copy]


def step_method(step: Step) -> str:
    """The name of the builder method that made a step."""
    if isinstance(step, PipStep):
        return step.method
    if isinstance(step, LocalFiles):
        names = {"file": "add_local_file", "dir": "add_local_dir"}
        return names.get(step.kind, "add_local_python_source")
    return "env" if isinstance(step, EnvStep) else "workdir"
