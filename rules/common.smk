"""What all rules use: the checked config, settings as canonical JSON, hashes of code, paths of models and shards.

What only the rules of one file use is in helpers/, under the same name.
"""

import os
import sys
from pathlib import Path

# Here `workflow.basedir` would be the folder of a workflow that imports this one as a module.
ROOT = Path(str(workflow.current_basedir)).parent
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from snakemake.common.configfile import load_configfile
from snakemake.logging import logger
from snakemake.utils import update_config
from scalequest.workflow.codehash import checkout_hash, code_hash
from scalequest.config.check import cautions, check
from scalequest.config.defaults import config_digest, fill_defaults, shaping
from scalequest.config.selectors import (
    difficulty_by,
    datasets_in_use,
    engine_settings,
    measured,
    model_in_use,
    topic_options,
)
from scalequest.config.files import check_files
from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import CHECKOUT
from scalequest.workflow import draining, training_memory
from scalequest.workflow.freeze import freeze
from scalequest.workflow.quoting import param, shell_prefix
from scalequest.hashing import file_sha256
from scalequest.config.local_sources import check_sources
from scalequest.runtime.printable import printable

# The defaults travel with the workflow, so that `--directory runs/NAME` works from anywhere.
DEFAULTS = str(ROOT / "config.yaml")
AS_MODULE = not workflow.modifier.is_main_snakefile()
# Another workflow may import this one with a `prefix:`, which Snakemake puts before inputs and outputs alone. A path
# that is written in a param or a shell command goes through this function.
in_place = workflow.modifier.path_modifier.replace_prefix

try:
    if workflow.is_main_process:
        check_files(
            map(Path, [*workflow.configfiles, DEFAULTS]),
            workflow.config_settings.config_args or (),
        )
except ScaleQuestError as error:
    raise WorkflowError(printable(str(error))) from None


configfile: DEFAULTS


if AS_MODULE:
    # Snakemake skips `configfile:` in a module that is given its config.
    given, config = config, load_configfile(DEFAULTS)
    update_config(config, given)

try:
    CONFIG = fill_defaults(config)
    check(CONFIG)
    freeze(
        {
            "the config was": config_digest(CONFIG),
            "a script or a file of resources/ was": checkout_hash(CHECKOUT),
        },
        workflow.is_main_process,
    )
except ScaleQuestError as error:
    raise WorkflowError(printable(str(error))) from None

CONFIG["storage"] = {
    key: os.path.expanduser(folder) for key, folder in CONFIG["storage"].items()
}


include: "helpers/resources.smk"


# Only in the main process: the node of a job may not see files that only staging needs.
if workflow.is_main_process:
    try:
        gone = check_sources(CONFIG, packages=not deploys("conda"))
    except ScaleQuestError as error:
        raise WorkflowError(printable(str(error))) from None
    for caution in [
        *cautions(CONFIG),
        *draining.cautions(CONFIG),
        *training_memory.cautions(CONFIG),
        *gone,
    ]:
        logger.warning(printable(caution))


# Settings of how to run, not of what to make, go through the shell and not through params, so that another folder or
# timeout reruns nothing: paths of checkout, interpreter and storage, and the config's `operation`.
shell.prefix(shell_prefix(CONFIG, SCRIPTS, own_interpreter=not deploys("conda")))

GENERATORS = CONFIG["use"]["generators"]
SEEDS = CONFIG["questions"]["seeds"]
SHARDS = range(CONFIG["questions"]["shards"])
PLACES = [f"{name}/seed{seed}" for name in GENERATORS for seed in SEEDS]
# Every data file of a finished run, for checksums: each file of rules adds what its rules make. `gpu*` stands for the
# shards. Summaries are not among them, as they tell times.
DATA_FILES = ["results/config.json"]


# Only what the config knows: a path of anything else is one that no rule makes, and Snakemake says so.
wildcard_constraints:
    generator="|".join(CONFIG["generators"]),
    model="|".join(CONFIG["models"]),
    dataset="|".join(CONFIG["datasets"]),
    student="|".join(CONFIG["students"]),
    measured="|".join([*CONFIG["models"], *CONFIG["students"]]),
    part="|".join(map(str, range(CONFIG["evaluation"]["shards"]))),
    seed="|".join(map(str, SEEDS)),
    gpu="|".join(map(str, SHARDS)),


def code(script, *modules):
    """Hash of all code that a script reaches, for a rule's params, once a job needs it. `modules` are imported by name."""
    return lambda wildcards: code_hash(SCRIPTS / f"{script}.py", *modules)


def settings(**parts):
    """A stage's settings as one canonical JSON string: the only way that settings reach a script.

    Where the order of inputs counts, their names are settings too, because Snakemake compares inputs as a set.
    """
    return param(parts)


def resource(name):
    """Hash of a file in resources/, for a rule's params."""
    return file_sha256(ROOT / "resources" / name)


def pick(section, *keys):
    """Some keys of a section of the config."""
    return {key: section[key] for key in keys}


include: "helpers/domain.smk"
include: "helpers/paths.smk"
