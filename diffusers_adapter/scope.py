"""The one object to know: a pipeline that can be recorded and taught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..scenescope.attention.draw.figure import Layouting, draw
from ..scenescope.attention.draw.render import Style
from ..scenescope.attention.read.heatmap import Heatmaps, heatmaps
from ..scenescope.attention.read.join import join_images
from ..scenescope.attention.read.masks import Cut, Masks, cut_masks
from ..scenescope.attention.read.view import View, viewed_entry
from ..scenescope.attention.record.block_shapes import ShapeProbe
from ..scenescope.attention.record.layers import find_layers
from ..scenescope.attention.record.recording import Recording
from ..scenescope.attention.record.selection import Selection
from ..scenescope.attention.shapes.tables import shape_markdown
from ..scenescope.attention.words.find import WordMatch, find_words
from ..scenescope.dims import Grid
from ..scenescope.drawing.labelled_grid import labelled_grid
from ..scenescope.errors import WordError
from ..scenescope.training.learned.concepts import Concepts
from ..scenescope.training.learned.prompts import Which, prompts_of
from ..scenescope.training.ports import ClassPictures
from ..scenescope.training.run.state import StateStore
from ..scenescope.training.run.trainer import StepReport, train
from ..scenescope.training.scene.scene import Scene
from ..scenescope.training.settings import Settings, lora_settings
from .concepts import apply_concepts
from .learning import check_trainable, training_ports
from .names import UnetNames
from .recording import Session

PIXELS = 8
"""Pixels that a latent cell covers."""
LOOK = View(resolution="auto")
"""What is read by default: the grid nearest to 16x16 cells, as in the nodes."""


@dataclass(frozen=True)
class GenerationResult:
    """What `Scope.generate` made.

    Args:
        images: (prompt*seed height width 3) float32 0..1, seeds inside.
        grid: (1 height width 3) float32 0..1, all of them with prompts and seeds.
        prompts: one for each row.
        recording: the maps of the last prompt, a picture for each seed.
    """

    images: Tensor
    grid: Tensor
    prompts: tuple[str, ...]
    recording: Recording


class Scope:
    """Records, measures and draws where an SD1.5 pipeline looks, and teaches it tokens.

    The pipeline is never changed; pictures are the same with and without recording, bit for bit.

    Args:
        pipe: a `StableDiffusionPipeline`.

    Raises:
        HostError: it is of another family.
    """

    def __init__(self, pipe: Any) -> None:
        check_trainable(pipe)
        self.pipe = pipe

    def record(self, selection: Selection | None = None) -> Session:
        """Record the pipeline's runs inside a `with` block.

        Args:
            selection: what to keep; by default, cross-attention of all blocks and steps, means over heads.

        Raises:
            HostError: the U-Net is compiled.
        """
        return Session(self.pipe, selection or Selection())

    def words(self, recording: Recording, query: str = "", view: View | None = None) -> tuple[WordMatch, ...]:
        """Find words and phrases of the recorded prompt, separated by commas; empty for each word.

        Raises:
            WordError: a word is not in the prompt, or the run was given embeddings in place of a prompt.
        """
        entry = viewed_entry(recording, view or LOOK)
        if entry.table is None:
            raise WordError(
                f"Words: the {entry.branch} prompt of this run is not known, because the pipeline was given "
                "embeddings. Call it with a prompt."
            )
        return find_words(entry.table, query)

    def heatmaps(self, recording: Recording, query: str = "", view: View | None = None) -> Heatmaps:
        """One map for each word: (image height width word) shares of attention.

        Raises:
            WordError: a word is not in the prompt.
            SelectionError: the view names what was not recorded.
        """
        view = view or LOOK
        return heatmaps(recording, self.words(recording, query, view), view)

    def drawing(self, recording: Recording, query: str = "", view: View | None = None) -> Tensor:
        """The maps of words on one picture, with a colour bar: (image height width 3) float32 0..1."""
        view = view or LOOK
        size = Grid(recording.latent.height * PIXELS, recording.latent.width * PIXELS)
        return draw(recording, self.words(recording, query, view), view, Layouting(Style(size))).images

    def masks(
        self,
        recording: Recording,
        query: str = "",
        view: View | None = None,
        *,
        cut: Cut = "fraction",
        fraction: float = 0.5,
        truth: Tensor | None = None,
    ) -> Masks:
        """Cut a mask from each word's map, as large as the picture.

        Args:
            recording: what a run left.
            query: words.
            view: which part of the recording.
            cut: `fraction` of each map's own maximum, or `otsu`.
            fraction: 0..1, for the first.
            truth: (word or 1, height width) known masks, to measure with.
        """
        size = Grid(recording.latent.height * PIXELS, recording.latent.width * PIXELS)
        values = self.heatmaps(recording, query, view).on(size).values  # (image height width word)
        return cut_masks(values.movedim(-1, 0).flatten(0, 1), cut, fraction, truth)

    def shapes(self, height: int, width: int, *, batch: int = 1) -> str:
        """The sizes in every block for pictures of a size, as a Markdown table; nothing is computed.

        Args:
            height: pixels, a multiple of 8.
            width: pixels, a multiple of 8.
            batch: rows of the call: images, times two with guidance.
        """
        config = self.pipe.unet.config
        with torch.device("meta"), torch.inference_mode():
            unet = type(self.pipe.unet).from_config(config)
            nn.Module.to(unet, self.pipe.unet.dtype)
            latents = torch.empty(batch, config.in_channels, height // PIXELS, width // PIXELS, dtype=unet.dtype)
            context = torch.empty(batch, self.pipe.tokenizer.model_max_length, config.cross_attention_dim)
            with ShapeProbe(find_layers(UnetNames(unet))) as probe:
                unet(latents, torch.empty(batch), encoder_hidden_states=context.to(unet.dtype))
        return shape_markdown(probe.rows(), f"A picture of {Grid(height, width)} pixels, batch {batch}.")

    def learn(
        self,
        scene: Scene,
        settings: Settings | None = None,
        *,
        on_step: Callable[[StepReport], None] | None = None,
        keep: Path | None = None,
        save_every: int = 50,
        classes: ClassPictures | None = None,
    ) -> Concepts:
        """Learn the tokens of a scene, on copies of the pipeline's models.

        Args:
            scene: what is learned from, as `build_scene` makes it.
            settings: the method's; the preset `lora` by default.
            on_step: called after each step; raise from it to stop.
            keep: a file for the run's state; an interrupted run resumes from it.
            save_every: steps from one writing of the state to the next.
            classes: for the prior `class`.

        Raises:
            HostError: the model is not one that can be trained.
            InputError: scene and settings do not fit, or the kept state was begun differently.
        """
        keeping = None if keep is None else StateStore(keep, save_every)
        with training_ports(self.pipe, scene, classes) as ports:
            return train(scene, ports, settings or lora_settings(), on_step=on_step, keeping=keeping)

    def apply(
        self, concepts: Concepts, *, strength: float = 1.0, base: Literal["must match", "any"] = "must match"
    ) -> Scope:
        """A scope whose pipeline understands the concepts' handles in prompts; this one's stays as it is.

        Raises:
            InputError: the concepts are of another base model, or a handle is taken.
        """
        return Scope(apply_concepts(self.pipe, concepts, strength=strength, base=base))

    def generate(
        self,
        concepts: Concepts,
        prompt: str,
        *,
        which: Which = "all",
        seeds: Sequence[int] = (0,),
        selection: Selection | None = None,
        **options: Any,
    ) -> GenerationResult:
        """Paint a prompt, or a template over subsets of the tokens, with each seed.

        Args:
            concepts: learned with this pipeline's model.
            prompt: with handles, or a template with `{tokens}`.
            which: subsets of the tokens stand in a template.
            seeds: of the starting noise.
            selection: what to record of the last prompt.
            options: of the pipeline's own call: height, width, guidance_scale, num_inference_steps, ...

        Raises:
            InputError: there are too many pictures, or the concepts do not fit.
        """
        prompts, scope = prompts_of(prompt, concepts.handles, which, len(seeds)), self.apply(concepts)
        images: list[Tensor] = []
        for text in prompts[:-1]:
            images += [scope._painted(text, seed, options) for seed in seeds]
        with scope.record(selection) as session:
            images += [scope._painted(prompts[-1], seed, options) for seed in seeds]
        pictures = torch.cat(images)
        grid = labelled_grid(pictures, prompts, [f"seed {seed}" for seed in seeds])
        return GenerationResult(pictures, grid, prompts, join_images(session.recordings))

    def _painted(self, prompt: str, seed: int, options: dict[str, Any]) -> Tensor:
        """One picture (1 height width 3) float32 on the CPU."""
        generator = torch.Generator("cpu").manual_seed(seed)
        made = self.pipe(prompt, generator=generator, output_type="pt", **options).images
        pictures: Tensor = made.movedim(1, -1).float().cpu()
        return pictures
