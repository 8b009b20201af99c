"""Environments on the instance: built once, whole or not at all, and nothing secret shown."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from byoc.images.native import plan
from byoc.images.recipe import Image
from byoc.runtime_agent import envbuild
from byoc.runtime_agent.envbuild import EnvBuildError
from byoc.runtime_agent.uvbin import Wanted
from tests.helpers import ROOT, until
from tests.runtime_agent.wheels import Index, other_python, uv_program, wheel

OWN = "%d.%d" % sys.version_info[:2]


class Builder:
    """A cache folder, a folder of wheels, and what the log said."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.wheels = folder / "wheels"
        self.uv = uv_program()
        self.log = b""

    def write(self, data: bytes) -> None:
        """Takes the log."""
        self.log += data

    def image(self, *packages: str, python: str = OWN, options: str = "") -> Image:
        """An image that installs from the folder of wheels only."""
        return Image.debian_slim(python).pip_install(
            *packages, find_links=str(self.wheels), extra_options=f"--no-index {options}"
        )

    def ensure(self, image: Image, **changes: Any) -> dict[str, Any]:
        """Builds it, unless it is there."""
        wanted = {**plan(image, local_python=OWN).to_json(), **changes}
        return envbuild.ensure(wanted, str(self.cache), Wanted(self.uv), self.write)

    def run(self, found: dict[str, Any], code: str) -> str:
        """What code prints in the environment."""
        done = subprocess.run(
            [found["python"], "-I", "-c", code], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def folders(self, found: dict[str, Any]) -> list[str]:
        """The builds beside the one that was found."""
        parent = Path(found["env"]["VIRTUAL_ENV"]).parent
        return [entry.name for entry in parent.iterdir() if entry.is_dir()]


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Without the index settings of the machine that runs the tests."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    made = Builder(tmp_path)
    wheel(made.wheels, "tiny_a", "1.0")
    wheel(made.wheels, "tiny_a", "2.0")
    wheel(made.wheels, "tiny_b", "1.0", requires="tiny_a<2")
    return made


def test_packages_are_there(builder: Builder) -> None:
    """What was declared can be imported, with what it needs, and nothing of the host's."""
    found = builder.ensure(builder.image("tiny_b"))
    assert found["built"] and found["seconds"] > 0
    assert builder.run(found, "import tiny_a, tiny_b; print(tiny_a.VERSION)") == "1.0"
    absent = "import importlib.util as u; print(u.find_spec('pytest'))"
    assert builder.run(found, absent) == "None"
    assert b"tiny-b==1.0" in builder.log


def test_an_empty_image_is_an_environment_too(builder: Builder) -> None:
    """Without packages there is a Python of the right version and nothing else."""
    found = builder.ensure(Image.debian_slim(OWN))
    version = builder.run(found, "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix)")
    assert version == f"{OWN} {found['env']['VIRTUAL_ENV']}"


def test_steps_come_one_after_the_other(builder: Builder) -> None:
    """A later step changes what an earlier one installed, as in a chain of layers."""
    options = {"find_links": str(builder.wheels), "extra_options": "--no-index"}
    image = Image.debian_slim(OWN).pip_install("tiny_a<2", **options)  # type: ignore[arg-type]
    image = image.pip_install("tiny_a>=2", **options)  # type: ignore[arg-type]
    found = builder.ensure(image)
    assert builder.run(found, "import tiny_a; print(tiny_a.VERSION)") == "2.0"


def test_requirements_and_constraints(builder: Builder, tmp_path: Path) -> None:
    """Lines of files are installed within their constraints."""
    (tmp_path / "r.txt").write_text("# ours\ntiny_a\n-c c.txt\n")
    (tmp_path / "c.txt").write_text("tiny_a<2\n")
    image = Image.debian_slim(OWN).pip_install_from_requirements(
        tmp_path / "r.txt", str(builder.wheels), extra_options="--no-index"
    )
    found = builder.ensure(image)
    assert builder.run(found, "import tiny_a; print(tiny_a.VERSION)") == "1.0"


def test_a_hit_starts_nothing_and_takes_no_time(builder: Builder) -> None:
    """The second time no program runs (there is none to run), nothing is logged, in under 5 ms."""
    image = builder.image("tiny_a")
    first = builder.ensure(image)
    builder.uv, builder.log = "/nonexistent/uv", b""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        second = builder.ensure(image)
        times.append(time.perf_counter() - started)
    assert second["python"] == first["python"] and not second["built"]
    assert builder.log == b""
    assert min(times) < 0.005


def test_a_use_is_noted_for_ageing(builder: Builder) -> None:
    """Every use renews the time by which old environments are told."""
    image = builder.image("tiny_a")
    used = Path(builder.ensure(image)["env"]["VIRTUAL_ENV"]).parent / "used"
    os.utime(used, (1, 1))
    builder.ensure(image)
    assert used.stat().st_mtime > 1


def test_variables_for_the_container(builder: Builder) -> None:
    """The image's variables, and the environment's programs first on PATH."""
    image = builder.image("tiny_a").env({"A": "1"}).workdir("/root/work")
    found = builder.ensure(image)
    programs = os.path.dirname(found["python"])
    assert found["env"]["PATH"].split(os.pathsep)[0] == programs
    assert (found["env"]["A"], found["workdir"]) == ("1", "/root/work")
    other = builder.ensure(builder.image("tiny_a").env({"PATH": "/mine"}))
    assert other["env"]["PATH"] == programs + os.pathsep + "/mine"


def test_another_python(builder: Builder) -> None:
    """An image with another minor than the agent's gets that minor."""
    minor, _ = other_python()
    found = builder.ensure(builder.image("tiny_a", python=minor))
    code = "import sys, tiny_a; print('%d.%d' % sys.version_info[:2])"
    assert builder.run(found, code) == minor


def test_shims_on_path_do_no_harm(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failing pythons first on PATH, as pyenv's shims are, do not stop the build."""
    minor, real = other_python()
    shims = tmp_path / "shims"
    shims.mkdir()
    for name in ("python", "python3", f"python{minor}"):
        (shims / name).write_text("#!/bin/sh\necho pyenv: not found >&2\nexit 127\n")
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}{os.pathsep}/usr/bin{os.pathsep}/bin")
    found = builder.ensure(builder.image("tiny_a", python=minor), candidates=[real])
    assert builder.run(found, "import tiny_a; print(1)") == "1"


def test_a_python_that_cannot_be_had_is_said_so(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not here and not to be fetched: one clear sentence, with what uv said."""
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", "http://127.0.0.1:9/versions.json")
    with pytest.raises(EnvBuildError) as caught:
        builder.ensure(Image.debian_slim(OWN), python="3.12.99")
    message = "Python 3.12.99 is not on this instance and uv could not fetch one"
    assert caught.value.message == message
    assert caught.value.tail
    assert list((builder.cache / "envs").glob("*/ready")) == []


def test_a_failing_step_names_itself_and_leaves_nothing(builder: Builder) -> None:
    """The step, the last lines of what it said; no environment is pointed to, none is left."""
    with pytest.raises(EnvBuildError) as caught:
        builder.ensure(builder.image("tiny_a", "no_such_package"))
    error = caught.value
    assert "no_such_package" in error.step and "exit code" in error.message
    assert "no-such-package" in error.tail and len(error.tail.splitlines()) <= 40
    assert b"no-such-package" in builder.log
    (folder,) = (builder.cache / "envs").iterdir()
    assert [entry.name for entry in folder.iterdir()] == ["lock"]
    wheel(builder.wheels, "no_such_package")
    assert builder.ensure(builder.image("tiny_a", "no_such_package"))["built"]


def test_force_builds_anew_beside_the_old(builder: Builder) -> None:
    """A container that runs in the old build keeps it; new ones get the new build."""
    image = builder.image("tiny_a")
    first = builder.ensure(image)
    second = builder.ensure(image, force=True)
    assert second["built"] and second["python"] != first["python"]
    assert builder.run(first, "import tiny_a; print(1)") == "1"
    assert builder.ensure(image)["python"] == second["python"]


def test_a_python_that_went_away_is_noticed(builder: Builder) -> None:
    """An environment whose Python is gone is built again."""
    image = builder.image("tiny_a")
    first = builder.ensure(image)
    os.unlink(first["python"])
    os.symlink("/nonexistent/python", first["python"])
    second = builder.ensure(image)
    assert second["built"]
    assert builder.run(second, "import tiny_a; print(1)") == "1"


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"python": 3}', b"\xff"])
def test_a_torn_ready_file_is_no_environment(builder: Builder, torn: bytes) -> None:
    """Half a marker is none."""
    image = builder.image("tiny_a")
    first = builder.ensure(image)
    (Path(first["env"]["VIRTUAL_ENV"]).parent / "ready").write_bytes(torn)
    assert builder.ensure(image)["built"]


ENSURE = """
import json, sys
from byoc.runtime_agent import envbuild
plan, cache, uv = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
wanted = envbuild.uvbin.Wanted(uv)
print(json.dumps(envbuild.ensure(plan, cache, wanted, lambda data: None)))
"""


def start(builder: Builder, wanted: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Another process that builds the same."""
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE, json.dumps(wanted), str(builder.cache), builder.uv],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def test_builders_at_once_make_one(builder: Builder) -> None:
    """Three processes: one builds, the others wait for it and take what it made."""
    wanted = plan(builder.image("tiny_a"), local_python=OWN).to_json()
    started = [start(builder, wanted) for _ in range(3)]
    outputs = [json.loads(process.communicate(timeout=60)[0]) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len({found["python"] for found in outputs}) == 1
    assert sorted(found["built"] for found in outputs) in ([False, False, True], [True] * 3)
    assert len(builder.folders(outputs[0])) == 1


def test_a_build_that_was_killed_is_wiped_and_made_again(builder: Builder) -> None:
    """Killed in the middle of a download: nothing is pointed to, and the next build succeeds."""
    image = builder.image("tiny_a")
    wanted = plan(image, local_python=OWN).to_json()
    index = Index(builder.wheels)
    requests: list[str] = []
    index.seen = requests.append
    with index.serving():
        index.stuck = threading.Event()
        step = {**wanted["steps"][0], "flags": ["--default-index", index.url()]}
        process = start(builder, {**wanted, "steps": [step]})
        try:
            until(lambda: requests, 30, "the build to download")
            (folder,) = (builder.cache / "envs").iterdir()
            unfinished = [entry.name for entry in folder.iterdir() if entry.is_dir()]
            assert len(unfinished) == 1 and not (folder / "ready").exists()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    found = builder.ensure(image)
    assert found["built"] and builder.run(found, "import tiny_a; print(1)") == "1"
    assert unfinished[0] not in builder.folders(found)


def test_index_credentials_show_nowhere(builder: Builder) -> None:
    """Not in the log, not in the error, and not on any command line while the build runs."""
    index = Index(builder.wheels, credentials="me:hunter2")
    shown: list[bytes] = []
    index.seen = lambda path: shown.extend(command_lines())
    with index.serving():
        image = Image.debian_slim(OWN).pip_install("tiny_a", index_url=index.url())
        found = builder.ensure(image)
        assert builder.run(found, "import tiny_a; print(1)") == "1"
        direct = f"tiny_b @ http://me:hunter2@127.0.0.1:{index.port}/files/missing-1.0.whl"
        with pytest.raises(EnvBuildError) as caught:
            builder.ensure(Image.debian_slim(OWN).pip_install(direct))
    texts = [caught.value.message, caught.value.step, caught.value.tail, builder.log.decode()]
    assert not any("hunter2" in text for text in texts)
    assert any(b"uv" in line for line in shown) or not Path("/proc").exists()
    assert not any(b"hunter2" in line for line in shown)
    stored = [path for path in builder.cache.glob("envs/**/*") if path.is_file()]
    assert not any(b"hunter2" in path.read_bytes() for path in stored if path.stat().st_size < 9999)


def command_lines() -> list[bytes]:
    """Those of all processes, where the system shows them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue  # it has ended meanwhile
    return found


def test_without_network_what_is_cached_suffices(builder: Builder) -> None:
    """The index is gone; uv has the packages in its cache: the environment is built."""
    index = Index(builder.wheels)
    with index.serving():
        first = Image.debian_slim(OWN).pip_install("tiny_a", index_url=index.url())
        builder.ensure(first)
    again = first.env({"B": "1"}).pip_install("tiny_a", index_url=index.url())
    shutil.rmtree(builder.cache / "envs")
    found = builder.ensure(again)
    assert b"trying with what uv has cached" in builder.log
    assert builder.run(found, "import tiny_a; print(1)") == "1"


def test_without_network_and_cache_the_first_error_is_shown(builder: Builder) -> None:
    """The reason is the network, not the second try without it."""
    image = Image.debian_slim(OWN).pip_install("tiny_a", index_url="http://127.0.0.1:9/simple")
    with pytest.raises(EnvBuildError) as caught:
        builder.ensure(image)
    assert "refused" in caught.value.tail.lower()


def fake_uv(folder: Path, text: str) -> str:
    """A program in uv's place."""
    path = folder / "fake-uv"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_builds_see_no_secret_of_the_host(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the host's variables a build sees programs, certificates, proxies and indexes only."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("UV_PUBLISH_TOKEN", "hunter2")
    monkeypatch.setenv("UV_CACHE_DIR", "/elsewhere")
    monkeypatch.setenv("SSL_CERT_FILE", "/certs.pem")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("UV_INDEX_CORP_PASSWORD", "needed")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror/simple")
    builder.uv = fake_uv(tmp_path, f"env > {tmp_path}/seen\nexit 3\n")
    with pytest.raises(EnvBuildError, match="exit code 3"):
        builder.ensure(Image.debian_slim(OWN))
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert "hunter2" not in seen.values()
    assert seen["UV_CACHE_DIR"] == str(builder.cache / "uv")
    assert seen["SSL_CERT_FILE"] == "/certs.pem" and seen["HTTPS_PROXY"] == "http://proxy"
    assert seen["UV_INDEX_CORP_PASSWORD"] == "needed"
    assert seen["UV_DEFAULT_INDEX"] == "https://mirror/simple"


def test_the_images_index_replaces_the_hosts() -> None:
    """Under whichever of its names the host set one."""
    host = {"UV_INDEX_URL": "https://host", "UV_INDEX": "https://more", "PATH": "/bin"}
    merged = envbuild.merge_env(host, {"UV_DEFAULT_INDEX": "https://image"})
    assert merged["UV_DEFAULT_INDEX"] == "https://image" and "UV_INDEX_URL" not in merged
    assert merged["UV_INDEX"] == "https://more"
    merged = envbuild.merge_env(host, {"UV_EXTRA_INDEX_URL": "https://extra"})
    assert "UV_INDEX" not in merged and merged["UV_INDEX_URL"] == "https://host"


def test_pips_index_is_handed_to_uv_unless_uv_has_one() -> None:
    """pip's variables count when uv's are not set."""
    both = {"PIP_INDEX_URL": "https://pip", "PIP_EXTRA_INDEX_URL": "https://more"}
    env = envbuild.host_env(both)
    assert (env["UV_DEFAULT_INDEX"], env["UV_EXTRA_INDEX_URL"]) == ("https://pip", "https://more")
    env = envbuild.host_env({**both, "UV_INDEX_URL": "https://uv", "UV_INDEX": "https://u"})
    assert "UV_DEFAULT_INDEX" not in env and "UV_EXTRA_INDEX_URL" not in env


def test_no_uv_is_said_so(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or empty path of uv is a clear error, and so is one that does not run."""
    monkeypatch.setenv("PATH", "/nonexistent")
    for path in ("", "/nonexistent/uv"):
        builder.uv = path
        with pytest.raises(EnvBuildError, match="uv is not on this instance"):
            builder.ensure(Image.debian_slim(OWN))
    builder.uv = str(builder.wheels / "not-a-program")
    Path(builder.uv).write_bytes(b"\x7fELF nonsense")
    Path(builder.uv).chmod(0o755)
    with pytest.raises(EnvBuildError, match="does not run"):
        builder.ensure(Image.debian_slim(OWN))


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "../../etc"},
        {"digest": ""},
        {"python": "--help"},
        {"python": "2.7"},
        {"steps": [{"op": "rm"}]},
    ],
    ids=str,
)
def test_malformed_plans_are_refused(builder: Builder, changes: dict[str, Any]) -> None:
    """What is no plan builds nothing."""
    with pytest.raises(EnvBuildError, match="the environment plan"):
        builder.ensure(Image.debian_slim(OWN), **changes)
    assert list((builder.cache / "envs").glob("*/ready")) == []


def test_a_cache_that_cannot_be_written_is_said_so(builder: Builder) -> None:
    """A file where the cache folder should be."""
    builder.cache.write_text("in the way")
    with pytest.raises(EnvBuildError, match="cannot be written"):
        builder.ensure(Image.debian_slim(OWN))


def test_the_log_is_passed_on_while_the_step_runs(builder: Builder, tmp_path: Path) -> None:
    """Lines arrive before the program ends, and not all at once when it has."""
    go = tmp_path / "go"
    wait = f"echo working; while [ ! -e {go} ]; do sleep 0.01; done; exit 4\n"
    builder.uv = fake_uv(tmp_path, wait)

    def log(data: bytes) -> None:
        builder.log += data
        go.touch()  # without this line reaching here first, the program would never end

    wanted = plan(Image.debian_slim(OWN), local_python=OWN).to_json()
    with pytest.raises(EnvBuildError, match="exit code 4"):
        envbuild.ensure(wanted, str(builder.cache), Wanted(builder.uv), log)
    assert builder.log == b"working\n"


def test_a_log_that_fails_ends_the_program(builder: Builder, tmp_path: Path) -> None:
    """When nobody can take the output any more, the build is stopped and leaves nothing."""
    builder.uv = fake_uv(tmp_path, "echo working; exec sleep 60\n")

    def log(data: bytes) -> None:
        raise BrokenPipeError("gone")

    wanted = plan(Image.debian_slim(OWN), local_python=OWN).to_json()
    with pytest.raises(BrokenPipeError):
        envbuild.ensure(wanted, str(builder.cache), Wanted(builder.uv), log)
    (folder,) = (builder.cache / "envs").iterdir()
    assert [entry.name for entry in folder.iterdir()] == ["lock"]
