"""The interface of a domain, and how one is found by the name that the config gives (`domain`).

A domain is one module here with a `DOMAIN`, and a folder resources/domains/NAME: its prompts and, where it has some,
seed problems. Nothing else knows which domain runs (CONTRIBUTING.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from scalequest.grading.graders import Grader
from scalequest.llm.prompts import Prompts

FOLDER = Path(__file__).resolve().parents[3] / "resources" / "domains"


@dataclass(frozen=True)
class Domain:
    """A field of problems.

    `graders` say which answers are right; a table has figures of each. The first one also finds the final answers of
    responses and solutions, says whether the solver of seed problems is right, and which answers are the same.
    `facts` are the facts of a problem that graders read; by any other fact figures are shown part by part.
    """

    name: str
    graders: tuple[Grader, ...]
    facts: tuple[str, ...] = ()

    @property
    def main(self) -> Grader:
        """The first grader."""
        return self.graders[0]

    @property
    def prompts(self) -> Prompts:
        """The prompts, by name."""
        return Prompts(FOLDER / self.name / "prompts")


def open_domain(name: str) -> Domain:
    """The domain of that name."""
    return import_module(f"scalequest.domains.{name}").DOMAIN
