"""Attention of packed rows: with a dense mask, and sample by sample (scalequest.training.packed_attention).

    python tests/benchmarks/packed_attention.py                  # --device gpu where there is one

Seconds of a step, forward and backward, of a model's layers on one packed row, both in turn; and the memory that a step
takes at most, of a GPU. Samples have 600 tokens.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from common import print_table

from scalequest.training import packed_attention

SAMPLE = 600


def model(attention: str, hidden: int, layers: int, device: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    shape: dict[str, Any] = {
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "vocab_size": 1000,
    }
    config = LlamaConfig(**shape, num_attention_heads=hidden // 64, num_key_value_heads=max(1, hidden // 256))
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return made.to(device, torch.bfloat16 if device == "cuda" else torch.float32).train()


def step(trained: Any, tokens: int, device: str) -> float:
    import torch

    ids = torch.randint(0, 1000, (1, tokens), device=device)
    places = (torch.arange(tokens, device=device) % SAMPLE)[None]
    begun = time.perf_counter()
    trained(input_ids=ids, position_ids=places, labels=ids, use_cache=False).loss.backward()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    device = "cuda" if args.device == "gpu" else "cpu"
    torch.set_num_threads(1)
    rows = []
    models = {name: model(name, args.hidden, args.layers, device) for name in ("sdpa", packed_attention.register())}
    for tokens in (1024, 2048, 4096):
        seconds: dict[str, list[float]] = {name: [] for name in models}
        peak = {}
        for number in range(args.steps + 1):
            for name, trained in models.items():
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                took = step(trained, tokens, device)
                trained.zero_grad()
                # The first step of each warms up.
                if number:
                    seconds[name].append(took)
                if device == "cuda":
                    peak[name] = torch.cuda.max_memory_allocated() / 1e9
        for name, found in seconds.items():
            memory = f"{peak[name]:.2f}" if peak else "-"
            rows.append([str(tokens), name, f"{statistics.median(found):.3f}", memory])
    print_table(["tokens", "attention", "s a step", "GB at most"], rows)


if __name__ == "__main__":
    main()
