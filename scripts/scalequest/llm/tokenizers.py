"""Proof that a model's tokenizer reads and writes text as its own files say, and a mended copy where it does not.

transformers 5 rebuilds a tokenizer by the class that `tokenizer_config.json` names. Where that class does not fit
`tokenizer.json` (DeepSeekMath, DeepSeek-Coder, R1-Distill-Llama), text loses its spaces, and `save_pretrained` writes
the damage into a tuned model (huggingface/transformers#48206, #45488). It also ignores `add_bos_token`, and code that
comes with a tokenizer (InternLM2) may be wrong in it. So what is loaded is held against the files, read by the
libraries that define them: `tokenizers` for `tokenizer.json`, `sentencepiece` for `tokenizer.model`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

from scalequest.errors import ScaleQuestError
from scalequest.hashing import file_sha256
from scalequest.llm.chat import load_tokenizer
from scalequest.llm.pieces import Pieces
from scalequest.runtime.files import read_json, write_json

# The files that belong to a tokenizer and not to the weights.
PATTERNS = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
    *("chat_template*", "*.jinja", "tekken.json"),
)
FILE, PIECES, CONFIG = "tokenizer.json", "tokenizer.model", "tokenizer_config.json"
# The class that reads `tokenizer.json` as it is.
BACKEND = "TokenizersBackend"
PROBE = (
    "What is the sum of the first ten odd numbers? It's 100, isn't it?",
    "Let $x^2 + \\frac{1}{2}y = \\sqrt{3}$ with $x \\ne 0$.\n\nFind \\(x\\):\n\\[\\boxed{42}\\]",
    "def f(x):\n\treturn x  # two  spaces,\r\n\n   three before this",
    "1234567890, 3.14159, 1/2, 10^{-5}, 50%, $20",
    "设函数 f(x)=x² 求 f(2)。問題を解く。방정식을 풀어라.",
    "🎉🤖 naïve café — “quoted” … ½ ≤ π ∈ ∅; Пример, مثال",
    " leading",
    "trailing ",
    "  ",
    "\n\n",
    "",
)
_QUESTION, _ANSWER = "What is 2 + 3?\nExplain.", "It is $\\boxed{5}$."


class Reference(Protocol):
    """A tokenizer's files as the library that defines their format reads them. `name` is the file's."""

    name: str

    def encode(self, text: str) -> Sequence[list[int]]:
        """Token ids of a text, without tokens set before or after it; several where the files leave it open."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def write(self, path: Path) -> None:
        """Write it as `tokenizer.json`."""
        ...


class BackendFile:
    """A tokenizer of the library `tokenizers`, as it is."""

    def __init__(self, tokenizer: Any, name: str):
        self.tokenizer, self.name = tokenizer, name

    def encode(self, text: str) -> Sequence[list[int]]:
        return [self.tokenizer.encode(text, add_special_tokens=False).ids]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)

    def write(self, path: Path) -> None:
        self.tokenizer.save(str(path))


def reference_of(folder: Path) -> Reference | None:
    """The reference of a folder's tokenizer; None where it has neither file. Raises ScaleQuestError for a damaged
    file."""
    from tokenizers import AddedToken, Tokenizer

    added = _added_tokens(_config(folder))
    if (folder / FILE).is_file():
        try:
            tokenizer = Tokenizer.from_file(str(folder / FILE))
        # The Rust side raises bare Exception.
        except Exception as error:
            raise ScaleQuestError(f"{folder / FILE} cannot be read ({error}). Get the file anew.") from None
        for token in added:
            if tokenizer.token_to_id(token["content"]) is None:
                new = AddedToken(token["content"], normalized=False)
                (tokenizer.add_special_tokens if token["special"] else tokenizer.add_tokens)([new])
        return BackendFile(tokenizer, FILE)
    if (folder / PIECES).is_file():
        return Pieces((folder / PIECES).read_bytes(), added, PIECES)
    return None


def difference(tokenizer: Any, reference: Reference) -> str | None:
    """Where a tokenizer as transformers loads it reads or writes a text of the probe otherwise than its reference: a
    sentence about the first such text, or None."""
    for text in (*PROBE, *_conversations(tokenizer)):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        wanted = reference.encode(text)
        if ids not in wanted:
            return f"{text!r} is read as the tokens {_shown(ids)}, by {reference.name} as {_shown(wanted[0])}"
        if isinstance(reference, Pieces) and text not in PROBE:
            # It writes no special tokens.
            continue
        written, right = tokenizer.decode(ids, clean_up_tokenization_spaces=False), reference.decode(ids)
        if written != right:
            return f"the tokens {_shown(ids)} are written as {written!r}, by {reference.name} as {right!r}"
    return None


def begins_otherwise(tokenizer: Any, folder: Path) -> str | None:
    """A sentence where the tokens that a tokenizer sets around a text are not those that `add_bos_token` and
    `add_eos_token` of its configuration ask for (without these keys: what its files say)."""
    config = _config(folder)
    if "add_bos_token" not in config and "add_eos_token" not in config:
        return None
    body, whole = tokenizer(_QUESTION, add_special_tokens=False)["input_ids"], tokenizer(_QUESTION)["input_ids"]
    before = [tokenizer.bos_token_id] if config.get("add_bos_token") and tokenizer.bos_token_id is not None else []
    after = [tokenizer.eos_token_id] if config.get("add_eos_token") and tokenizer.eos_token_id is not None else []
    if whole == [*before, *body, *after]:
        return None
    right = _shown([*before, *body[:2]])
    return f"a text begins with the tokens {_shown(whole[:3])}, by add_bos_token in {CONFIG} with {right}"


