"""The size and shape of ``gateway/`` in figures, for this checkout or others: a column each, as a Markdown table.

    python -m benchmarks.house [CHECKOUT ...]

Function lengths count from ``def`` to the last line; parameters count without ``self`` and ``cls``; code lines are
those that hold neither only a comment nor only a docstring nor nothing. Import levels are counted between boxes (a
room, or a file loose at the top), and between modules as they run. Cyclomatic complexity: where radon is there.
"""

from __future__ import annotations

import ast
import statistics
import sys
import tokenize
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "gateway"
MAX_PARAMETERS = 7
HERE = Path(__file__).parents[1]

Imports = Mapping[str, Collection[str]]
"""By module, those that it imports."""
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method; ``name`` is qualified by its module, without the package."""

    name: str
    lines: int
    parameters: int


def sources(checkout: Path) -> dict[str, Path]:
    """The files of the package, by module name."""
    found = {}
    for path in sorted((checkout / PACKAGE).rglob("*.py")):
        parts = path.relative_to(checkout).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def length(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text().splitlines())


def code_lines(path: Path) -> int:
    """Lines of a file that hold code."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    with path.open("rb") as file:
        code = {
            line
            for token in tokenize.tokenize(file.readline)
            if token.type not in NO_CODE and token.type != tokenize.ENCODING
            for line in range(token.start[0], token.end[0] + 1)
        }
    return len(code - docstrings)


def functions(modules: Mapping[str, Path]) -> Iterator[Function]:
    """Every function and method of these modules, nested ones too."""
    for module, path in modules.items():
        yield from _functions(ast.parse(path.read_text()), module.removeprefix(f"{PACKAGE}."))


def _functions(node: ast.AST, within: str, of_class: bool = False) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FunctionNode):
            name = f"{within}.{child.name}"
            yield Function(name, (child.end_lineno or 0) - child.lineno + 1, _parameters(child, of_class))
            yield from _functions(child, name)
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{within}.{child.name}", of_class=True)
        else:
            yield from _functions(child, within, of_class)


def _parameters(function: FunctionNode, of_class: bool) -> int:
    arguments = function.args
    static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)
    named = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
    more = (arguments.vararg is not None) + (arguments.kwarg is not None)
    return named + more - (of_class and not static)


def imports(modules: Mapping[str, Path], *, for_types: bool = True) -> dict[str, set[str]]:
    """The modules of the package that each imports; ``for_types``: also those under ``if TYPE_CHECKING``."""
    return {
        module: set(_imported(ast.parse(path.read_text()), modules, for_types)) - {module, PACKAGE}
        for module, path in modules.items()
    }


def _imported(node: ast.AST, modules: Collection[str], for_types: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and child.module is not None and child.module in modules:
            for name in child.names:
                whole = f"{child.module}.{name.name}"
                yield whole if whole in modules else child.module
        elif isinstance(child, ast.Import):
            yield from (name.name for name in child.names if name.name in modules)
        elif for_types or not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _imported(child, modules, for_types)


def boxes(imports: Imports) -> dict[str, set[str]]:
    """The same between rooms, and files loose at the top."""
    found: dict[str, set[str]] = {}
    for module, targets in imports.items():
        box = found.setdefault(box_of(module), set())
        box |= {box_of(target) for target in targets} - {box_of(module)}
    return found


def box_of(module: str) -> str:
    """The room that a module is in, or itself where it is loose at the top."""
    return ".".join(module.split(".")[:2])


def levels(imports: Imports) -> int | None:
    """The length of the longest chain of imports; None where there is a circle."""
    depth: dict[str, int] = {}
    try:
        for module in TopologicalSorter(imports).static_order():
            depth[module] = 1 + max((depth[each] for each in imports.get(module, ())), default=0)
    except CycleError:
        return None
    return max(depth.values())


def at_top(modules: Mapping[str, Path]) -> list[str]:
    """Files loose at the top of the package."""
    top = min(modules.values(), key=lambda path: len(path.parts)).parent
    return [path.name for path in modules.values() if path.parent == top]


def complexity(modules: Mapping[str, Path]) -> str:
    """Mean cyclomatic complexity and blocks above 10, as radon counts them."""
    try:
        from radon.complexity import cc_visit  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return "–"
    found = [block.complexity for path in modules.values() for block in cc_visit(path.read_text())]
    return f"{statistics.mean(found):.2f}, {sum(each > 10 for each in found)} blocks > 10"


def figures(checkout: Path) -> dict[str, str]:
    """The rows of the table for one checkout."""
    modules = sources(checkout)
    sizes = [length(path) for path in modules.values()]
    known = [*functions(modules)]
    lines = sorted(each.lines for each in known)
    many = [each.parameters for each in known if each.parameters > MAX_PARAMETERS]
    graph = imports(modules)
    arrows, at_run_time = boxes(graph), imports(modules, for_types=False)
    return {
        "files": str(len(sizes)),
        "lines": f"{sum(sizes):,}",
        "code lines": f"{sum(map(code_lines, modules.values())):,}",
        "median / largest file": f"{statistics.median(sizes):.0f} / {max(sizes)}",
        "files at the top": str(len(at_top(modules))),
        "functions": f"{len(lines):,}",
        "function lines, median / p90 / max": f"{statistics.median(lines):.0f} / {_p90(lines)} / {lines[-1]}",
        f"functions with more than {MAX_PARAMETERS} parameters": f"{len(many)} (max {max(many, default=0)})",
        "cyclomatic complexity": complexity(modules),
        "boxes, arrows between them": f"{len(arrows)}, {sum(map(len, arrows.values()))}",
        "import levels, boxes / modules": f"{levels(arrows) or 'circle'} / {levels(at_run_time) or 'circle'}",
        "import edges": f"{sum(map(len, graph.values())):,}",
    }


def _p90(ordered: Sequence[int]) -> int:
    return ordered[int(0.9 * (len(ordered) - 1))]


def main() -> None:
    """Prints the table."""
    checkouts = [Path(each) for each in sys.argv[1:]] or [HERE]
    columns = [figures(each) for each in checkouts]
    print(f"| | {' | '.join(each.resolve().name for each in checkouts)} |\n|---|{'---:|' * len(columns)}")
    for row in columns[0]:
        print(f"| {row} | {' | '.join(column[row] for column in columns)} |")


if __name__ == "__main__":
    main()
