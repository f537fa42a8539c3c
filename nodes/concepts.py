"""Using learned concepts: applied to a model, kept in files, and exported for use without the pack."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.concepts.apply import apply_concepts
from ..host.concepts.export import plan_export
from ..host.editor.messages import say_and_keep, say_on_node, withheld
from ..host.files.bounds import reading_bounds
from ..scenescope.training.learned.concepts import Concepts as Learned
from ..scenescope.training.learned.concepts import load_concepts, save_concepts
from .widgets import bounds
from .widgets.declare import choice, number, switch, text
from .widgets.files import FileKind, FileLoader, saved
from .widgets.sockets import CATEGORY, Concepts

ALIASES = ["learned tokens", "textual inversion", "embedding", "dreambooth", "lora"]
EXPORTS = ("own file", "own file and exports")
CONCEPTS = FileKind("concepts", ".concepts.safetensors", "Save Concepts", "Load Concepts")


class ApplyConcepts(io.ComfyNode):
    """MODEL and CLIP that know the learned tokens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the base model, the concepts, and how strongly."""
        return io.Schema(
            node_id="SceneScope_ApplyConcepts",
            display_name="Apply Concepts",
            category=CATEGORY,
            description="Adds the learned tokens to a MODEL and a CLIP. The stock CLIP Text Encode then understands "
            "<asset0> and the other handles, with weights, in long prompts and next to embeddings. The models you "
            "connect are not changed.",
            search_aliases=[*ALIASES, "apply tokens", "load concepts", "use concepts"],
            inputs=[
                io.Model.Input("model", tooltip="The base model that the concepts were trained on."),
                io.Clip.Input("clip", tooltip="That model's CLIP, with or without Trace Words."),
                Concepts.Input("concepts", tooltip="From Train Concepts or Load Concepts."),
                *applying_inputs(),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The model with the learned changes, as patches."),
                io.Clip.Output(display_name="CLIP", tooltip="The CLIP whose prompts understand the handles."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: Any, clip: Any, concepts: Learned, strength: float, base_model: Any) -> io.NodeOutput:
        """Apply and say what to type."""
        applied = apply_concepts(model, clip, concepts, strength=strength, base=base_model)
        say_on_node(cls.hidden.unique_id, f"Type {', '.join(concepts.handles)}")
        return io.NodeOutput(*applied)


class SaveConcepts(io.ComfyNode):
    """CONCEPTS in, files out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the concepts and names."""
        return io.Schema(
            node_id="SceneScope_SaveConcepts",
            display_name=CONCEPTS.saver,
            category=CATEGORY,
            description="Saves learned concepts to one safetensors file in the output folder, which Load Concepts "
            "reads. If you like, it also writes files that work without this pack: an embedding for each token, and a "
            "LoRA.",
            search_aliases=[*ALIASES, "save tokens", "export embedding", "export lora", "kohya"],
            inputs=[
                Concepts.Input("concepts", tooltip="From Train Concepts or Load Concepts."),
                CONCEPTS.prefix_input(),
                *_export_inputs(),
                io.Image.Input(
                    "thumbnail",
                    optional=True,
                    tooltip="A picture that was made with these concepts. LoRA managers show it beside the exports, "
                    "with its size as the resolution to use; it is kept in the files, at most 256 pixels a side.",
                ),
            ],
            outputs=[
                Concepts.Output(display_name="CONCEPTS", tooltip="The input, passed on."),
                io.String.Output(display_name="REPORT", tooltip="What was written, and what to type for each token."),
                # Any type: the host checks a link to a list of files by it, and a text would be refused (0.33).
                io.AnyType.Output(
                    display_name="LORA",
                    tooltip="The LoRA's name, for Load LoRA's lora_name, which then waits for the file. If there is "
                    "no LoRA, Load LoRA stops and says why.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        concepts: Learned,
        filename_prefix: str,
        write: str,
        export_name: str,
        overwrite_exports: bool,
        thumbnail=None,
    ) -> io.NodeOutput:
        """Save, and say what to type, which comes first because a node shows two lines, and where the file is."""
        export = None
        if write == EXPORTS[1]:
            export = plan_export(concepts, export_name, overwrite=overwrite_exports, picture=thumbnail)
        path = save_concepts(concepts, CONCEPTS.names(filename_prefix))
        report, lora = saved(path), ""
        if export:
            exported = export.write()
            report, lora = f"{exported.describe()}\n{report}", exported.lora
        said = say_and_keep(cls.hidden.unique_id, report)
        return io.NodeOutput(concepts, report, lora or withheld(_why_no_lora(concepts, write)), ui=said)


class LoadConcepts(FileLoader):
    """A file in, CONCEPTS out."""

    KIND = CONCEPTS

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Input: one of the files that are there."""
        return io.Schema(
            node_id="SceneScope_LoadConcepts",
            display_name=CONCEPTS.loader,
            category=CATEGORY,
            description="Loads concepts that Save Concepts wrote. Nothing in the file is ever executed; a damaged "
            "file or one of another kind is refused.",
            search_aliases=[*ALIASES, "load tokens"],
            inputs=[CONCEPTS.file_input()],
            outputs=[Concepts.Output(display_name="CONCEPTS", tooltip="The concepts as they were saved.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Load and say what it is."""
        concepts = load_concepts(CONCEPTS.path(file), reading_bounds())
        say_on_node(cls.hidden.unique_id, describe(concepts))
        return io.NodeOutput(concepts)


def applying_inputs() -> list[io.Input]:
    """How concepts meet a model: the strength of the changed weights, and the check of the base model."""
    return [
        number("strength", 1.0, bounds.STRENGTH, 0.05)(
            "How much of the learned weight changes to apply: 1 applies them as trained, 0 leaves only the "
            "tokens' vectors. To weight the tokens themselves, write (<asset0>:1.2) in the prompt."
        ),
        choice("base_model", ["must match", "any"], "must match")(
            "must match accepts only the model that the concepts were trained on, because they fit no other "
            "exactly. any tries them on another SD1.5 model, such as a fine-tune, or after a LoRA."
        ),
    ]


def describe(concepts: Learned) -> str:
    """Say in two lines what concepts hold."""
    words = ", ".join(f"{one.handle} ({one.word})" if one.word else one.handle for one in concepts.concepts)
    changed = len(concepts.low_rank) or len(concepts.differences)
    weights = f"{changed} {'layers' if concepts.low_rank else 'parameters'} changed" if changed else "embeddings only"
    return f"{words}\n{concepts.settings.mode}, {concepts.steps} steps, {weights}, base model {concepts.base[:8]}"


def _why_no_lora(concepts: Learned, write: str) -> str:
    """What a node gets that was to load the LoRA; nodes that don't ask are not affected."""
    if write == EXPORTS[1]:
        return (
            f"Save Concepts: there is no LoRA, because only the tokens of {', '.join(concepts.handles)} were trained. "
            "Remove Load LoRA, since the embeddings are everything; or train with steps in phase 2."
        )
    return f"Save Concepts: write is {write!r}, so there is no LoRA. Choose {EXPORTS[1]!r}."


def _export_inputs() -> list[io.Input]:
    return [
        choice("write", EXPORTS, EXPORTS[0])(
            "own file: everything in one file, for Load Concepts. exports: also an embedding for each token in "
            "models/embeddings, and the weight changes in models/loras, for Load LoRA. Mode lora gives a LoRA that "
            "other programs read too; mode full gives full differences, which only ComfyUI reads."
        ),
        text("export_name", "scenescope")(
            "Name of the exports, with / between folders: scenescope gives embedding:scenescope-asset0 and a "
            "LoRA called scenescope. No spaces, commas, colons or parentheses, which would end a name in a prompt."
        ),
        switch("overwrite_exports", advanced=True)(
            "Replace exports of the same name. Off by default: a number is added instead, and the report says which."
        ),
    ]


NODES: list[type[io.ComfyNode]] = [ApplyConcepts, SaveConcepts, LoadConcepts]
