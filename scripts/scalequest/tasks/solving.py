"""Sampled answers to problems: the dataset's responses, the solver's fail rates, a student's answers to a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from scalequest.grading.graders import Grader
from scalequest.hashing import row_seed
from scalequest.llm.chat import AnswerFormat, answer_format
from scalequest.llm.engine import Completion
from scalequest.llm.thinking import Trace, trace_form
from scalequest.rows.store import Work
from scalequest.rows.tables import ATTEMPTS, Table, without
from scalequest.settings import Sampling, Thinking
from scalequest.tasks.engine_stage import EngineStage

Row = dict[str, Any]


def attempts(rows: Sequence[Row], samples: int, purpose: str, sampling: Sampling) -> list[Row]:
    """`samples` attempts at each row (`id`, `index`, `question`), each with its own hashed engine seed."""
    return [
        {
            **{column: row[column] for column in ("id", "index", "question")},
            "sample": sample,
            "sampling_seed": row_seed(purpose, asdict(sampling), row["id"], sample),
        }
        for row in rows
        for sample in range(samples)
    ]


def stored_as(thinking: Thinking | None) -> Table:
    """The table of stored attempts: without a column for traces where the model is not asked to think, as it was
    before there were any, so that these rows are found again."""
    return ATTEMPTS if thinking else without(ATTEMPTS, "reasoning")


def shaping(sampling: Sampling, thinking: Thinking | None) -> dict[str, Any]:
    """What of these settings makes attempts."""
    return {"sampling": asdict(sampling), **({"thinking": asdict(thinking)} if thinking else {})}


def whole(rows: Sequence[Row]) -> list[Row]:
    """Stored rows as rows of ATTEMPTS."""
    return [{"reasoning": None, **row} for row in rows]


def answered(rows: Sequence[Row], grader: Grader) -> list[Row]:
    """The rows with their final answers, as a grader finds them in the responses."""
    return [{**row, "answer": grader.extract(row["response"])} for row in whole(rows)]


def solver(
    stage: EngineStage, template: str, sampling: Sampling, thinking: Thinking | None = None, *, chat: bool = True
) -> Work:
    """A function from attempts to rows as they are stored (`stored_as`): without their final answers, which `answered`
    adds, so that a better extraction is applied to stored responses too. `template` and `chat` as `answer_format`."""
    form = answer_format(stage.model, template, chat=chat)
    thinker = Thinker(stage, form, sampling, thinking) if thinking else None

    def work(rows: list[Row]) -> list[Row]:
        prompts = [form.prompt(row["question"]) for row in rows]
        seeds = [row["sampling_seed"] for row in rows]
        if thinker:
            responses = thinker.responses(prompts, seeds)
        else:
            completions = stage.generate(prompts, seeds, sampling, stops=form.stops)
            responses = [Response(one.text.strip(), one.finish_reason, one.tokens) for one in completions]
        return [
            {
                "id": row["id"],
                "sample": row["sample"],
                **({"reasoning": response.reasoning} if thinking else {}),
                "response": response.text,
                "answer": None,
                "finish_reason": response.finish_reason,
                "tokens": response.tokens,
                "sampling_seed": row["sampling_seed"],
            }
            for row, response in zip(rows, responses, strict=True)
        ]

    return work


@dataclass(frozen=True)
class Response:
    """A response, `length` or `stop`, its tokens with those of its trace, and the trace, None where there is none."""

    text: str
    finish_reason: str
    tokens: int
    reasoning: str | None = None


@dataclass(frozen=True)
class Thinker:
    """Responses of a model that thinks before it answers: first the trace, at most `budget` tokens, then the answer, at
    most `max_tokens`.

    The trace ends where the model ends it, by the token of its own for that where it has one, so that a trace that only
    spells it out goes on. A response that does not begin with a trace is a response. A trace that has not ended within
    the budget has an empty response that counts as cut, or the marker is set behind it and the model answers.
    Source of the latter: Muennighoff et al. 2025 (arXiv 2501.19393), section 3.1.
    """

    stage: EngineStage
    form: AnswerFormat
    sampling: Sampling
    thinking: Thinking

    @cached_property
    def trace(self) -> Trace:
        return trace_form(self.form, self.thinking.open, self.thinking.close)

    def responses(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> list[Response]:
        """A response to each prompt (token ids), each with its own seed."""
        trace, stops = self.trace, self.form.stops
        ends: dict[str, Any] = {"stops": [*stops, trace.closing[0]]}
        if not trace.is_token:
            ends = {"stops": stops, "stop_texts": [trace.close]}
        sampling = replace(self.sampling, max_tokens=self.thinking.budget)
        first = self.stage.generate(prompts, seeds, sampling, **ends, control=True)
        goes_on = [i for i, one in enumerate(first) if self._has_ended(one) or self._is_ended(one)]
        following = self.stage.generate(
            [[*prompts[i], *self._up_to_answer(first[i])] for i in goes_on],
            [row_seed("after a trace", seeds[i]) for i in goes_on],
            self.sampling,
            stops=stops,
        )
        answers = dict(zip(goes_on, following, strict=True))
        return [self._response(one, answers.get(i)) for i, one in enumerate(first)]

    def _has_ended(self, first: Completion) -> bool:
        # The token that ends a trace ends a response as well where a trace is a turn of its own.
        ended = first.ended_by is not None and first.ended_by in (self.trace.closing[0], self.trace.close)
        return ended and not self.trace.is_answer(first.text)

    def _is_ended(self, first: Completion) -> bool:
        """Whether a trace that has not ended is ended by force."""
        return self.thinking.at_budget == "answer" and self.trace.begins(first.text)

    def _up_to_answer(self, first: Completion) -> list[int]:
        """Token ids of a trace with what stands between it and the answer."""
        ids, trace = list(first.ids), self.trace
        if first.ended_by == trace.close:
            return ids
        if first.ended_by == trace.closing[0]:
            return [*ids, *trace.closing[1:]]
        return [*(ids[:-1] if ids[-1:] and ids[-1] in self.form.stops else ids), *trace.ids(trace.after)]

    def _response(self, first: Completion, answer: Completion | None) -> Response:
        if answer:
            more, text = self._parted(answer)
            reasoning = self.trace.content(f"{first.text}{more}")
            return Response(text.strip(), answer.finish_reason, first.tokens + answer.tokens, reasoning)
        if self.trace.begins(first.text):
            return Response("", "length", first.tokens, self.trace.content(first.text))
        head = len(self.trace.ids(self.trace.answer_header)) if self.trace.is_answer(first.text) else 0
        text = self.form.tokenizer.decode(first.ids[head:], skip_special_tokens=True)
        return Response(text.strip(), first.finish_reason, first.tokens)

    def _parted(self, answer: Completion) -> tuple[str, str]:
        """What of an answer belongs to the trace, and the answer. Some models end a trace, go on with it, and end it
        again: the answer follows the last end."""
        trace, ids = self.trace, list(answer.ids)
        if not trace.is_token:
            more, again, text = answer.text.rpartition(trace.close)
            return f"{again}{more}", text
        size = len(trace.closing)
        place = next((n for n in range(len(ids) - size, -1, -1) if ids[n : n + size] == trace.closing), None)
        if place is None:
            return "", answer.text
        decode = self.form.tokenizer.decode
        return f"{trace.close}{decode(ids[:place])}", decode(ids[place + size :], skip_special_tokens=True)
