"""Staging holds each tokenizer against its own files, and mends what transformers reads otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from programs import refused, script, succeeded
from scalequest.errors import ScaleQuestError
from scalequest.llm import gguf, tokenizers
from scalequest.llm.chat import load_tokenizer, question_format
from scalequest.llm.models import open_model, write_manifest
from scalequest.llm.pieces import Pieces
from scalequest.runtime.files import read_json
from tiny_tokenizers import CHATML, USER_ASSISTANT, byte_level, mistral_pieces, pieces, trained_pieces

QUESTION = "What is the store of a stage?"
# As DeepSeekMath-7B has it.
DEEPSEEK = {
    **{"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False, "legacy": True},
    **{"bos_token": "<|begin|>", "eos_token": "<|end|>", "chat_template": USER_ASSISTANT},
}
SPECIAL = ("<|begin|>", "<|end|>")
LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def weights(folder: Path) -> Path:
    """Weights that nobody reads."""
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def stage(to: Path, given: Path, trust: bool = False, **role: Any) -> Any:
    settings = {"source": f"path:{given}", "sha256": None, "trust_remote_code": trust}
    place = {"name": "m", "folder": to / "models" / "staged" / "m-1", "out": to / "m.json"}
    return script("stage_model", settings, **place, roles=json.dumps({"m": role}))


def staged(to: Path, given: Path, trust: bool = False) -> tuple[Path, dict[str, Any]]:
    """The folder that a model is read from, and what its manifest says of the tokenizer."""
    succeeded(stage(to, given, trust))
    return open_model(to / "m.json").folder, read_json(to / "m.json")["tokenizer"]


def read(folder: Path, text: str = QUESTION) -> tuple[list[int], str]:
    tokenizer = load_tokenizer(folder, chat=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids, tokenizer.decode(ids)


@pytest.fixture
def deepseek(tmp_path: Path) -> Path:
    """A byte-level tokenizer whose configuration names the class of SentencePiece models."""
    return weights(byte_level(tmp_path / "given", SPECIAL, **DEEPSEEK))


def test_a_tokenizer_of_another_class_is_mended(deepseek: Path, tmp_path: Path) -> None:
    # The fault: a text comes back without its spaces, or with the marks that stand for them.
    assert read(deepseek)[1] != QUESTION
    before = {path.name: path.read_bytes() for path in deepseek.iterdir()}
    folder, facts = staged(tmp_path, deepseek)
    assert read(folder)[1] == QUESTION
    assert facts["against"] == "tokenizer.json"
    assert "is read as the tokens" in facts["mended"]
    assert {path.name: path.read_bytes() for path in deepseek.iterdir()} == before
    # The weights are the same file, and rows made with the damaged tokenizer are of another model.
    assert (folder / "model.safetensors").samefile(deepseek / "model.safetensors")
    write_manifest(tmp_path / "damaged.json", deepseek, name="m", source="test")
    assert open_model(tmp_path / "damaged.json").digest != open_model(tmp_path / "m.json").digest
    config = read_json(deepseek / "tokenizer_config.json")
    assert read_json(folder / "tokenizer_config.json") == {**config, "tokenizer_class": "TokenizersBackend"}
    # Again: nothing is made anew.
    written = (folder / "tokenizer.json").stat().st_mtime_ns
    assert staged(tmp_path, deepseek)[0] == folder
    assert (folder / "tokenizer.json").stat().st_mtime_ns == written


def test_a_file_that_was_saved_with_the_damage_is_refused(deepseek: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    load_tokenizer(deepseek).save_pretrained(saved)
    (saved / "config.json").write_bytes((deepseek / "config.json").read_bytes())
    assert "the file itself is damaged" in refused(stage(tmp_path, weights(saved)))


def test_the_mended_tokenizer_sets_the_token_that_begins_a_text(deepseek: Path, tmp_path: Path) -> None:
    # transformers 5 ignores add_bos_token where there is a tokenizer.json.
    assert load_tokenizer(deepseek)(QUESTION)["input_ids"][0] != 0
    folder, _ = staged(tmp_path, deepseek)
    tokenizer = load_tokenizer(folder)
    assert tokenizer(QUESTION)["input_ids"] == [tokenizer.bos_token_id, *read(folder)[0]]
    form = question_format(tokenizer)
    assert tokenizer.decode(form.prefix) == form.prefix_text == "<|begin|>User:"
    assert (form.glue, form.end) == (" ", tokenizer.eos_token_id)


def test_a_right_tokenizer_is_left_as_it_is(tmp_path: Path) -> None:
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": CHATML}
    given = weights(byte_level(tmp_path / "given", **config))
    assert staged(tmp_path, given) == (given, {"against": "tokenizer.json", "mended": None})


def test_the_pieces_of_mistral_are_read_as_sentencepiece_reads_them(tmp_path: Path) -> None:
    config = {**LLAMA, "tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True}
    given = weights(pieces(tmp_path / "given", mistral_pieces(), model_type="mistral", **config))
    right = Pieces(mistral_pieces(), [], "x")
    # transformers 5 leaves out the space before a text.
    assert read(given)[0] not in right.encode(QUESTION)
    folder, facts = staged(tmp_path, given)
    assert facts["against"] == "tokenizer.model"
    for text in tokenizers.PROBE:
        assert read(folder, text)[0] == right.encode(text)[0]
    assert load_tokenizer(folder, chat=False)(QUESTION)["input_ids"][0] == 1


# As InternLM2's: a tokenizer in Python that joins pieces by itself.
CODE = """
import sentencepiece
from transformers import PreTrainedTokenizer

class OwnTokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "tokenizer.model"}
    def __init__(self, vocab_file, **more):
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=vocab_file)
        super().__init__(**more)
    vocab_size = property(lambda self: self.pieces.get_piece_size())
    def get_vocab(self):
        return {self.pieces.id_to_piece(i): i for i in range(self.vocab_size)}
    def _tokenize(self, text):
        return self.pieces.encode(text, out_type=str)
    def _convert_token_to_id(self, token):
        return self.pieces.piece_to_id(token)
    def _convert_id_to_token(self, index):
        return self.pieces.id_to_piece(index)
    def convert_tokens_to_string(self, tokens):
        return "".join(tokens).replace("\\u2581", "")
"""


CONFIGURATION = """
from transformers import PretrainedConfig

class OwnConfig(PretrainedConfig):
    model_type = "own"
"""


@pytest.mark.parametrize("trust", [True, False])
def test_a_tokenizer_in_python_that_is_wrong_is_made_from_its_pieces(tmp_path: Path, trust: bool) -> None:
    unused = ["[UNUSED_1]", "[UNUSED_2]"]
    model = trained_pieces(user_defined_symbols=unused, add_dummy_prefix=False)
    config = {
        **LLAMA,
        **{"tokenizer_class": "OwnTokenizer", "add_bos_token": True, "chat_template": "{{ bos_token }}" + CHATML},
        "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]},
        # Pieces that were left unused have other names.
        "added_tokens_decoder": {
            str(number): {"content": text, "special": True, "normalized": False}
            for number, text in ((3, "<|im_start|>"), (4, "<|im_end|>"))
        },
    }
    given = weights(pieces(tmp_path / "given", model, **config))
    (given / "own.py").write_text(CODE)
    if trust:
        # The model's configuration is in Python too.
        (given / "own_config.py").write_text(CONFIGURATION)
        code = {"AutoConfig": "own_config.OwnConfig"}
        (given / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": code}))
        wrong = load_tokenizer(given, trust_remote_code=True)
        assert " " not in wrong.decode(wrong(QUESTION, add_special_tokens=False)["input_ids"])
    folder, facts = staged(tmp_path, given, trust)
    assert facts["against"] == "tokenizer.model"
    assert read(folder)[1] == QUESTION
    tokenizer = load_tokenizer(folder, trust_remote_code=trust)
    assert type(tokenizer).__name__ == "TokenizersBackend"
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 4
    assert question_format(tokenizer).end == 4


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("options", [{}, {"add_dummy_prefix": False}], ids=str)
def test_pieces_of_every_kind_are_converted(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    model = trained_pieces(kind, **options)
    given = weights(pieces(tmp_path / "given", model, **LLAMA, tokenizer_class="LlamaTokenizer"))
    folder, _ = staged(tmp_path, given)
    right = Pieces(model, [], "x")
    for text in tokenizers.PROBE:
        assert read(folder, text) == (right.encode(text)[0], right.decode(right.encode(text)[0])), text


def test_what_cannot_be_mended_is_refused_with_the_first_text(tmp_path: Path) -> None:
    # `tokenizers` takes a carriage return and a line feed for one character, where these pieces have two.
    model = trained_pieces(normalization_rule_name="nmt_nfkc")
    given = weights(pieces(tmp_path / "given", model, **LLAMA, tokenizer_class="LlamaTokenizer"))
    message = refused(stage(tmp_path, given))
    assert "cannot be mended" in message
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "tokenizer.json cannot be read"),
        ("tokenizer.json", "[]", "tokenizer.json cannot be read"),
        ("tokenizer.model", "x", "tokenizer.model is no SentencePiece model"),
        ("readme.md", "x", "has no tokenizer that can be loaded"),
    ],
)
def test_what_is_no_tokenizer_is_a_sentence(tmp_path: Path, name: str, content: str, message: str) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (given / name).write_text(content)
    assert message in refused(stage(tmp_path, weights(given)))


def test_vllm_is_held_against_the_tokenizer_of_the_prompts(deepseek: Path, tmp_path: Path) -> None:
    folder, _ = staged(tmp_path, deepseek)
    right, wrong = load_tokenizer(folder), load_tokenizer(deepseek)
    assert tokenizers.difference(right, tokenizers.BackendFile(right.backend_tokenizer, "vLLM")) is None
    assert "by vLLM as" in str(tokenizers.difference(right, tokenizers.BackendFile(wrong.backend_tokenizer, "vLLM")))


def write_gguf(path: Path, **fields: Any) -> Path:
    """A GGUF file with a tokenizer and no weights."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model(fields.pop("model"))
    for name, value in fields.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def test_a_split_that_is_not_known_is_refused(tmp_path: Path) -> None:
    given = byte_level(tmp_path / "given", SPECIAL, **DEEPSEEK)
    model = read_json(given / "tokenizer.json")["model"]
    merges = [" ".join(pair) for pair in model["merges"]]
    more = {"token_list": list(model["vocab"]), "token_merges": merges, "token_types": [1] * len(model["vocab"])}
    file = write_gguf(tmp_path / "m.gguf", model="gpt2", tokenizer_pre="deepseek-llm", **more)
    with pytest.raises(ScaleQuestError, match=r"tokenizer\.ggml\.pre 'deepseek-llm', which cannot be checked"):
        gguf.reference(file)
    known = gguf.reference(write_gguf(tmp_path / "k.gguf", model="gpt2", tokenizer_pre="qwen2", **more))
    assert known.decode(known.encode(QUESTION)[0]) == QUESTION


