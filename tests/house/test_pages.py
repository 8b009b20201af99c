"""The pages say what is so: links lead somewhere, commands and options exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from byoc.cli import failure
from byoc.cli.table import COMMANDS
from byoc.settings import KEYS
from tests.helpers import ROOT
from tools import permissions

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OUTSIDE = ("http://", "https://", "mailto:")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link within the project names a file, and a heading, that exists."""
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if target.startswith(OUTSIDE):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target} has no such heading"


def shell_lines(page: Path) -> list[str]:
    """The commands in a page's shell blocks."""
    blocks = [text for kind, text in FENCE.findall(page.read_text()) if kind in ("sh", "console")]
    return [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_the_pages_exist(page: Path) -> None:
    """A script that a page tells the reader to run is there, and so is a command of byoc."""
    for line in shell_lines(page):
        words = line.split()
        if words[:1] and words[0].startswith("./"):
            assert (ROOT / words[0]).is_file(), f"{page.name}: {line}"
        files = [word for word in words if word.startswith(("examples/", "benchmarks/"))]
        assert all((ROOT / word.partition("::")[0]).exists() for word in files), line
        if words[:1] == ["byoc"] and len(words) > 1 and not words[1].startswith(("-", "[")):
            assert words[1] in COMMANDS, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_on_the_pages_are_run(page: Path) -> None:
    """Python on a page stands in an example, which the tests run: each paragraph word for word."""
    examples = [path.read_text() for path in (ROOT / "examples").glob("*.py")]
    for kind, text in FENCE.findall(page.read_text()):
        for paragraph in re.split(r"\n\n+", text.strip("\n")) if kind == "python" else []:
            where = f"{page.name}: no example has\n{paragraph}"
            assert any(paragraph + "\n" in example for example in examples), where


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_benchmarks_on_the_pages_exist(page: Path) -> None:
    """Every benchmark that a page tells the reader to run is there."""
    for name in re.findall(r"python -m benchmarks\.(\w+)", page.read_text()):
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), f"{page.name}: {name}"


def test_every_benchmark_is_on_the_performance_page() -> None:
    """docs/performance.md names the command of each benchmark that there is."""
    text = (ROOT / "docs/performance.md").read_text()
    for file in (ROOT / "benchmarks").glob("*.py"):
        if '__name__ == "__main__"' in file.read_text():
            assert f"python -m benchmarks.{file.stem}" in text, file.name


def test_every_page_is_in_the_index() -> None:
    """docs/index.md leads to each page beside it."""
    text = (ROOT / "docs/index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in text, page.name


def test_every_command_is_on_its_page() -> None:
    """docs/cli.md describes each command of the table."""
    text = (ROOT / "docs/cli.md").read_text()
    missing = [name for name in COMMANDS if f"byoc {name}" not in text]
    assert not missing


@pytest.mark.parametrize("command", ["run", "exec"])
def test_every_option_is_on_its_page(command: str) -> None:
    """docs/cli.md names each option that the help of the two commands with many of them lists."""
    text = (ROOT / "docs/cli.md").read_text()
    listing = (ROOT / f"tests/cli/snapshots/help-{command}.txt").read_text()
    options = set(re.findall(r"--[a-z][a-z-]+", listing))
    assert {"--gpu", "--timeout"} <= options
    missing = [option for option in sorted(options) if option not in text]
    assert not missing


def test_every_exit_code_is_on_its_page() -> None:
    """docs/exit-codes.md lists exactly the codes that byoc ends with, and success."""
    page = (ROOT / "docs/exit-codes.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    named = {getattr(failure, name) for name in dir(failure) if name.isupper() and name[0] != "_"}
    assert listed == {0, *(code for code in named if isinstance(code, int))}


def test_the_readme_begins_with_two_commands_that_need_nothing_else() -> None:
    """A newcomer copies one command to run, one to test; both scripts set up by themselves."""
    lines = shell_lines(ROOT / "README.md")
    assert "./scripts/run examples/hello.py" in lines
    assert "./scripts/test" in lines
    for name in ("run", "test"):
        assert '. "$root/scripts/setup"' in (ROOT / "scripts" / name).read_text()


def test_the_permissions_page_is_what_the_maps_say() -> None:
    """docs/permissions.md has the policies word for word; ``python -m tools.permissions`` writes
    it."""
    assert permissions.block() in permissions.PAGE.read_text(encoding="utf-8")


def test_the_threat_model_names_tests_that_exist() -> None:
    """Every test that docs/threat-model.md names as a proof is there; every threat names one."""
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    named = re.findall(r"\*(tests/[\w/]+\.py)(?:::(\w+))?\*", text)
    assert len(named) > 20
    for file, test in named:
        assert (
            f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
            if test
            else (ROOT / file).is_file()
        ), f"{file}::{test}"
    threats = text.partition("\n## Threats\n")[2].partition("\n## Safety")[0].split("\n### ")[1:]
    assert all("*tests/" in one for one in threats)


@pytest.mark.parametrize("cloud", ["aws", "gcp", "oci"])
def test_a_clouds_page_has_each_of_its_settings(cloud: str) -> None:
    """What can be set for a cloud alone is on its own page."""
    page = (ROOT / "docs" / f"{cloud}.md").read_text()
    assert [key for key in KEYS if key.startswith(f"{cloud}.") and f"`{key}`" not in page] == []
