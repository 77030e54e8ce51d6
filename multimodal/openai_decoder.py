"""openai-whisper's text decoder over clips in windows that are silent elsewhere.

Its own keeps a cache in hooks on the network's modules, projects and attends to all 1500 states of every window, and
goes on with rows that have ended. This one keeps nothing in the network, so that threads share it; it attends to the
silence of all rows at once, and leaves rows that have ended.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, softmax
from torch.nn.utils.rnn import pad_sequence
from whisper.decoding import Inference

Pair: TypeAlias = tuple[Tensor, Tensor]  # keys and values [N, heads, tokens or states, width of a head]


class Memory:
    """Keys and values, by layer, of the states [S, width] of N clips.

    Where `starts` are given, each clip is heard from that state of a window on, and around it `silence`, of one window;
    else all have as many states as a window.
    """

    def __init__(
        self,
        decoder: Any,
        states: Sequence[Tensor],
        starts: Sequence[int] | None = None,
        silence: "Memory | None" = None,
    ) -> None:
        attentions = [block.cross_attn for block in decoder.blocks]
        together = pad_sequence(list(states), batch_first=True)  # [N, the longest, width]
        self._layers = [(by_head(item, item.key(together)), by_head(item, item.value(together))) for item in attentions]
        self._silence = silence if starts is not None else None
        if self._silence is not None and starts is not None:
            lengths = torch.tensor([len(item) for item in states])[:, None]
            first = torch.tensor(starts)[:, None]
            own, at = torch.arange(together.shape[1]), torch.arange(self._silence._layers[0][0].shape[2])
            hidden = torch.cat([own >= lengths, (at >= first) & (at < first + lengths)], 1)
            self._hidden = hidden[:, None, None].to(together.device)  # [N, 1, 1, own and silent states]

    @property
    def num_clips(self) -> int:
        """N."""
        return len(self._layers[0][0])

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return self._layers[0][0].dtype

    def keep(self, clips: Tensor) -> None:
        """Forget all clips but those that a mask [N] names."""
        self._layers = [(keys[clips], values[clips]) for keys, values in self._layers]
        if self._silence is not None:
            self._hidden = self._hidden[clips]

    def scores(self, layer: int, queries: Tensor) -> Tensor:
        """Return how much queries [N, heads, T, width] match the states of their clip [N, heads, T, S]."""
        scaled = queries * queries.shape[-1] ** -0.5
        return torch.matmul(scaled, self._layers[layer][0].transpose(-1, -2))

    def attend(self, layer: int, queries: Tensor) -> Tensor:
        """Return what queries [N, heads, T, width] find in their windows, in the same shape."""
        if self._silence is None:
            return scaled_dot_product_attention(queries, *self._layers[layer])
        silent_keys, silent_values = self._silence._layers[layer]
        num, heads, length, width = queries.shape
        # one product for all clips, so that the silence is read from memory once
        together = queries.transpose(0, 1).reshape(heads, num * length, width) * width**-0.5
        around = (together @ silent_keys[0].transpose(-1, -2)).view(heads, num, length, -1).transpose(0, 1)
        own = self.scores(layer, queries)
        both = torch.cat([own, around], -1).masked_fill_(self._hidden, -torch.inf)
        weights = softmax(both.float(), -1).to(queries.dtype)
        near, far = weights[..., : own.shape[-1]], weights[..., own.shape[-1] :]
        found = far.transpose(0, 1).reshape(heads, num * length, -1) @ silent_values[0]
        found = found.view(heads, num, length, width).transpose(0, 1)
        return torch.matmul(near, self._layers[layer][1]).add_(found)


def by_head(attention: Any, values: Tensor) -> Tensor:
    """Return values [N, T, width] as [N, heads, T, width of a head]."""
    return values.view(*values.shape[:2], attention.n_head, -1).transpose(1, 2).contiguous()


def merged(values: Tensor) -> Tensor:
    """Return values [N, heads, T, width of a head] as [N, T, width]."""
    return values.transpose(1, 2).flatten(2)


class ClipInference(Inference):  # type: ignore[misc]
    """What a `DecodingTask` asks for logits: as many rows of tokens for each clip of a memory."""

    def __init__(self, network: Any, memory: Memory, end: int) -> None:
        self._decoder = network.decoder
        self._memory = memory
        self._end = end  # the token that ends a row
        self._past: list[Pair] = []  # keys and values of the tokens so far, by layer
        self._rows = torch.zeros(0, dtype=torch.long)  # that have not ended
        self._one_each = True

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """Return logits [rows, tokens, vocabulary] of the tokens since the last call; zeros for rows that ended."""
        if not self._past:
            self._rows = torch.arange(len(tokens), device=tokens.device)
            self._one_each = len(tokens) == self._memory.num_clips
            return self._pass(tokens)
        going = tokens[self._rows, -1] != self._end
        if self._one_each and not going.all():
            self._memory.keep(going)
            self._rows = self._rows[going]
            self._past = [(keys[going], values[going]) for keys, values in self._past]
        found = self._pass(tokens[self._rows, -1:])
        whole = found.new_zeros(len(tokens), *found.shape[1:])
        whole[self._rows] = found
        return whole

    def rearrange_kv_cache(self, source_indices: list[int]) -> None:
        """Continue each row from another: beams change places."""
        self._past = [(keys[source_indices], values[source_indices]) for keys, values in self._past]

    def cleanup_caching(self) -> None:
        """Forget the tokens."""
        self._past = []

    def _pass(self, tokens: Tensor) -> Tensor:
        found, self._past = decode_tokens(self._decoder, tokens, self._memory, self._past)
        return found


def decode_tokens(
    decoder: Any, tokens: Tensor, memory: Memory, past: Sequence[Pair] = (), scores: list[Tensor] | None = None
) -> tuple[Tensor, list[Pair]]:
    """Return float logits [rows, T, vocabulary] of tokens [rows, T] after those of the past, and the longer past.

    `scores` receives, by layer, how much each token matches the states of its clip [N, heads, tokens, S].
    """
    offset = past[0][0].shape[2] if past else 0
    values = decoder.token_embedding(tokens) + decoder.positional_embedding[offset : offset + tokens.shape[1]]
    values = values.to(memory.dtype)
    longer = []
    for layer, block in enumerate(decoder.blocks):
        found, pair = _attend_to_tokens(block.attn, block.attn_ln(values), past[layer] if past else None)
        longer.append(pair)
        values = values + found
        # rows of one clip are asked as one: what a token finds in it depends on no other
        asked = block.cross_attn.query(block.cross_attn_ln(values)).view(memory.num_clips, -1, values.shape[-1])
        queries = by_head(block.cross_attn, asked)
        if scores is not None:
            scores.append(memory.scores(layer, queries))
        values = values + block.cross_attn.out(merged(memory.attend(layer, queries))).view(values.shape)
        values = values + block.mlp(block.mlp_ln(values))
    logits = decoder.ln(values) @ decoder.token_embedding.weight.to(values.dtype).T
    return logits.float(), longer


def _attend_to_tokens(attention: Any, values: Tensor, past: Pair | None) -> tuple[Tensor, Pair]:
    """Return what tokens find in those before them, and the keys and values of all."""
    keys, held = by_head(attention, attention.key(values)), by_head(attention, attention.value(values))
    if past is not None:
        keys, held = torch.cat([past[0], keys], 2), torch.cat([past[1], held], 2)
    queries = by_head(attention, attention.query(values))
    found = scaled_dot_product_attention(queries, keys, held, is_causal=past is None)
    return attention.out(merged(found)), (keys, held)
