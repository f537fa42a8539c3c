"""One attention layer under the host's contract, small enough to compute by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pack.scenescope.attention.record.layers import AttentionLayer, LayerModules
from pack.scenescope.dims import Grid
from torch import Tensor, nn

HEADS, WIDTH, TEXT_WIDTH = 2, 8, 6
SITE = AttentionLayer(0, "input 1", "down", "cross", 0, HEADS, WIDTH // HEADS)
GRID = Grid(3, 4)

Owner = Callable[[Tensor, Tensor, Tensor], Tensor]


class HostAttention(nn.Module):
    """Queries, keys, values and out, called in the host's order; an owner may replace what they make."""

    def __init__(self, owner: Owner | None = None) -> None:
        super().__init__()
        self.heads, self.dim_head, self.owner = HEADS, WIDTH // HEADS, owner
        self.to_q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.to_k, self.to_v = (nn.Linear(TEXT_WIDTH, WIDTH, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.0))

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """(batch query channel) and (batch token channel) to (batch query channel)."""
        query, key, value = self.to_q(features), self.to_k(text), self.to_v(text)
        return self.to_out((self.owner or by_hand)(query, key, value))


class Around(nn.Module):
    """The spatial transformer around one layer."""

    def __init__(self, attention: HostAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """(batch channel height width) in, (batch query channel) out: what `to_out` gave."""
        return self.attention(features.flatten(2).transpose(1, 2), text)


def apart(rows: Tensor) -> Tensor:
    """(batch token head*channel) to (batch head token channel)."""
    return rows.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def shares_by_hand(query: Tensor, key: Tensor, bias: Tensor | None = None) -> Tensor:
    """(batch head query token): exponentials over their sum."""
    logits = apart(query) @ apart(key).transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
    odds = (logits if bias is None else logits + bias).exp()
    return odds / odds.sum(dim=-1, keepdim=True)


def by_hand(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention (batch query head*channel), written out."""
    return (shares_by_hand(query, key, bias) @ apart(value)).transpose(1, 2).flatten(2)


@dataclass
class OneLayer:
    """A layer with its inputs, in double precision: two entries of two pictures, four tokens."""

    owner: Owner | None = None
    rows: int = 4
    tokens: int = 4

    def __post_init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.around = Around(HostAttention(self.owner)).double().eval().requires_grad_(False)
            self.features = 2 * torch.randn(self.rows, WIDTH, *GRID, dtype=torch.float64)
            self.text = 2 * torch.randn(self.rows, self.tokens, TEXT_WIDTH, dtype=torch.float64)
        self.found = LayerModules(SITE, self.around.attention, self.around)

    def __call__(self) -> Tensor:
        """What `to_out` gives (batch query channel)."""
        return self.around(self.features, self.text)

    @property
    def projected(self) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value."""
        attention, rows = self.around.attention, self.features.flatten(2).transpose(1, 2)
        return attention.to_q(rows), attention.to_k(self.text), attention.to_v(self.text)

    def out(self, joined: Tensor) -> Tensor:
        """What `to_out` makes of this."""
        return self.around.attention.to_out(joined)

    def hooks(self) -> int:
        """How many hooks its modules carry."""
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.around.modules())
