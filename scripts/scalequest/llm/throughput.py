"""How fast a loaded engine works with as many texts in flight as it may hold: what a rehearsal measures.

A stage's few rows say little of it: they do not fill the engine, and most of their time is the wait for the longest
text. So what the stage has asked is asked again, with other seeds, for some minutes; its rows say how many requests and
tokens one row takes. Prompts are changed between what all of them begin and end with: the engine's prefix cache then
holds as much of them as it does in a run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalequest.runtime import measured


@dataclass
class Asked:
    """What a stage has asked of its engine: the prompts (token ids) of each call with their parameters, the `rows` that
    it made of them, and the `tokens` that were generated (0 by a model with a head)."""

    calls: list[tuple[Sequence[Any], Sequence[Any]]] = field(default_factory=list)
    rows: int = 0
    tokens: int = 0

    @property
    def requests(self) -> int:
        """Requests of all calls."""
        return sum(len(inputs) for inputs, _ in self.calls)

    def again(self) -> Iterator[tuple[Any, Any]]:
        """Inputs and parameters of all calls in turn, without end, each with a prompt that was not there before."""
        calls = [([list(given["prompt_token_ids"]) for given in inputs], params) for inputs, params in self.calls]
        ends = [(_shared(prompts), _shared([prompt[::-1] for prompt in prompts])) for prompts, _ in calls]
        for number in itertools.count():
            for (prompts, params), (first, last) in zip(calls, ends, strict=True):
                prompt = prompts[number % len(prompts)]
                ids = _turned(prompt, first, min(last, len(prompt) - first), 1 + number // len(prompts))
                yield {"prompt_token_ids": ids}, params[number % len(params)]


def _shared(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with."""
    return sum(1 for _ in itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False)))


def _turned(prompt: list[int], first: int, last: int, by: int) -> list[int]:
    """A prompt whose tokens between its first and its last ones are turned around by so many places."""
    end = len(prompt) - last
    between = prompt[first:end]
    by %= max(len(between), 1)
    return [*prompt[:first], *between[by:], *between[:by], *prompt[end:]]


def generating(llm: Any, asked: Asked, in_flight: int, seconds: float) -> dict[str, float]:
    """Rows an hour of an engine that generates, with `in_flight` texts at a time, and tokens a second.

    Texts that end are replaced at once. Tokens of those that have not ended count too, so that long texts, of which few
    end in the time, are not missed.
    """
    from vllm.sampling_params import RequestOutputKind

    engine, requests = llm.llm_engine, asked.again()
    flying = tokens = ended = 0
    begun = time.monotonic()
    for number in itertools.count():
        while flying < in_flight:
            prompt, params = next(requests)
            params = params.clone()
            params.output_kind, params.seed = RequestOutputKind.DELTA, (params.seed or 0) + number + 1
            engine.add_request(f"measured {number} {flying} {ended}", prompt, params)
            flying += 1
        for output in engine.step():
            tokens += len(output.outputs[0].token_ids)
            if output.finished:
                flying -= 1
                ended += 1
        took = time.monotonic() - begun
        if took >= seconds:
            break
    # Texts in flight have tokens already, and those of the stage say how many tokens a row has.
    made = tokens * asked.rows / asked.tokens if asked.tokens else ended * asked.rows / asked.requests
    return {"rows_per_hour": 3600 * made / took, "tokens_per_second": tokens / took, "seconds": took}


def scoring(pool: Any, asked: Asked, in_flight: int, seconds: float) -> dict[str, float]:
    """Rows an hour of an engine with a head, which scores `in_flight` texts at a time by `pool`."""
    requests = asked.again()
    scored = 0
    begun = time.monotonic()
    while (took := time.monotonic() - begun) < seconds or not scored:
        batch = list(itertools.islice(requests, in_flight))
        pool([prompt for prompt, _ in batch], batch[0][1])
        scored += len(batch)
    return {"rows_per_hour": 3600 * scored * asked.rows / asked.requests / took, "seconds": took}


def memory(device: str) -> dict[str, int]:
    """Bytes in use and bytes in all: of the first GPU that this process sees, or of the process and its machine."""
    if device == "cpu":
        return {"peak_bytes": measured.peak_of_process(), "memory_bytes": measured.memory_of_host()}
    import torch

    free, total = torch.cuda.mem_get_info()
    return {"peak_bytes": total - free, "memory_bytes": total}
