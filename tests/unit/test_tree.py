"""The tree keeps its shape: docstrings, sizes, a test file a source file, no junk drawers."""

import ast
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("nodeagent", "netdrivers", "voldrivers", "runtime")
MAX_LINES = 400
TOO_LONG: frozenset[str] = frozenset()  # exceptions, each with its reason
JUNK_DRAWERS = {"utils", "util", "helpers", "common", "misc", "base", "core", "manager"}

# Files that need no test file of their own: data and Protocols, nothing that could be wrong alone.
SHAPES_ONLY = {"__init__.py", "contract.py", "errors.py"}


def files(*tops: str) -> list[str]:
    found = (path for top in tops for path in (CHECKOUT / top).rglob("*.py"))
    return sorted(str(path.relative_to(CHECKOUT)) for path in found)


SOURCES = files(*PACKAGES)
ALL = [*SOURCES, *files("tests")]


@cache
def module(name: str) -> ast.Module:
    return ast.parse((CHECKOUT / name).read_text(encoding="utf-8"))


def has_logic(name: str) -> bool:
    """Something in it decides: a function with a branch, a loop or a call."""
    functions = (
        node
        for node in ast.walk(module(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    decisions = (ast.If, ast.For, ast.While, ast.Try, ast.Match, ast.Call, ast.AsyncFor)
    return any(
        isinstance(node, decisions) for f in functions for b in f.body for node in ast.walk(b)
    )


TESTED = [
    name
    for name in SOURCES
    if Path(name).name not in SHAPES_ONLY and "/contract/" not in name and has_logic(name)
]
TEST_PATHS = set(files("tests"))


@cache
def covered() -> frozenset[str]:
    """Source files that a test file of another name says it covers, in its docstring."""
    said = (ast.get_docstring(module(name)) or "" for name in TEST_PATHS)
    words = {word.strip(".,") for text in said for word in text.partition("Covers ")[2].split()}
    return frozenset(words & set(SOURCES))


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_file_says_what_it_is(name: str) -> None:
    if Path(name).name != "__init__.py":
        assert ast.get_docstring(module(name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", [name for name in SOURCES if name.endswith("__init__.py")])
def test_packages_do_nothing_at_import(name: str) -> None:
    statements = module(name).body
    assert all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in statements)


@pytest.mark.parametrize("name", ALL)
def test_no_file_is_too_long(name: str) -> None:
    lines = (CHECKOUT / name).read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES or name in TOO_LONG, f"{name} has {lines} lines"


@pytest.mark.parametrize("name", SOURCES)
def test_no_junk_drawers(name: str) -> None:
    assert Path(name).stem not in JUNK_DRAWERS


@pytest.mark.parametrize("name", TESTED)
def test_every_source_file_has_a_test_file(name: str) -> None:
    source = Path(name)
    folders = [Path(ring) / source.parent for ring in ("unit", "kernel", "system")]
    wanted = {f"tests/{folder}/test_{source.stem.strip('_')}.py" for folder in folders}
    assert wanted & TEST_PATHS or name in covered(), f"none of {sorted(wanted)}"


@pytest.mark.parametrize("name", SOURCES)
def test_no_unfinished_marks(name: str) -> None:
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    marks = [mark for mark in ("TO" + "DO", "FIX" + "ME", "NotImplementedError") if mark in text]
    assert not marks, f"{name} holds {marks}"


def test_the_packages_below_do_not_know_the_agent() -> None:
    """A cheap twin of the import contracts, for a checkout without import-linter."""
    for name in files("netdrivers", "voldrivers", "runtime"):
        others = set(PACKAGES) - {name.split("/")[0]}
        assert not imported(name) & others, name


def imported(name: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(module(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found
