"""The house keeps its shape: which floor may import which, how long things are, and what may not be written."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "latent_preview", "nodes"}
HOST |= {"node_helpers", "server"}
CORE_MAY_IMPORT = {"torch", "einops", "numpy", "safetensors", "PIL"} | set(sys.stdlib_module_names)
# The rooms, from the ground up: a module may import from its own room and from those before it. A room is a folder, or
# a file that stands alone in a ring.
ROOMS = (
    "scenescope/errors", "scenescope/dims", "scenescope/cost", "scenescope/resample", "scenescope/host_copies",
    "scenescope/files", "scenescope/drawing", "scenescope/world",
    "scenescope/attention/words", "scenescope/attention/record", "scenescope/attention/read",
    "scenescope/attention/draw", "scenescope/attention/act", "scenescope/attention/doctor",
    "scenescope/attention/shapes", "scenescope/attention/files",
    "scenescope/training/settings", "scenescope/training/noise", "scenescope/training/weights",
    "scenescope/training/scene", "scenescope/training/ports", "scenescope/training/step",
    "scenescope/training/learned", "scenescope/training/run",
    "host/version", "host/core_nodes", "host/files", "host/paths", "host/shapes", "host/scene", "host/demo",
    "host/watched_runs",
    "host/editor", "host/prompts", "host/recording", "host/acting", "host/training", "host/concepts", "host/entrance",
    "nodes/widgets", "nodes",
)  # fmt: skip
SHIPPED = ("nodes", "host", "scenescope")
FILES_IN_A_ROOM = 15
LINES_IN_A_FILE, LINES_IN_A_FUNCTION = 350, 60
UNFINISHED = re.compile(
    r"\b(T[O]DO|F[I]XME|X[X]X)\b|moc[k]\.patch|mark\.(skip|xfail)|pytest\.(skip|xfail)\(|importor[s]kip"
)
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


def room_of(module: tuple[str, ...]) -> str | None:
    """Return the room that a module of the pack is in; the rooms' own `__init__` files are in none."""
    if module[-1:] == ("__init__",):
        return None
    return next((room for end in range(len(module), 0, -1) if (room := "/".join(module[:end])) in ROOMS), None)


