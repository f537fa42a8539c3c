"""The house keeps its shape: which floor may import which, how long things are, and what may not be written."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "latent_preview", "nodes"}
HOST |= {"node_helpers", "server"}
CORE_MAY_IMPORT = {"torch", "einops", "numpy", "safetensors", "PIL"} | set(sys.stdlib_module_names)
# Each floor and what it may stand on; a module always may import from its own floor.
BELOW = {
    "nodes": {"host", "training", "attention", "world", "files", "dims", "errors"},
    "host": {"training", "attention", "world", "files", "dims", "errors"},
    "training": {"attention", "files", "dims", "errors"},
    "world": {"dims", "errors"},
    "attention": {"files", "dims", "errors"},
    "files": {"dims", "errors"},
    "dims": {"errors"},
    "errors": set(),
}
LINES_IN_A_FILE, LINES_IN_A_FUNCTION = 350, 60
UNFINISHED = re.compile(r"\b(T[O]DO|F[I]XME|X[X]X)\b|moc[k]\.patch|mark\.(skip|xfail)|pytest\.(skip|xfail)\(")
# A folder of one person's machine: a Unix or Windows home, a scratch folder.
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.:~])/(?:home|Users|root|tmp|mnt|var/tmp)/\w|[A-Za-z]:\\\\?Users\\")
TEXT = {".py", ".md", ".toml", ".yml", ".json", ".js", ".txt", ".cfg", ".ts", ".css", ".html"}


def is_ours(file: Path) -> bool:
    """Return whether a file is the project's, and not a tool's."""
    return not any(part.startswith(".") or part in ("node_modules", "venv") for part in file.relative_to(ROOT).parts)


def python_files(*folders: str) -> list[Path]:
    """Return the Python files in some folders of the repository, or in all of them."""
    places = [ROOT / folder for folder in folders] if folders else [ROOT]
    files = (file for place in places for file in ([place] if place.is_file() else place.rglob("*.py")))
    return sorted(filter(is_ours, files))


def floor_of(module: tuple[str, ...]) -> str | None:
    """Return the floor that a module of the pack is on; the packages' own `__init__` files are on none."""
    if module[:1] == ("scenescope",):
        return module[1] if len(module) > 1 else None
    return module[0] if module and module[0] in BELOW else None


def imports(module: tuple[str, ...], source: str) -> Iterator[tuple[bool, tuple[str, ...]]]:
    """Find everything that a module imports.

    Args:
        module: its own name within the pack, such as ("host", "unet"); a package's ends with "__init__"
        source: its text

    Returns:
        pairs: whether the import is from within the pack, and the full name: (True, ("scenescope", "errors"))
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((False, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module[: len(module) - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((node.level > 0, (*base, alias.name)) for alias in node.names)


def arrows_up(module: tuple[str, ...], source: str) -> list[str]:
    """Return the floors that a module imports although they are not below its own."""
    own = floor_of(module)
    if own is None:
        return []
    floors = {floor_of(name) for inside, name in imports(module, source) if inside} - {None, own}
    return sorted(f"{'/'.join(module)} imports {floor}" for floor in floors - BELOW.get(own, set()))


def foreign(module: tuple[str, ...], source: str) -> set[str]:
    """Return the packages outside the pack that a module imports."""
    return {name[0] for inside, name in imports(module, source) if not inside}


def name_of(file: Path) -> tuple[str, ...]:
    """Return a file's module name within the pack."""
    return file.relative_to(ROOT).with_suffix("").parts


def test_imports_between_the_floors_point_down():
    """Oracle: the table of floors. Training may read the eye; the eye never knows the hand."""
    files = python_files("nodes", "host", "scenescope")
    assert [arrow for file in files for arrow in arrows_up(name_of(file), file.read_text("utf-8"))] == []


def test_every_module_is_on_a_floor_of_the_table():
    """Oracle: the table of floors; a new floor has to be put into it."""
    floors = {floor_of(name_of(file)) for file in python_files("scenescope")}
    assert floors - {"__init__"} <= set(BELOW)


