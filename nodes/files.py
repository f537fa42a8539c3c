"""Keep recorded maps in files."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.editor.messages import say_and_keep, say_on_node
from ..host.editor.viewer import viewer_ui
from ..host.files.bounds import reading_bounds
from ..scenescope.attention.files.maps import MAPS_SUFFIX, load_recording, save_recording
from ..scenescope.attention.record.recording import Recording
from .widgets.declare import SHOWS_ON_THE_WAY
from .widgets.files import FileKind, FileLoader, saved
from .widgets.sockets import CATEGORY, AttentionMaps

ALIASES = ["attention maps", "raw maps", "safetensors", "export maps", "import maps"]
MAPS = FileKind("maps", MAPS_SUFFIX, "Save Maps", "Load Maps")


class SaveMaps(io.ComfyNode):
    """ATTENTION_MAPS in, a file in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the maps and a name."""
        return io.Schema(
            node_id="SceneScope_SaveMaps",
            display_name=MAPS.saver,
            category=CATEGORY,
            description="Saves recorded maps to one safetensors file in ComfyUI's output folder: the raw numbers, "
            "with the words, the seed, the model's hash, the settings and the shapes. Load Maps reads it.",
            search_aliases=[*ALIASES, "save attention maps"],
            inputs=[
                AttentionMaps.Input("maps", tooltip="From Attention Maps or Sample and Record."),
                MAPS.prefix_input(),
            ],
            outputs=[AttentionMaps.Output(display_name="ATTENTION_MAPS", tooltip="The input, passed on.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, maps: Recording, filename_prefix: str) -> io.NodeOutput:
        """Save and say where."""
        path = save_recording(maps, MAPS.names(filename_prefix))
        said = say_and_keep(cls.hidden.unique_id, saved(path))
        return io.NodeOutput(maps, ui=said)


class LoadMaps(FileLoader):
    """A file in, ATTENTION_MAPS out."""

    KIND = MAPS

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Input: one of the files that are there."""
        return io.Schema(
            node_id="SceneScope_LoadMaps",
            display_name=MAPS.loader,
            category=CATEGORY,
            description="Loads maps that Save Maps wrote. Nothing in the file is ever executed; a damaged file or one "
            "of another kind is refused.",
            search_aliases=[*ALIASES, "load attention maps"],
            inputs=[MAPS.file_input()],
            **SHOWS_ON_THE_WAY,
            outputs=[AttentionMaps.Output(display_name="ATTENTION_MAPS", tooltip="The maps as they were saved.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Load and say what it is."""
        recording = load_recording(MAPS.path(file), reading_bounds())
        say_on_node(cls.hidden.unique_id, recording.describe())
        return io.NodeOutput(recording, ui=viewer_ui(recording))


NODES = [SaveMaps, LoadMaps]
