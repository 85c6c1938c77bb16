"""Responses: k for each question, a reward for each, one selected.

In: filtered questions, the model that answers, the verifier or reward model. Out: all responses, all rewards, and all
candidates with votes and the selected one marked.
"""


include: "helpers/responses.smk"


DATA_FILES += [f"results/responses/{place}/gpu*.parquet" for place in PLACES]
DATA_FILES += [f"results/candidates/{place}/gpu*.parquet" for place in PLACES]
DATA_FILES += [f"results/selection/{place}/gpu*.json" for place in PLACES]
if REWARD["kind"] != "none":
    DATA_FILES += [f"results/rewards/{place}/gpu*.parquet" for place in PLACES]


rule sample_responses:
    """k responses to each question of a shard that the filters left."""
    input:
        model=model_manifest(CONFIG["responses"]["model"]),
        questions="results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet",
    output:
        "results/responses/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/sample_responses/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/sample_responses/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=engine_gpus(CONFIG["responses"]["model"]),
    params:
        settings=settings(
            responses=pick(CONFIG["responses"], "samples", "sampling")
            | if_thinking(CONFIG["responses"]),
            engine=engine(CONFIG["responses"]["model"], "sample_responses"),
            domain=DOMAIN,
        ),
        prompts=prompt("respond.txt"),
        code=code("sample_responses", DOMAIN_CODE),
    shell:
        'python "$scripts"/sample_responses.py --settings {params.settings:q} --log {log:q}'
        ' --model {input.model:q} --questions {input.questions:q} --progress "$progress" --out {output:q}'


rule score_responses:
    """A reward for each response."""
    input:
        model=reward_manifest(),
        questions="results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet",
        attempts="results/responses/{generator}/seed{seed}/gpu{gpu}.parquet",
    output:
        "results/rewards/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/score_responses/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/score_responses/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=engine_gpus(REWARD_MODEL) if REWARD_MODEL else 0,
    params:
        settings=settings(
            reward=pick(REWARD, "kind"),
            engine=(engine(REWARD_MODEL, "score_responses") if REWARD_MODEL else None),
            domain=DOMAIN,
        ),
        model=reward_argument,
        prompts=reward_prompts(),
        code=code("score_responses", DOMAIN_CODE),
    shell:
        'python "$scripts"/score_responses.py --settings {params.settings:q} --log {log:q}'
        " {params.model} --questions {input.questions:q} --attempts {input.attempts:q}"
        ' --progress "$progress" --out {output:q}'


rule select_responses:
    """The responses of each question that go into the dataset, normally one; all candidates are kept."""
    input:
        attempts="results/responses/{generator}/seed{seed}/gpu{gpu}.parquet",
        rewards=rewards,
    output:
        candidates="results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet",
        summary="results/selection/{generator}/seed{seed}/gpu{gpu}.json",
    log:
        "logs/select_responses/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/select_responses/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(
            selection=SELECTION,
            grading=CONFIG["grading"],
            domain=DOMAIN,
            aggregate=AGGREGATE,
        ),
        rewards=rewards_argument,
        code=code("select_responses", DOMAIN_CODE),
    shell:
        'python "$scripts"/select_responses.py --settings {params.settings:q} --log {log:q}'
        ' --attempts {input.attempts:q} {params.rewards} --progress "$progress"'
        " --out {output.candidates:q} --summary {output.summary:q}"
