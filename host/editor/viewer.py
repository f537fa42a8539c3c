"""Data for the attention viewer in the editor: one file of maps, the picture, and the words that were asked for."""

from __future__ import annotations

import logging
import uuid
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ...scenescope.attention.files.viewer import write_view
from ...scenescope.attention.record.recording import Recording
from ...scenescope.attention.words.find import WordMatch
from ...scenescope.drawing.pixels import to_image
from ...scenescope.errors import FileError

KEY = "scenescope_view"
_SUFFIX = ".view"
_MOST_PICTURES = 64
_written: dict[int, tuple[weakref.ref[Recording], str]] = {}


def viewer_ui(
    recording: Recording,
    *,
    words: Sequence[WordMatch] = (),
    picture: torch.Tensor | None = None,
    resolution: str = "",
    branch: str = "",
) -> dict[str, list[dict[str, Any]]]:
    """Write what the viewer shows to the temp folder, and return what a node's `ui` says of it.

    The file is written once for each recording, however many nodes show it. Host contract, ComfyUI 0.33: `ui` outputs
    stay in the history, and `/view` gives files of the temp folder, which is emptied when the server starts.

    Args:
        recording: what a run left.
        words: what was asked for; the viewer begins with these words pinned.
        picture: (image height width channel) float 0..1, the decoded pictures; not shown where their number is not the
            recording's.
        resolution: where the viewer begins: `latent/4`, ..., or `all`.
        branch: likewise.

    Returns:
        `{"scenescope_view": [...]}`, or nothing where there is no cross-attention or no room on the disk: a viewer must
        never cost a sampling run.
    """
    if not any(item.address.kind == "cross" for item in recording.maps):
        return {}
    try:
        name = _file_of(recording)
        if picture is not None and len(picture) != recording.images:
            picture = None
        pictures = [] if picture is None else [_save_picture(one) for one in picture[:_MOST_PICTURES]]
    except (FileError, OSError) as error:
        logging.warning("SceneScope: the attention viewer has nothing to show. %s", error)
        return {}
    except Exception:
        logging.exception("SceneScope: the attention viewer has nothing to show")
        return {}
    asked = [{"label": word.label, "columns": list(word.columns)} for word in words]
    return {KEY: [_place(name) | {"pictures": pictures, "words": asked, "resolution": resolution, "branch": branch}]}


def _file_of(recording: Recording) -> str:
    known = _written.get(id(recording))
    if known is not None and known[0]() is recording and (_folder() / known[1]).is_file():
        return known[1]
    name = f"scenescope_{uuid.uuid4().hex}{_SUFFIX}"
    write_view(recording, _folder() / name)
    key = id(recording)
    _written[key] = (weakref.ref(recording, lambda _: _written.pop(key, None)), name)
    return name


def _save_picture(picture: torch.Tensor) -> dict[str, str]:
    name = f"scenescope_{uuid.uuid4().hex}.png"
    to_image(picture).save(_folder() / name, compress_level=1)
    return _place(name)


def _folder() -> Path:
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _place(name: str) -> dict[str, Any]:
    return {"filename": name, "subfolder": "", "type": "temp"}
