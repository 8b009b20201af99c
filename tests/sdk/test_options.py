"""Keywords of ``@app.function`` and ``@app.cls``: current, old, later and unknown ones."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import byoc
from byoc import exception
from byoc.images.recipe import LocalFiles, PipStep


def plain(x: int = 1) -> int:
    """A function for decorators."""
    return x


class Plain:
    """A class for decorators."""

    @byoc.method()
    def f(self) -> None: ...


def declared(**options: Any) -> Any:
    """The spec of a function with these options."""
    return byoc.App("a").function(**options)(plain).spec


OLD = [
    ("concurrency_limit", 3, "max_containers", 3),
    ("container_idle_timeout", 60, "scaledown_window", 60),
    ("keep_warm", 1, "min_containers", 1),
    ("_experimental_buffer_containers", 2, "buffer_containers", 2),
    ("max_inputs", 1, "single_use", True),
]


@pytest.mark.parametrize(("old", "value", "field", "expected"), OLD, ids=[row[0] for row in OLD])
def test_an_old_name_means_its_new_one(old: str, value: Any, field: str, expected: Any) -> None:
    """Behaviour 1: an old name is accepted for functions and classes, and says what to write."""
    with pytest.warns(exception.DeprecationError, match=old):
        assert getattr(declared(**{old: value}), field) == expected
    with pytest.warns(exception.DeprecationError, match=old):
        cls = byoc.App("a").cls(**{old: value})(Plain)
    assert getattr(cls.spec, field) == expected


def test_allow_concurrent_inputs() -> None:
    """Behaviours 1, 19: the old keyword is ``@concurrent``, and cannot stand beside it."""
    with pytest.warns(exception.DeprecationError, match="allow_concurrent_inputs"):
        assert declared(allow_concurrent_inputs=7).concurrency == (7, 7)

    def marked() -> None: ...

    byoc.concurrent(max_inputs=2)(marked)
    with (
        pytest.warns(exception.DeprecationError),
        pytest.raises(exception.ConflictError, match="allow_concurrent_inputs"),
    ):
        byoc.App("a").function(allow_concurrent_inputs=7, serialized=True)(marked)


def test_secret_becomes_secrets() -> None:
    """Behaviour 1: ``secret=`` is a list of one."""
    with pytest.warns(exception.DeprecationError, match="secret="):
        spec = declared(secret=byoc.Secret.from_dict({"A": "1"}))
    assert spec.environ() == {"A": "1"}


def test_mounts_become_files_of_the_image(tmp_path: Path) -> None:
    """Behaviours 1, 20: mounts are add_local_* at the end of the image."""
    (tmp_path / "a.txt").write_text("a")
    with pytest.warns(exception.DeprecationError, match="from_local_dir"):
        mount = byoc.Mount.from_local_dir(tmp_path, remote_path="/root/d")
    mount = mount.add_local_file(tmp_path / "a.txt", "/root/b.txt")
    image = byoc.Image.debian_slim().pip_install("x")
    with pytest.warns(exception.DeprecationError, match="mounts="):
        spec = declared(mounts=[mount], image=image)
    kinds = [(step.kind, step.remote) for step in spec.image.steps if isinstance(step, LocalFiles)]
    assert kinds == [("dir", "/root/d"), ("file", "/root/b.txt")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (lambda: byoc.gpu.A100(memory=80), "A100-80GB"),
        (lambda: byoc.gpu.A100(size="80GB", count=2), "A100-80GB:2"),
        (byoc.gpu.A100, "A100-40GB"),
        (lambda: byoc.gpu.T4(count=4), "T4:4"),
        (byoc.gpu.A10G, "A10G"),
        (byoc.gpu.Any, "any"),
    ],
)
def test_gpu_objects_are_texts(given: Any, expected: str) -> None:
    """Behaviours 1, 13: byoc.gpu's old objects are the names to write now."""
    with pytest.warns(exception.DeprecationError, match="gpu"):
        gpu = given()
    assert gpu == expected
    assert str(declared(gpu=gpu).resources.gpus[0]) == expected


def test_an_old_name_beside_the_new_one_is_a_conflict() -> None:
    """Behaviour 1: byoc does not guess which of two values is meant."""
    with pytest.raises(exception.InvalidError, match="old and the new name"):
        declared(max_containers=1, concurrency_limit=2)


def test_an_old_name_warns_once_per_place() -> None:
    """Behaviour 1: a loop over one line warns once, another line warns too."""
    app = byoc.App("a")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for n in range(3):
            app.function(keep_warm=1, name=f"f{n}")(plain)
        app.function(keep_warm=1, name="g")(plain)
    assert len(caught) == 2
    assert {one.filename for one in caught} == {__file__}


