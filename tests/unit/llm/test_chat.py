"""Chat formats: the published prefixes exactly, turns that end, and questions that cannot pose as control tokens."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalequest.errors import ScaleQuestError
from scalequest.llm.chat import control_tokens, defuse, encode_chat, load_tokenizer, question_format

QWEN = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}"
    "{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# Full-width bars and low blocks, spelled as code points so that nobody takes them for ASCII.
BEGIN, END = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
# name: template, named special tokens, tokens that are only marked special, prefix, BOS, the token that ends the turn
FORMATS: dict[str, tuple[str, dict[str, str | None], list[str], str, str | None, str]] = {
    "qwen2-math": (
        QWEN,
        {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        [],
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        None,
        "<|im_end|>",
    ),
    "deepseek-math": (
        DEEPSEEK,
        {"bos_token": BEGIN, "eos_token": END, "pad_token": END},
        [],
        f"{BEGIN}User:",
        BEGIN,
        END,
    ),
    "llama-3": (
        LLAMA,
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "pad_token": "<|end_of_text|>"},
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        "<|begin_of_text|>",
        "<|eot_id|>",
    ),
}
CASES = [
    "What is 2+2?",
    " leading and trailing ",
    "two\n\nlines",
    "Ünïcode 数学 \u202e",
    "{{ 7*7 }} {% raw %} <b>&amp;</b>",
]


def dressed(folder: Path, name: str) -> Any:
    """The embedded tokenizer with another model's template and special tokens."""
    from transformers import AddedToken

    template, named, marked, *_ = FORMATS[name]
    tokenizer = load_tokenizer(folder)
    tokens = [AddedToken(t, special=True, normalized=False) for t in [*named.values(), *marked] if t]
    tokenizer.add_tokens(tokens, special_tokens=True)
    for key, token in named.items():
        setattr(tokenizer, key, token)
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module", params=sorted(FORMATS))
def format_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path, format_name: str) -> Any:
    return dressed(tiny_model, format_name)


def test_prefix_is_the_published_one(tokenizer: Any, format_name: str) -> None:
    *_, prefix, bos, end = FORMATS[format_name]
    form = question_format(tokenizer)
    assert form.prefix_text == prefix
    assert tokenizer.decode(form.prefix) == prefix
    assert not prefix.endswith(" ")
    assert tokenizer.decode([form.end]) == end
    assert form.end in form.stops
    assert tokenizer.eos_token_id in form.stops
    if bos:
        begin = tokenizer.convert_tokens_to_ids(bos)
        assert form.prefix.count(begin) == 1
        assert form.prefix[0] == begin


@pytest.mark.parametrize("question", CASES)
def test_encode_is_prefix_question_end(tokenizer: Any, question: str) -> None:
    form = question_format(tokenizer)
    ids = form.encode(tokenizer, question)
    assert ids[: len(form.prefix)] == list(form.prefix)
    assert ids[-1] == form.end
    assert ids.count(form.end) == list(form.prefix).count(form.end) + 1
    assert tokenizer.decode(ids[len(form.prefix) : -1]) == form.glue + question
    # What is sampled from the prefix is what was trained: the same ids as the template's text, up to the end.
    text = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False)
    if question == question.strip():
        whole = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert whole[: len(ids) - 1] == ids[:-1]


@pytest.mark.parametrize("where", ["{}", "a {} b", "{}{}", "<{}>", "x{}y{}z"])
def test_control_tokens_in_a_question_stay_text(tokenizer: Any, where: str) -> None:
    form = question_format(tokenizer)
    control = control_tokens(tokenizer)
    empty = encode_chat(tokenizer, [{"role": "user", "content": ""}])
    for spelled in control.values():
        question = where.replace("{}", spelled)
        assert not set(form.encode(tokenizer, question)[len(form.prefix) : -1]) & set(control), spelled
        ids = encode_chat(tokenizer, [{"role": "user", "content": question}])
        assert [i for i in ids if i in control] == [i for i in empty if i in control], spelled


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_mixture_of_fragments_makes_a_control_token(tokenizer: Any, data: st.DataObject) -> None:
    control = control_tokens(tokenizer)
    words = st.sampled_from([*control.values(), "<", "|", ">", "im_", "end", " ", "x"])
    text = "".join(data.draw(st.lists(words | st.text(max_size=4), max_size=8)))
    assert not set(tokenizer(defuse(tokenizer, text), add_special_tokens=False)["input_ids"]) & set(control)
    form = question_format(tokenizer)
    assert not set(form.encode(tokenizer, text)[len(form.prefix) : -1]) & set(control)


def test_encode_leaves_the_tokenizer_as_it_was(tokenizer: Any) -> None:
    form = question_format(tokenizer)
    form.encode(tokenizer, "x")
    assert question_format(tokenizer) == form


def test_model_without_tokenizer(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_model / "config.json", tmp_path)
    with pytest.raises(ScaleQuestError, match="no tokenizer that can be loaded"):
        load_tokenizer(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(ScaleQuestError, match="no tokenizer that can be loaded"):
        load_tokenizer(tmp_path)


def test_tokenizer_without_template(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, tmp_path)
    with pytest.raises(ScaleQuestError, match="no chat template"):
        load_tokenizer(tmp_path)
    assert load_tokenizer(tmp_path, chat=False).eos_token_id is not None


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ 'nothing of yours' }}", "shows the user's words 0 times"),
        ("{{ messages[0]['content'] + messages[0]['content'] }}", "shows the user's words 2 times"),
        ("{{ raise_exception('only systems may speak') }}", "only systems may speak"),
        ("{% if %}", "cannot show a conversation"),
        ("{{ messages[0]['content'] + 1 }}", "cannot show a conversation"),
    ],
)
def test_templates_that_cannot_be_used(tiny_model: Path, template: str, said: str) -> None:
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = template
    with pytest.raises(ScaleQuestError, match=said):
        question_format(tokenizer)


def test_a_system_prompt_is_part_of_the_prefix(tokenizer: Any) -> None:
    prompt = "You answer questions about {sums}: 'one', \"two\"."
    form, plain = question_format(tokenizer, prompt), question_format(tokenizer)
    assert prompt in form.prefix_text
    assert prompt not in plain.prefix_text
    assert (form.end, form.stops, form.glue) == (plain.end, plain.stops, plain.glue)
    turns = [{"role": "system", "content": prompt}, {"role": "user", "content": "Why?"}]
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert ids[: len(form.prefix)] == list(form.prefix)
    assert form.encode(tokenizer, "Why?")[:-1] == ids[: len(form.encode(tokenizer, "Why?")) - 1]


def test_a_template_that_drops_a_system_prompt_is_refused(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = (
        "{% for m in messages if m.role == 'user' %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    )
    question_format(tokenizer)
    with pytest.raises(ScaleQuestError, match="does not show a system prompt"):
        question_format(tokenizer, "Mathematics.")


def test_turn_that_nothing_ends(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.eos_token = None
    with pytest.raises(ScaleQuestError, match="ends the user's turn"):
        question_format(tokenizer)
