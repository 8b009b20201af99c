"""The declared image: what is accepted, what is refused and how."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.errors import InvalidError, NotYetError
from byoc.images import recipe
from byoc.images.recipe import EnvStep, Image, LocalFiles, PipStep, WorkdirStep


@pytest.fixture(autouse=True)
def _outside_containers() -> Iterator[None]:
    recipe.set_container_image(None)
    yield
    recipe.set_container_image(None)


def pip(image: Image) -> PipStep:
    """The image's only step."""
    (step,) = image.steps
    assert isinstance(step, PipStep)
    return step


def test_every_method_returns_a_new_image() -> None:
    """An image never changes; two images that start alike share their steps' beginning."""
    base = Image.debian_slim("3.12")
    first = base.pip_install("numpy")
    second = first.env({"A": "1"}).workdir("/work")
    assert base.steps == ()
    assert len(first.steps) == 1
    assert second.steps[:1] == first.steps
    assert second.steps[1:] == (EnvStep((("A", "1"),)), WorkdirStep("/work"))


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14", "3.11.7", None])
def test_python_versions_accepted(version: str | None) -> None:
    """Supported minors, full versions of them, and the client's own."""
    assert Image.debian_slim(version).python_version == version


@pytest.mark.parametrize(
    "version", ["3.9", "3.15", "3", "2.7", "3.1", "latest", "3.12.", "3.12rc1"]
)
def test_python_versions_refused(version: str) -> None:
    """Other versions are refused with the list of those that are supported."""
    with pytest.raises(InvalidError, match=r"3\.10, 3\.11, 3\.12, 3\.13, 3\.14"):
        Image.debian_slim(version)


def test_python_version_as_a_number_is_refused_with_a_hint() -> None:
    """3.10 as a number is 3.1: the hint says to quote it."""
    with pytest.raises(InvalidError) as caught:
        Image.debian_slim(3.10)  # type: ignore[arg-type]
    assert "quote" in caught.value.hints[0]


def test_packages_are_flattened_and_sorted() -> None:
    """Lists and single names mix; the order they are written in does not matter."""
    step = pip(Image.debian_slim().pip_install("b", ["c>=1", " a "]))
    assert step.packages == ("a", "b", "c>=1")
    assert step == pip(Image.debian_slim().pip_install("c>=1", "a", "b"))


def test_no_packages_return_the_image_itself() -> None:
    """An installing method with nothing to install adds no step."""
    image = Image.debian_slim()
    assert image.pip_install() is image
    assert image.pip_install([]) is image
    assert image.uv_pip_install(requirements=[]) is image
    assert image.env({}) is image
    assert image.add_local_python_source() is image


def test_pip_options_are_kept() -> None:
    """Every option arrives in the step."""
    step = pip(
        Image.debian_slim().pip_install(
            "torch",
            find_links="/wheels",
            index_url="https://one/simple",
            extra_index_url="https://two/simple",
            pre=True,
            extra_options="--no-deps --no-build-isolation",
            force_build=True,
            env={"CC": "clang"},
        )
    )
    assert (step.find_links, step.index_url) == ("/wheels", "https://one/simple")
    assert step.extra_index_url == "https://two/simple"
    assert step.extra_options == ("--no-deps", "--no-build-isolation")
    assert (step.pre, step.force, step.env) == (True, True, (("CC", "clang"),))


