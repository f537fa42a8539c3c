"""A toy U-Net with the host's module names, small enough to check by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TEXT_WIDTH = 6


class Attention(nn.Module):
    """Queries, keys, and what they weigh."""

    def __init__(self, width: int, text: int, heads: int) -> None:
        super().__init__()
        self.heads, self.dim_head = heads, width // heads
        self.to_q, self.to_k = nn.Linear(width, width, bias=False), nn.Linear(text, width, bias=False)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        """Plain attention whose values are its keys."""
        query, key = self.to_q(features), self.to_k(context)
        return (query @ key.transpose(1, 2)).softmax(dim=-1) @ key


class Block(nn.Module):
    """Self-attention, then cross-attention, as the host's block runs them."""

    def __init__(self, width: int, heads: int, *, cross: bool = True) -> None:
        super().__init__()
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, TEXT_WIDTH, heads) if cross else None

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """(batch query channel) in and out."""
        features = features + self.attn1(features, features)
        return features if self.attn2 is None else features + self.attn2(features, text)


class Transformer(nn.Module):
    """The spatial transformer around some blocks."""

    def __init__(self, width: int, heads: int, depth: int = 1, *, cross: bool = True) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList(Block(width, heads, cross=cross) for _ in range(depth))

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """(batch channel height width) in and out."""
        rows = features.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            rows = block(rows, text)
        return rows.transpose(1, 2).reshape(features.shape)


class Downsample(nn.Module):
    """The host's strided layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """Half the grid, rounded up."""
        return self.op(features)


class ToyUNet(nn.Module):
    """Two levels: input 1 (latent) and 3 (latent / 2, two blocks deep), middle, output 0 and 2.

    Args:
        width: channels everywhere.
        heads: attention heads.
    """

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.output_blocks = nn.ModuleList(
            nn.ModuleList([item])
            for item in (Transformer(width, heads), nn.Identity(), Transformer(width, heads), nn.Identity())
        )  # made first on purpose: the order of making is not the order of running
        self.input_blocks = nn.ModuleList(
            nn.ModuleList([item])
            for item in (
                nn.Conv2d(4, width, 3, padding=1),
                Transformer(width, heads),
                Downsample(width),
                Transformer(width, heads, depth=2),
            )
        )
        self.middle_block = nn.ModuleList([nn.Identity(), Transformer(width, heads, cross=False)])

    def forward(self, latent: Tensor, text: Tensor) -> Tensor:
        """(batch 4 height width) and (batch token channel) to (batch channel height width)."""
        features = self.input_blocks[0][0](latent)
        for block in (*self.input_blocks[1:], [self.middle_block[1]], self.output_blocks[0]):
            features = block[0](features, text)
        features = nn.functional.interpolate(features, size=latent.shape[-2:])
        return self.output_blocks[2][0](features, text)


def toy_unet(dtype: torch.dtype = torch.float32) -> ToyUNet:
    """A toy with weights that are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ToyUNet().to(dtype).eval()