def test_an_arrow_that_points_up_is_seen():
    """Oracle: imports written by hand, in each way of writing them."""
    assert arrows_up(("host", "unet"), "from ..nodes.record import Record") == ["host/unet imports nodes"]
    assert arrows_up(("scenescope", "attention", "sites"), "def f():\n    from ..training import losses") == [
        "scenescope/attention/sites imports training"
    ]
    assert arrows_up(("scenescope", "dims"), "from . import attention") == ["scenescope/dims imports attention"]
    assert arrows_up(("scenescope", "training", "losses"), "from ..attention.heatmap import at") == []


def test_the_core_imports_only_what_it_may():
    """Oracle: the list of five packages and the standard library."""
    files = python_files("scenescope")
    assert [(file.name, foreign(name_of(file), file.read_text("utf-8")) - CORE_MAY_IMPORT) for file in files] == [
        (file.name, set()) for file in files
    ]


def test_nodes_know_no_more_of_the_host_than_its_node_api():
    """Oracle: the list of the host's modules; all of them but comfy_api belong to host/."""
    for file in python_files("nodes"):
        assert foreign(name_of(file), file.read_text("utf-8")) & HOST <= {"comfy_api"}, file


def test_the_tools_need_only_the_standard_library():
    """Oracle: the list of standard modules. `dev.py` runs before anything is installed."""
    for file in python_files("devtools", "dev.py"):
        found = foreign(name_of(file), file.read_text("utf-8")) - set(sys.stdlib_module_names)
        assert found <= {"devtools", "comfy"}, file


def test_the_core_loads_where_there_is_no_host():
    """Oracle: an importer, in a process of its own, that refuses every module of the host by name."""
    core = [".".join(("pack", *name_of(file))).removesuffix(".__init__") for file in python_files("scenescope")]
    script = f"""
import importlib, runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HOST!r}:
            raise ImportError("the core asked for the host: " + name)
sys.meta_path.insert(0, Refuse())
runpy.run_path({str(ROOT / "devtools" / "as_pack.py")!r})["load_pack"]()
for name in {core!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_entry_file_imports_nothing_when_it_is_loaded():
    """Oracle: its syntax tree. pytest loads this file before every test, with or without a ComfyUI."""
    body = ast.parse((ROOT / "__init__.py").read_text("utf-8")).body
    assert {type(node) for node in body} <= {ast.Expr, ast.Assign, ast.AsyncFunctionDef}


def test_files_and_functions_stay_short_enough_to_read():
    """Oracle: the two limits."""
    long = []
    for file in python_files():
        source = file.read_text("utf-8")
        if len(source.splitlines()) > LINES_IN_A_FILE:
            long.append(f"{file.relative_to(ROOT)}: {len(source.splitlines())} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LINES_IN_A_FUNCTION:
                    long.append(f"{file.relative_to(ROOT)}: {node.name} has {length} lines")
    assert long == []


def test_nothing_unfinished_and_nothing_silent_is_kept():
    """Oracle: a list of words and of tree shapes: notes to oneself, skipped tests, swallowed errors."""
    found = []
    for file in python_files():
        source = file.read_text("utf-8")
        found += [f"{file.relative_to(ROOT)}: {match.group()}" for match in UNFINISHED.finditer(source)]
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body):
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} swallows an error")
            if isinstance(node, ast.Name) and node.id == "NotImplementedError":
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} is not implemented")
    assert found == []


def test_no_file_names_a_folder_of_somebodys_machine():
    """Oracle: patterns of home and scratch folders."""
    files = [file for file in ROOT.rglob("*") if file.suffix in TEXT and is_ours(file) and file.is_file()]
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in files
        for match in SOMEBODYS_FOLDER.finditer(file.read_text("utf-8"))
    ]
    assert found == []


def test_a_folder_of_somebodys_machine_is_seen():
    """Oracle: examples written by hand, put together so that this file holds none."""
    assert SOMEBODYS_FOLDER.search("open('" + "/ho" + "me/ada/maps')")
    assert SOMEBODYS_FOLDER.search("C:" + "\\Users\\ada")
    assert not SOMEBODYS_FOLDER.search("https://example.org/ho" + "me/page")
    assert not SOMEBODYS_FOLDER.search("~/comfy/ComfyUI")