@functools.cache
def imports(module: tuple[str, ...], source: str) -> tuple[tuple[bool, tuple[str, ...]], ...]:
    """Find everything that a module imports; a file is parsed once for all that ask.

    Args:
        module: its own name within the pack, such as ("host", "unet"); a package's ends with "__init__"
        source: its text

    Returns:
        pairs: whether the import is from within the pack, and the full name: (True, ("scenescope", "errors"))
    """
    found: list[tuple[bool, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += ((False, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module[: len(module) - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found += ((node.level > 0, (*base, alias.name)) for alias in node.names)
    return tuple(found)


def arrows_up(module: tuple[str, ...], source: str) -> list[str]:
    """Return the rooms that a module imports although they do not come before its own."""
    own = room_of(module)
    if own is None:
        return []
    rooms = {room_of(name) for inside, name in imports(module, source) if inside} - {None}
    return [f"{'/'.join(module)} imports {room}" for room in ROOMS[ROOMS.index(own) + 1 :] if room in rooms]


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Return every file that can be reached from itself along imports."""

    def reached(start: str) -> set[str]:
        seen, ahead = set(), [start]
        while ahead:
            found = arrows.get(ahead.pop(), set()) - seen
            seen |= found
            ahead += found
        return seen

    return sorted(file for file in arrows if file in reached(file))


def crowded(files: list[str]) -> list[str]:
    """Return the folders that hold more files than a reader can take in."""
    counts = Counter(file.rpartition("/")[0] for file in files if not file.endswith("__init__.py"))
    return sorted(f"{folder}: {count} files" for folder, count in counts.items() if count > FILES_IN_A_ROOM)


def is_silent(line: ast.stmt) -> bool:
    """Return whether a statement does nothing: `pass`, or a constant such as `...`."""
    return isinstance(line, ast.Pass) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))


def foreign(module: tuple[str, ...], source: str) -> set[str]:
    """Return the packages outside the pack that a module imports."""
    return {name[0] for inside, name in imports(module, source) if not inside}


def name_of(file: Path) -> tuple[str, ...]:
    """Return a file's module name within the pack."""
    return file.relative_to(ROOT).with_suffix("").parts


def test_imports_between_the_rooms_point_down():
    """Oracle: the list of rooms. Training reads attention; attention never knows of training."""
    files = python_files(*SHIPPED)
    assert [arrow for file in files for arrow in arrows_up(name_of(file), file.read_text("utf-8"))] == []


def test_every_module_is_in_a_room_of_the_list():
    """Oracle: the list of rooms; a new room has to be put into it, at its height."""
    names = [name_of(file) for file in python_files(*SHIPPED)]
    assert [name for name in names if room_of(name) is None and name[-1] != "__init__"] == []
    assert [room for room in ROOMS if not (ROOT / room).is_dir() and not (ROOT / f"{room}.py").is_file()] == []


def test_an_arrow_that_points_up_is_seen():
    """Oracle: imports written by hand, in each way of writing them."""
    assert arrows_up(("host", "recording", "unet"), "from ...nodes.record import Record") == [
        "host/recording/unet imports nodes"
    ]
    assert arrows_up(
        ("scenescope", "attention", "record", "layers"), "def f():\n    from ...training.step import losses"
    ) == ["scenescope/attention/record/layers imports scenescope/training/step"]
    assert arrows_up(("scenescope", "attention", "record", "layers"), "from ..read import view") == [
        "scenescope/attention/record/layers imports scenescope/attention/read"
    ]
    assert arrows_up(("scenescope", "dims"), "from . import resample") == [
        "scenescope/dims imports scenescope/resample"
    ]
    assert arrows_up(("scenescope", "training", "step", "losses"), "from ...attention.read.heatmap import at") == []


def test_no_file_imports_itself_by_a_detour():
    """Oracle: the graph of imports, also inside a room."""
    names = {name_of(file): file.read_text("utf-8") for file in python_files(*SHIPPED)}
    arrows = {
        "/".join(own): {
            "/".join(found)
            for inside, full in imports(own, source)
            if inside
            for found in (full, full[:-1])
            if found in names and found != own
        }
        for own, source in names.items()
    }
    assert circles(arrows) == []


def test_a_circle_is_seen():
    """Oracle: a graph drawn by hand."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_no_folder_is_crowded():
    """Oracle: the limit; a fuller folder is two rooms."""
    files = python_files() + list((ROOT / "web").rglob("*.js"))
    assert crowded([file.relative_to(ROOT).as_posix() for file in files]) == []
    assert crowded([f"room/file{index}.py" for index in range(16)]) == ["room: 16 files"]


def test_every_room_says_what_is_in_it():
    """Oracle: the files and folders beside each `__init__`, which names them in reading order."""
    silent = []
    for init in [file for file in python_files(*SHIPPED, "diffusers_adapter", "demo") if file.name == "__init__.py"]:
        said = init.read_text("utf-8")
        inside = [
            item.stem for item in init.parent.iterdir() if item.suffix == ".py" or (item / "__init__.py").exists()
        ]
        silent += [f"{init.parent.relative_to(ROOT)}: {name}" for name in inside if not re.search(rf"\b{name}\b", said)]
    assert [line for line in silent if not line.endswith(": __init__")] == []


def test_what_ships_needs_nothing_of_the_workshop():
    """Oracle: the names of the folders that a user's pack does not need."""
    workshop = {"benchmarks", "demo", "tests", "devtools", "dev", "diffusers_adapter", "examples", "pack"}
    for file in python_files(*SHIPPED):
        found = {name[0] for _, name in imports(name_of(file), file.read_text("utf-8"))}
        assert found & workshop == set(), file


def test_one_file_imports_the_hosts_own_nodes():
    """Oracle: its name. `import nodes` anywhere else would be taken for the pack's own folder."""
    files = [file for file in python_files(*SHIPPED) if "nodes" in foreign(name_of(file), file.read_text("utf-8"))]
    assert [file.relative_to(ROOT).as_posix() for file in files] == ["host/core_nodes.py"]


def test_the_core_imports_only_what_it_may():
    """Oracle: the list of five packages and the standard library."""
    files = python_files("scenescope")
    assert [(file.name, foreign(name_of(file), file.read_text("utf-8")) - CORE_MAY_IMPORT) for file in files] == [
        (file.name, set()) for file in files
    ]


def test_the_adapter_of_diffusers_knows_the_core_alone():
    """Oracle: the list of rings; it shows that the core is free of its host, and so shares nothing with `host/`."""
    for file in python_files("diffusers_adapter"):
        source = file.read_text("utf-8")
        inside = {name[0] for own, name in imports(name_of(file), source) if own}
        assert inside <= {"diffusers_adapter", "scenescope"}, file
        assert foreign(name_of(file), source) <= CORE_MAY_IMPORT | {"diffusers", "transformers"}, file


def test_nodes_know_no_more_of_the_host_than_its_node_api():
    """Oracle: the list of what the core may import; of the host there is comfy_api alone, the rest belongs to host/."""
    for file in python_files("nodes"):
        assert foreign(name_of(file), file.read_text("utf-8")) <= CORE_MAY_IMPORT | {"comfy_api"}, file


def test_the_tools_need_only_the_standard_library():
    """Oracle: the list of standard modules. `dev.py` runs before anything is installed."""
    for file in python_files("devtools", "dev.py"):
        source = file.read_text("utf-8")
        assert foreign(name_of(file), source) - set(sys.stdlib_module_names) <= {"devtools", "comfy"}, file
        assert {name[0] for inside, name in imports(name_of(file), source) if inside} <= {"devtools"}, file


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
    """Oracle: the two limits; those of scripts are Biome's."""
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
    for file in [*python_files(), *filter(is_ours, (ROOT / "web").rglob("*.js"))]:
        source = file.read_text("utf-8")
        found += [f"{file.relative_to(ROOT)}: {match.group()}" for match in UNFINISHED.finditer(source)]
        for node in ast.walk(ast.parse(source if file.suffix == ".py" else "")):
            if isinstance(node, ast.ExceptHandler) and all(is_silent(line) for line in node.body):
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} swallows an error")
            if isinstance(node, ast.Name) and node.id == "NotImplementedError":
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} is not implemented")
    assert found == []


def test_no_browser_test_waits_for_a_time():
    """Oracle: playwright's call for that: what a test needs comes sooner or later, and can be waited for itself."""
    waits = [
        file.name for file in (ROOT / "tests" / "web").glob("*.py") if "wait_for_timeout(" in file.read_text("utf-8")
    ]
    assert waits == []


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