def test_the_pieces_of_a_gguf_file_are_those_of_its_model(tmp_path: Path) -> None:
    right = Pieces(mistral_pieces(), [], "x")
    model, count = right.model, right.model.get_piece_size()
    kinds = [
        2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in range(count)
    ]
    more = {"token_scores": [model.get_score(i) for i in range(count)], "token_types": kinds}
    names = [model.id_to_piece(i) for i in range(count)]
    found = gguf.reference(write_gguf(tmp_path / "m.gguf", model="llama", token_list=names, **more))
    for text in tokenizers.PROBE:
        assert found.encode(text) == right.encode(text)


def test_a_model_that_needs_code_which_may_not_run_is_refused(tmp_path: Path) -> None:
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": CHATML}
    given = weights(byte_level(tmp_path / "given", **config))
    code = {"AutoConfig": "own_config.OwnConfig"}
    (given / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": code}))
    (given / "own_config.py").write_text(CONFIGURATION)
    assert "set trust_remote_code: true" in refused(stage(tmp_path, given))
    succeeded(stage(tmp_path, given, trust=True))
    # An architecture that transformers has itself needs none.
    (given / "config.json").write_text(json.dumps({"model_type": "llama", "auto_map": code}))
    succeeded(stage(tmp_path, given))


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "nothing of the kind"}'])
def test_a_configuration_that_cannot_be_read_is_a_sentence(tmp_path: Path, text: str) -> None:
    given = weights(byte_level(tmp_path / "given", tokenizer_class="PreTrainedTokenizerFast"))
    (given / "config.json").write_text(text)
    message = refused(stage(tmp_path, given))
    assert "config.json" in message


NO_USER = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
NO_SYSTEM_TWICE = "{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}"
RAISES = "{{ raise_exception('never') }}"


@pytest.mark.parametrize(
    ("config", "role", "message"),
    [
        ({}, {"chat": True}, "has no chat template"),
        ({"chat_template": NO_USER}, {"chat": True}, "shows the user's words 0 times"),
        ({"chat_template": NO_SYSTEM_TWICE}, {"chat": True}, "shows the user's words 2 times"),
        ({"chat_template": RAISES}, {"chat": True}, "cannot show a conversation of (user): never"),
        ({"chat_template": "{{"}, {"chat": True}, "cannot show a conversation of (user)"),
        (
            {"chat_template": USER_ASSISTANT, "eos_token": None},
            {"chat": True},
            "names a token that ends the user's turn",
        ),
        ({"chat_template": CHATML}, {"chat": True, "context": 4}, "a user's turn begins with 6 tokens"),
        ({"chat_template": CHATML}, {"chat": True, "context": 4096}, "reads at most 2048 tokens"),
    ],
)
def test_what_a_stage_needs_is_looked_for_when_a_model_is_staged(
    tmp_path: Path, config: dict[str, Any], role: dict[str, Any], message: str
) -> None:
    more = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "bos_token": "<|im_start|>"}
    given = weights(byte_level(tmp_path / "given", **{**more, **config}))
    (given / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 2048}))
    told = refused(stage(tmp_path, given, **role))
    assert told.startswith("models.m")
    assert message in told
    # Where no stage asks for it, it may be missing.
    succeeded(stage(tmp_path, given))
