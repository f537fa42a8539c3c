"""Toy ports for training: a text encoder and a denoiser with the host's module names, and a scene for them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import torch
from pack.scenescope.dims import Grid
from pack.scenescope.training.noise import NoiseSchedule
from pack.scenescope.training.ports import ClassPictures, Encoded, Ports
from pack.scenescope.training.scene.scene import Concept, Scene, build_scene
from pack.tests.support.toy import TEXT_WIDTH, Downsample, Transformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LENGTH, WORDS = 10, 64


class ToyText:
    """Words hashed into a small table; every token reads those before it."""

    def __init__(self) -> None:
        self.module = nn.Sequential(nn.Linear(TEXT_WIDTH, TEXT_WIDTH), nn.Tanh(), nn.Linear(TEXT_WIDTH, TEXT_WIDTH))
        self.table = torch.randn(WORDS, TEXT_WIDTH)
        self.places = 0.1 * torch.randn(LENGTH, TEXT_WIDTH)

    def word(self, text: str) -> Tensor:
        """One token for each part between dashes."""
        return self.table[[zlib.crc32(part.encode()) % WORDS for part in text.split("-")]]

    def encode(self, prompts: Sequence[str], embeddings: Mapping[str, Tensor]) -> Encoded:
        """Handles are words of the prompt."""
        texts, columns = [], []
        for prompt in prompts:
            words = prompt.split()[:LENGTH]
            tokens = [embeddings[word] if word in embeddings else self.word(word)[0] for word in words]
            texts.append(torch.stack(tokens + [self.table[0]] * (LENGTH - len(words))))
            columns.append({word: index for index, word in enumerate(words) if word in embeddings})
        tokens = torch.stack(texts) + self.places
        before = tokens.cumsum(1) / torch.arange(1, LENGTH + 1)[:, None]
        return Encoded(tokens + self.module(before), tuple(columns))


class ToyUNet(nn.Module):
    """Three levels with attention on each; predicts as many channels as it gets.

    Args:
        width: channels everywhere.
        heads: attention heads.
    """

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        block = [lambda: Transformer(width, heads), lambda: Downsample(width)]
        self.input_blocks = nn.ModuleList(
            nn.ModuleList([item])
            for item in (nn.Conv2d(4, width, 3, padding=1), *(block[index]() for index in (0, 1, 0, 1, 0)))
        )
        self.middle_block = nn.ModuleList([Transformer(width, heads)])
        last = nn.Conv2d(width, 4, 1)
        self.output_blocks = nn.ModuleList(
            nn.ModuleList([item]) for item in (block[0](), nn.Identity(), block[0](), nn.Identity(), block[0](), last)
        )
        self.time = nn.Linear(1, width)
        self.checkpointed = False

    def _through(self, block: nn.Module, features: Tensor, text: Tensor) -> Tensor:
        if self.checkpointed and isinstance(block, Transformer):
            return checkpoint(block, features, text, use_reentrant=False)
        return block(features, text)

    def forward(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """(batch 4 height width), (batch), (batch token channel) to (batch 4 height width)."""
        features = self.input_blocks[0][0](latents)
        features = features + self.time(timesteps[:, None] / 1000)[..., None, None]
        skips = []
        for block in self.input_blocks[1:]:
            if isinstance(block[0], Downsample):
                skips.append(features)
            features = self._through(block[0], features, text)
        features = self._through(self.middle_block[0], features, text)
        for index in (0, 2, 4):
            features = self._through(self.output_blocks[index][0], features, text)
            if skips:
                skip = skips.pop()
                features = nn.functional.interpolate(features, size=skip.shape[-2:]) + skip
        return self.output_blocks[5][0](features)


class ToyDenoiser:
    """Counts its calls."""

    def __init__(self) -> None:
        self.unet, self.calls = ToyUNet(), 0

    def __call__(self, latents: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """One pass of the U-Net."""
        self.calls += 1
        return self.unet(latents, timesteps, context)


def toy_scene(images: int = 1) -> Scene:
    """A 64x96 picture (latent 8x12, maps 2x3): one thing on the left, one on the right, a background between."""
    pictures, masks = torch.full((images, 64, 96, 3), 0.5), torch.zeros(2, images, 64, 96)
    masks[0, :, :, :32], masks[1, :, :, 64:] = 1, 1
    pictures[:, :, :32, 0], pictures[:, :, 64:, 2] = 1, 1
    concepts = [Concept("<a>", "cat"), Concept("<b>")]
    return build_scene(pictures, list(masks), concepts, background=Concept("<room>", "empty-room"))


def toy_latents(scene: Scene) -> Tensor:
    """Four channels of the picture's means: (image 4 height width)."""
    grid = Grid(*scene.latent)
    pooled = nn.functional.adaptive_avg_pool2d(scene.pictures.movedim(-1, 1), tuple(grid))
    return torch.cat([pooled, pooled.mean(1, keepdim=True)], dim=1) * 2 - 1


def scaled_linear(last: float = 0.012, steps: int = 1000) -> NoiseSchedule:
    """The schedule of Stable Diffusion (Rombach et al. 2022): betas whose square roots rise evenly from 0.00085."""
    betas = torch.linspace(0.00085**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)
    return NoiseSchedule(kept.sqrt().float(), (1 - kept).sqrt().float())


def toy_ports(scene: Scene | None = None, *, classes: bool = True, quiet: bool = False) -> Ports:
    """Ports whose weights are the same every time.

    Args:
        scene: what is encoded.
        classes: whether there are class pictures, of another size.
        quiet: a schedule with little noise, so that latents show what is where.
    """
    latents = toy_latents(scene or toy_scene())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text, denoiser = ToyText(), ToyDenoiser()
        pictures = ClassPictures(torch.randn(3, 4, 8, 8), "a photo at the beach") if classes else None
    noise = scaled_linear(last=0.0009, steps=50) if quiet else scaled_linear()
    return Ports(text, denoiser, noise, latents, latents.flip(-1), "toy", pictures)


def all_bits(ports: Ports) -> dict[str, tuple[int, bytes, bool]]:
    """Every parameter of the ports' modules: which object, its bytes, whether it asks for gradients."""
    named = [*ports.denoiser.unet.named_parameters(), *ports.text.module.named_parameters()]
    return {name: (id(item), item.detach().numpy().tobytes(), item.requires_grad) for name, item in named}


def hooks(ports: Ports) -> int:
    """How many hooks the ports' modules carry."""
    modules = [*ports.denoiser.unet.modules(), *ports.text.module.modules()]
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)
