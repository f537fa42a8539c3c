"""TypeScript and Biome, which check the types and the form of web/js; `python -m devtools.web.scripts` mends the form.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ..environment import cache_folder, one_at_a_time

WEB = Path(__file__).resolve().parent
PACKAGE = WEB / "package.json"
RULES = WEB / "rules.json"
"""Biome's; not called biome.json, which it takes for a project of its own below the clone."""
HOW_TO_GET_ONE = "Install Node.js, which brings both."
WITHIN = 300  # seconds that an installation may take


class InstallError(RuntimeError):
    """The tools could not be installed, most often for want of a network; the message says why."""


def install(home: Path, package: Path) -> None:
    """Install what a package.json names, with no lockfile, in which npm would write down where it came from.

    Raises:
        InstallError: npm is not there, or has failed.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise InstallError(f"npm and node were not found. {HOW_TO_GET_ONE}")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copy2(package, home)
    words = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            [npm, *words, "--loglevel=error"], cwd=home, capture_output=True, text=True, check=False, timeout=WITHIN
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"npm could not install TypeScript and Biome within {WITHIN} s.") from error
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip() and "A complete log" not in line]
        reason = told[0].strip() if told else f"exit status {done.returncode}"
        raise InstallError(f"npm could not install TypeScript and Biome ({reason}). Connect to a network once.")


def compiler(package: Path = PACKAGE, *, make: Callable[[Path, Path], None] = install) -> Path:
    """Return the folder that has the tools and the host's types, made on the first call and found again on the next.

    Args:
        package: a package.json; its contents name the folder
        make: makes it in a folder

    Returns:
        home: outside of the repository; its `node_modules` has what the package names

    Raises:
        InstallError: it is not there and could not be made.
    """
    home = cache_folder() / f"npm-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
    complete = home / "complete"
    with one_at_a_time(home.with_suffix(".lock")):
        if not complete.exists():
            make(home, package)
            complete.write_text("complete\n", "utf-8")
    return home


def project(home: Path, scripts: Path) -> str:
    """Return a tsconfig.json that checks the scripts of a folder with the packages of another.

    >>> import json, pathlib
    >>> made = json.loads(project(pathlib.Path("kept"), pathlib.Path("web", "js")))
    >>> made["include"][0], list(made["compilerOptions"]["paths"])
    ('web/js/**/*.js', ['@comfyorg/comfyui-frontend-types'])
    """
    types = "@comfyorg/comfyui-frontend-types"
    content = {
        "extends": (WEB / "tsconfig.json").as_posix(),
        "compilerOptions": {"paths": {types: [(home / "node_modules" / types).as_posix()]}},
        "include": [f"{scripts.as_posix()}/**/*.js", (WEB / "host.d.ts").as_posix()],
    }
    return json.dumps(content, indent=2)


def check(scripts: Path, place: Path) -> int:
    """Check scripts and sheets of styles, and print what is wrong with them: types first, then rules and form.

    Args:
        scripts: a folder with .js and .css files
        place: an empty folder to work in

    Returns:
        status: 0 where nothing is wrong

    Raises:
        InstallError: the tools are not there and could not be installed.
    """
    home = compiler()
    (place / "tsconfig.json").write_text(project(home, scripts), "utf-8")
    types = run(home, "typescript/bin/tsc", "-p", place)
    form = run(home, "@biomejs/biome/bin/biome", "ci", "--colors=off", f"--config-path={RULES}", scripts)
    return types or form


def tidy(scripts: Path) -> int:
    """Rewrite scripts and style sheets by the rules; print what only a person can fix."""
    return run(
        compiler(), "@biomejs/biome/bin/biome", "check", "--write", "--colors=off", f"--config-path={RULES}", scripts
    )


def run(home: Path, tool: str, *words: str | Path) -> int:
    """Run a tool of the folder and return its status."""
    command = [shutil.which("node") or "node", home / "node_modules" / tool, *words]
    return subprocess.run([str(word) for word in command], check=False).returncode


def why_no_compiler() -> str | None:
    """Return why the scripts' types cannot be checked here, or None; TypeScript is installed if it is not there."""
    try:
        compiler()
    except InstallError as error:
        return str(error)
    return None


if __name__ == "__main__":  # python -m devtools.web.scripts
    raise SystemExit(tidy(WEB.parents[1] / "web" / "js"))
