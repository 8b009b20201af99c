"""Fetches uv's wheel from a package index, by the instance's own settings. Standard library, 3.8+.

Loaded only on an instance that has no uv. The index is asked as PEP 691 (JSON) and PEP 503 (HTML)
say; what it does not give a SHA-256 for is not taken.
"""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
import shutil
import ssl
import threading
import time
import urllib.parse
import urllib.request
import zipfile
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .uvbin import Host, NoUvError, host

PYPI = "https://pypi.org/simple"
STALL = 5.0
"""Seconds for which a connection may say nothing."""
ASK_LIMIT = 12.0
"""Seconds for the index's answer, all of a name's addresses and redirections together: where there
is no way out, the client is asked instead."""
FETCH_LIMIT = 180.0
"""Seconds for the wheel, of about 20 MB."""
LARGEST = 256 * 1024 * 1024
"""Bytes; neither a wheel nor a program is larger."""
_PIECE = 256 * 1024
_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = _JSON + ", application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_NAMED = re.compile(r"^[A-Za-z0-9._-]+=(?=[a-z]+://)")  # UV_DEFAULT_INDEX may be name=URL
_GLIBC = re.compile(r"^manylinux_(\d+)_(\d+)_")
Log = Callable[[bytes], None]


class File(NamedTuple):
    """A file of the index. ``digest``: its SHA-256, hex, or empty."""

    name: str
    url: str
    digest: str


def fetch(version: str, path: str, env: Mapping[str, str], log: Log) -> None:
    """Write the uv of ``version`` for this instance to ``path``. Raises NoUvError."""
    index, login = _index(env)
    log(("uv is not on this instance: %s is fetched from %s\n" % (version, index)).encode())
    wheel = path + ".whl"
    try:
        opener = _opener(env)
        page = "%s/uv/" % index
        files = _within(ASK_LIMIT, lambda: _files(opener, page, login))
        chosen = choose(files, version, host())
        _download(opener, chosen, login, wheel)
        _extract(wheel, path)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise NoUvError(["fetching it from %s failed: %s" % (index, error)]) from error
    finally:
        if os.path.exists(wheel):
            os.unlink(wheel)


def _index(env: Mapping[str, str]) -> Tuple[str, Dict[str, str]]:
    """The index's URL without a login, and by ``scheme://host`` the header that logs in there."""
    url = env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or env.get("PIP_INDEX_URL") or PYPI
    parts = urllib.parse.urlsplit(_NAMED.sub("", url.strip()))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoUvError(["the index's address is none that uv could be fetched from"])
    login, _, place = parts.netloc.rpartition("@")
    bare = parts._replace(netloc=place).geturl().rstrip("/")
    if not login:
        return bare, {}
    word = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
    return bare, {"%s://%s" % (parts.scheme, place): "Basic " + word}


def _opener(env: Mapping[str, str]) -> urllib.request.OpenerDirector:
    """Proxies are those of the environment, authorities those of the system and of pip."""
    context = ssl.create_default_context()
    for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if env.get(name) and os.path.isfile(env[name]):
            context.load_verify_locations(env[name])
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


def _open(opener: urllib.request.OpenerDirector, url: str, login: Mapping[str, str]) -> Any:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("the index refers to %.100r" % url)
    headers = {"Accept": _ACCEPT, "User-Agent": "byoc"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - looked at above
    word = login.get("%s://%s" % (parts.scheme, parts.netloc))
    if word:
        request.add_unredirected_header("Authorization", word)  # never to another host
    return opener.open(request, timeout=STALL)


def _within(seconds: float, work: Callable[[], List[File]]) -> List[File]:
    """What ``work`` returns; TimeoutError when it takes longer. Names may resolve to many addresses
    that all say nothing, and no single timeout bounds that."""
    answers: List[List[File]] = []
    errors: List[BaseException] = []

    def run() -> None:
        try:
            answers.append(work())
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            errors.append(error)

    thread = threading.Thread(target=run, name="byoc-uv-index", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError("no answer within %g s" % seconds)
    return answers[0]


def _files(
    opener: urllib.request.OpenerDirector, page: str, login: Mapping[str, str]
) -> List[File]:
    with _open(opener, page, login) as answer:
        kind, base = answer.headers.get_content_type(), answer.geturl()
        body = answer.read(LARGEST)
    if kind.endswith("json"):
        return [
            File(
                row["filename"],
                urllib.parse.urljoin(base, row["url"]),
                str(dict(row.get("hashes") or {}).get("sha256") or ""),
            )
            for row in json.loads(body)["files"]
        ]
    links = _Links(base)
    links.feed(body.decode("utf-8", "replace"))
    return links.files


class _Links(html.parser.HTMLParser):
    """The files that a page of the simple index links to."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base
        self.files: List[File] = []

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        href = dict(attrs).get("href") if tag == "a" else None
        if href:
            url, _, mark = urllib.parse.urljoin(self._base, href).partition("#")
            name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
            digest = mark[len("sha256=") :] if mark.startswith("sha256=") else ""
            self.files.append(File(name, url, digest))


def choose(files: List[File], version: str, here: Host) -> File:
    """The wheel of ``version`` that runs on ``here``, a static one first. Raises ValueError."""
    fitting = []
    for file in files:
        parts = file.name[: -len(".whl")].split("-")
        if file.name.endswith(".whl") and parts[0] == "uv" and parts[1:2] == [version]:
            rank = min(_rank(tag, here) for tag in parts[-1].split("."))
            if rank < _UNFIT and file.digest:
                fitting.append((rank, file.name, file))
    if not fitting:
        raise ValueError("it has no uv %s for %s on %s" % (version, here.system, here.machine))
    return min(fitting)[2]


_UNFIT = 9


def _rank(tag: str, here: Host) -> int:
    """How well a wheel's platform tag fits: less is better."""
    if not tag.endswith("_" + here.machine):
        return _UNFIT
    if here.system == "darwin":
        return 0 if tag.startswith("macosx_") else _UNFIT
    if tag.startswith("musllinux_"):
        return 0  # uv's is linked statically and runs with any libc
    match = _GLIBC.match(tag)
    needed = (int(match.group(1)), int(match.group(2))) if match else (99, 0)
    return 1 if here.libc == "glibc" and here.libc_version >= needed else _UNFIT


def _download(
    opener: urllib.request.OpenerDirector, file: File, login: Mapping[str, str], path: str
) -> None:
    deadline = time.monotonic() + FETCH_LIMIT
    known = hashlib.sha256()
    size = 0
    with _open(opener, file.url, login) as answer, open(path, "wb") as sink:
        while True:
            piece = answer.read(_PIECE)
            if not piece:
                break
            known.update(piece)
            sink.write(piece)
            size += len(piece)
            if size > LARGEST or time.monotonic() > deadline:
                raise TimeoutError("%s took too long, or is too large" % file.name)
    if known.hexdigest() != file.digest:
        raise ValueError("%s is not what its SHA-256 says" % file.name)


def _extract(wheel: str, path: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next((n for n in archive.namelist() if n.endswith(".data/scripts/uv")), None)
        if name is None or archive.getinfo(name).file_size > LARGEST:
            raise ValueError("the wheel has no uv in it")
        with archive.open(name) as source, open(path, "wb") as sink:
            shutil.copyfileobj(source, sink, _PIECE)
