"""What draining the engine between windows costs each stage of a config, by simulation, and what a killed job repeats.

    python tests/benchmarks/draining.py --configfile presets/paper.yaml

scripts/scalequest/workflow/draining.py has the model and what it assumes: lengths of texts, time of an engine's step.
The same function warns of a config whose windows lose more than a tenth. Minutes are those of the throughputs that
resources/throughputs.yaml assumes; a killed job makes its current window again and starts its engine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from common import merged_config, print_table

from scalequest.config.selectors import engine_settings
from scalequest.errors import ScaleQuestError
from scalequest.workflow.draining import NOWHERE, TEXTS, Step, Windows, windows
from scalequest.workflow.estimate import Estimator

HEADER = (
    *("stage", "window, rows", "left by filters", "texts", "at once", "lost", "lost, if all steps take as long"),
    *("minutes of a window", "a kill costs, device-minutes"),
)
# A step that takes as long with one text in flight as with many.
PLAIN = Step(1.0, 0.0)


def lines(estimator: Estimator, found: list[Windows]) -> Iterator[list[str]]:
    """A line for each stage."""
    for stage in found:
        rows = min(stage.window, stage.span)
        texts, manifest = stage.sequences(rows), f"results/models/{stage.model}.json"
        engine = engine_settings(estimator.config, stage.model)
        gpus = engine["tensor_parallel"] if estimator.config["device"] == "gpu" else 0
        start, all_of_it = (estimator.seconds(stage.rule, n, {}, manifest, gpus)[0] / 60 for n in (0, texts))
        yield [
            f"{stage.rule} ({stage.generator})" if stage.generator else stage.rule,
            *(f"{rows:,}", f"{rows * stage.kept:,.0f}", f"{texts:,}", f"{stage.slots}"),
            *(f"{stage.lost():.1%}", f"{stage.lost(step=PLAIN):.1%}"),
            *(f"{all_of_it - start:.1f}", f"{all_of_it * max(gpus, 1):.0f}"),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", nargs="*", type=Path, default=[], help="overlays, as for snakemake")
    args = parser.parse_args()
    try:
        config = merged_config(args.configfile)
    except (ScaleQuestError, OSError) as error:
        sys.exit(str(error))
    found = windows(config)
    step = found[0].step
    print(f"device {config['device']}: a step takes {step.fixed:g} ms and {step.each:g} ms for each text in flight")
    assumed = (f"{name} {texts.median:g} ({texts.sigma:g})" for name, texts in TEXTS.items() if texts.sigma)
    print(f"median tokens of a text (sigma of their logarithm), assumed: {', '.join(assumed)}\n")
    print_table(HEADER, lines(Estimator(config, NOWHERE), found))


if __name__ == "__main__":
    main()
