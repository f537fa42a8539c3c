"""Keep recorded maps in files."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.editor.messages import say_and_keep, say_on_node
from ..host.editor.viewer import viewer_ui
from ..host.files.bounds import reading_bounds
from ..host.paths import Widget, chosen_file, input_choices, nothing_chosen, output_names, version_of
from ..scenescope.attention.files.maps import MAPS_SUFFIX, load_recording, save_recording
from ..scenescope.attention.record.recording import Recording
from ..scenescope.dims import bytes_text
from ..scenescope.errors import SceneScopeError
from .widgets.sockets import CATEGORY, AttentionMaps

ALIASES = ["attention maps", "raw maps", "safetensors", "export maps", "import maps"]
SAVER, LOADER = "Save Maps", "Load Maps"
PREFIX = Widget(f"{SAVER}: filename_prefix", "maps/SceneScope")


class SaveMaps(io.ComfyNode):
    """ATTENTION_MAPS in, a file in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the maps and a name."""
        return io.Schema(
            node_id="SceneScope_SaveMaps",
            display_name=SAVER,
            category=CATEGORY,
            description="Saves recorded maps to one safetensors file in ComfyUI's output folder: the raw numbers, "
            "with the words, the seed, the model's hash, the settings and the shapes. Load Maps reads it.",
            search_aliases=[*ALIASES, "save attention maps"],
            inputs=[
                AttentionMaps.Input("maps", tooltip="From Attention Maps or Sample and Record."),
                io.String.Input(
                    "filename_prefix",
                    default=PREFIX.example,
                    tooltip="Where in the output folder, with / between folders; %year%, %month%, %day%, %hour%, "
                    "%minute% and %second% are filled in. A number is added, so nothing is ever overwritten. The "
                    "default keeps maps in a folder of their own.",
                ),
            ],
            outputs=[AttentionMaps.Output(display_name="ATTENTION_MAPS", tooltip="The input, passed on.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, maps: Recording, filename_prefix: str) -> io.NodeOutput:
        """Save and say where."""
        path = save_recording(maps, output_names(filename_prefix, MAPS_SUFFIX, PREFIX))
        said = say_and_keep(cls.hidden.unique_id, f"Saved {path.name} ({bytes_text(path.stat().st_size)})")
        return io.NodeOutput(maps, ui=said)


class LoadMaps(io.ComfyNode):
    """A file in, ATTENTION_MAPS out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Input: one of the files that are there."""
        return io.Schema(
            node_id="SceneScope_LoadMaps",
            display_name=LOADER,
            category=CATEGORY,
            description="Loads maps that Save Maps wrote. Nothing in the file is ever executed; a damaged file or one "
            "of another kind is refused.",
            search_aliases=[*ALIASES, "load attention maps"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=input_choices(MAPS_SUFFIX),
                    tooltip="A file in the output or input folder whose name ends in .maps.safetensors, newest first. "
                    "Press R to look again.",
                )
            ],
            outputs=[AttentionMaps.Output(display_name="ATTENTION_MAPS", tooltip="The maps as they were saved.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        """Whether the file is there, in a sentence if not."""
        if not file:
            raise nothing_chosen(LOADER, MAPS_SUFFIX, SAVER)
        try:
            chosen_file(file, MAPS_SUFFIX, who=LOADER)
        except SceneScopeError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        """Another file under the same name is loaded again."""
        return version_of(chosen_file(file, MAPS_SUFFIX, who=LOADER))

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Load and say what it is."""
        recording = load_recording(chosen_file(file, MAPS_SUFFIX, who=LOADER), reading_bounds())
        say_on_node(cls.hidden.unique_id, recording.describe())
        return io.NodeOutput(recording, ui=viewer_ui(recording))


NODES = [SaveMaps, LoadMaps]
