"""The plan document: what it holds, and when it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from byoc.cli import plans
from byoc.cli.ladders import Ask, Asking
from byoc.clock import IDS
from byoc.engine.command import Commands
from byoc.engine.events import Silent
from byoc.engine.options import Approved, RunOptions
from byoc.errors import BudgetError, InvalidError, PlacementError
from byoc.images.mounts import from_bytes
from byoc.placement.cost import Hedge
from byoc.resources import GpuRequest, Ladder, Offer, Resources, Rung
from byoc.settings import Settings
from tests.cli.harness import Said, byoc


class Still:
    """A clock that stands."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now

    def mono(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


FILES = [from_bytes("/root/a.py", b"print(1)\n"), from_bytes("/root/b.py", b"x = 2\n")]
ASKED = Resources(gpus=(GpuRequest("H100", 8),), clouds=("here",))


def offer(zone: str, price: float | None) -> Offer:
    """One of a cloud that the catalogue lacks."""
    return Offer("here", "east", zone, "big", "spot", price, 96, 1 << 20, 0, "H100", 8)


def asking(*prices: float | None) -> Asking:
    """A function whose ladder has rungs of these prices."""
    rungs = tuple(Rung(offer(f"z{at}", price), "cheap") for at, price in enumerate(prices))
    return Asking("train", ASKED, Ladder(rungs))


def made(*prices: float | None, top: int = 10, valid: float = 900.0) -> plans.Plan:
    """A plan of such a ladder."""
    terms = plans.Terms(top, valid)
    return plans.make(["run", "a.py"], "/f", FILES, [asking(*prices)], terms, Still())


def again(document: dict[str, Any]) -> tuple[plans.Plan, dict[str, Any]]:
    """A document through JSON."""
    return plans.parse(json.dumps(document).encode(), "p.json")


def test_a_plan_survives_its_document() -> None:
    """Reading what was written gives the same plan, which is valid."""
    plan = made(2.0, 3.5)
    read, document = again(plan.document())
    assert read == plan._replace(functions=read.functions)
    assert [one.offer for one in read.functions[0].offers] == [
        "here/east/z0/big/spot",
        "here/east/z1/big/spot",
    ]
    plans.check_valid(read, document, Still())
    plans.check_program(read, FILES)
    plans.check_requests(read, [Ask("train", ASKED)])
    plans.check_prices(read, [asking(2.0, 3.5)])


def test_what_byoc_adds_to_its_json_does_not_change_a_plan() -> None:
    """The one object of --json is a plan as well: more fields are no change."""
    document = made(1.0).document()
    plan, read = again({"command": "plan", "ok": True, "exit_code": 0, **document})
    plans.check_valid(plan, read, Still())


def test_the_ceiling_is_the_dearest_approved_offer() -> None:
    """Only the first rungs are approved, none without a price, and the dearest is the ceiling."""
    plan = made(2.0, None, 3.5, 9.0, top=2)
    assert plan.price_ceiling == 3.5
    assert [one.price for one in plan.functions[0].offers] == [2.0, 3.5]


def test_nothing_without_a_price_is_approved() -> None:
    """A ladder of unknown prices cannot be planned."""
    with pytest.raises(PlacementError, match="known price"):
        made(None)


def hedged(extra: float | None = 0.25, top: int = 10) -> plans.Plan:
    """A plan of a function that is asked for on two offers at once."""
    keys = ("here/east/z0/big/spot", "here/east/z1/big/spot")
    one = asking(2.0, 3.5)._replace(hedge=Hedge(extra, keys, (), 3.5))
    terms = plans.Terms(top, 900.0)
    return plans.make(["run", "--hedge", "2", "a.py"], "/f", FILES, [one], terms, Still())


def test_a_hedge_is_part_of_the_plan() -> None:
    """How many offers are asked at once, and what that costs at most, are approved as well."""
    plan, document = again(hedged().document())
    assert (plan.hedge, plan.extra) == (2, 0.25)
    assert "hedge" not in made(1.0).document()
    dearer = {**document, "hedge": {"offers": 8, "extra": 0.25}}
    with pytest.raises(InvalidError, match="was changed"):
        plans.check_valid(*again(dearer), Still())


def test_a_hedge_needs_approved_offers_and_prices() -> None:
    """No hedge over more offers than are approved, and none whose price is not known."""
    with pytest.raises(InvalidError, match="--top 1 approves"):
        hedged(top=1)
    with pytest.raises(PlacementError, match="cannot be approved"):
        hedged(extra=None)


def test_an_expired_plan_is_refused() -> None:
    """Past its time it is refused, with how long ago that was."""
    plan = made(1.0, valid=60.0)
    with pytest.raises(InvalidError, match="expired 30 s ago"):
        plans.check_valid(plan, plan.document(), Still(1_800_000_090.0))


@pytest.mark.parametrize(
    "change",
    [
        {"price_ceiling": 99.0},
        {"line": ["run", "b.py"]},
        {"program": {"files": 2, "digest": "sha256:0"}},
        {"expires": "2099-01-01T00:00:00+00:00"},
        {"id": "plan-0"},
    ],
)
def test_a_plan_that_was_changed_is_refused(change: dict[str, Any]) -> None:
    """Whoever approved it approved every field."""
    plan, document = again(made(1.0).document() | change)
    with pytest.raises(InvalidError, match="changed after it was made"):
        plans.check_valid(plan, document, Still())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a plan"),
        (b'{"kind": "other"}', "not a plan"),
        (b'{"kind": "byoc-plan"}', "version None"),
        (b'{"kind": "byoc-plan", "schema_version": 2}', "version 2"),
        (b'{"kind": "byoc-plan", "schema_version": 1}', "no 'program'"),
    ],
)
def test_what_is_no_plan_is_refused(data: bytes, words: str) -> None:
    """Any bytes at all lead to one sentence, and never to a traceback."""
    with pytest.raises(InvalidError, match=words):
        plans.parse(data, "p.json")


