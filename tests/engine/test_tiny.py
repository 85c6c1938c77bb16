"""The tests' own model: the same bytes each time, and an end token whose vector is zero only where that is asked for.

transformers zeroes the vector of the padding token as it makes a model, and in the tiny model, as in many real ones,
the end token pads. Were one that is loaded or trained to be treated so, no text of it would ever end.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from programs import QUESTION_TEXTS, laid_down, training_of
from scalequest.hashing import file_sha256
from scalequest.llm.chat import load_tokenizer, question_format
from scalequest.llm.models import open_model
from scalequest.training import process, saving
from test_golden_training import COMMON
from tiny import END, check_end, config_of, end_row, make_tiny_model, make_tiny_scorer


def test_it_is_the_same_each_time_and_in_each_process(tiny_model: Path, tmp_path: Path) -> None:
    made = [tiny_model]
    torch.manual_seed(99)
    torch.rand(1000)
    made.append(make_tiny_model(tmp_path / "here"))
    code = "import sys; from pathlib import Path; from tiny import make_tiny_model; make_tiny_model(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True)  # noqa: S603 - ours
    made.append(tmp_path / "there")
    assert len({file_sha256(folder / "model.safetensors") for folder in made}) == 1


@pytest.mark.parametrize(
    ("options", "zero"), [({}, False), ({"mute": True}, False), ({"end_std": 0.0}, True), ({"seed": 5}, False)]
)
def test_the_end_is_zero_only_where_that_is_asked_for(tmp_path: Path, options: dict, zero: bool) -> None:
    folder = make_tiny_model(tmp_path / "model", **options)
    assert bool((end_row(folder) == 0).all()) is zero


def test_a_zero_end_that_nobody_asked_for_stops_the_making(tmp_path: Path) -> None:
    silent = make_tiny_model(tmp_path / "silent", end_std=0.0)
    with pytest.raises(AssertionError, match="the end token's vector is zero"):
        check_end(silent, zero=False)


def test_where_zeros_come_from(tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(config_of(tmp_path / "bare", 0, 2, 64))
    assert model.model.embed_tokens.padding_idx == END
    assert not model.model.embed_tokens.weight[END].any()
    assert not end_row(make_tiny_scorer(tmp_path / "scorer")).any()


def test_loading_and_training_keep_the_end(tiny_model: Path, tiny_manifest: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    there = end_row(tiny_model)
    for kind, more in ((AutoModelForCausalLM, {}), (AutoModelForSequenceClassification, {"num_labels": 1})):
        loaded = kind.from_pretrained(tiny_model, dtype=torch.float32, **more).model.embed_tokens
        assert torch.equal(loaded.weight[END], there.float())
    form, tokenizer = question_format(load_tokenizer(tiny_model)), load_tokenizer(tiny_model)
    rows = [{"input_ids": ids, "labels": ids} for ids in (form.encode(tokenizer, text) for text in QUESTION_TEXTS[:4])]
    settings = {**COMMON, "max_length": 160}
    process.run(laid_down(training_of("questions", settings, open_model(tiny_manifest), rows), tmp_path))
    trained = end_row(tmp_path / saving.MODEL)
    # A little learning rate moves it a little.
    assert trained.float().norm() == pytest.approx(there.float().norm().item(), rel=0.1)
