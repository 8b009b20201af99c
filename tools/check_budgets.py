"""Hold the source to the house's budgets, and print every figure beside its target.

    python tools/check_budgets.py [--all] [ROOT]

A figure past its hard stop fails the check and is listed place by place. A figure between its
target and its hard stop is marked, and fails nothing; ``--all`` lists those places too. Where the
figures come from, and what each anchors on, is said in CONTRIBUTING.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

if __package__ in (None, ""):  # run as a file, as the docstring says
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.house import figures, graph, rules, testing
from tools.house.source import FUNCTION, Finding, Module, load

MAX_LINES, MAX_COMPLEXITY, MAX_PARAMETERS, MAX_FILE = 60, 15, 10, 700
LONG, BRANCHY = 50, 10
"""Functions beyond these are rare; the budgets limit their share."""
TABLES = ("codes", "iam", "permissions", "selfend")
"""Modules of an adapter that are data: their length follows the vendor's documents; a policy's text
for its command line; or a program that is sent to the machine as text."""
MAX_BLIND, MAX_PROVIDER_METHODS, MAX_ADAPTER = 5, 9, 2100


@dataclass(frozen=True)
class Row:
    """One line of the table. ``target``/``stop``: the most allowed; None means there is no limit.

    ``floor``: the limits are the least allowed instead. ``places``: where it is too much.
    """

    what: str
    value: float
    target: float | None = None
    stop: float | None = None
    floor: bool = False
    places: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """``ok``, ``off`` (misses the target) or ``FAIL`` (misses the hard stop)."""
        if self._past(self.stop):
            return "FAIL"
        return "off" if self._past(self.target) else "ok"

    def _past(self, limit: float | None) -> bool:
        if limit is None:
            return False
        return self.value < limit if self.floor else self.value > limit


def report(root: Path) -> list[Row]:
    """Every row for the repository at ``root``."""
    source, broken = parsed(load(root, "src/byoc", "byoc"))
    checks, broken_checks = parsed(load(root, "tests", "tests"))
    broken += broken_checks
    return [
        Row("files that do not parse", len(broken), None, 0, places=broken),
        *function_rows(source),
        *file_rows(source),
        *import_rows(source, graph.floors(root / "pyproject.toml")),
        *rule_rows(source),
        *provider_rows(source),
        *test_rows(source, checks),
    ]


def parsed(modules: list[Module]) -> tuple[list[Module], list[Finding]]:
    """The modules that are valid Python, and a finding for each that is not."""
    good, broken = [], []
    for module in modules:
        try:
            assert module.tree is not None
            good.append(module)
        except SyntaxError as error:
            broken.append(Finding(module.path, error.lineno or 1, str(error.msg)))
    return good, broken


def function_rows(source: list[Module]) -> list[Row]:
    """Lengths, complexities and parameters of functions."""
    sizes = figures.sizes(source)
    lines = [size.lines for size in sizes]
    branches = [size.complexity for size in sizes]
    params = [size.parameters for size in sizes]

    def over(measure: str, limit: int, unit: str) -> list[Finding]:
        return [
            Finding(size.module.path, size.line, f"{size.name} has {value} {unit}")
            for size in sizes
            if (value := getattr(size, measure)) > limit
        ]

    return [
        Row("function lines, median", figures.percentile(lines, 0.5), 7),
        Row("function lines, p90", figures.percentile(lines, 0.9), 30),
        Row(
            "function lines, most",
            max(lines, default=0),
            None,
            MAX_LINES,
            places=over("lines", MAX_LINES, "lines"),
        ),
        Row(
            f"functions over {LONG} lines, %",
            figures.part_over(lines, LONG),
            2,
            4,
            places=over("lines", LONG, "lines"),
        ),
        Row("complexity, p90", figures.percentile(branches, 0.9), 6),
        Row(f"complexity over {BRANCHY}, %", figures.part_over(branches, BRANCHY), 2.5),
        Row(
            "complexity, most",
            max(branches, default=0),
            None,
            MAX_COMPLEXITY,
            places=over("complexity", MAX_COMPLEXITY, "branches"),
        ),
        Row("parameters, p90", figures.percentile(params, 0.9), 4),
        Row(
            "parameters, most",
            max(params, default=0),
            None,
            MAX_PARAMETERS,
            places=over("parameters", MAX_PARAMETERS, "parameters"),
        ),
    ]


def file_rows(source: list[Module]) -> list[Row]:
    """Lengths of files; empty ones are not counted."""
    lengths = [n for module in source if (n := figures.file_lines(module))]
    places = [
        Finding(module.path, 1, f"has {figures.file_lines(module)} lines")
        for module in source
        if figures.file_lines(module) > MAX_FILE
    ]
    return [
        Row("file lines, median", figures.percentile(lengths, 0.5), 180),
        Row("file lines, p90", figures.percentile(lengths, 0.9), 450),
        Row("file lines, most", max(lengths, default=0), None, MAX_FILE, places=places),
    ]


def import_rows(source: list[Module], plan: dict[str, int]) -> list[Row]:
    """Circles of imports, and own modules imported late."""
    upward = graph.late_upward(source, plan)
    circles = graph.in_circles(source)
    late = graph.deferred_own(source, "byoc")
    return [
        Row("imports in a circle", len(circles), None, 0, places=circles),
        Row("own imports inside functions", len(late), None, 0, places=late),
        Row("late loads from a higher floor", len(upward), None, 0, places=upward),
    ]


def rule_rows(source: list[Module]) -> list[Row]:
    """One row for each rule on what a room may touch, and the number of blind handlers."""
    rows = [_rule_row(name, rule, source) for name, rule in rules.RULES.items()]
    blind = [
        module.finding(node, f"catches every exception: {reason}")
        for module in source
        if module.room not in ("container", "runtime_agent", "emulator")
        for node, reason in rules.blind_handlers(module)
    ]
    rows.append(Row("blind except on the client", len(blind), None, MAX_BLIND, places=blind))
    return rows


def _rule_row(name: str, rule: rules.Rule, modules: list[Module]) -> Row:
    places = [finding for module in modules for finding in rule(module)]
    return Row(name, len(places), None, 0, places=places)


def provider_rows(source: list[Module]) -> list[Row]:
    """The size of the providers' contract, and of the adapters that fulfil it."""
    contract = next((m for m in source if m.name == "byoc.providers.base"), None)
    methods = 0
    for node in contract.tree.body if contract else []:
        if getattr(node, "name", "") == "Provider":
            methods = sum(
                isinstance(child, FUNCTION) and not child.decorator_list  # a property is no method
                for child in getattr(node, "body", [])
            )
    adapters: dict[str, int] = {}
    for module in source:
        adapter = module.name.removeprefix("byoc.").split(".")
        if adapter[0] != "providers" or adapter[1:2] == ["local"] or len(adapter) < 3:
            continue
        if adapter[-1] not in TABLES:
            adapters[module.room] = adapters.get(module.room, 0) + figures.file_lines(module)
    rows = [Row("methods of a provider", methods, 6, MAX_PROVIDER_METHODS)]
    rows += [Row(f"{name}, lines", lines, 1500, MAX_ADAPTER) for name, lines in adapters.items()]
    return rows


