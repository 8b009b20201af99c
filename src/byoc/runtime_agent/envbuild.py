"""Builds Python environments on the instance with uv. Standard library only, CPython 3.8+.

Layout under the cache folder::

    envs/<name>/lock             flock held while building
    envs/<name>/ready            JSON, written last: which build is good, and its Python
    envs/<name>/used             touched at every use, for ageing
    envs/<name>/<build>/         the virtual environment itself
    bin/uv-<version>               uv, where the instance had none (uvbin.py)
    python/                        Pythons that uv downloaded
    uv/                            uv's own cache

``<name>`` is the start of the plan's digest.
A virtual environment cannot be moved, so each build gets a folder of its own at its final place and
``ready`` is switched to it by one rename. A build that was cut short is never pointed to; the next
builder removes it. A forced rebuild leaves the environment that running containers use untouched.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Tuple

from . import interpreters, uvbin
from .filestore import new_file, write_atomically

LOG_TAIL = 40
"""Lines of output that a failed step's error keeps."""
_DIGEST = re.compile(r"^[0-9a-f]{16,128}$")
_VERSION = re.compile(r"^3\.\d{1,2}(\.\d{1,2})?$")
_CREDENTIALS = re.compile(rb"://[^/@\s'\"]+@")
_HOST_VARIABLES_TEXT = """
    PATH HOME USER LOGNAME LANG LANGUAGE TMPDIR TZ
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE PIP_CERT
    HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
    http_proxy https_proxy all_proxy no_proxy NETRC
    PIP_INDEX_URL PIP_EXTRA_INDEX_URL XDG_CONFIG_HOME XDG_CONFIG_DIRS
    CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS MAKEFLAGS PKG_CONFIG_PATH
    CUDA_HOME CUDA_PATH LD_LIBRARY_PATH LIBRARY_PATH CPATH
"""
_HOST_VARIABLES = frozenset(_HOST_VARIABLES_TEXT.split())
"""What a build may see of the host: where programs are, how to reach an index, how to compile.
Everything else stays out, so that no secret of the host gets into a build script's hands."""
_UV_OURS = ("UV_CACHE_DIR", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_MANAGED_PYTHON")
_UV_OURS_PREFIXES = ("UV_PUBLISH_", "UV_PROJECT", "UV_TOOL_", "UV_VENV_")
_NETWORK_SIGNS = (
    "error sending request",
    "dns error",
    "tcp connect error",
    "connection refused",
    "network is unreachable",
    "operation timed out",
    "client error (connect)",
)
Log = Callable[[bytes], None]


class EnvBuildError(Exception):
    """A build failed. ``step``: its command as shown in the log; ``tail``: its last lines.
    ``needs``: for which host the client's uv would make it work, None when that is not the reason.
    """

    def __init__(
        self,
        message: str,
        step: str = "",
        tail: str = "",
        needs: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.step = step
        self.tail = tail
        self.needs = needs


def ensure(plan: Dict[str, Any], cache: str, uv: uvbin.Wanted, log: Log) -> Dict[str, Any]:
    """The environment that ``plan`` describes, built unless it is there.

    ``plan``: the JSON of :class:`byoc.images.native.EnvPlan`. ``cache``: an absolute folder that
    outlives the build. ``uv``: which uv builds it. ``log`` gets the build's output, credentials
    blanked. Returns ``{"python", "env", "workdir", "built", "seconds"}``: ``env`` holds the image's
    variables plus PATH and VIRTUAL_ENV, to be laid over the container's. Raises
    :class:`EnvBuildError`. A hit starts no process.
    """
    started = time.monotonic()
    digest, wanted = str(plan.get("digest", "")), str(plan.get("python", ""))
    if not _DIGEST.match(digest) or not _VERSION.match(wanted):
        raise EnvBuildError(f"the environment plan is malformed: {digest!r}, Python {wanted!r}")
    # 96 bits suffice as a name, and first lines of scripts (#!...) must stay short.
    folder = os.path.join(os.path.abspath(cache), "envs", digest[:24])
    python = None if plan.get("force") else _ready(folder)
    built = python is None
    if python is None:
        python = _Builder(plan, os.path.abspath(cache), uv, log).build(folder)
    _touch(os.path.join(folder, "used"))
    seconds = time.monotonic() - started
    return {
        "python": python,
        "env": _runtime_env(plan, python),
        "workdir": plan.get("workdir") or "",
        "built": built,
        "seconds": seconds,
    }


def _ready(folder: str) -> Optional[str]:
    """The Python of the finished environment in ``folder``, or None."""
    try:
        with open(os.path.join(folder, "ready"), "rb") as file:
            python = json.load(file)["python"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never finished, or torn: built again
    # A venv's python is a link: it dangles when the Python below it was removed.
    return python if isinstance(python, str) and os.path.exists(python) else None


def _touch(path: str) -> None:
    with open(path, "ab"):
        os.utime(path)


def _runtime_env(plan: Mapping[str, Any], python: str) -> Dict[str, str]:
    env = {str(k): str(v) for k, v in dict(plan.get("env") or {}).items()}
    programs = os.path.dirname(python)
    path = env.get("PATH") or os.environ.get("PATH") or os.defpath
    env["PATH"] = programs + os.pathsep + path
    env["VIRTUAL_ENV"] = os.path.dirname(programs)
    return env


class _Builder:
    """One build of one plan."""

    def __init__(self, plan: Dict[str, Any], cache: str, uv: uvbin.Wanted, log: Log) -> None:
        self.plan = plan
        self.cache = cache
        self.wanted = uv
        self.uv = ""
        self.log = log
        self.env = host_env(os.environ)
        self.env["UV_CACHE_DIR"] = os.path.join(cache, "uv")
        self.env["UV_PYTHON_INSTALL_DIR"] = interpreters.managed_dir(cache)
        self.env["UV_NO_PROGRESS"] = "1"

    def build(self, folder: str) -> str:
        """Builds under the digest's lock, unless another builder was first; the venv's Python."""
        try:
            self.uv = uvbin.locate(self.wanted, self.cache, self.env, self.log)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            lock = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR, 0o600)
        except uvbin.NoUvError as exc:
            needs = uvbin.host()._asdict()
            raise EnvBuildError(f"uv is not on this instance: {exc}", needs=needs) from exc
        except OSError as exc:
            raise EnvBuildError(f"the environment cache cannot be written: {exc}") from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Somebody else may have built it while this one waited.
            python = None if self.plan.get("force") else _ready(folder)
            return python if python is not None else self._build_locked(folder)
        finally:
            os.close(lock)  # releases the lock

    def _build_locked(self, folder: str) -> str:
        _remove_unfinished(folder)
        place = os.path.join(folder, "b" + os.urandom(4).hex())
        try:
            os.mkdir(place, 0o700)
            python = self._make_venv(place)
            for step in self.plan.get("steps") or ():
                self._install(step, python, place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        write_atomically(os.path.join(place, "complete"), b"")
        record = json.dumps({"python": python, "plan": self.plan.get("digest")})
        write_atomically(os.path.join(folder, "ready"), record.encode())
        return python

    def _make_venv(self, place: str) -> str:
        wanted = str(self.plan["python"])
        found = interpreters.find(wanted, self.plan.get("candidates") or (), self.cache, self.env)
        python = os.path.join(place, "bin", "python")
        argv = [self.uv, "venv", "--quiet", "--no-project"]
        if found is not None:
            argv += ["--no-python-downloads", "--python", found, place]
            self._run(argv, f"uv venv --python {wanted}", place)
            return python
        self.log(f"Python {wanted} is not on this instance: uv fetches one\n".encode())
        argv += ["--managed-python", "--python", wanted, place]
        try:
            self._run(argv, f"uv venv --managed-python --python {wanted}", place)
        except EnvBuildError as exc:
            raise EnvBuildError(
                f"Python {wanted} is not on this instance and uv could not fetch one",
                exc.step,
                exc.tail,
            ) from exc
        return python

    def _install(self, step: Mapping[str, Any], python: str, place: str) -> None:
        if step.get("op") != "uv_pip":
            raise EnvBuildError(f"the environment plan has a step of unknown kind {step!r:.80}")
        packages = [str(p) for p in step.get("packages") or ()]
        flags = [str(f) for f in step.get("flags") or ()]
        requirements = [str(line) for line in step.get("requirements") or ()]
        lines = "\n".join(packages + requirements) + "\n"
        argv = [self.uv, "pip", "install", "--python", python, *flags]
        for number, text in enumerate(step.get("constraints") or ()):
            path = os.path.join(place, f"constraints-{number}.txt")
            write_atomically(path, str(text).encode())
            argv += ["--constraint", path]
        # The names go in on stdin: a URL among them may hold a token, and argv is for all to see.
        argv += ["--requirement", "-"]
        shown = str(step.get("label") or " ".join(["uv pip install", *flags, *packages]))
        self.log(_redact((shown + "\n").encode()))
        extra = {str(k): str(v) for k, v in dict(step.get("env") or {}).items()}
        self._run(argv, shown, place, stdin=lines.encode(), extra=extra)

    def _run(
        self,
        argv: List[str],
        shown: str,
        place: str,
        stdin: bytes = b"",
        extra: Optional[Dict[str, str]] = None,
    ) -> None:
        env = merge_env(self.env, extra or {})
        shown = _redact(shown.encode()).decode()
        status, tail = self._stream(argv, env, place, stdin)
        if status == 0:
            return
        if _looks_offline(tail) and "--offline" not in argv:
            self.log(b"The network failed: trying with what uv has cached\n")
            status, _ = self._stream([argv[0], "--offline", *argv[1:]], env, place, stdin)
            if status == 0:
                return
        raise EnvBuildError(f"this step failed with exit code {status}: {shown}", shown, tail)

    def _stream(
        self, argv: List[str], env: Dict[str, str], place: str, stdin: bytes
    ) -> Tuple[int, str]:
        """Runs one command, output to the log line by line; its status and last lines."""
        # A file and not a pipe, so that a long list cannot deadlock against unread output.
        handle, path = new_file(place)
        os.unlink(path)
        with os.fdopen(handle, "r+b") as feed:
            feed.write(stdin)
            feed.seek(0)
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=feed,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=place,
                    env=env,
                )
            except OSError as exc:
                raise EnvBuildError(f"{argv[0]} does not run: {exc}") from exc
        tail: Deque[str] = deque(maxlen=LOG_TAIL)
        assert process.stdout is not None
        with process:
            try:
                for raw in process.stdout:
                    line = _redact(raw)
                    tail.append(line.decode("utf-8", "replace").rstrip())
                    self.log(line)
            except BaseException:
                process.kill()
                raise
        return process.returncode, "\n".join(tail)


def host_env(environ: Mapping[str, str]) -> Dict[str, str]:
    """What of the host's environment a build sees (:data:`_HOST_VARIABLES`, ``LC_*``, ``UV_*``).

    pip's index variables are handed to uv, which does not read them itself, unless uv has its own.
    """
    env = {k: v for k, v in environ.items() if k in _HOST_VARIABLES or k.startswith("LC_")}
    for key, value in environ.items():
        ours = key in _UV_OURS or key.startswith(_UV_OURS_PREFIXES)
        if key.startswith("UV_") and not ours:
            env[key] = value
    if env.get("PIP_INDEX_URL") and not (env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL")):
        env["UV_DEFAULT_INDEX"] = env["PIP_INDEX_URL"]
    if env.get("PIP_EXTRA_INDEX_URL") and not (
        env.get("UV_INDEX") or env.get("UV_EXTRA_INDEX_URL")
    ):
        env["UV_EXTRA_INDEX_URL"] = env["PIP_EXTRA_INDEX_URL"]
    env.setdefault("PATH", os.defpath)
    return env


def merge_env(base: Mapping[str, str], extra: Mapping[str, str]) -> Dict[str, str]:
    """``extra`` over ``base``; an index named by the image replaces the host's under any name."""
    env = dict(base)
    if "UV_DEFAULT_INDEX" in extra:
        env.pop("UV_INDEX_URL", None)
    if "UV_EXTRA_INDEX_URL" in extra:
        env.pop("UV_INDEX", None)
    env.update(extra)
    return env


def _remove_unfinished(folder: str) -> None:
    for entry in os.listdir(folder):
        path = os.path.join(folder, entry)
        if os.path.isdir(path) and not os.path.exists(os.path.join(path, "complete")):
            shutil.rmtree(path, ignore_errors=True)


def _redact(line: bytes) -> bytes:
    return _CREDENTIALS.sub(b"://***@", line)


def _looks_offline(tail: str) -> bool:
    text = tail.lower()
    return any(sign in text for sign in _NETWORK_SIGNS)
