"""The demo model, and scenes of things that it has never seen."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..host.demo import demo_scene, load_demo_model
from .widgets import bounds
from .widgets.declare import SHOWS_ON_THE_WAY, choice, whole
from .widgets.sockets import CATEGORY


class DemoModel(io.ComfyNode):
    """A small trained model with SD1.5's layout, shipped with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """No inputs: there is only one such model."""
        return io.Schema(
            node_id="SceneScope_DemoModel",
            display_name="Demo Model",
            category=CATEGORY,
            description="Loads the small model that comes with this pack, so that you can try everything without a "
            "download. It has SD1.5's layout and knows one drawn world: things such as 'a striped green star' in "
            "front of backgrounds such as 'in the snow'. Use it at 128x128 pixels.",
            search_aliases=["demo checkpoint", "tiny model", "small stable diffusion", "load checkpoint", "toy model"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The U-Net: SD1.5's blocks at reduced width."),
                io.Clip.Output(display_name="CLIP", tooltip="The text model, behind SD1's ordinary tokenizer."),
                io.Vae.Output(display_name="VAE", tooltip="The autoencoder: 8 pixels to a latent cell, 4 channels."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Load the three parts."""
        return io.NodeOutput(*load_demo_model())


class DemoScene(io.ComfyNode):
    """A picture with two or three things unknown to the demo model, and everything needed to learn them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: which scene, how many things, how exact the masks, how large."""
        return io.Schema(
            node_id="SceneScope_DemoScene",
            display_name="Demo Scene",
            category=CATEGORY,
            description="Draws a picture with two or three things that the Demo Model was never trained on, with a "
            "mask and a starting word for each: everything you need to learn concepts, without a file.",
            search_aliases=["demo picture", "example scene", "test image", "sample masks", "training picture"],
            inputs=_scene_inputs(),
            **SHOWS_ON_THE_WAY,
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The picture."),
                io.Mask.Output(display_name="MASKS", tooltip="A batch: one mask for each thing, from left to right."),
                io.Mask.Output(display_name="MASK 1", tooltip="The mask of the leftmost thing."),
                io.Mask.Output(display_name="MASK 2", tooltip="The mask of the second thing from the left."),
                io.Mask.Output(display_name="MASK 3", tooltip="The mask of the third thing; empty if there are two."),
                io.String.Output(
                    display_name="WORDS",
                    tooltip="One starting word per line, for each thing: the nearest word that the model knows.",
                ),
                io.String.Output(display_name="CAPTION", tooltip="What the picture really shows."),
            ],
        )

    @classmethod
    def execute(cls, seed: int, things: str, masks: str, width: int, height: int) -> io.NodeOutput:
        """Draw the scene."""
        scene = demo_scene(seed, int(things), loose=masks == "loose", width=width, height=height)
        outputs = (scene.image, scene.masks, *scene.single_masks, scene.words, scene.caption)
        return io.NodeOutput(*outputs, ui=ui.PreviewImage(scene.image, cls=cls))


def _scene_inputs() -> list[io.Input]:
    return [
        whole("seed", 0, bounds.SMALL_SEED, control_after_generate=True)(
            "Which scene. The same number draws the same picture everywhere."
        ),
        choice("things", ["2", "3"], "2")(
            "How many things. 2 by default: they are larger, so they are learned faster."
        ),
        choice("masks", ["loose", "exact"], "loose")(
            "loose: a few pixels too wide, like a mask drawn by hand, which is what the method is made for. "
            "exact: the true outline, for measuring."
        ),
        whole("width", 128, bounds.SCENE_SIDE, step=8)(
            "Width in pixels, a multiple of 8; 128 is what the Demo Model was trained at."
        ),
        whole("height", 128, bounds.SCENE_SIDE, step=8)(
            "Height in pixels, a multiple of 8; 128 is what the Demo Model was trained at."
        ),
    ]


NODES: list[type[io.ComfyNode]] = [DemoModel, DemoScene]