@pytest.mark.parametrize("decorator", ["function", "cls"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_container": 1}, "did you mean max_containers="),
        ({"gpus": 1}, "did you mean gpu="),
        ({"whatever": None}, "whatever="),
        ({"concurency_limit": 1}, "did you mean concurrency_limit="),
    ],
)
def test_an_unknown_keyword(decorator: str, options: dict[str, Any], says: str) -> None:
    """Behaviour 1: what does not exist is a TypeError with a close match, never ignored."""
    with pytest.raises(TypeError, match=says):
        getattr(byoc.App("a"), decorator)(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"volumes": {"/v": object()}},
        {"shared_volumes": {"/v": object()}},
        {"network_file_systems": {"/v": object()}},
        {"proxy": object()},
        {"block_network": True},
        {"restrict_modal_access": True},
        {"i6pn": True},
        {"enable_memory_snapshot": True},
        {"checkpointing_enabled": True},
        {"experimental_options": {"x": 1}},
        {"routing_region": "us"},
        {"_experimental_proxy_ip": "1.2.3.4"},
        {"interactive": True},
    ],
)
def test_what_comes_later_is_refused_by_name(options: dict[str, Any]) -> None:
    """Behaviour 1: a parameter of later work is refused in one sentence; its default is fine."""
    (name,) = options
    for decorator in (byoc.App("a").function, byoc.App("a").cls):
        with pytest.raises(exception.NotYetError, match=name):
            decorator(**options)
    if not name.startswith("_"):
        byoc.App("a").function(**{name: None})(plain)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"timeout": None}, "timeout"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 86401}, "timeout"),
        ({"startup_timeout": 0}, "startup_timeout"),
        ({"scaledown_window": 1}, "scaledown_window"),
        ({"scaledown_window": 3601}, "scaledown_window"),
        ({"retries": 11}, "retries"),
        ({"retries": "3"}, "retries"),
        ({"max_inputs": 2}, "max_inputs"),
        ({"memory": (512, 256)}, "limit"),
        ({"memory": (512,)}, "memory"),
        ({"cpu": (2, 1)}, "limit"),
        ({"gpu": "H100:0"}, "H100:0"),
        ({"gpu": ["H100", 3]}, "gpu"),
        ({"min_containers": 2, "max_containers": 1}, "min_containers"),
        ({"max_containers": 0}, "max_containers"),
        ({"cloud": 3}, "cloud"),
        ({"region": [""]}, "region"),
        ({"secrets": byoc.Secret.from_dict({})}, "secrets"),
        ({"is_generator": 1}, "is_generator"),
        ({"mounts": ["x"]}, "mounts"),
    ],
)
def test_wrong_values(options: dict[str, Any], names: str) -> None:
    """Each is an InvalidError that names the parameter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exception.DeprecationError)
        with pytest.raises(exception.InvalidError, match=names):
            declared(**options)


def test_defaults_and_pairs() -> None:
    """Behaviour 9: 300 s; a pair's request counts for placement, memory's limit is kept."""
    assert declared().timeout == declared().startup_timeout == 300
    spec = declared(cpu=(1.5, 4), memory=(512, 1024), timeout=20, startup_timeout=60)
    assert (spec.resources.cpu, spec.resources.memory, spec.memory_limit) == (1.5, 512, 1024)
    assert (spec.timeout, spec.startup_timeout) == (20, 60)
    assert declared(memory=512).memory_limit is None
    assert declared(retries=2).retries == (2, 1.0, 1.0, 60.0)


def test_app_wide_secrets_and_image_come_first() -> None:
    """Behaviour 7: the app's secrets, then the function's, then env; later ones win."""
    image = byoc.Image.debian_slim().pip_install("x")
    app = byoc.App("a", image=image, secrets=[byoc.Secret.from_dict({"A": "app", "B": "app"})])
    own = byoc.Secret.from_dict({"B": "own", "C": "own"})
    spec = app.function(secrets=[own], env={"C": "env"})(plain).spec
    assert spec.environ() == {"A": "app", "B": "own", "C": "env"}
    assert spec.image is image


def test_old_ways_of_the_image(tmp_path: Path) -> None:
    """Behaviour 1: copy_local_* and options among packages mean what they are called now."""
    image = byoc.Image.debian_slim()
    with pytest.warns(exception.DeprecationError, match="copy_local_dir"):
        copied = image.workdir("/w").copy_local_dir(tmp_path)
    folder = copied.steps[-1]
    assert isinstance(folder, LocalFiles)
    assert (folder.local, folder.remote, folder.copy) == (str(tmp_path), "/w", True)
    with pytest.warns(exception.DeprecationError, match="copy_local_file"):
        step = image.copy_local_file(tmp_path / "f", "x/").steps[-1]
    assert isinstance(step, LocalFiles)
    assert (step.remote, step.copy) == ("/root/x/f", True)
    with pytest.warns(exception.DeprecationError, match="extra-index-url"):
        pip = image.pip_install("x", "--extra-index-url", "https://u", "--pre", "--no-deps").steps[
            0
        ]
    assert isinstance(pip, PipStep)
    assert (pip.packages, pip.extra_index_url) == (("x",), "https://u")
    assert (pip.pre, pip.extra_options) == (True, ("--no-deps",))
    with (
        pytest.warns(exception.DeprecationError),
        pytest.raises(exception.InvalidError, match="twice"),
    ):
        image.pip_install("x", "-i", "https://a", index_url="https://b")


def test_stub_is_app() -> None:
    """Behaviour 1: ``Stub`` is the old name of App."""
    with pytest.warns(exception.DeprecationError, match="App"):
        assert byoc.Stub is byoc.App


@pytest.mark.parametrize("name", ["Volume", "Dict", "Queue", "web_endpoint", "build", "interact"])
def test_public_names_of_later_work(name: str) -> None:
    """A name that Modal has says that this version lacks it; a wrong one is an AttributeError."""
    with pytest.raises(AttributeError, match=f"{name} is not available"):
        getattr(byoc, name)
    with pytest.raises(AttributeError, match="no attribute"):
        assert byoc.no_such_name
