"""Learning: the settings, and the run."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.training.plan import Plan
from ..host.training.run import train_concepts
from .widgets import bounds
from .widgets.declare import number, switch, text, whole
from .widgets.settings import PRESETS, setting_inputs, settings_of
from .widgets.sockets import CATEGORY, Concepts, Scene, Settings


class TrainSettings(io.ComfyNode):
    """Every setting of the method."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Input: a preset, and the settings that it has, each with its value."""
        options = [io.DynamicCombo.Option(name, setting_inputs(preset)) for name, preset in PRESETS.items()]
        return io.Schema(
            node_id="SceneScope_TrainSettings",
            display_name="Train Settings",
            category=CATEGORY,
            description="How Train Concepts learns: a preset, and each of its settings. lora is the default; full is "
            "the Break-a-Scene reference. Without this node, Train Concepts uses lora unchanged.",
            search_aliases=["training settings", "learning rate", "hyperparameters", "lora rank"],
            inputs=[
                io.DynamicCombo.Input(
                    "preset",
                    options=options,
                    tooltip="lora, the default: trains the new tokens and small additions to U-Net and text encoder; "
                    "its state takes about 110 MB on disk. full, the reference: trains all weights; for SD1.5 this "
                    "takes about 10 GB of memory and 8 GB on disk in half precision, or 18 and 12 GB in float32. "
                    "Choosing a preset sets all settings below to its values.",
                )
            ],
            outputs=[Settings.Output(display_name="SETTINGS", tooltip="For Train Concepts.")],
        )

    @classmethod
    def execute(cls, preset: dict[str, Any]) -> io.NodeOutput:
        """Read the settings."""
        return io.NodeOutput(settings_of(preset))


class TrainConcepts(io.ComfyNode):
    """MODEL, CLIP, VAE and a scene in; learned tokens out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the base model, the scene, settings, and what to show and keep meanwhile."""
        return io.Schema(
            node_id="SceneScope_TrainConcepts",
            display_name="Train Concepts",
            category=CATEGORY,
            description="Learns a token for each thing in a scene (Break-a-Scene), so that prompts can name it: first "
            "the tokens, then the model with them. Cancel whenever you like and queue again: it resumes where it "
            "stopped. MODEL, CLIP and VAE are not changed.",
            search_aliases=["break-a-scene", "textual inversion", "dreambooth", "train lora", "embedding", "fine-tune"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="An SD1.5 model that predicts noise. LoRAs on it become part of the base model."
                ),
                io.Clip.Input("clip", tooltip="The CLIP of the same checkpoint."),
                io.Vae.Input("vae", tooltip="Its VAE. The pictures are encoded once."),
                Scene.Input("scene", tooltip="From Build Scene."),
                Settings.Input("settings", optional=True, tooltip="From Train Settings; without it, lora unchanged."),
                *_keeping_inputs(),
                *_sample_inputs(),
                *_class_inputs(),
            ],
            outputs=[
                Concepts.Output(display_name="CONCEPTS", tooltip="The learned tokens and weight changes."),
                io.LossMap.Output(
                    display_name="LOSS_MAP", tooltip="The weighted loss of each step, for the stock Plot Loss Graph."
                ),
                io.Image.Output(
                    display_name="CURVES", tooltip=("Losses, IoUs, and each concept's map beside its mask.")
                ),
                io.Image.Output(
                    display_name="SAMPLES",
                    tooltip=("All sample pictures in the order of their steps; the curves if there are none."),
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model, clip, vae, scene, settings=None, **widgets: Any) -> io.NodeOutput:
        """Train, or go on."""
        plan = Plan(**widgets)
        done = train_concepts((model, clip, vae), scene, settings or PRESETS["lora"], plan, cls.hidden.unique_id)
        shown = ui.PreviewImage(done.curves, cls=cls).as_dict() | {"scenescope_training": [done.payload]}
        return io.NodeOutput(done.concepts, {"loss": done.losses}, done.curves, done.samples, ui=shown)


def _keeping_inputs() -> list[io.Input]:
    return [
        text("run_name")(
            "Name of the run's folder in output/training, which keeps its state, curves and samples. Empty, "
            "the default, names it after everything it learns from: if you change anything, a new run begins; if you "
            "change nothing, the run resumes or, once finished, returns at once."
        ),
        whole("save_every", 50, bounds.SAVE_EVERY, advanced=True)(
            "How often the state is saved, in steps. A cancelled run saves its last step anyway; this is for "
            "crashes. The state of lora takes about 110 MB at rank 16, that of full 8 GB, or 12 in float32."
        ),
        switch("checkpointing", advanced=True)(
            "Compute blocks twice instead of keeping what they computed: less memory, about a third more time, "
            "the same result. Off, the default, does so only if the GPU is short of free memory."
        ),
    ]


def _sample_inputs() -> list[io.Input]:
    return [
        text("sample_prompt", "a photo of {}")(
            "What the sample pictures show. {} stands for all handles, joined by `and`; or write the handles yourself."
        ),
        whole("sample_every", 100, bounds.SAMPLE_EVERY)(
            "How often sample pictures are made, in steps; 0 makes one set at the end only. The noise is the "
            "same each time, so you can compare them."
        ),
        whole("sample_count", 2, bounds.SAMPLE_COUNT)("Pictures in a set; 0 makes none."),
        whole("sample_seed", 0, bounds.SMALL_SEED, advanced=True)(
            "Seed of the sample pictures' noise. Fixed, so that sets can be compared."
        ),
        whole("sample_steps", 20, bounds.SAMPLE_STEPS, advanced=True)(
            "Sampler steps (DDIM) of sample and class pictures. 20 is enough to judge; the reference takes 50."
        ),
        number("sample_cfg", 5.0, bounds.SAMPLE_CFG, 0.5, advanced=True)(
            "Guidance (CFG) of sample and class pictures. The reference uses 7.5, which is too strong for the "
            "demo model."
        ),
    ]


def _class_inputs() -> list[io.Input]:
    return [
        text("class_prompt", "a photo at the beach", advanced=True)(
            "Only for the prior `class`: the prompt of the class pictures, which keep the model from forgetting. The "
            "default is the reference's."
        ),
        whole("class_count", 100, bounds.CLASS_COUNT, advanced=True)(
            "Only for the prior `class`: how many pictures the base model makes, once. The reference makes 100."
        ),
    ]


NODES: list[type[io.ComfyNode]] = [TrainSettings, TrainConcepts]