def test_rows(source: list[Module], checks: list[Module]) -> list[Row]:
    """The rules for tests, their share, and how often they replace a part of the product."""
    rows = [_rule_row(name, rule, checks) for name, rule in testing.RULES.items()]
    code = sum(map(figures.file_lines, source)) or 1
    number = testing.count(checks) or 1
    share = sum(map(figures.file_lines, checks)) / code
    rows.append(Row("test lines per source line", share, 1.2, floor=True))
    rows.append(Row("patches per 100 tests", 100 * testing.patches(checks) / number, 1))
    return rows


def show(rows: list[Row], *, everything: bool) -> bool:
    """Print the table and the places; returns whether every hard stop holds."""
    width = max(len(row.what) for row in rows)
    print(f"{'':{width}}  {'figure':>7} {'target':>7} {'stop':>7}")
    for row in rows:
        cells = " ".join(f"{_cell(value):>7}" for value in (row.value, row.target, row.stop))
        print(f"{row.what:{width}}  {cells}  {row.verdict}")
    wanted = ("FAIL", "off") if everything else ("FAIL",)
    for row in rows:
        if row.verdict in wanted and row.places:
            print(f"\n{row.what}:")
            for place in row.places:
                print(f"  {place}")
    return all(row.verdict != "FAIL" for row in rows)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def main(arguments: list[str]) -> int:
    """The exit code: 0 when every hard stop holds."""
    places = [word for word in arguments if not word.startswith("-")]
    root = Path(places[0]) if places else Path(__file__).resolve().parent.parent
    return 0 if show(report(root), everything="--all" in arguments) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
