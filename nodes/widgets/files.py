"""What nodes that save and load have in common, whatever the files hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from comfy_api.latest import io

from ...host.paths import Widget, chosen_file, input_choices, nothing_chosen, output_names, version_of
from ...scenescope.dims import bytes_text
from ...scenescope.errors import SceneScopeError
from .declare import choice, text


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Args:
        what: `maps`; the folder that its files go into has this name.
        suffix: how their names end, `.maps.safetensors`.
        saver: the display name of the node that writes them.
        loader: of the node that reads them.
    """

    what: str
    suffix: str
    saver: str
    loader: str

    @property
    def prefix(self) -> Widget:
        """The saver's widget for the name, as errors speak of it."""
        return Widget(f"{self.saver}: filename_prefix", f"{self.what}/SceneScope")

    def prefix_input(self) -> io.Input:
        """The saver's widget."""
        return text("filename_prefix", self.prefix.example)(
            "Where in the output folder, with / between folders; %year%, %month%, %day%, %hour%, %minute% and %second% "
            f"are filled in. A number is added, so nothing is ever overwritten. The default keeps {self.what} in a "
            "folder of their own."
        )

    def file_input(self) -> io.Input:
        """The loader's widget."""
        return choice("file", input_choices(self.suffix))(
            f"A file in the output or input folder whose name ends in {self.suffix}, newest first. Press R to refresh "
            "the list."
        )

    def names(self, prefix: str) -> Iterator[Path]:
        """Names for a new file."""
        return output_names(prefix, self.suffix, self.prefix)

    def path(self, file: str) -> Path:
        """The file that the loader's widget names."""
        return chosen_file(file, self.suffix, who=self.loader)


class FileLoader(io.ComfyNode):
    """A node with one widget, `file`, that names a file of a kind."""

    KIND: ClassVar[FileKind]

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        """Whether the file is there, in a sentence if not."""
        if not file:
            raise nothing_chosen(cls.KIND.loader, cls.KIND.suffix, cls.KIND.saver)
        try:
            cls.KIND.path(file)
        except SceneScopeError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        """Another file under the same name is loaded again."""
        return version_of(cls.KIND.path(file))


def saved(path: Path) -> str:
    """Say on the node what was saved."""
    return f"Saved {path.name} ({bytes_text(path.stat().st_size)})"
