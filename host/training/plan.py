"""What the widgets of Train Concepts set, beside the settings."""

from __future__ import annotations

from dataclasses import dataclass

from ...scenescope.training.scene.scene import Scene
from ...scenescope.training.settings import Settings
from .samples import Sampling


@dataclass(frozen=True)
class Plan:
    """What the node's widgets say beside the settings.

    Args:
        run_name: of the folder below output/training; "" names it after scene, settings and base model.
        save_every: steps from one writing of the state to the next.
        sample_prompt: of the sample pictures; `{}` stands for all handles.
        sample_every: steps from one set of samples to the next; 0 for one at the end.
        sample_count: pictures in a set, 0 for none.
        sample_steps: of the sampler, also for class pictures.
        sample_cfg: guidance, also for class pictures.
        sample_seed: of their noise.
        class_prompt: of the class pictures.
        class_count: how many.
        checkpointing: save memory for time.
    """

    run_name: str = ""
    save_every: int = 50
    sample_prompt: str = "a photo of {}"
    sample_every: int = 100
    sample_count: int = 2
    sample_steps: int = 20
    sample_cfg: float = 5.0
    sample_seed: int = 0
    class_prompt: str = "a photo at the beach"
    class_count: int = 100
    checkpointing: bool = False

    def sampling(self, scene: Scene, settings: Settings, prompt: str) -> Sampling:
        """How pictures are made for a scene."""
        text = prompt.replace("{}", " and ".join(scene.handles))
        return Sampling(text, self.sample_steps, self.sample_cfg, scene.latent, settings.dtype)
