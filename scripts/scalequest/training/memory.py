"""The memory that a training takes, computed from the model's shape and the settings before anything is loaded.

It is that of the trainers of `trainers`: weights, gradients and moments in float32; products in `training.dtype`; the
loss of TRL's fused head, which never holds all logits. What counts is the largest moment, the backward pass of the last
micro batch of a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from scalequest.settings import Device, TrainingSettings, Tuning

GB = 1e9
# Positions and words of a tile of the fused head (trl.kernels), in whose place a table of all logits would be.
_TILE = 4096, 32768
# What a process holds before a model: libraries on the host (0.9 GB was measured without CUDA; with it 3 are assumed),
# and CUDA's context with the kernels on a GPU (assumed).
_LIBRARIES = {"cpu": 1.0e9, "gpu": 3.0e9}
_CONTEXT = 1.0e9


@dataclass(frozen=True)
class Shape:
    """What of a model's `config.json` counts: widths of the residual stream, of the MLP, of all queries and of all keys
    (or values); numbers of layers and of words; whether the head is the embedding."""

    hidden: int
    intermediate: int
    queries: int
    keys: int
    layers: int
    words: int
    tied: bool

    @property
    def head(self) -> int:
        """Parameters of the embedding, and of a head of its own."""
        return self.words * self.hidden

    @property
    def layer(self) -> int:
        """Parameters of a layer."""
        attention = self.hidden * 2 * (self.queries + self.keys)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layers * self.layer + self.head * (1 if self.tied else 2) + self.hidden


@dataclass(frozen=True)
class Memory:
    """Bytes on each device, by what they are for, and bytes of the host on each node. With `device: cpu` the host has
    all of them."""

    weights: float
    gradients: float
    optimizer: float
    copies: float
    activations: float
    head: float
    context: float
    host: float
    # The optimizer's state may move to the host as far as the device is full.
    paged: bool = False

    @property
    def device(self) -> float:
        """Bytes on each device at the largest moment."""
        return sum(size for name, size in asdict(self).items() if name not in ("host", "paged"))

    @property
    def least(self) -> float:
        """Bytes on each device where all that may move to the host is there."""
        return self.device - (self.optimizer if self.paged else 0.0)


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The shape by a model's `config.json`; None for one of another layout than Llama's (experts, no gated MLP)."""
    try:
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        width = config.get("head_dim") or hidden // heads
        if any("expert" in name for name in config):
            return None
        return Shape(
            hidden,
            config["intermediate_size"],
            heads * width,
            (config.get("num_key_value_heads") or heads) * width,
            config["num_hidden_layers"],
            config["vocab_size"],
            bool(config.get("tie_word_embeddings", True)),
        )
    except (KeyError, TypeError):
        return None


def memory(shape: Shape, kind: str, training: TrainingSettings, tuning: Tuning, device: Device) -> Memory:
    """The memory of a training of a kind (a key of `trainers.KINDS`)."""
    sharded = training.sharding == "fsdp"
    share = training.processes if sharded else 1
    width = 2 if training.dtype == "bfloat16" else 4
    # Autocast leaves the residual stream in float32, FSDP's policy does not.
    stream = width if sharded else 4
    tokens = tuning.rows_per_device * tuning.max_length * (2 if kind == "preferences" else 1)
    parameters = float(shape.parameters)
    layer = tokens * _layer_bytes(shape, width, stream)
    if training.gradient_checkpointing:
        activations = shape.layers * tokens * shape.hidden * stream + layer
    else:
        activations = shape.layers * layer
    optimizer = (2 if tuning.optimizer.endswith("8bit") else 8) * parameters / share
    found = Memory(
        weights=4 * parameters / share,
        gradients=4 * parameters / share,
        optimizer=optimizer,
        copies=_copies(shape, training, width) + _temporary(parameters / share, tuning, device),
        # The backward pass of a layer holds gradients of its widest parts besides.
        activations=activations + tokens * (3 * shape.intermediate * width + 2 * shape.hidden * 4),
        head=0.0 if kind == "scorer" else _head(shape, tokens, width, training, device),
        context=_CONTEXT if device == "gpu" else 0.0,
        host=0.0,
        paged=tuning.optimizer.startswith("paged_") and device == "gpu",
    )
    if device == "gpu":
        return replace(found, host=host(parameters, kind, training, optimizer if found.paged else 0.0))
    return replace(found, host=training.processes // training.nodes * (_LIBRARIES["cpu"] + found.device))


def _layer_bytes(shape: Shape, width: int, stream: int) -> float:
    """Bytes a token that a layer keeps for its backward pass."""
    # Two norms keep their input in float32 and give the next product its own; a rotated copy of queries and keys; keys
    # and values repeated to the queries' width; gate, up, the gate's activation, and their product.
    norms = 2 * shape.hidden * (4 + stream + width)
    attention = width * (3 * shape.queries + 3 * shape.keys + 2 * shape.queries)
    return norms + attention + 4 * width * shape.intermediate


def _copies(shape: Shape, training: TrainingSettings, width: int) -> float:
    """Bytes of copies of weights and gradients: autocast's, DDP's buckets, or what FSDP gathers."""
    if training.sharding == "fsdp":
        # Two layers at a time: weights and gradients as they are computed with, and the float32 to be summed up. The
        # embedding as well.
        return 2 * shape.layer * (2 * width + 4) + shape.head * (2 * width + 4)
    # Each product casts its weight, and keeps that for its backward pass unless it is computed again there.
    cast = 2 * shape.layer * (1 if training.gradient_checkpointing else shape.layers) if width == 2 else 0
    return cast + (4 * shape.parameters if training.processes > 1 else 0)


def _temporary(parameters: float, tuning: Tuning, device: Device) -> float:
    """Bytes that AdamW takes for a moment where it updates all weights at once."""
    return 4 * parameters if tuning.optimizer == "adamw_torch" and device == "gpu" else 0.0


def _head(shape: Shape, tokens: int, width: int, training: TrainingSettings, device: Device) -> float:
    """Bytes of the loss: a tile of logits, the gradients of the head and of its input in float32. A sharded head is
    gathered in float32 as well."""
    tile = min(tokens, _TILE[0]) * min(shape.words, _TILE[1])
    # Without Triton each step of the softmax and its gradient makes a tile of its own.
    tiles = width if device == "gpu" else width + 7 * 4
    return tile * tiles + shape.head * 4 * (2 if training.sharding == "fsdp" else 1) + tokens * shape.hidden * 4


def host(parameters: float, kind: str, training: TrainingSettings, paged: float = 0.0) -> float:
    """Bytes of the host on the node of the first process, where the devices are GPUs. `paged`: those of the optimizer's
    state that may move there."""
    here = training.processes // training.nodes
    # Weights are read in float32 by each process, of a sharded model by the first alone; but each reads TRL's reference
    # model. At the end the first gathers the weights and writes them from a second copy.
    readers = here
    if training.sharding == "fsdp":
        readers = here + 1 if kind == "preferences" else 1
    return here * (_LIBRARIES["gpu"] + paged) + max(4 * parameters * readers, 8 * parameters)