def test_a_plan_knows_how_many_instances_side_by_side() -> None:
    """A gang's plan is for so many nodes and no other number; its ceiling is of each of them."""
    terms = plans.Terms(10, 900.0)
    gang = asking(2.0)._replace(nodes=4)
    plan = plans.make(["run", "a.py"], "/f", FILES, [gang], terms, Still())
    read, document = again(plan.document())
    assert document["functions"][0]["nodes"] == 4
    assert (read.functions[0].nodes, read.price_ceiling) == (4, 2.0)
    plans.check_requests(read, [Ask("train", ASKED, 4)])
    with pytest.raises(InvalidError, match="asks for something else"):
        plans.check_requests(read, [Ask("train", ASKED, 8)])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created", "yesterday"),
        ("created", "2026-01-01T00:00:00"),
        ("line", []),
        ("line", ["run", 3]),
        ("line", "run"),
        ("functions", []),
        ("functions", [{}]),
        ("functions", [3]),
        ("price_ceiling", -1),
        ("price_ceiling", True),
        ("price_ceiling", "1"),
        ("price_ceiling", float("nan")),
        ("program", {"files": "1", "digest": ""}),
        ("prices", None),
        ("byoc", 1),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(name: str, value: Any) -> None:
    """A document that is not whole is refused with the field that is wrong."""
    with pytest.raises(InvalidError, match="not a whole plan"):
        again(made(1.0).document() | {name: value})


def test_a_changed_program_is_refused() -> None:
    """Another content, another name or one file more is another program."""
    plan = made(1.0)
    other = from_bytes("/root/b.py", b"x = 3\n")
    moved = from_bytes("/root/c.py", b"x = 2\n")
    for files in ([FILES[0], other], [FILES[0], moved], FILES[:1], [*FILES, moved]):
        with pytest.raises(InvalidError, match="program has changed"):
            plans.check_program(plan, files)


def test_another_request_is_refused() -> None:
    """A function that now asks for more, or one that was not planned, is not approved."""
    plan = made(1.0)
    with pytest.raises(InvalidError, match="train asks for something else"):
        plans.check_requests(plan, [Ask("train", ASKED._replace(cpu=2.0))])
    with pytest.raises(InvalidError, match="other asks for something else"):
        plans.check_requests(plan, [Ask("train", ASKED), Ask("other", ASKED)])


def test_prices_above_the_ceiling_are_refused() -> None:
    """A price may move up to the dearest approved one, and no further."""
    plan = made(2.0, 3.0)
    plans.check_prices(plan, [asking(2.9, 3.0)])
    with pytest.raises(BudgetError, match=r"z0/big/spot was \$2.00/h and is \$3.10/h"):
        plans.check_prices(plan, [asking(3.1, 3.0)])


def test_only_what_was_planned_may_be_rented(tmp_path: Path) -> None:
    """Each request gets its own offers and its ceiling; one that nobody approved gets nothing."""
    options = RunOptions(approved=(Approved(ASKED, ("a/b/c/d/spot",), 3.5),))
    session = Commands(
        Settings(tmp_path), options, Silent(), run_id=None, kind="exec", clock=Still(), ids=IDS
    )
    allowed, only = session._approved(ASKED)
    assert (allowed.max_price, only) == (3.5, ("a/b/c/d/spot",))
    with pytest.raises(PlacementError, match="approves no offer"):
        session._approved(Resources())


# --- as commands ---------------------------------------------------------------------------------


def planned(project: Path, env: dict[str, str], *options: str) -> dict[str, Any]:
    """A plan of hello.py, as its --json."""
    said = byoc(["plan", "--json", *options, "hello.py", "--n", "3"], project, env)
    assert said.code == 0, said.err
    document: dict[str, Any] = json.loads(said.out)
    return document