def prove(folder: Path, reference: Reference | None, *, trust_remote_code: bool) -> str | None:
    """What is wrong with the tokenizer in a model's folder, held against its reference; None where it is right.

    Without a reference (a vocabulary in a format of its own) texts must come back as they were. Raises ScaleQuestError
    where they do not, where the reference itself loses the spaces of a sentence, and where there is no tokenizer.
    """
    if reference is not None and (back := reference.decode(reference.encode(PROBE[0])[0]).strip()) != PROBE[0]:
        raise ScaleQuestError(
            f"{reference.name} of {folder} writes {PROBE[0]!r} back as {back!r}: the file itself is damaged, as one "
            f"that transformers 5 saved may be. Take the {FILE} of the model that it was made from."
        )
    try:
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code, chat=False)
    except ScaleQuestError as error:
        if reference is None:
            raise
        return str(error)
    if reference is not None:
        return difference(tokenizer, reference) or begins_otherwise(tokenizer, folder)
    for text in PROBE:
        if (back := tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])) != text:
            raise ScaleQuestError(
                f"the tokenizer in {folder} writes {text!r} back as {back!r}, and there is neither {FILE} nor {PIECES} "
                f"to mend it by. Add {FILE} to the model's folder."
            )
    return None


def mend(folder: Path, reference: Reference) -> None:
    """Change the tokenizer in a folder so that it is read as its reference: by the class that reads `tokenizer.json` as
    it is, without the tokenizer's own code, and with what `add_bos_token` asks for written into the file.

    Raises ScaleQuestError, with the first text that differs, where it is not right then either.
    """
    config = _config(folder)
    kept = {key: value for key, value in config.items() if key != "auto_map"}
    write_json(folder / CONFIG, {**kept, "tokenizer_class": BACKEND})
    if reference.name != FILE:
        try:
            reference.write(folder / FILE)
        # protobuf and the Rust side have errors of their own.
        except Exception as error:
            raise ScaleQuestError(
                f"the tokenizer in {folder} cannot be mended: {reference.name} cannot be written as {FILE} ({error}). "
                f"Add {FILE} to the model's folder."
            ) from None
    _set_around(folder, load_tokenizer(folder, chat=False), config)
    if wrong := prove(folder, reference, trust_remote_code=False):
        raise ScaleQuestError(
            f"the tokenizer in {folder} cannot be mended: {wrong}. Rows made with it would hold damaged text. Put a "
            f"{FILE} that reads text as the model was trained into the model's folder."
        )


def is_part(file: Path) -> bool:
    """Whether a file of a model's folder belongs to its tokenizer."""
    return any(fnmatch(file.name, pattern) for pattern in PATTERNS)


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that belong to the tokenizer in a folder."""
    return {file.name: file_sha256(file) for file in sorted(folder.iterdir()) if file.is_file() and is_part(file)}


def _set_around(folder: Path, tokenizer: Any, config: dict[str, Any]) -> None:
    """Write the tokens before and after a text into `tokenizer.json`, where the configuration asks for other ones."""
    if begins_otherwise(tokenizer, folder) is None:
        return
    ends = [
        (tokenizer.bos_token, tokenizer.bos_token_id) if config.get("add_bos_token") else None,
        (tokenizer.eos_token, tokenizer.eos_token_id) if config.get("add_eos_token") else None,
    ]
    parts: list[list[dict[str, Any]]] = []
    for letter, kind in (("A", 0), ("B", 1)):
        before, after = ([{"SpecialToken": {"id": end[0], "type_id": kind}}] if end else [] for end in ends)
        parts.append([*before, {"Sequence": {"id": letter, "type_id": kind}}, *after])
    content = read_json(folder / FILE)
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": parts[0],
        "pair": [*parts[0], *parts[1]],
        "special_tokens": {text: {"id": text, "ids": [i], "tokens": [text]} for text, i in filter(None, ends)},
    }
    (folder / FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _config(folder: Path) -> dict[str, Any]:
    found = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    return found if isinstance(found, dict) else {}


def _added_tokens(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The tokens that `tokenizer_config.json` lists by number, in their order: `content`, `special`, `id`."""
    listed = config.get("added_tokens_decoder")
    rows = listed.items() if isinstance(listed, dict) else ()
    return [
        {"content": token["content"], "special": bool(token.get("special")), "id": int(number)}
        for number, token in sorted(rows, key=lambda row: int(row[0]))
    ]


def _conversations(tokenizer: Any) -> list[str]:
    """A conversation as the chat template shows it, with and without the answer; none without a template."""
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
    shown = []
    for messages, reply in ((turns[:1], True), (turns, False)):
        try:
            shown.append(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=reply))
        except (TemplateError, TypeError, ValueError):
            # No template, or one that a stage will refuse with a sentence of its own.
            continue
    return shown


def _shown(ids: Sequence[int]) -> str:
    return f"{list(ids[:12])}" + (" ..." if len(ids) > 12 else "")
