"""What a command runs with: an environment, a ComfyUI, and where its words go. Standard library only."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .environment import cache_folder, environment
from .processes import run_to_its_end

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = [ROOT / "tests" / name for name in ("requirements.txt", "requirements-diffusers.txt")]


@dataclass(frozen=True)
class Setup:
    """What a command runs with.

    The environment's Python; a ComfyUI if there is one; words for pytest; more variables of the environment; and the
    file that takes what is said, if it is not the screen.
    """

    python: Path
    comfyui: Path | None
    pytest_words: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    said: Path | None = None

    @classmethod
    def make(cls, comfyui: Path | None, pytest_words: tuple[str, ...] = ()) -> Setup:
        """Make the environment for this ComfyUI.

        Raises:
            TroubleError: it cannot be made.
        """
        host = [comfyui / "requirements.txt"] if comfyui else []
        return cls(environment([*REQUIREMENTS, *host]), comfyui, pytest_words)

    def call(self, *command: object, cwd: Path = ROOT) -> int:
        """Run a command of the environment and return its exit status."""
        # Bytecode is kept also where it is turned off: without it every server takes a second more to start.
        always = {"SCENESCOPE_CACHE": str(cache_folder()), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": ""}
        variables = always | dict(self.variables)
        if self.comfyui:
            variables["COMFYUI_PATH"] = str(self.comfyui)
        words, variables = [str(word) for word in command], os.environ | variables
        with self.said.open("a", encoding="utf-8") if self.said else contextlib.nullcontext() as file:
            return run_to_its_end(
                words, cwd=cwd, env=variables, stdout=file, stderr=subprocess.STDOUT if file else None
            )

    def script(self, name: str) -> Path:
        """Return a program of the environment, such as pytest."""
        return self.python.with_name(name + self.python.suffix)
