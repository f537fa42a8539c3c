"""A word's region while it is sampled: it gates another prompt, a LoRA or an inpainting mask."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.acting.region import GatingRegion, gated, region_mask, with_region
from ..host.shapes import PIXELS
from ..scenescope.attention.act.region import RegionTrack
from ..scenescope.dims import Grid
from .widgets import bounds
from .widgets.declare import choice, number, share, text, whole
from .widgets.sockets import CATEGORY, Region

ALIASES = [
    "regional prompt",
    "regional prompter",
    "attention mask",
    "gate",
    "mask by word",
    "lora by region",
    "live mask",
]


class FollowWordRegion(io.ComfyNode):
    """MODEL, words and two prompts in, a MODEL and one prompt out whose parts meet at the word's region."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the model, the words, the prompts, and how the region is cut."""
        return io.Schema(
            node_id="SceneScope_WordRegion",
            display_name="Word Region",
            category=CATEGORY,
            description="Follows the region of a word while a picture is sampled, and applies another prompt, with its "
            "LoRA if it has one, only there. The region is found again at every step.",
            search_aliases=ALIASES,
            inputs=[*_region_inputs(), *_more_inputs()],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The model that follows the region, for the sampler."),
                io.Conditioning.Output(
                    display_name="CONDITIONING",
                    tooltip="Both prompts, each with its part of the picture: the sampler's positive. Without `inside` "
                    "it is the base prompt as it was.",
                ),
                Region.Output(display_name="REGION", tooltip="The region, for Region Mask after the run."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: Any, base: Any, words: str, inside=None, strength=1.0, **choices: Any) -> io.NodeOutput:
        """Follow the words on a clone, and join the prompts."""
        track, inpaint = RegionTrack(), choices.pop("inpaint")
        by_attention = choices.pop("gate_by", "predictions") == "attention"
        region = GatingRegion(words, track, by_attention=by_attention, **choices)
        joined = base if inside is None else gated(base, inside, track, strength)
        return io.NodeOutput(with_region(model, region, cls.hidden.unique_id, inpaint), joined, track)


def _region_inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The MODEL to sample with: SD1.5, SD2 or SDXL, with any LoRA or patch."),
        io.Conditioning.Input(
            "base",
            tooltip="The prompt of the whole picture, which has the words. Leave out of it what `inside` should "
            "decide: a colour named here is not replaced.",
        ),
        text("words")("The words of the base prompt whose region to use: `circle`. Several are averaged."),
        number("cut", 0.4, bounds.CUT, 0.05)(
            "A place belongs to the region if it reaches this share of the map's maximum. 0.4 is a little "
            "wide, which works best for prompts; 0.6 fits the finished thing best."
        ),
        whole("grow", 0, bounds.GROW)(
            "How many latent cells (8 pixels each) to widen the region by; negative numbers narrow it."
        ),
        share("start", 0.05)(
            "Share of the steps before the region is used; until then the base prompt has the whole picture. "
            "Early works best, even though the region is still rough."
        ),
    ]


def _more_inputs() -> list[io.Input]:
    return [
        share("freeze", 1.0, advanced=True)(
            "Share of the steps after which the region no longer moves; 1 follows it to the end."
        ),
        text("rivals", advanced=True)(
            "Other words of the base prompt that the region's words have to outweigh, separated by commas: "
            "`square, star`. Empty, the default, means none."
        ),
        choice("inpaint", ["off", "inside", "outside"], "off", advanced=True)(
            "For a LATENT with a noise mask: sample again only inside the region, or only outside it."
        ),
        io.Conditioning.Input(
            "inside",
            optional=True,
            tooltip="What applies inside the region: another prompt, or the same one with a LoRA's hook (Set CLIP "
            "Hooks).",
        ),
        share("strength", 1.0, optional=True)(
            "How much of the region goes to `inside`; the rest stays with the base prompt."
        ),
        choice("gate_by", ["predictions", "attention"], "predictions", optional=True, advanced=True)(
            "predictions (default): `inside` gets its own pass through the U-Net, and the predictions are mixed; any "
            "prompt and LoRA works. attention: one pass for both, in which each place looks at the words of its own "
            "prompt; faster. Prompts with a LoRA, area, mask, strength or ControlNet still get their own pass."
        ),
    ]


class GetRegionMask(io.ComfyNode):
    """A region of a finished run as a mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the region, the sampler's result, and which step."""
        return io.Schema(
            node_id="SceneScope_RegionMask",
            display_name="Region Mask",
            category=CATEGORY,
            description="Gives the region of a word as a mask after the run, for a detailer, for a second pass or to "
            "look at: of the last step, of one step, or of every step as a batch.",
            search_aliases=ALIASES,
            inputs=[
                Region.Input("region", tooltip="From Word Region."),
                io.Latent.Input(
                    "latent",
                    tooltip="The sampler's LATENT: this node waits for it, and takes its size and its run's region.",
                ),
                whole("step", -1, bounds.STEP_OR_EACH)(
                    "Sampler step from 0; -1 is the last one, -2 every step as a batch."
                ),
            ],
            outputs=[io.Mask.Output(display_name="MASK", tooltip="The region, 0 or 1, at full picture size.")],
        )

    @classmethod
    def execute(cls, region: RegionTrack, latent: dict[str, Any], step: int) -> io.NodeOutput:
        """Read the track."""
        samples = latent["samples"]
        size = Grid(*(side * PIXELS for side in samples.shape[-2:]))
        return io.NodeOutput(region_mask(region.of(samples), size, step))


NODES: list[type[io.ComfyNode]] = [FollowWordRegion, GetRegionMask]
