"""Which ComfyUI the pack needs: said once, when the pack is loaded, instead of by nodes that fail one by one."""

from __future__ import annotations

import re

from ..scenescope.errors import HostError

OLDEST = (0, 28, 0)
"""The first release with `folder_paths.is_within_directory` and the three values of `_try_get_embedding`."""


def refuse_older_host(version: str) -> None:
    """Refuse a ComfyUI that lacks what the nodes rely on; a version that cannot be read is let through.

    Args:
        version: host contract, ComfyUI 0.28 to 0.33: `comfyui_version.__version__`.

    Raises:
        HostError: it is older than `OLDEST`.

    >>> refuse_older_host("0.28.0"), refuse_older_host("1.2"), refuse_older_host("my own build")
    (None, None, None)
    """
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if found is None:
        return
    own = tuple(int(part or 0) for part in found.groups())
    if own < OLDEST:
        raise HostError(
            f"SceneScope: this ComfyUI is {version}, and the pack needs {'.'.join(map(str, OLDEST))} or newer. Update "
            "ComfyUI and start it again; until then, the pack's nodes are not loaded."
        )
