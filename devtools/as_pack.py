"""Load the repository as ComfyUI loads it: a package made from the root `__init__.py`, here under the name `pack`.

`python devtools/as_pack.py benchmarks/recording.py` runs a script in which `from pack.scenescope... import ...` works;
`--as scenescope` before it gives the package the name that it has when it is installed. Standard library only.
"""

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def load_pack(name: str = "pack") -> ModuleType:
    """Put the repository into `sys.modules` as a package, once, and keep its root off `sys.path`.

    On the path, the pack's `nodes/` would hide ComfyUI's `nodes.py`.

    Args:
        name: of the package.

    Returns:
        module: the pack
    """
    if name in sys.modules:
        return sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    if spec is None or spec.loader is None:
        raise ImportError(f"load_pack: {ROOT} has no `__init__.py`. Restore the file.")
    pack = importlib.util.module_from_spec(spec)
    sys.modules[name] = pack
    spec.loader.exec_module(pack)
    return pack


def command(script: str | Path, *words: object, name: str = "pack") -> list[str]:
    """The command that runs a script so, with this Python.

    Args:
        script: its file.
        words: its arguments.
        name: of the package.
    """
    return [sys.executable, str(Path(__file__).resolve()), "--as", name, str(script), *map(str, words)]


if __name__ == "__main__":
    named = sys.argv[1] == "--as"
    load_pack(sys.argv[2] if named else "pack")
    sys.argv = sys.argv[3 if named else 1 :]
    runpy.run_path(sys.argv[0], run_name="__main__")
