"""Which files of a working folder travel."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from byoc.errors import InvalidError
from byoc.images import selection

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def write(folder: Path, *paths: str, text: str = "x") -> None:
    """Makes files, and the folders on the way to them."""
    for path in paths:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def git(folder: Path, *arguments: str) -> None:
    """Runs git without the user's own configuration."""
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    names = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "protocol.file.allow=always"]
    command = ["git", *names, *arguments]
    subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True)


def files(folder: Path) -> list[str]:
    """What travels."""
    return list(selection.select(folder).files)


def test_products_of_tools_stay(tmp_path: Path) -> None:
    """Without git: caches, compiled files, and environments whatever their folder is called."""
    write(tmp_path, "a.py", "pkg/b.py", "data/c.csv", "Makefile")
    write(tmp_path, ".venv/x.py", "node_modules/m.js", "pkg/__pycache__/b.pyc", ".git/config")
    write(tmp_path, "pkg/old.pyc", ".DS_Store", ".mypy_cache/x", "deep/er/.tox/y")
    write(tmp_path, "myenv/pyvenv.cfg", "myenv/lib/x.py")
    shutil.rmtree(tmp_path / ".git")
    assert files(tmp_path) == ["Makefile", "a.py", "data/c.csv", "pkg/b.py"]


def test_ignore_file_has_the_last_word(tmp_path: Path) -> None:
    """Its patterns leave out, its '!' lines bring back, also what the rules of the house leave."""
    write(tmp_path, "a.py", "big/x.bin", "big/keep/y.bin", ".venv/z.py", ".venv/bin/tool", "k.pyc")
    (tmp_path / ".byocignore").write_text("big\n!big/keep\n!.venv/bin\n!k.pyc\n")
    kept = [".byocignore", ".venv/bin/tool", "a.py", "big/keep/y.bin", "k.pyc"]
    assert files(tmp_path) == kept


def test_secrets_stay_unless_named(tmp_path: Path) -> None:
    """Files that look like keys are withheld and reported; a '!' line sends one."""
    write(tmp_path, "a.py", ".env", ".env.local", ".env.example", "id_rsa", "id_rsa.pub")
    write(tmp_path, "certs/ca.pem", ".aws/credentials", "conf/credentials.json", "environ.py")
    chosen = selection.select(tmp_path)
    assert list(chosen.files) == [".env.example", "a.py", "environ.py", "id_rsa.pub"]
    withheld = [".aws/credentials", ".env", ".env.local", "certs/ca.pem"]
    assert list(chosen.withheld) == [*withheld, "conf/credentials.json", "id_rsa"]
    (tmp_path / ".byocignore").write_text("id_rsa*\n!.env\n!certs/*.pem\n")
    chosen = selection.select(tmp_path)
    assert ".env" in chosen.files and "certs/ca.pem" in chosen.files
    assert "id_rsa" not in chosen.files + chosen.withheld
    assert ".env.local" in chosen.withheld


@needs_git
def test_git_decides_in_a_work_tree(tmp_path: Path) -> None:
    """Tracked and addable files travel; ignored, deleted and .git's own do not."""
    git(tmp_path, "init", "-q")
    write(tmp_path, "a.py", "gone.py", "out/model.bin", "sp ace é.py", "vendor/node_modules/v.js")
    (tmp_path / ".gitignore").write_text("out/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    (tmp_path / "gone.py").unlink()
    write(tmp_path, "new.py", "new/__pycache__/x.pyc")
    expected = [".gitignore", "a.py", "new.py", "sp ace é.py", "vendor/node_modules/v.js"]
    assert files(tmp_path) == expected


@needs_git
def test_a_subfolder_of_a_work_tree_is_its_own_root(tmp_path: Path) -> None:
    """Only the folder's own files travel, by paths relative to it; the tree's ignores hold."""
    git(tmp_path, "init", "-q")
    write(tmp_path, "top.py", "job/main.py", "job/x.log")
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert files(tmp_path / "job") == ["main.py"]


@needs_git
def test_ignored_by_git_but_named_travels(tmp_path: Path) -> None:
    """A '!' line brings back what git ignores, and nothing else of it."""
    git(tmp_path, "init", "-q")
    write(tmp_path, "a.py", "out/model.bin", "out/other.bin", ".env")
    (tmp_path / ".gitignore").write_text("out/\n.env\n")
    assert files(tmp_path) == [".gitignore", "a.py"]
    (tmp_path / ".byocignore").write_text("!out/model.bin\n!.env\n")
    assert files(tmp_path) == [".byocignore", ".env", ".gitignore", "a.py", "out/model.bin"]


@needs_git
def test_repositories_inside_come_with_their_own_ignores(tmp_path: Path) -> None:
    """A submodule and an untracked clone give what their own git would."""
    write(tmp_path / "lib", "l.py", "l.log")
    git(tmp_path / "lib", "init", "-q")
    (tmp_path / "lib" / ".gitignore").write_text("*.log\n")
    git(tmp_path / "lib", "add", ".")
    git(tmp_path / "lib", "commit", "-qm", "x")
    top = tmp_path / "top"
    write(top, "a.py")
    git(top, "init", "-q")
    git(top, "submodule", "add", "-q", str(tmp_path / "lib"), "sub")
    shutil.copytree(tmp_path / "lib", top / "clone")
    inner = [path for path in files(top) if path.startswith(("sub/", "clone/"))]
    assert inner == ["clone/.gitignore", "clone/l.py", "sub/.gitignore", "sub/l.py"]


@needs_git
def test_git_variables_of_the_caller_do_not_mislead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started from a git hook, byoc still looks at the folder and not at the hook's repository."""
    one, two = tmp_path / "one", tmp_path / "two"
    write(one, "a.py")
    write(two, "b.py")
    git(one, "init", "-q")
    git(two, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(one / ".git"))
    assert files(two) == ["b.py"]


def test_without_git_the_folder_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git, or a broken repository, gives the same files by walking."""
    write(tmp_path, "a.py", ".git/HEAD", "sub/b.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert files(tmp_path) == ["a.py", "sub/b.py"]


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    """The walk stops at the limit and says what to do."""
    write(tmp_path, *(f"d{i}/f{j}" for i in range(5) for j in range(5)))
    with pytest.raises(InvalidError, match="more than 20 files") as caught:
        selection.select(tmp_path, limit=20)
    assert ".byocignore" in caught.value.hints[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    """A folder that cannot be listed is an error and no silent gap."""
    write(tmp_path, "a.py", "closed/b.py")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(InvalidError, match="closed"):
            selection.select(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


@needs_git
@pytest.mark.parametrize("work_tree", [True, False])
def test_byocs_own_data_stay(tmp_path: Path, work_tree: bool) -> None:
    """A data folder of byoc's within the project, whatever it is called, does not travel; a file of
    the user's that is called as its journal is does, and so does what .byocignore asks for."""
    if work_tree:
        git(tmp_path, "init")
    write(tmp_path, "a.py", "mine/state/journal.db", "b/home/owner", "b/home/state/journal.db")
    write(tmp_path, "b/home/keys/id_ed25519", "b/home/logs/run-1.log", "b/homework.py")
    chosen = selection.select(tmp_path)
    assert chosen == (("a.py", "b/homework.py", "mine/state/journal.db"), ())
    write(tmp_path, ".byocignore", text="!b/home/logs/run-1.log\n")
    assert "b/home/logs/run-1.log" in files(tmp_path)
