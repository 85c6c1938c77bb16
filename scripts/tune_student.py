"""A student: supervised fine-tuning of a model on problems with their responses, from our dataset or another one.

Source: ScaleQuest (arXiv 2410.18693), section 4.1; packing and loss as in the training framework that it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scalequest.llm.models import open_model
from scalequest.runtime import job
from scalequest.settings import Device, Number, TrainingSettings, Tuning, read_settings
from scalequest.training.launch import Training, add_arguments, publish, train, write_history
from scalequest.training.samples import Samples

SECTION = "student_tuning"


@dataclass(frozen=True, kw_only=True)
class StudentTuning(Tuning):
    """What the config's `student_tuning` says of the training; `tokenize_student` reads the rest."""

    warmup_ratio: Number


@dataclass(frozen=True)
class Settings:
    """The training, and how trainers run."""

    student_tuning: StudentTuning
    training: TrainingSettings
    device: Device


def main() -> None:
    """Read the training set's token ids, train, write weights, manifest and loss history."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--tokens", required=True, type=Path, help="samples of the training set (tokenize_student)")
    add_arguments(parser)
    parser.add_argument("--history", required=True, type=Path, help="loss history, JSON lines")
    arguments = parser.parse_args()
    settings = read_settings(Settings, arguments.settings)

    rows, facts = Samples.read(arguments.tokens)
    base = open_model(arguments.model)
    run = Training("students", SECTION, settings.student_tuning, settings.training, settings.device, base, rows)
    result = train(run, arguments.weights)
    write_history(arguments.history, result)
    publish(arguments.out, run, result, name=arguments.name, **facts)


if __name__ == "__main__":
    job.run(main)