def applied(project: Path, env: dict[str, str], document: Any, *options: str) -> Said:
    """``byoc apply`` of a document, from standard input."""
    return byoc(["apply", *options, "-"], project, env, json.dumps(document))


def runs(project: Path, env: dict[str, str]) -> list[Any]:
    """The runs that there have been."""
    found: list[Any] = json.loads(byoc(["ps", "--all", "--json"], project, env).out)["runs"]
    return found


def test_a_plan_is_applied(project: Path, own_env: dict[str, str], tmp_path: Path) -> None:
    """What was planned is run: the same program, arguments and options, on the approved offer."""
    file = tmp_path / "plan.json"
    made_it = byoc(
        ["plan", "--no-keep", "--cpu", "1", "--out", str(file), "hello.py", "--n", "3"],
        project,
        own_env,
    )
    assert made_it.code == 0, made_it.err
    assert "square: 1 CPU" in made_it.out and f"byoc apply {file}" in made_it.err
    assert file.stat().st_mode & 0o777 == 0o600
    checked = byoc(["apply", "--dry-run", str(file)], project, own_env)
    assert checked.code == 0 and "can be applied" in checked.out
    assert runs(project, own_env) == []
    done = byoc(["apply", str(file), "--json"], project, own_env)
    assert done.code == 0, done.err
    shown = json.loads(done.out)
    assert shown["command"] == "apply" and shown["plan"] == json.loads(file.read_text())["id"]
    assert shown["instances"][0]["left"] == "ended"  # --no-keep is part of the plan
    assert "9\n" in done.err


def test_the_json_of_a_plan_can_be_applied(project: Path, own_env: dict[str, str]) -> None:
    """``byoc plan --json | byoc apply -`` runs."""
    document = planned(project, own_env, "--no-keep")
    assert document["command"] == "plan" and document["ok"] is True
    assert document["line"] == ["run", "--no-keep", "hello.py", "--n", "3"]
    said = applied(project, own_env, document)
    assert (said.code, said.out) == (0, "9\n"), said.err


def test_refusals_cost_nothing(project: Path, own_env: dict[str, str]) -> None:
    """Expired, changed, of another version or program: each exits with 2, and there is no run."""
    document = planned(project, own_env)
    late = document | {"expires": "2020-01-01T00:00:00+00:00"}
    assert applied(project, own_env, late).code == 2
    edited = document | {"price_ceiling": 100.0}
    assert "changed after it was made" in applied(project, own_env, edited).err
    assert applied(project, own_env, document | {"schema_version": 7}).code == 2
    other = {**document, "line": ["exec", "--", "true"]}
    other["id"] = plans.identity(other)
    assert "byoc exec" in applied(project, own_env, other).err
    source = project / "hello.py"
    text = source.read_text()
    try:
        source.write_text(text + "\n# more\n")
        said = applied(project, own_env, document, "--json")
    finally:
        source.write_text(text)
    assert said.code == 2 and "program has changed" in said.err
    assert json.loads(said.out)["error"]["code"] == "invalid"
    assert runs(project, own_env) == []


def test_a_plan_knows_other_settings(project: Path, own_env: dict[str, str]) -> None:
    """A setting that changes what is asked for is no part of what was approved."""
    document = planned(project, own_env)
    said = applied(project, own_env | {"BYOC_CPU": "1"}, document)
    assert said.code == 2 and "asks for something else" in said.err


def test_a_plan_goes_on_in_the_background(
    project: Path, own_env: dict[str, str], tmp_path: Path
) -> None:
    """apply --detach checks first, prints the run's id, and the run outlives the command."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(planned(project, own_env, "--no-keep")))
    said = byoc(["apply", "--detach", str(file)], project, own_env)
    assert said.code == 0, said.err
    run = said.out.strip()
    printed = byoc(["logs", "-f", run], project, own_env).out
    assert printed.index("\n9\n") < printed.index("byoc: done")
    late = json.loads(file.read_text()) | {"expires": "2020-01-01T00:00:00+00:00"}
    file.write_text(json.dumps(late))
    assert byoc(["apply", "--detach", str(file)], project, own_env).code == 2
    assert byoc(["apply", "--detach", "-"], project, own_env, "{}").code == 2


def test_a_plain_program_is_planned_with_its_folder(
    project: Path, own_env: dict[str, str], tmp_path: Path
) -> None:
    """A script without an App travels with its folder: a file beside it is part of the plan."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "job.py").write_text("import sys\nprint(open('data.txt').read(), sys.argv[1:])\n")
    (folder / "data.txt").write_text("one")
    made_it = byoc(["plan", "--json", "--no-keep", "job.py", "a", "--b"], folder, own_env)
    assert made_it.code == 0, made_it.err
    document = json.loads(made_it.out)
    assert document["program"]["files"] == 2
    said = applied(folder, own_env, document)
    assert (said.code, said.out) == (0, "one ['a', '--b']\n"), said.err
    (folder / "data.txt").write_text("two")
    assert applied(folder, own_env, document).code == 2
