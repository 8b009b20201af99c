"""The native builder's plan: steps, digests, and what never enters either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from byoc.errors import InvalidError
from byoc.images.native import EnvPlan, plan
from byoc.images.recipe import Image


def planned(image: Image) -> EnvPlan:
    """The plan on a client with Python 3.12.1."""
    return plan(image, local_python="3.12.1")


def digests(image: Image) -> list[str]:
    """The digests of the steps that install."""
    return [step.digest for step in planned(image).steps]


def test_python_is_the_images_or_the_clients_minor() -> None:
    """An image that names none takes the client's minor; a full version is kept."""
    assert planned(Image.debian_slim()).python == "3.12"
    assert planned(Image.debian_slim("3.11")).python == "3.11"
    assert planned(Image.debian_slim("3.11.7")).python == "3.11.7"
    assert planned(Image.debian_slim()).digest == planned(Image.debian_slim("3.12")).digest


def test_plan_says_what_to_do() -> None:
    """Packages, flags, variables and the working folder, as the agent takes them."""
    image = (
        Image.debian_slim("3.12")
        .env({"A": "1"})
        .pip_install("six", "idna>=3", pre=True, extra_options="--no-deps", env={"CC": "cc"})
        .workdir("/root/work/")
        .env({"B": "2"})
    )
    found = planned(image).to_json()
    (step,) = found["steps"]
    assert step["op"] == "uv_pip" and step["packages"] == ["idna>=3", "six"]
    assert step["flags"] == ["--prerelease", "allow", "--no-deps"]
    assert step["env"] == {"A": "1", "CC": "cc"}
    assert found["env"] == {"A": "1", "B": "2"}
    assert (found["workdir"], found["force"], found["key"]) == ("/root/work", False, image.key)
    assert json.loads(json.dumps(found)) == found


def test_changing_a_step_changes_digests_from_there_on() -> None:
    """Step 2 of 3: the first keeps its digest, the second and the third get new ones."""
    base = Image.debian_slim("3.12")
    before = digests(base.pip_install("a").pip_install("b").pip_install("c"))
    after = digests(base.pip_install("a").pip_install("b>1").pip_install("c"))
    assert before[0] == after[0]
    assert before[1] != after[1] and before[2] != after[2]
    assert digests(base.pip_install("a").pip_install("b").pip_install("c")) == before


def test_everything_that_changes_the_result_changes_the_digest() -> None:
    """Python, packages, each option, variables before the step and copied files all count."""
    base = Image.debian_slim("3.12")
    images = [
        base,
        Image.debian_slim("3.11"),
        base.pip_install("a"),
        base.pip_install("a", "b"),
        base.pip_install("a").pip_install("b"),
        base.pip_install("a", pre=True),
        base.pip_install("a", index_url="https://one"),
        base.pip_install("a", extra_index_url="https://one"),
        base.pip_install("a", find_links="https://one"),
        base.pip_install("a", extra_options="--no-deps"),
        base.pip_install("a", env={"CC": "clang"}),
        base.env({"CC": "gcc"}).pip_install("a"),
        base.workdir("/w").pip_install("a"),
        base.add_local_file(__file__, "/root/f", copy=True).pip_install("a"),
    ]
    found = [planned(image).digest for image in images]
    assert len(set(found)) == len(images)


def test_what_comes_after_the_last_install_rebuilds_nothing() -> None:
    """Variables, the working folder and files set later leave the environment's digest alone."""
    image = Image.debian_slim("3.12").pip_install("a")
    later = image.env({"A": "1"}).workdir("/w").add_local_file("/nowhere", "/root/x")
    assert planned(later).digest == planned(image).digest
    layers = planned(later).layers
    assert [method for method, _ in layers] == ["debian_slim", "pip_install", "env", "workdir"]
    assert len({digest for _, digest in layers}) == len(layers)


def test_variables_count_without_their_order() -> None:
    """Two orders of writing the same variables are one environment."""
    base = Image.debian_slim("3.12")
    one = base.env({"A": "1", "B": "2"}).pip_install("x")
    two = base.env({"B": "2"}).env({"A": "1"}).pip_install("x")
    assert digests(one) == digests(two)


