"""SceneScope: see what each token of a prompt attends to, learn the things in one picture, and generate with them."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Hand ComfyUI the pack's nodes.

    Everything is imported here, not above, because pytest and tools import this file without a ComfyUI.
    The host (0.33.0, nodes.py, load_custom_node) logs only the message of what is raised here, so we log the traceback.
    """
    import logging

    from comfyui_version import __version__

    from .host.version import refuse_older_host

    refuse_older_host(__version__)
    try:
        from .nodes import SceneScope

        return SceneScope()
    except Exception:
        logging.exception(
            "SceneScope: the nodes could not be loaded. Please report what follows, with ComfyUI's version."
        )
        raise