def test_requirements_are_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative file means the folder at the time it was written, and need not exist yet."""
    monkeypatch.chdir(tmp_path)
    image = Image.debian_slim()
    expected = (str(tmp_path.resolve() / "r.txt"),)
    assert pip(image.pip_install_from_requirements("r.txt")).requirements == expected
    assert pip(image.uv_pip_install(requirements=[Path("r.txt")])).requirements == expected
    positional = pip(image.pip_install_from_requirements("r.txt", "/wheels"))
    assert positional.find_links == "/wheels"


WRONG: list[tuple[str, Callable[[Image], Any]]] = [
    ("an option as a package", lambda i: i.pip_install("--no-deps")),
    ("a package that is no string", lambda i: i.pip_install(3)),
    ("a package over two lines", lambda i: i.pip_install("a\nb")),
    ("an empty package", lambda i: i.pip_install(" ")),
    ("options as a list", lambda i: i.pip_install("a", extra_options=["--no-deps"])),
    ("options that cannot be split", lambda i: i.pip_install("a", extra_options="--x 'y")),
    ("an index that is no string", lambda i: i.pip_install("a", index_url=3)),
    ("pre as a word", lambda i: i.pip_install("a", pre="yes")),
    ("an unknown option", lambda i: i.pip_install("a", index="https://x")),
    ("requirements as one string", lambda i: i.uv_pip_install(requirements="r.txt")),
    ("a requirements file that is no path", lambda i: i.pip_install_from_requirements(3)),
    ("variables as a list", lambda i: i.env(["A=1"])),
    ("a variable that is a number", lambda i: i.env({"A": 1})),
    ("a variable with '=' in its name", lambda i: i.env({"A=B": "1"})),
    ("a variable with a zero byte", lambda i: i.env({"A": "\0"})),
    ("a relative working folder", lambda i: i.workdir("work")),
    ("a relative remote path", lambda i: i.add_local_file("a", "b")),
    ("a remote path with '..'", lambda i: i.add_local_file("a", "/root/../etc/passwd")),
    ("a remote path that is a number", lambda i: i.add_local_dir("a", 3)),
    ("a local path that is a number", lambda i: i.add_local_dir(3, "/a")),
    ("copy as a number", lambda i: i.add_local_file("a", "/b", copy=1)),
    ("ignore as a string", lambda i: i.add_local_dir("a", "/b", ignore="*.log")),
    ("a module as a path", lambda i: i.add_local_python_source("./pkg")),
    ("force_build as a word", lambda i: Image.debian_slim("3.12", "yes")),  # type: ignore[arg-type]
    ("a pipe to no function", lambda i: i.pipe("f")),
]


@pytest.mark.parametrize(("what", "call"), WRONG, ids=[what for what, _ in WRONG])
def test_wrong_arguments_are_refused(what: str, call: Callable[[Image], Any]) -> None:
    """Each is an InvalidError where it is made, in one sentence."""
    with pytest.raises(InvalidError) as caught:
        call(Image.debian_slim())
    assert not isinstance(caught.value, NotYetError)
    assert caught.value.message and not caught.value.message.endswith(".")


def test_option_like_package_hints_at_extra_options() -> None:
    """The hint shows the way to write it."""
    with pytest.raises(InvalidError) as caught:
        Image.debian_slim().pip_install("-U")
    assert caught.value.hints == ("write extra_options='-U'",)


def test_misspelt_option_gets_the_close_one() -> None:
    """An unknown option names the known one that it is close to."""
    with pytest.raises(InvalidError) as caught:
        Image.debian_slim().pip_install("a", index_ur="x")  # type: ignore[call-arg]
    assert caught.value.hints == ("did you mean index_url=?",)


def test_credentials_in_extra_options_are_refused_and_not_repeated() -> None:
    """They would stand on a command line; the message does not show them either."""
    with pytest.raises(InvalidError) as caught:
        Image.debian_slim().pip_install("a", extra_options="--index-url https://me:pw@host/simple")
    assert "pw" not in str(caught.value) and "index_url=" in caught.value.hints[0]


@pytest.mark.parametrize(
    "name",
    [
        *("from_registry", "from_dockerfile", "from_aws_ecr", "from_gcp_artifact_registry"),
        *("from_scratch", "from_dockerhub", "micromamba", "micromamba_install", "from_name"),
        *("uv_sync", "pip_install_from_pyproject", "pip_install_private_repos", "from_id"),
        *("poetry_install_from_file", "apt_install", "run_commands", "run_function", "cmd"),
        *("dockerfile_commands", "entrypoint", "shell", "build", "publish", "copy_mount"),
        *("conda", "conda_install", "copy_mount"),
    ],
)
def test_methods_that_come_later_are_refused_by_name(name: str) -> None:
    """On the class and on an image, with any arguments, at once."""
    for owner in (Image, Image.debian_slim()):
        with pytest.raises(NotYetError, match=rf"Image\.{name} is not available"):
            getattr(owner, name)("anything", option=1)


@pytest.mark.parametrize(
    "options", [{"secrets": ["s"]}, {"gpu": "H100"}, {"uv_version": "0.9"}], ids=str
)
def test_options_that_come_later_are_refused_by_name(options: dict[str, Any]) -> None:
    """An option whose feature is missing is never ignored."""
    (name,) = options
    with pytest.raises(NotYetError, match=f"{name}="):
        Image.debian_slim().uv_pip_install("a", **options)


def test_methods_on_the_class_get_a_hint() -> None:
    """Image() and Image.pip_install('x') say how an image is started."""
    with pytest.raises(InvalidError) as caught:
        Image()
    assert "debian_slim" in caught.value.hints[0]
    calls: list[Callable[[], Any]] = [
        lambda: Image.pip_install("x"),  # type: ignore[arg-type]
        lambda: Image.env({"A": "1"}),  # type: ignore[call-arg, arg-type]
        Image.imports,  # type: ignore[list-item]
    ]
    for call in calls:
        with pytest.raises(InvalidError) as caught:
            call()
        assert "debian_slim()" in caught.value.hints[0]


def test_remote_paths_follow_modals_rules() -> None:
    """A trailing slash means into that folder; otherwise the path is the file's own."""
    image = Image.debian_slim()
    into = image.add_local_file("/data/a.txt", "/root/in/").steps[0]
    named = image.add_local_file("/data/a.txt", Path("/root/b.txt")).steps[0]
    assert isinstance(into, LocalFiles) and into.remote == "/root/in/a.txt"
    assert isinstance(named, LocalFiles) and named.remote == "/root/b.txt"


