"""Paths from widgets: names below the host's own folders, and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import folder_paths

from ..scenescope.errors import FileError, InputError

FOLDERS = ("output", "input")

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_LONGEST_PART = 150  # bytes; a file system's limit is 255, and a number and a suffix are added
_LONGEST_NAME = 600
_MOST_FILES = 100_000
_COUNTER = 5
_ENDING = ".safetensors"


@dataclass(frozen=True)
class Widget:
    """The widget that a name was typed into, as errors speak of it.

    Args:
        place: the node and the widget, `Save Maps: filename_prefix`.
        example: a good name for it, `maps/SceneScope`.
    """

    place: str
    example: str


def output_names(prefix: str, suffix: str, widget: Widget) -> Iterator[Path]:
    """Choose names for a file below the output folder, numbered as the host numbers pictures.

    Source: host contract, ComfyUI 0.33 `folder_paths.get_save_image_path`: sub-folders and `%date%` words in the
    prefix, `name_00001_`, and a refusal to leave the folder.

    Args:
        prefix: from a widget, `maps/SceneScope`; an ending that was typed too is taken off.
        suffix: of our own, `.maps.safetensors`.
        widget: where the prefix was typed.

    Returns:
        Names that no file has yet, in a folder that exists; `write_whole` takes the first that is still free.

    Raises:
        InputError: the name is not one that every system can have, or leads out of the folder.
        FileError: the folder cannot be made.
    """
    prefix = without_ending(prefix, suffix)
    check_name(prefix, widget)
    root = folder_paths.get_output_directory()
    try:
        refuse_outside(Path(root), Path(root, *prefix.split("/")).parent, prefix, widget)
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, root)
    except OSError as error:
        raise _unusable(prefix, widget, error) from error
    refuse_outside(Path(root), Path(folder), prefix, widget)
    return _free(Path(folder), (f"{name}_{number:0{_COUNTER}}_{suffix}" for number in count(counter)))


def model_file(kind: str, name: str, suffix: str, widget: Widget) -> Path:
    """Choose a file in the first of the host's folders for a kind of model.

    Args:
        kind: the host's word for the folder, `embeddings` or `loras`.
        name: from a widget, without a suffix; may have sub-folders.
        suffix: of our own, `.safetensors`.
        widget: where the name was typed.

    Returns:
        A path whose folder is there; `numbered` has those to take where a file of this name must stay.

    Raises:
        InputError: the name is not one that every system can have, or leads out of the folder.
        FileError: the folder cannot be made.
    """
    check_name(name, widget)
    root = Path(folder_paths.get_folder_paths(kind)[0])
    path = root.joinpath(*name.split("/"))
    refuse_outside(root, path.parent, name, widget)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(name, widget, error) from error
    return path.parent / (path.name + suffix)


def numbered(path: Path, suffix: str) -> Iterator[Path]:
    """A path and the same with _2, _3, ... before its suffix; of these, such as no file has when they are asked for."""
    stem = path.name.removesuffix(suffix)
    return _free(path.parent, (f"{stem}{'' if number == 1 else f'_{number}'}{suffix}" for number in count(1)))


def input_choices(suffix: str) -> list[str]:
    """List the files that a loader offers; links that lead out of the folders are passed over.

    Args:
        suffix: how their names end.

    Returns:
        `maps/SceneScope_00001_.maps.safetensors [output]`, as the host writes a file of a named folder; newest first.
    """
    found: list[tuple[float, str]] = []
    for folder in FOLDERS:
        root = Path(_root(folder))
        for path, changed in _files(root, suffix):
            name = path.relative_to(root).as_posix()
            if _inside(root, path) and _why_not(name, _LONGEST_NAME) is None:
                found.append((-changed, f"{name} [{folder}]"))
    return [name for _, name in sorted(found)]


def chosen_file(choice: str, suffix: str, folders: Sequence[str] = FOLDERS, *, who: str = "Load") -> Path:
    """Find the file that a loader's widget names.

    Args:
        choice: one of `input_choices`; without a folder in brackets the first folder is meant.
        suffix: how its name must end.
        folders: where it may be.
        who: the node, as errors name it.

    Returns:
        The path of an existing file.

    Raises:
        InputError: the name leads out of the folders, or does not end so.
        FileError: there is no such file.
    """
    if not isinstance(choice, str):
        raise InputError(f"{who}: {choice!r:.80} is not the name of a file. Choose one from the list.")
    match = re.fullmatch(r"(.*?)(?: \[(\w+)\])?", choice, re.DOTALL)
    name, folder = (match.group(1), match.group(2) or folders[0]) if match else (choice, folders[0])
    widget = Widget(f"{who}: file", f"SceneScope_00001_{suffix}")
    check_name(name, widget, longest=_LONGEST_NAME)
    if folder not in folders or not name.endswith(suffix):
        raise InputError(
            f"{who}: {choice!r} is not one of the files to choose from (names that end in {suffix}, in "
            f"{' or '.join(folders)}). Choose one from the list."
        )
    root = Path(_root(folder))
    path = root.joinpath(*name.split("/"))
    refuse_outside(root, path, name, widget)
    if not path.is_file():
        raise FileError(
            f"{widget.place} {name!r} is not in the {folder} folder. Press R to refresh the list, and choose again."
        )
    return path


def nothing_chosen(who: str, suffix: str, saver: str) -> FileError:
    """Say what to do at a loader that was sent no file, as the editor does whose list is empty.

    Source: host contract, ComfyUI 0.33 `execution.validate_inputs`: for an input that was not sent, what a node's
    `validate_inputs` returns is dropped, and the user reads "Required input is missing"; what it raises is shown.

    Args:
        who: the loader, `Load Maps`.
        suffix: how the names of its files end.
        saver: the node that writes them.
    """
    if not input_choices(suffix):
        return FileError(
            f"{who}: there is no file ending in {suffix} in the {' or '.join(FOLDERS)} folder yet. Run {saver}, then "
            "press R and choose its file."
        )
    return FileError(f"{who}: no file is chosen. Choose one ending in {suffix}; press R to refresh the list.")


def version_of(path: Path) -> str:
    """What changes when a file does: its size and the time of its last change."""
    status = path.stat()
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"


def without_ending(name: str, suffix: str = _ENDING) -> str:
    """A name without the ending that it is given anyway: `toys` for `toys.safetensors` and `toys.maps.safetensors`.

    Args:
        name: from a widget.
        suffix: of our own, `.maps.safetensors`; one ending is taken off, this one or else `.safetensors`.
    """
    for ending in (suffix, _ENDING):
        if name[-len(ending) :].lower() == ending:
            return name[: -len(ending)]
    return name


def check_name(name: str, widget: Widget, *, longest: int = _LONGEST_PART) -> None:
    """Refuse names that are not plain, with `/` between folders, on every system that the host runs on.

    Raises:
        InputError: it is absolute, climbs, holds a drive letter, a backslash or a control character, is a name that
            Windows reserves, or is too long.
    """
    reason = _why_not(name, longest)
    if reason is not None:
        raise InputError(
            f"{widget.place} {name[:80]!r} {reason}. Use a plain name such as {widget.example}, with / between folders."
        )


def refuse_outside(root: Path, path: Path, name: str, widget: Widget) -> None:
    """Refuse a path that a link leads out of its folder.

    Raises:
        InputError: it leads out.
    """
    if not _inside(root, path):
        raise InputError(
            f"{widget.place} {name[:80]!r} leads out of the {root.name} folder through a link. Choose another name."
        )


def _unusable(name: str, widget: Widget, error: OSError) -> FileError:
    return FileError(
        f"{widget.place} {name!r} is in a folder that can't be written to ({error.strerror}). Choose another name."
    )


def _why_not(name: str, longest: int) -> str | None:
    parts = name.split("/")
    if "%date:" in name:
        return "holds %date:...%, which the editor fills in for core's own nodes alone (write %year%, %month%, %day%)"
    if not name.isprintable() or _FORBIDDEN.search(name):
        return 'holds a backslash, a colon, a control character or one of <>"|?*'
    if parts[0] == "":
        return "starts at the root" if name else "is empty"
    if any(part in ("", ".", "..") for part in parts):
        return "holds an empty part, . or .."
    if any(part != part.strip() or part.endswith(".") for part in parts):
        return "has a part that begins or ends with a space or ends with a point"
    if any(_RESERVED.fullmatch(part) for part in parts):
        return "holds a name that Windows reserves"
    if max(len(part.encode()) for part in parts) > longest or len(name.encode()) > _LONGEST_NAME:
        return "is too long"
    return None


def _inside(root: Path, path: Path) -> bool:
    return bool(folder_paths.is_within_directory(str(root), str(path)))


def _root(folder: str) -> str:
    root = folder_paths.get_directory_by_type(folder)
    if root is None:
        raise InputError(f"Folder: {folder!r} is not one of ComfyUI's folders. Choose {' or '.join(FOLDERS)}.")
    return str(root)


def _files(root: Path, suffix: str) -> Iterator[tuple[Path, float]]:
    """Files below a folder, and when they changed; linked folders are not entered, which also keeps circles out."""
    seen = 0
    for folder, _, names in os.walk(root):
        for name in names:
            seen += 1
            if seen > _MOST_FILES:
                return
            if name.endswith(suffix) and (path := Path(folder, name)).is_file():
                yield path, path.stat().st_mtime


def _free(folder: Path, names: Iterator[str]) -> Iterator[Path]:
    return (path for path in (folder / name for name in names) if not os.path.lexists(path))