def test_requirements_count_by_content(tmp_path: Path) -> None:
    """Another file with the same requirements is the same; another line is not."""
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("six==1.17\nidna\n")
    two.write_text("# why\nsix==1.17\n\nidna\n")
    base = Image.debian_slim("3.12")
    before = digests(base.pip_install_from_requirements(one))
    assert digests(base.pip_install_from_requirements(two)) == before
    one.write_text("six==1.16\nidna\n")
    assert digests(base.pip_install_from_requirements(one)) != before


def test_requirements_include_and_constrain(tmp_path: Path) -> None:
    """-r brings the other file's lines, relative to the file it stands in; -c its text."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "top.txt").write_text("-r sub/more.txt\n-c sub/c.txt\n--no-binary :all:\nsix\n")
    (tmp_path / "sub" / "more.txt").write_text("--requirement=deep.txt\nidna ; python_version>'3'")
    (tmp_path / "sub" / "deep.txt").write_text("attrs")
    (tmp_path / "sub" / "c.txt").write_text("six<2\n")
    image = Image.debian_slim("3.12").uv_pip_install("a", requirements=[tmp_path / "top.txt"])
    (step,) = planned(image).steps
    assert step.requirements == ("attrs", "idna ; python_version>'3'", "--no-binary :all:", "six")
    assert step.constraints == ("six<2\n",)
    assert step.label == "uv_pip_install a -r top.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-r loop.txt", "includes itself"),
        ("-r missing.txt", "there is no requirements file"),
        ("-c missing.txt", "there is no requirements file"),
        ("-e .", "installs from a local folder"),
        ("./mine", "installs from a local folder"),
    ],
)
def test_requirements_that_cannot_work_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """What an instance could not follow is refused before anything is rented."""
    file = tmp_path / "loop.txt"
    file.write_text(text)
    with pytest.raises(InvalidError, match=message):
        planned(Image.debian_slim().pip_install_from_requirements(file))


def test_missing_requirements_are_found_when_planned() -> None:
    """Declaring does not read the file; planning does, and names it."""
    image = Image.debian_slim().pip_install_from_requirements("/nowhere/r.txt")
    with pytest.raises(InvalidError, match=r"/nowhere/r\.txt"):
        planned(image)


def test_copied_files_count_by_content(tmp_path: Path) -> None:
    """A copy=True file is part of what comes after it, by content and not by time."""
    file = tmp_path / "data"
    file.write_text("one")
    image = Image.debian_slim("3.12").add_local_file(file, "/root/data", copy=True).pip_install("a")
    before = digests(image)
    file.write_text("two")
    assert digests(image) != before
    file.write_text("one")
    assert digests(image) == before


def test_credentials_count_for_no_digest_and_show_nowhere() -> None:
    """A rotated password rebuilds nothing; labels, reprs and flags do not hold it."""

    def image(password: str) -> Image:
        return Image.debian_slim("3.12").pip_install(
            f"a @ https://token:{password}@host/a.whl",
            index_url=f"https://me:{password}@host/simple",
            extra_index_url=f"https://me:{password}@more/simple",
            find_links=f"https://me:{password}@links/",
            env={"MIRROR": f"https://me:{password}@mirror"},
        )

    one, two = planned(image("hunter2")), planned(image("hunter3"))
    assert one.digest == two.digest and one.key == two.key
    (step,) = one.steps
    assert "hunter2" not in repr(one) + step.label + " ".join(step.flags)
    assert step.env["UV_DEFAULT_INDEX"] == "https://me:hunter2@host/simple"
    assert "https://host/simple" in step.label


def test_force_build_is_passed_on_and_changes_no_digest() -> None:
    """Asked for in the base or in a step, it forces the build of the same digest."""
    plain = planned(Image.debian_slim("3.12").pip_install("a"))
    forced = planned(Image.debian_slim("3.12").pip_install("a", force_build=True))
    base = planned(Image.debian_slim("3.12", force_build=True).pip_install("a"))
    assert (plain.force, forced.force, base.force) == (False, True, True)
    assert plain.digest == forced.digest == base.digest