def test_build_steps_cannot_follow_files_that_come_at_start() -> None:
    """The order rule: refused with copy=False, allowed with copy=True, more files are fine."""
    late = Image.debian_slim().add_local_file("a", "/root/a")
    steps: list[Callable[[Image], Any]] = [
        lambda i: i.pip_install("x"),
        lambda i: i.env({"A": "1"}),
        lambda i: i.workdir("/w"),
        lambda i: i.add_local_file("b", "/root/b", copy=True),
    ]
    for step in steps:
        with pytest.raises(InvalidError, match="cannot follow add_local_file") as caught:
            step(late)
        assert "copy=True" in caught.value.hints[1]
    assert len(late.add_local_dir("d", "/root/d").add_local_python_source("m").steps) == 3
    early = Image.debian_slim().add_local_file("a", "/root/a", copy=True)
    assert len(early.pip_install("x").steps) == 2


def test_pipe() -> None:
    """image.pipe(f, ...) is f(image, ...)."""

    def add(image: Image, name: str, *, version: str) -> Image:
        return image.pip_install(f"{name}=={version}")

    image = Image.debian_slim().pipe(add, "six", version="1.17")
    assert pip(image).packages == ("six==1.17",)


def test_imports_are_passed_over_on_the_client() -> None:
    """A module that only the image has does not stop the client, nor does one that breaks."""
    image = Image.debian_slim().pip_install("torch")
    with image.imports():
        import no_such_module_for_sure  # type: ignore[import-not-found]  # noqa: F401
    with pytest.warns(UserWarning, match="no GPU"), image.imports():
        raise RuntimeError("no GPU")
    with pytest.raises(ImportError):
        image.raise_import_errors()


def test_imports_raise_in_the_images_own_container_only() -> None:
    """The container's own image raises; another one's block is passed over there."""
    mine = Image.debian_slim().pip_install("torch")
    other = Image.debian_slim().pip_install("jax")
    recipe.set_container_image(mine.key)
    with pytest.raises(ImportError), mine.imports():
        raise ImportError("torch")
    with other.imports():
        raise ImportError("jax")
    mine.raise_import_errors()


def test_the_end_of_the_process_passes_an_imports_block() -> None:
    """Ctrl-C and sys.exit inside the block are not import errors."""
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop), Image.debian_slim().imports():
            raise stop


def test_key_is_the_same_where_paths_and_values_differ() -> None:
    """The client and a container compute the same key from the same module."""

    def declared(folder: str, token: str) -> Image:
        return (
            Image.debian_slim("3.12")
            .pip_install_from_requirements(f"{folder}/requirements.txt")
            .env({"TOKEN": token})
            .add_local_dir(f"{folder}/data", "/root/data")
        )

    assert declared("/home/me/project", "secret").key == declared("/root", "").key
    assert declared("/a", "x").key != declared("/a", "x").add_local_python_source("m").key


def test_container_image_reaches_processes_started_there() -> None:
    """A process that user code starts in a container knows that it is in one."""
    recipe.set_container_image("k1")
    code = "from byoc.images import recipe; print(recipe.in_container(), recipe.container_image())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "k1"]
    recipe.set_container_image(None)
    assert not recipe.in_container()


def test_copies_and_pickles() -> None:
    """A copy is the image itself; a pickle has the same key and carries no credential."""
    image = (
        Image.debian_slim("3.12")
        .pip_install("a @ https://tok:en@h/a.whl", index_url="https://me:hunter2@host/simple")
        .add_local_dir("/data", "/root/data", ignore=lambda path: True)
    )
    assert copy.copy(image) is image
    assert copy.deepcopy(image) is image
    data = pickle.dumps(image)
    assert b"hunter2" not in data and b"tok:en" not in data
    assert pickle.loads(data).key == image.key


def test_nothing_shows_credentials() -> None:
    """Neither the image's repr nor a step's holds an index's password or a package's token."""
    image = Image.debian_slim().pip_install(
        "a @ https://tok:en@h/a.whl", index_url="https://me:hunter2@host/simple"
    )
    for text in (repr(image), repr(image.steps)):
        assert "hunter2" not in text and "tok:en" not in text


def test_declaring_reads_no_file() -> None:
    """A module that declares an image imports where none of its local files exist."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = (
            Image.debian_slim()
            .pip_install_from_requirements("/nowhere/requirements.txt")
            .add_local_file("/nowhere/a", "/root/a")
            .add_local_dir("/nowhere/d", "/root/d")
            .add_local_python_source("nowhere")
        )
    assert len(image.steps) == 4


def test_module_needs_the_standard_library_only() -> None:
    """The recipe imports, without site-packages, in a bare interpreter."""
    source = str(Path(recipe.__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {source!r}); import byoc.images.recipe"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True)
