"""Pictures from learned tokens in one node."""

from __future__ import annotations

import re
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..host.concepts.generate import GenerationResult, Request, empty_latent, generate
from ..host.editor.messages import say_and_keep, withheld
from ..host.editor.viewer import viewer_ui
from ..host.recording.sampling import SamplerSettings
from ..scenescope.attention.record.selection import POSITIVE, Selection
from ..scenescope.cost import MOST_PICTURES
from ..scenescope.errors import SceneScopeError
from ..scenescope.training.learned.concepts import Concepts as Learned
from ..scenescope.training.learned.prompts import WHICH
from .concepts import applying_inputs
from .record import sampler_inputs
from .widgets import bounds
from .widgets.declare import choice, text, whole
from .widgets.sockets import CATEGORY, AttentionMaps, Concepts

_WRITTEN = re.compile(r"<[^<>\s]+>")


class GenerateFromTokens(io.ComfyNode):
    """Models, concepts and a template in; pictures, a labelled grid and attention maps out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the models, the prompts, how many seeds, how to sample."""
        return io.Schema(
            node_id="SceneScope_GenerateFromTokens",
            display_name="Generate from Tokens",
            category=CATEGORY,
            description="Makes pictures with learned tokens: from one prompt, or from a template with all subsets of "
            "the tokens, each with several seeds. Gives the pictures, a grid of them, and the attention maps of the "
            "tokens.",
            search_aliases=["learned tokens", "template", "subsets", "xy grid", "textual inversion"],
            inputs=[*_model_inputs(), *_prompt_inputs(), *sampler_inputs(), *_size_inputs(), *_last_inputs()],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="All pictures: for each prompt, one picture per seed."),
                io.Image.Output(
                    display_name="GRID", tooltip=("One sheet with a row for each prompt and a column for each seed.")
                ),
                AttentionMaps.Output(
                    display_name="ATTENTION_MAPS",
                    tooltip="The maps of one prompt (maps_of), with a picture for each seed, for Token Heatmap.",
                ),
                io.String.Output(display_name="PROMPTS", tooltip="The prompts, one line for each row of the grid."),
                io.Image.Output(
                    display_name="OF_MAPS",
                    tooltip="The pictures that belong to the maps (the prompt chosen in maps_of): connect them to "
                    "Token Heatmap and Overlay Heatmap.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model, clip, vae, concepts: Learned, **widgets: Any) -> io.NodeOutput:
        """Generate and show the grid."""
        made = generate((model, clip, vae), concepts, request_of(widgets), cls.hidden.unique_id)
        report = "\n".join([_counted(made), *doubts_of(made, concepts, widgets["negative"])])
        prompts = "\n".join(" ".join(prompt.split()) for prompt in made.prompts)
        if isinstance(made.recording, SceneScopeError):
            report, viewer, maps = f"{report}\n{made.recording}", {}, withheld(str(made.recording))
        else:
            viewer, maps = viewer_ui(made.recording, words=made.words, picture=made.recorded), made.recording
        outputs = (made.images, made.grid, maps, prompts, made.recorded)
        said = say_and_keep(cls.hidden.unique_id, report)
        return io.NodeOutput(*outputs, ui=ui.PreviewImage(made.grid, cls=cls).as_dict() | viewer | said)


def doubts_of(made: GenerationResult, concepts: Learned, negative: str) -> list[str]:
    """What a user who meant a token should know: unknown tokens, and a prompt of the maps without any."""
    known = ", ".join(concepts.handles)
    written = dict.fromkeys(_WRITTEN.findall("\n".join([*made.prompts, negative])))
    found = [f"{name} is not a token of these concepts: {known}" for name in written if name not in concepts.handles]
    named = found or made.words or isinstance(made.recording, SceneScopeError)
    return found if named else [f"The prompt of the maps names none of {known}"]


def _counted(made: GenerationResult) -> str:
    numbers = ((len(made.images), "picture"), (len(made.prompts), "prompt"))
    return " of ".join(f"{number} {what}{'s' * (number != 1)}" for number, what in numbers)


def request_of(widgets: dict[str, Any]) -> Request:
    """Read the widgets."""
    latent = widgets.get("latent_image")
    return Request(
        prompt=widgets["prompt"],
        which=widgets["subsets"],
        negative=widgets["negative"],
        seeds=widgets["seeds"],
        sampler=SamplerSettings.of(widgets),
        latent=empty_latent(widgets["width"], widgets["height"]) if latent is None else latent,
        selection=Selection(branches=(POSITIVE,), precision=torch.float16),
        row=widgets["maps_of"],
        strength=widgets["strength"],
        base=widgets["base_model"],
    )


def _model_inputs() -> list[io.Input]:
    return [
        io.Model.Input(
            "model", tooltip="The base model that the concepts were trained on; not one from Apply Concepts."
        ),
        io.Clip.Input("clip", tooltip="Its CLIP, without the concepts."),
        io.Vae.Input("vae", tooltip="Its VAE, to decode the pictures."),
        Concepts.Input("concepts", tooltip="From Train Concepts or Load Concepts."),
    ]


def _prompt_inputs() -> list[io.Input]:
    return [
        text("prompt", "a photo of {tokens} at the beach", multiline=True)(
            "A prompt with handles such as <asset0>, or a template in which {tokens} stands for a subset of "
            "the tokens, joined by `and`, as in training. The default is the first of the paper's ten templates."
        ),
        text("negative", multiline=True)("What the pictures should not show. Empty by default, as in training."),
        choice("subsets", WHICH, "all")(
            "What {tokens} stands for: all subsets, small ones first (3 prompts for two tokens, 7 for three, "
            "15 for four), each token alone, or all of them together. No effect without {tokens}."
        ),
        whole("seeds", 2, bounds.SEEDS)(
            "How many seeds each prompt has: the seed below and those after it. 2 shows at a glance what is "
            f"learned and what is chance. Prompts times seeds are at most {MOST_PICTURES}."
        ),
    ]


def _size_inputs() -> list[io.Input]:
    return [
        whole(name, 512, bounds.SIDE, step=8)(
            f"{name.capitalize()} of the pictures in pixels, a multiple of 8; 512 is SD1.5's own, 128 the Demo "
            "Model's. Not used where a latent is connected."
        )
        for name in ("width", "height")
    ]


def _last_inputs() -> list[io.Input]:
    return [
        *applying_inputs(),
        whole("maps_of", -1, bounds.PROMPT_ROW)(
            "Which prompt's attention maps to give: 1 is the grid's first row, -1 the last, which for all "
            "subsets names every token."
        ),
        io.Latent.Input(
            "latent_image",
            optional=True,
            tooltip="A latent that every picture starts from, instead of an empty one. With a mask from Set Latent "
            "Noise Mask, only the masked part is repainted. A lower denoise keeps more of it. Its first picture is "
            "used.",
        ),
    ]


NODES: list[type[io.ComfyNode]] = [GenerateFromTokens]
