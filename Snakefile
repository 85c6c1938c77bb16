"""ScaleQuest: small open models learn to ask mathematics questions, and out comes a dataset with its papers in order.

What can be asked for: `all` (the dataset, its summary and the table of what was trained on it, the default), `stage`
(what must be fetched, on a login node), `filtered` (every question with its verdicts, none answered yet), `dataset`
(no student, nothing measured), and any file of `results/`. The stages are in rules/, in the order of the method.
"""

from snakemake.utils import min_version

min_version("9.27")


# The defaults travel with the workflow, so that `--directory runs/NAME` works from anywhere.
configfile: f"{workflow.basedir}/config.yaml"


# The system below the conda environments, for `--sdm conda apptainer`.
container: "docker://condaforge/miniforge3:26.3.2-3"


include: "rules/common.smk"
include: "rules/staging.smk"
include: "rules/seeds.smk"
include: "rules/question_tuning.smk"
include: "rules/preference_tuning.smk"
include: "rules/questions.smk"
include: "rules/difficulty.smk"
include: "rules/filters.smk"
include: "rules/responses.smk"
include: "rules/dataset.smk"
include: "rules/students.smk"
include: "rules/evaluation.smk"
include: "rules/verification.smk"


from scalequest.clock import pull_back
from scalequest.costs import Estimator, confirm, planned
from scalequest.freeze import begin_run


localrules:
    all,
    dataset,
    stage,
    filtered,
    stage_model,
    stage_data,
    write_config,
    cut_difficulty,
    summarize_run,
    checksums,
    verify,


# Snakemake calls this once its plan is made (`workflow.dag`; as the files are read there is none) and before the first
# job. A dry run calls no hook, and jobs on a cluster run with --no-hooks, so that only a real run is asked about.
onstart:
    if ahead := pull_back(Path("results")):
        logger.warning(
            f"{ahead} files below results/ lay in the future, as a clock was ahead: their times are set to now."
        )
    if not workflow.touch:
        try:
            limit = CONFIG["operation"]["confirm_above_gpu_hours"]
            if limit is not None:
                confirm(planned(workflow.dag, Estimator(CONFIG)), limit)
            begin_run()
        except ScaleQuestError as error:
            raise WorkflowError(str(error)) from None


rule all:
    default_target: True
    input:
        "results/dataset/manifest.json",
        "results/summary.txt",
        "results/evaluation/table1.csv" if measured(CONFIG) else [],


rule dataset:
    input:
        "results/dataset/manifest.json",
        "results/summary.txt",


rule stage:
    input:
        [model_manifest(name) for name in model_in_use(CONFIG)],
        [f"results/datasets/{name}.parquet" for name in datasets_in_use(CONFIG)],


rule filtered:
    input:
        shards("results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet"),
