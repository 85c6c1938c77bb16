"""What goes into params and shell commands comes out of Snakemake as it was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from scalequest.config.defaults import fill_defaults
from scalequest.hashing import canonical_json
from scalequest.workflow.quoting import param, shell_prefix, word

ROOT = Path(__file__).resolve().parents[3]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_a_param_is_the_value_and_has_no_wildcard(value):
    assert canonical_json(json.loads(param(value))) == canonical_json(value)


def test_a_brace_in_a_text_is_no_wildcard():
    assert param({"prompt": "Solve {question}."}) == '{"prompt":"Solve \\u007bquestion}."}'


def test_the_prefix_survives_snakemake_and_the_shell(tmp_path: Path):
    folder = tmp_path / "a {b} 'c'"
    own = {"storage": {"models": str(folder), "progress": "progress"}, "operation": {"note": "it's {x}"}}
    config = fill_defaults(yaml.safe_load((ROOT / "config.yaml").read_text())) | own
    prefix = shell_prefix(config, folder / "scripts", own_interpreter=True)
    # Snakemake fills in what stands between braces.
    command = (prefix + 'printf "%s\\n" "$scripts" "$models" "$progress" "$roles" "$SCALEQUEST_OPERATION"').format()
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)  # noqa: S603, S607
    assert done.stdout.splitlines()[:3] == [f"{folder}/scripts", str(folder), "progress"]
    role = {"chat": True, "context": config["engine"]["max_model_len"], "reward": "verifier", "system_prompts": []}
    assert json.loads(done.stdout.splitlines()[3]) == {"smollm2": role}
    assert json.loads(done.stdout.splitlines()[4]) == config["operation"]
    assert word("a b") == "'a b'"
