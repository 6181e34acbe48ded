"""The rules of the house that linters do not know: lengths, docstrings, registers, and documents that stay true."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests import floors

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("psi", "vfl", "parties", "ui")
LONGEST_MODULE, LONGEST_FUNCTION = 400, 70
# longer ones, which may shrink and not grow; whoever splits one takes it off the list
LONG_MODULES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {
    "parties/cli/proposals.py:run_propose": 75,
}
PROTOCOL_LINES = ("Learns:", "Leaks:", "Model:", "Source:")


def modules() -> list[Path]:
    """Every module people wrote, of every package."""
    found = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return [path for path in found if not re.search(r"_pb2(_grpc)?\.py$", path.name)]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def too_long(found: dict[str, int], most: int, listed: dict[str, int]) -> dict[str, str]:
    """What is longer than ``most`` lines and than its listed length, or listed and no longer so long."""
    wrong = {name: f"has {n} lines" for name, n in found.items() if n > listed.get(name, most)}
    return wrong | {name: "is listed without need" for name in listed if found.get(name, 0) <= most}


def test_modules_stay_short() -> None:
    found = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert too_long(found, LONGEST_MODULE, LONG_MODULES) == {}, "split it by meaning"


def test_functions_stay_short() -> None:
    found: dict[str, int] = {}
    for path in modules():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{name_of(path)}:{node.name}"
                found[name] = max(found.get(name, 0), (node.end_lineno or 0) - node.lineno + 1)
    assert too_long(found, LONGEST_FUNCTION, LONG_FUNCTIONS) == {}, "name its steps"


def test_lengths_are_held_to_the_list() -> None:
    found = {"a": 401, "b": 420, "c": 390}
    assert too_long(found, 400, {"a": 401, "b": 420}) == {}
    assert set(too_long(found, 400, {"b": 419})) == {"a", "b"}, "one is not listed, one grew"
    assert set(too_long(found, 400, {"a": 401, "b": 420, "c": 410, "gone": 500})) == {"c", "gone"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_all_lists_exactly_the_public_names(path: Path) -> None:
    tree = parse(path)
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    listed: set[str] = set()
    defined = set(public)
    for node in tree.body:
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        defined |= names
        if isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {(alias.asname or alias.name) for alias in node.names}
        if "__all__" in names and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            listed = set(ast.literal_eval(node.value))
    assert public <= listed, f"{name_of(path)}: not in __all__: {sorted(public - listed)}"
    assert listed <= defined, f"{name_of(path)}: in __all__ but not defined: {sorted(listed - defined)}"


def test_no_page_module_hides_one_of_the_library() -> None:
    """Streamlit puts the folder of its script first on the path, so ui/numbers.py would be Python's own numbers."""
    names = {path.stem for path in (ROOT / "ui").iterdir()}
    assert names & set(sys.stdlib_module_names) == set()


def is_flow(function: ast.FunctionDef) -> bool:
    """Whether a function is a flow; mypy holds every function to the type that it declares."""
    return function.returns is not None and bool(re.match(r"(flow\.)?Flow\[", ast.unparse(function.returns)))


