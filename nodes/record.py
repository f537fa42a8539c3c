"""Record attention while any sampler runs, and freeze what it recorded."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.editor.messages import say_and_keep, say_on_node, withheld
from ..host.editor.viewer import viewer_ui
from ..host.prompts.words import picture_cautions
from ..host.recording.runs import RecordedRuns
from ..host.recording.sampling import SamplerSettings, sample
from ..host.recording.unet import record_attention
from ..scenescope.errors import RecordingError
from .widgets import bounds
from .widgets.declare import SHOWS_ON_THE_WAY, choice, number, whole
from .widgets.selection import selection_inputs, selection_of
from .widgets.sockets import CATEGORY, AttentionMaps, Recorder

ALIASES = ["attention map", "attention maps", "cross attention", "self attention", "record", "hook"]


class RecordAttention(io.ComfyNode):
    """MODEL in, a MODEL whose sampling runs are recorded out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the model and what to keep."""
        return io.Schema(
            node_id="SceneScope_RecordAttention",
            display_name="Record Attention",
            category=CATEGORY,
            description="Records the attention maps of every sampler that uses its MODEL. It only observes: the "
            "picture stays the same, bit for bit. The memory it will need is shown before sampling begins.",
            search_aliases=ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="The MODEL to record: SD1.5, SD2 or SDXL, with any LoRA or patch."),
                *selection_inputs(),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The same model, recorded. Connect it to any sampler."),
                Recorder.Output(
                    display_name="RECORDER", tooltip="Where the runs are kept. Connect it to Attention Maps."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: Any, **choices: Any) -> io.NodeOutput:
        """Clone the model and record the clone."""
        words = choices.get("live_words", "")
        return io.NodeOutput(*record_attention(model, selection_of(choices), cls.hidden.unique_id, words))


class GetAttentionMaps(io.ComfyNode):
    """Takes the recording of the run that made a latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the recorder, and the sampler's result, which also puts this node after the sampler."""
        result = io.MatchType.Template("result", [io.Latent, io.Image])
        return io.Schema(
            node_id="SceneScope_AttentionMaps",
            display_name="Attention Maps",
            category=CATEGORY,
            description="Takes what Record Attention recorded while a sampler ran. Connect the sampler's LATENT: the "
            "node finds the run that made it, even where several samplers share one recorder.",
            search_aliases=ALIASES,
            inputs=[
                Recorder.Input("recorder", tooltip="From Record Attention."),
                io.MatchType.Input(
                    "result",
                    template=result,
                    tooltip="The sampler's LATENT, or the IMAGE decoded from it. It makes this node wait for the "
                    "sampler; a LATENT also says which run is meant.",
                ),
                whole("run", 0, bounds.RUN)(
                    "0 finds the run that made the latent (the last run for an image). 1 is the first run, 2 "
                    "the second (hires fix: the second pass), -1 the last."
                ),
            ],
            **SHOWS_ON_THE_WAY,
            outputs=[
                AttentionMaps.Output(display_name="ATTENTION_MAPS", tooltip="The run's maps; they no longer change."),
                io.MatchType.Output(template=result, display_name="result", tooltip="The input, passed on."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, recorder: RecordedRuns, result: Any, run: int) -> io.NodeOutput:
        """Pick the run and say which; if there is none, the picture is passed on anyway."""
        try:
            recording, how = recorder.find(result["samples"] if isinstance(result, dict) else None, run)
        except RecordingError as error:
            kept = say_and_keep(cls.hidden.unique_id, str(error))
            return io.NodeOutput(withheld(str(error)), result, ui=kept)
        picture = None if isinstance(result, dict) else result
        said = [how, recording.describe(), *picture_cautions(recording, picture)]
        say_on_node(cls.hidden.unique_id, "\n".join(said))
        return io.NodeOutput(recording, result, ui=viewer_ui(recording, picture=picture))


class SampleAndRecord(io.ComfyNode):
    """KSampler and recorder in one, so that picture and maps are cached together."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: those of the stock KSampler, and what to keep."""
        return io.Schema(
            node_id="SceneScope_SampleAndRecord",
            display_name="Sample and Record",
            category=CATEGORY,
            description="Samples exactly as the stock KSampler does, and gives the run's attention maps with the "
            "latent. Picture and maps always belong together, whatever ComfyUI has cached.",
            search_aliases=["daam", *ALIASES, "ksampler"],
            inputs=[
                io.Model.Input("model", tooltip="The MODEL to sample with and to record."),
                io.Conditioning.Input("positive", tooltip="What the picture should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show."),
                io.Latent.Input("latent_image", tooltip="The latent to start from."),
                *sampler_inputs(),
                *selection_inputs(),
            ],
            **SHOWS_ON_THE_WAY,
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The sampled latent."),
                AttentionMaps.Output(display_name="ATTENTION_MAPS", tooltip="The maps of this run."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, latent_image: dict[str, Any], **settings: Any
    ) -> io.NodeOutput:
        """Record a clone, sample with it, and take its only run; the picture is passed on whatever was recorded."""
        words = settings.get("live_words", "")
        watched, book = record_attention(model, selection_of(settings), cls.hidden.unique_id, words)
        latent = sample(watched, positive, negative, latent_image, SamplerSettings.of(settings))
        try:
            recording = book.find(latent["samples"])[0]
        except RecordingError as error:
            said = say_and_keep(cls.hidden.unique_id, str(error))
            return io.NodeOutput(latent, withheld(str(error)), ui=said)
        return io.NodeOutput(latent, recording, ui=viewer_ui(recording))


def sampler_inputs() -> list[io.Input]:
    """The stock KSampler's widgets, under the stock ids."""
    return [
        whole("seed", 0, bounds.SEED, control_after_generate=True)(
            "Seed of the starting noise; the same seed gives the same picture and the same maps."
        ),
        whole("steps", 20, bounds.STEPS)("Sampler steps; more are finer and slower."),
        number("cfg", 7.0, bounds.CFG, 0.1)(
            "Classifier-free guidance; 7 suits SD1.5. At 1 the negative prompt is not evaluated and has no maps."
        ),
        choice("sampler_name", SamplerSettings.samplers())(
            "The sampler. Second-order ones ask the model several times a step; the maps tell these apart."
        ),
        choice("scheduler", SamplerSettings.schedulers())("How the noise falls from step to step."),
        number("denoise", 1.0, bounds.SHARE, 0.01)(
            "1 starts from pure noise; less keeps more of the latent you connect (image to image)."
        ),
    ]


NODES: list[type[io.ComfyNode]] = [RecordAttention, GetAttentionMaps, SampleAndRecord]
