"""A model of any size for benchmarks of speed: random weights, the embedded default's tokenizer, texts that end.

    python tests/benchmarks/random_model.py --to random7b --device gpu

The default is the shape of Qwen2-Math-7B with a vocabulary of 49,152. A text ends at each token with the same
probability, one in `--length`. Weights are made on the device that is named: a CPU takes minutes for 7B.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests" / "support"))
from scalequest.llm.models import write_manifest
from tiny import END, GGUF, embedded_package

if TYPE_CHECKING:
    import torch


def weight_of_the_end(carried: torch.Tensor, others: torch.Tensor, length: int) -> float:
    """The weight by which `weight * carried` beside the other logits (their log-sum-exp) ends one text in `length`."""
    low, high = 0.0, 100.0
    for _ in range(50):
        middle = (low + high) / 2
        likely = (middle * carried - others).sigmoid().mean().item()
        low, high = (middle, high) if likely < 1 / length else (low, middle)
    return low


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, type=Path, help="folder of weights/ and model.json")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--hidden", type=int, default=3584)
    parser.add_argument("--intermediate", type=int, default=18944)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--heads", type=int, default=28)
    parser.add_argument("--key-value-heads", type=int, default=4)
    parser.add_argument("--length", type=int, default=24, help="mean tokens of a text")
    args = parser.parse_args()

    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(embedded_package(), gguf_file=GGUF)
    tokenizer.save_pretrained(args.to / "weights")
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=args.hidden,
        intermediate_size=args.intermediate,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.key_value_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=END,
        dtype="bfloat16",
    )
    device = "cuda" if args.device == "gpu" else "cpu"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Qwen2ForCausalLM(config)
        with torch.no_grad():
            # As deep networks are begun (GPT-2): the sum of all layers is about as large as the embedding.
            for name, weight in model.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight.div_(math.sqrt(2 * args.layers))
            embedding = model.model.embed_tokens.weight
            embedding.normal_()
            # One number that every token carries along, by which the end is as likely after each.
            embedding[:, 0] = 6.0
            hidden = model.model(torch.randint(100, len(tokenizer), (4, 128))).last_hidden_state.float()
            carried = hidden[..., 0]
            others = torch.logsumexp(model.lm_head(hidden.bfloat16()).float(), -1)
            model.lm_head.weight[END] = 0
            model.lm_head.weight[END, 0] = weight_of_the_end(carried, others, args.length)
    model.save_pretrained(args.to / "weights")
    write_manifest(args.to / "model.json", args.to / "weights", name="random", source="random weights")
    print(f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} billion weights in {args.to}")


if __name__ == "__main__":
    main()
