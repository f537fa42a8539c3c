"""From pictures, masks and words to a scene that concepts are learned from."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.editor.messages import say_and_keep, tell_front_end
from ..host.scene import Naming, built_scene, loaded_file, painted_strokes, strokes_version
from ..scenescope.cost import MOST_CONCEPTS
from ..scenescope.training.scene.masks import MaskSources
from ..scenescope.training.scene.preview import with_given
from .widgets import bounds
from .widgets.declare import switch, text, whole
from .widgets.painter import PICTURE_EVENT, copied_painting, painting
from .widgets.sockets import CATEGORY, Scene


class BuildScene(io.ComfyNode):
    """Pictures, a mask for each thing, handles and starting words in; a scene and a look at it out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the picture first (the painter draws over slot 0), marks, then names and size."""
        return io.Schema(
            node_id="SceneScope_BuildScene",
            display_name="Build Scene",
            category=CATEGORY,
            description="Puts together what Train Concepts learns from: a picture, a mask for each thing in it, and "
            "names. Draws the masks on the picture at every size that training uses, and warns of what would go wrong.",
            search_aliases=["textual inversion", "training data", "masks", "dataset", "concepts"],
            inputs=[*_mark_inputs(), *_name_inputs(), *_later_inputs()],
            outputs=[
                Scene.Output(display_name="SCENE", tooltip="Pictures, masks, handles and words, of one size."),
                io.Image.Output(
                    display_name="PREVIEW",
                    tooltip="A sheet for each picture: the masks on the picture, on the latent's grid and on the "
                    "attention loss's grid, in one colour for each handle, with all warnings.",
                ),
                io.String.Output(
                    display_name="REPORT", tooltip="Sizes, one line for each handle, and one for each warning."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, mask: str | None = "", file: str | None = "", **_others: Any) -> str:
        """A painting that was changed under its old name counts as new."""
        return strokes_version(mask or "", file or "")

    @classmethod
    def execute(
        cls, image, masks=None, coloured=None, mask="", file="", invert_masks=False, **texts: Any
    ) -> io.NodeOutput:
        """Gather the marks, build, show."""
        connected = [each for each in (masks or {}).values() if each is not None]
        marks = MaskSources(connected, coloured, painted_strokes(mask, file), inverted=invert_masks)
        resolution = texts.pop("resolution")
        under = ui.PreviewImage(image[:1, ..., :3], cls=cls).as_dict()["images"][0]
        tell_front_end(PICTURE_EVENT, cls.hidden.unique_id, {"picture": under})  # to paint on, where masks still lack
        built = built_scene(
            image, marks, Naming(**texts), resolution, loaded_file(cls.hidden.prompt, cls.hidden.unique_id)
        )
        said = say_and_keep(cls.hidden.unique_id, built.warnings)
        payload = built.facts | {"picture": under}
        if (given := with_given(image[..., :3], marks)) is not None:
            payload["given"] = ui.PreviewImage(given[None], cls=cls).as_dict()["images"][0]
        shown = ui.PreviewImage(built.sheet, cls=cls).as_dict() | {"scenescope_scene": [payload]} | said
        return io.NodeOutput(built.scene, built.sheet, built.report, ui=shown)


def _mark_inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "image", tooltip="The picture, of any size; or a batch with several pictures of the same things."
        ),
        io.Autogrow.Input(
            "masks",
            template=io.Autogrow.TemplatePrefix(
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where one thing is, from 0 to 1. A rough outline is fine, but don't include other "
                    "things; soft edges count. A batch is several things. With n pictures, every n masks are one "
                    "thing: its mask in each picture.",
                ),
                prefix="mask",
                min=0,
                max=MOST_CONCEPTS,
            ),
            optional=True,
            tooltip="One input for each thing; a new one appears when the last is connected.",
        ),
        io.Image.Input(
            "coloured",
            optional=True,
            tooltip="A painted picture in which each colour is a thing and black is nothing; row by row from the top, "
            "each new colour is the next thing. Colours on less than 1 % of the picture count as soft edges.",
        ),
        painting(
            "painted masks",
            "Paint over the picture, one colour for each thing. Painting in the colour that the preview shows "
            "for a thing adds to its mask; any other colour is a new thing.",
        ),
    ]


def _name_inputs() -> list[io.Input]:
    return [
        text(
            "handles",
            multiline=True,
            advanced=True,
            placeholder="handles, one per line; empty: <asset0>, <asset1>, ...",
        )(
            "What prompts will call each thing, one per line, in the order of the masks. Empty lines become "
            "<asset0>, <asset1> and so on, as in the paper: names that aren't words."
        ),
        text("words", multiline=True, advanced=True, placeholder="starting words, one per line; may stay empty")(
            "The ordinary word that each thing starts from, one per line; one-token words work best. Without "
            "one, a thing starts near `object`. One more line is for the background."
        ),
        text("background")(
            "A handle such as <background> for everything that no mask covers, learned as one more thing, as "
            "in the paper. Empty, the default: the background isn't learned."
        ),
        whole("resolution", 512, bounds.TRAINING_SIDE, step=8)(
            "Size of the training picture in pixels: the side of a square with as many pixels. The aspect is "
            "kept, and less than 8 pixels of a side are cut off. 512 is what SD1.5 was trained at; the Demo Model "
            "wants 128. 0 keeps the picture's size."
        ),
    ]


def _later_inputs() -> list[io.Input]:
    inverted = switch("invert_masks", optional=True)(
        "For masks that are inside out, white around the thing, as Load Image's MASK of a cut-out picture is. Turns "
        "all connected masks inside out; paint and coloured pictures stay as they are. Off by default."
    )
    return [copied_painting(), inverted]


NODES: list[Any] = [BuildScene]
