"""Client side: the zip file that carries the agent, and the command that starts it.

The bundle holds the parts of byoc that run remotely, cloudpickle, and, beside each source file, its
bytecode for the client's own Python (used there when the versions match, ignored otherwise), since
compiling the agent would cost an instance 100 ms at each first contact.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import os
import shlex
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_PARTS = ("wire", "runtime_agent", "container", "sdk", "images")
_FILES = (
    "__init__.py",
    "_version.py",
    "_lazy.py",
    "clock.py",
    "engine/__init__.py",
    "engine/calls.py",
    "engine/inputs.py",
    "engine/results.py",
    "engine/spec.py",
    "engine/threads.py",
    "errors.py",
    "exception.py",
    "experimental.py",
    "functions.py",
    "gpu.py",
    "limits.py",
    "notices.py",
    "resources.py",
    "tasks.py",
)
_FIXED_DATE = (2020, 1, 1, 0, 0, 0)  # so that equal sources give an equal digest
_START = (
    "import os\nb=b''\nwhile len(b)<{size}:\n p=os.read(0,{size}-len(b))\n"
    " if not p:raise SystemExit('byoc: no boot code')\n b+=p\nexec(b)"
)


@dataclass(frozen=True)
class Bundle:
    """``data``: the zip file. ``digest``: of its sources. ``boot``: the text that unpacks it."""

    data: bytes
    digest: str
    boot: bytes

    def command(self, python: str) -> str:
        """The remote shell command that reads :attr:`stdin` and becomes the agent's channel."""
        code = _START.format(size=len(self.boot))
        words = [python, "-I", "-S", "-c", code, str(len(self.data)), self.digest]
        return "exec " + " ".join(shlex.quote(word) for word in words)

    @property
    def stdin(self) -> bytes:
        """What the command reads before the conversation starts."""
        return self.boot + self.data


def _sources() -> list[tuple[str, Path]]:
    """(name inside the bundle, file) of everything that travels."""
    found = [(f"byoc/{name}", _PACKAGE / name) for name in _FILES]
    for part in _PARTS:
        paths = sorted((_PACKAGE / part).rglob("*.py"))
        found += [(f"byoc/{path.relative_to(_PACKAGE).as_posix()}", path) for path in paths]
    spec = importlib.util.find_spec("cloudpickle")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("cloudpickle is not installed", name="cloudpickle")
    folder = Path(spec.submodule_search_locations[0])
    found += [(f"cloudpickle/{p.name}", p) for p in sorted(folder.glob("*.py"))]
    return found


def _pyc(name: str, source: bytes) -> bytes:
    """Bytecode that is trusted without looking at the source (PEP 552, unchecked hash)."""
    code = compile(source, f"<{name}>", "exec", dont_inherit=True)
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    return header + importlib.util.source_hash(source) + marshal.dumps(code)


def _zip(sources: list[tuple[str, Path]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, path in sources:
            data = path.read_bytes()
            for member, content in ((name, data), (name + "c", _pyc(name, data))):
                info = zipfile.ZipInfo(member, _FIXED_DATE)
                archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def build(cache: Path | None = None) -> Bundle:
    """The bundle of the installed byoc; kept in ``cache`` so that a run reads one file."""
    sources = _sources()
    mark = hashlib.blake2b(importlib.util.MAGIC_NUMBER, digest_size=16)
    for name, path in sources:
        stat = path.stat()
        mark.update(f"{name}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
    boot = (_PACKAGE / "runtime_agent" / "boot.py").read_bytes()
    kept = cache / f"agent-{mark.hexdigest()}.pyz" if cache else None
    data = _kept(kept)
    if data is None:
        data = _zip(sources)
        if kept is not None:
            _keep(kept, data)
    digest = hashlib.blake2b(data, digest_size=10).hexdigest()
    return Bundle(data, digest, boot)


def _kept(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except FileNotFoundError:  # or another client has just made room for its own
        return None


def _keep(path: Path, data: bytes) -> None:
    """Write atomically; older bundles of this cache go."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in path.parent.glob("agent-*.pyz"):
        if old != path:
            old.unlink(missing_ok=True)
    handle, fresh = tempfile.mkstemp(".new", "agent-", path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(fresh, path)