def public_flows(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The public flows of a module and of its public classes; private ones are steps of these.

    An interface (typing.Protocol) is no flow of its own: what implements it says what it reveals.
    """
    for node in parse(path).body:
        inside = [node]
        if isinstance(node, ast.ClassDef) and not any("Protocol" in ast.unparse(base) for base in node.bases):
            inside = [] if node.name.startswith("_") else node.body
        for function in inside:
            if isinstance(function, ast.FunctionDef) and not function.name.startswith("_") and is_flow(function):
                yield f"{name_of(path)}:{function.name}", function


def protocols() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every public flow of the cores but the kernel's own, which run others' flows."""
    for package in ("psi", "vfl"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path != ROOT / "psi" / "flow.py":
                yield from public_flows(path)


def test_every_protocol_says_what_it_reveals() -> None:
    found = dict(protocols())
    for place in ("psi/ring.py", "vfl/protocols/product_flows.py", "vfl/models/split/label.py:forward"):
        assert any(where.startswith(place) for where in found), place
    missing = {
        where: [line for line in PROTOCOL_LINES if line not in (ast.get_docstring(node) or "")]
        for where, node in found.items()
    }
    assert {where: lines for where, lines in missing.items() if lines} == {}


def import_everything() -> None:
    """Every module of the product, so that every message type is declared."""
    for package in ("psi", "vfl", "parties"):
        for module in pkgutil.walk_packages([str(ROOT / package)], prefix=f"{package}."):
            if not re.search(r"_pb2(_grpc)?$|__main__$", module.name):
                importlib.import_module(module.name)


def cited_sources() -> Iterator[tuple[str, str]]:
    """What the product names as its sources: in docstrings after "Source:", to the paragraph's end; in messages."""
    from psi.flow import REGISTER

    for path in modules():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for text in re.findall(r"\bSource:(.+?)(?:\n\n|\Z)", ast.get_docstring(node) or "", re.DOTALL):
                    yield f"{name_of(path)}:{getattr(node, 'name', '')}", " ".join(text.split())
    import_everything()
    for name, kind in REGISTER.items():
        if kind.cls.__module__.partition(".")[0] in PACKAGES:
            yield name, kind.source


@cache
def headings(path: Path) -> set[str]:
    """The anchors of a page, as its readers' programs make them."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


def unresolved(source: str) -> str:
    """Why a reader could not find the source; "" where it is a section of this repository, a standard, or a work."""
    pages = re.findall(r"((?:docs|psi|vfl|parties)/[\w/.-]*\w)(#[\w-]+)?", source)
    for page, anchor in pages:
        if not (ROOT / page).is_file():
            return f"{page} does not exist"
        if anchor and anchor[1:] not in headings(ROOT / page):
            return f"{page} has no heading {anchor}"
        if page.startswith("docs/protocols/") and not anchor:
            return f"{page}: name the section"
    if re.search(r"\bsection [A-Z][a-z]+ ?[a-z]*\b|CRYPTO [0-9]|FACTORS", source):
        return "cites a section by a name: write page.md#heading"
    standard = r"\bRFC \d{3,5}\b|\bFIPS \d+\b|\bePrint \d{4}/\d+|\bdoi:10\."
    work = r"[A-Z][a-z]+\b[^;]*\b(19|20)\d\d\b"
    library = r"``\w+(\.\w+)+``"
    return "" if pages or re.search(f"{standard}|{work}|{library}", source) else "names nothing that can be looked up"


def test_every_source_can_be_looked_up() -> None:
    found = list(cited_sources())
    assert len(found) > 60
    assert {where: why for where, source in found if (why := unresolved(source))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "", "FACTORS, Settlement", "CRYPTO 4, step 1", "the literature",
        "docs/protocols/none.md#a-step", "docs/protocols/split.md#no-such-step", "docs/protocols/split.md",
    ],
)  # fmt: skip
def test_a_source_that_leads_nowhere_is_found(source: str) -> None:
    assert unresolved(source)


def test_every_message_is_registered_with_what_it_reveals() -> None:
    from psi.flow import REGISTER, Message, fields_of

    import_everything()
    allowed = {
        "int", "float", "bool", "str", "bytes",
        "tuple[int, ...]", "tuple[float, ...]", "tuple[str, ...]", "tuple[bytes, ...]",
    }  # fmt: skip
    product = {cls for cls in Message.__subclasses__() if cls.__module__.partition(".")[0] in PACKAGES}
    assert product, "no message types found"
    registered = {f"{kind.cls.__module__}.{kind.cls.__qualname__}" for kind in REGISTER.values()}
    assert {f"{cls.__module__}.{cls.__qualname__}" for cls in product} <= registered
    for name, kind in REGISTER.items():
        if kind.cls.__module__.partition(".")[0] not in PACKAGES:
            continue
        assert kind.reveals.strip(), f"{name}: reveals is empty"
        assert kind.source.strip(), f"{name}: source is empty"
        assert dataclasses.is_dataclass(kind.cls)
        types = {field.type if isinstance(field.type, str) else str(field.type) for field in fields_of(kind.cls)}
        types = {re.sub(r"<class '(\w+)'>", r"\1", text) for text in types}
        assert types <= allowed, f"{name}: fields of types {sorted(types - allowed)} cannot travel"


def test_rooms_import_downward_and_in_no_circle() -> None:
    found, stack = floors.imports(), floors.floors()
    assert sorted(found) == sorted(room for rooms in stack for room in rooms), "every room has its floor"
    assert (floors.upward(found, stack), floors.circles(found)) == ([], [])
    wrong = {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("b")}
    assert floors.upward(wrong, [["c"], ["b"], ["a"]]) == [("c", "b")]
    assert floors.circles(wrong) == [["b", "c"]]


def test_the_picture_of_the_floors_is_current() -> None:
    assert floors.PICTURE.read_text(encoding="utf-8") == floors.picture(), "run make map"


def routes() -> dict[str, list[str]]:
    """The data flows of docs/design.md: title -> files in order."""
    text = documents()["docs/design.md"]
    sections = re.findall(r"^### (From .+)\n\n((?:\d+\. .*\n)+)", text, re.MULTILINE)
    return {title: re.findall(r"^\d+\. `([\w/.]+)`", steps, re.MULTILINE) for title, steps in sections}


def imported_by(name: str) -> set[str]:
    """Every module and package that a file imports, dotted."""
    found: set[str] = set()
    for node in ast.walk(parse(ROOT / name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_the_routes_of_the_map_lead_from_file_to_file() -> None:
    """Each file stands, and knows an earlier one of its route or is known by one."""
    found = routes()
    assert len(found) == 4
    for title, files in found.items():
        assert len(files) > 5, title
        missing = [name for name in files if not (ROOT / name).is_file()]
        assert missing == [], title
        names = {name: {name[:-3].replace("/", "."), str(Path(name).parent).replace("/", ".")} for name in files}
        known = {name: imported_by(name) for name in files}
        for at, name in enumerate(files[1:], 1):
            linked = [one for one in files[:at] if names[name] & known[one] or names[one] & known[name]]
            assert linked, f"{title}: {name} has nothing to do with what comes before it"


def test_every_file_that_a_document_names_stands() -> None:
    named = r"`((?:psi|vfl|parties|ui|tests|benchmarks|docs|examples)/[\w/.-]+\.(?:py|md|toml|svg))(?:::\w+)?`"
    missing = {
        name: sorted({one for one in re.findall(named, text) if not (ROOT / one).exists()})
        for name, text in documents().items()
    }
    assert {name: files for name, files in missing.items() if files} == {}


def test_every_example_is_in_the_package() -> None:
    """Documents lead to them, and their files to each other by ``..``."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {name_of(path.parent) for path in (ROOT / "examples").glob("*/README.md")}
    kept = {name.removeprefix("share/doc/entente/"): files for name, files in setuptools["data-files"].items()}
    assert {name: kept.get(name) for name in folders} == {name: [f"{name}/*"] for name in folders}


def test_no_absence_is_proved_by_sleeping() -> None:
    """Nothing happened while a test slept: on a slow machine nothing had happened yet."""
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for block in ast.walk(parse(path)):
            for field in ("body", "orelse", "finalbody"):
                steps = getattr(block, field, None)
                for one, after in pairwise(steps if isinstance(steps, list) else []):
                    slept = isinstance(one, ast.Expr) and re.fullmatch(r"(time\.)?sleep\(.*\)", ast.unparse(one))
                    if slept and isinstance(after, ast.Assert):
                        found.append(f"{name_of(path)}:{one.lineno}")
            if isinstance(block, ast.With) and "raises(queue.Empty" in ast.unparse(block.items[0]):
                found.append(f"{name_of(path)}:{block.lineno}")
    assert found == [], "wait for what shows that its time has passed"


def documents() -> dict[str, str]:
    first = [path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md"]
    paths = [*first, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
    return {name_of(path): path.read_text(encoding="utf-8") for path in paths}


def test_make_targets_and_documents_agree() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    declared = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert declared is not None
    targets = set(declared[1].split())
    for name, text in documents().items():
        mentioned = set(re.findall(r"(?:`|^\s*|&& )make ([a-z]+)\b", text, re.MULTILINE))
        assert mentioned <= targets, f"{name} names make targets that do not exist: {sorted(mentioned - targets)}"
    named = documents()["README.md"] + documents()["CONTRIBUTING.md"]
    assert {t for t in targets - {"help"} if f"make {t}" not in named} == set(), "targets that nothing names"


def test_every_command_is_documented() -> None:
    import typer.main

    from parties.cli import app

    text = "\n".join(documents().values())

    def leaves(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        inner = getattr(command, "commands", None)
        if inner:
            for name, child in inner.items():
                yield from leaves(child, (*path, name))
        elif not getattr(command, "hidden", False):
            yield path

    commands = {" ".join(path) for path in leaves(typer.main.get_command(app), ("entente",))}
    assert "entente demo" in commands
    assert {name for name in commands if not re.search(rf"{name}\b", text)} == set()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_names(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]) for text in requirements}


def test_what_the_product_imports_is_declared_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = requirement_names(project["dependencies"])
    extras = set().union(*(requirement_names(names) for names in project["optional-dependencies"].values()))
    pinned = requirement_names((ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n"))
    assert declared | extras <= pinned, f"not in constraints.txt: {sorted((declared | extras) - pinned)}"

    providers = importlib.metadata.packages_distributions()
    undeclared: dict[str, set[str]] = {}
    for path in modules():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Import):
                roots = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                roots = {node.module.partition(".")[0]}
            else:
                continue
            for root in roots - set(PACKAGES) - sys.stdlib_module_names:
                if not {canonical(name) for name in providers.get(root, [root])} & declared:
                    undeclared.setdefault(root, set()).add(name_of(path))
    # the code generator is for development only; what an extra brings comes with the extra of its name
    optional = (
        ("grpc_tools", "parties/wire/generate.py"),
        ("distributed", "parties/process/workers.py"),
        ("ray", "parties/process/workers.py"),
        ("transformers", "parties/data/text_model.py"),
        ("cvxpy", "vfl/factors/target_book.py"),
    )
    for root, user in optional:
        if undeclared.get(root) == {user}:
            del undeclared[root]
    assert undeclared == {}, "imported by the product, but not a dependency in pyproject.toml"


@pytest.mark.parametrize(
    ("module", "later"),
    [
        ("parties.node.serve", ("torch", "scipy", "sklearn")),
        ("parties.coordinator.service", ("torch", "scipy", "pandas", "httpx", "reportlab")),
        ("parties.cli", ("numpy", "pydantic", "grpc", "cryptography")),
    ],
)
def test_a_process_starts_without_what_only_some_commands_and_parties_need(module: str, later: tuple[str, ...]) -> None:
    """With torch and scipy a start takes seconds more and 250 MiB; a label party's node loads them when it trains."""
    asked = f"import sys, {module}; print([name for name in {later} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"
