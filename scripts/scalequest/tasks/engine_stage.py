"""What every stage with an engine does: open model and store, make rows window by window, write a table.

A program of such a stage holds what is particular to it: its arguments, which rows it makes, and how a model is asked.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.llm.chat import QuestionFormat, load_tokenizer, question_format
from scalequest.llm.engine import Completion, Engine, Runner
from scalequest.llm.models import open_model
from scalequest.llm.tokenizers import BackendFile, difference
from scalequest.rows.store import Row, Work, in_windows
from scalequest.rows.store_key import StoreKey, open_store
from scalequest.rows.tables import Table, write_table
from scalequest.runtime import job, measured
from scalequest.settings import EngineSettings, Sampling

log = logging.getLogger(__name__)


def parser(description: str, *, model_required: bool = True) -> argparse.ArgumentParser:
    """An argument parser with what every such stage has: the model, the store and the table."""
    result = job.parser(description)
    result.add_argument("--model", required=model_required, type=Path, help="manifest of the model")
    result.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    result.add_argument("--out", required=True, type=Path, help="table to write")
    return result


class EngineStage:
    """One job of a stage with an engine. Tokenizer and engine are loaded with the first window that the store lacks.

    `args` are those of `parser`; `key` is what makes the rows; `what` names them in the log; `chat` says whether the
    model needs a chat template, `system_prompt` what stands before a user's turn.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        key: StoreKey,
        settings: EngineSettings,
        what: str,
        *,
        runner: Runner = "generate",
        chat: bool = True,
        system_prompt: str | None = None,
    ):
        self.chat, self.system_prompt = chat, system_prompt
        self.args, self.key, self.settings = args, key, settings
        self.model = open_model(args.model)
        self.engine = Engine(self.model, settings, runner, self._check_tokenizer)
        self.store = open_store(args.progress, key, self.model, settings.gpus)
        self.report = job.Progress(what)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer. Raises ScaleQuestError where the stage needs a chat template and there is none."""
        return load_tokenizer(self.model.folder, trust_remote_code=self.model.trust_remote_code, chat=self.chat)

    @cached_property
    def question_format(self) -> QuestionFormat:
        """Where a user's turn begins and ends in the model's chat template."""
        return question_format(self.tokenizer, self.system_prompt)

    def _check_tokenizer(self, theirs: Any) -> None:
        """Raises ScaleQuestError where the engine reads or writes text otherwise than the tokenizer that prompts are
        made with."""
        backend = getattr(theirs, "backend_tokenizer", None)
        if backend is not None and (wrong := difference(self.tokenizer, BackendFile(backend, "vLLM"))):
            raise ScaleQuestError(
                f"vLLM reads the tokenizer of {self.model.label} otherwise than transformers: {wrong}. Its texts would "
                f"be damaged. Remove results/models/{self.model.name}.json, so that the model is staged again."
            )

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling, **how: Any
    ) -> list[Completion]:
        """`Engine.generate`, whose tokens are counted in the log."""
        made = self.engine.generate(prompts, seeds, **asdict(sampling), **how)
        self.report.tokens += sum(completion.tokens for completion in made)
        return made

    def rows(self, rows: Sequence[Row], work: Work, *, group: str) -> list[Row]:
        """Results for all rows, from the store or from `work` (`store.in_windows`). `group` names their index space."""

        def counted(some: list[Row]) -> list[Row]:
            made = work(some)
            self.engine.asked.rows += len(made)
            return made

        return in_windows(
            rows, self.store, self.settings.window, counted, group=group, progress=self.report, each=self.engine.each
        )

    def write(self, rows: Iterable[Row], *, table: Table | None = None, also: Collection[str] = ()) -> None:
        """Write the stage's table, if not that of its store; `also` names further stores in which rows were made."""
        write_table(self.args.out, rows, table or self.key.table, made_in=[self.store.name, *also])
        self.measure()

    def measure(self) -> None:
        """In a rehearsal, measure the engine's throughput, once for each stage and model."""
        what = (self.key.stage, self.args.model)
        seconds = measured.seconds()
        if not seconds or measured.file_of(*what).exists():
            return
        if found := self.engine.measure(seconds):
            log.info("%.0f rows an hour with %d texts in flight", found["rows_per_hour"], self.settings.max_sequences)
            measured.note(*what, engine=asdict(self.settings), gpus=self.settings.gpus, **found)
