"""SentencePiece models (`tokenizer.model`): read by `sentencepiece`, and converted to the format of `tokenizers`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError

# How SentencePiece writes a space.
_SPACE = "▁"
_UNIGRAM, _BYTE_PAIRS = 1, 2
_CONTROL, _USER_DEFINED, _BYTE = 3, 4, 6


class Pieces:
    """A SentencePiece model with its control tokens and those (`content`, `id`) that a configuration adds to it."""

    def __init__(self, model: bytes, added: Sequence[dict[str, Any]], name: str):
        import sentencepiece

        try:
            self.model = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (OSError, RuntimeError) as error:
            raise ScaleQuestError(f"{name} is no SentencePiece model ({error}). Get the file anew.") from None
        self.name, self._made = name, (model, added)
        own = (i for i in range(self.model.get_piece_size()) if self.model.is_control(i))
        self.special = {self.model.id_to_piece(i): i for i in own} | {token["content"]: token["id"] for token in added}
        self.split = re.compile("(" + "|".join(map(re.escape, self.special)) + ")")

    def encode(self, text: str) -> Sequence[list[int]]:
        """Token ids of a text, in the two ways in which implementations differ: the space that a model sets before a
        text is set after a special token too, or is not."""
        parts = [part for part in self.split.split(text) if part] if self.special else [text]
        space = self.model.piece_to_id(_SPACE)
        every: list[int] = []
        first: list[int] = []
        for number, part in enumerate(parts):
            ids = [self.special[part]] if part in self.special else self.model.encode(part)
            every += ids
            first += ids[1:] if number and ids and ids[0] == space else ids
        return [every, first]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; special tokens that were added to the model are left out."""
        known = self.model.get_piece_size()
        added = set(self.special.values())
        return self.model.decode([i for i in ids if i < known and i not in added])

    def write(self, path: Path) -> None:
        """Write the same tokenizer in the format of `tokenizers`."""
        _converted(*self._made).save(str(path))


def model_of(tokens: Sequence[str], scores: Sequence[float], kinds: Sequence[int], space: bool | None) -> bytes:
    """A SentencePiece model of byte pairs, serialized, from its pieces, their scores and their types (numbered as in
    SentencePiece). `space`: whether a space is set before a text; None: it is."""
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    for token, score, kind in zip(tokens, scores, kinds, strict=True):
        proto.pieces.add(piece=token, score=score, type=kind)
    proto.trainer_spec.model_type = _BYTE_PAIRS
    proto.trainer_spec.byte_fallback = _BYTE in kinds
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = space is not False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return bytes(proto.SerializeToString())


def _converted(model: bytes, added: Sequence[dict[str, Any]]) -> Any:
    """A `tokenizers.Tokenizer` that reads and writes text as a SentencePiece model does, special tokens included.

    transformers converts one too, but leaves out the space before a text and the handling of repeated spaces.
    """
    from tokenizers import AddedToken, Tokenizer, models
    from transformers.convert_slow_tokenizer import import_protobuf
    from transformers.tokenization_utils_base import generate_merges

    proto = import_protobuf().ModelProto()
    proto.ParseFromString(model)
    # Some models give pieces that were left unused other names.
    names = {token["id"]: token["content"] for token in added}
    pieces = [(names.get(i, piece.piece), piece.score) for i, piece in enumerate(proto.pieces)]
    unknown, fallback = proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback
    if proto.trainer_spec.model_type == _UNIGRAM:
        kind: Any = models.Unigram(pieces, unk_id=unknown, byte_fallback=fallback)
    else:
        numbers = {name: i for i, (name, _) in enumerate(pieces)}
        # By score, not by number: pieces of spaces have low numbers and the lowest scores.
        merges = generate_merges(numbers, dict(pieces))
        kind = models.BPE(numbers, merges, unk_token=pieces[unknown][0], fuse_unk=True, byte_fallback=fallback)
    result = Tokenizer(kind)
    _set_spaces(result, proto.normalizer_spec, byte_fallback=fallback)
    own = [(name, proto.pieces[i].type) for i, (name, _) in enumerate(pieces)]
    kept = [(name, kind == _CONTROL) for name, kind in own if kind in (_CONTROL, _USER_DEFINED)]
    for name, special in [*kept, *((token["content"], token["special"]) for token in added)]:
        add = result.add_special_tokens if special else result.add_tokens
        add([AddedToken(name, normalized=False, special=special)])
    return result


def _set_spaces(tokenizer: Any, spec: Any, *, byte_fallback: bool) -> None:
    """How a SentencePiece model's `normalizer_spec` treats spaces and characters, as steps of a Tokenizer."""
    from tokenizers import Regex, decoders, normalizers

    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(_SPACE))
    steps.append(normalizers.Replace(" ", _SPACE))
    tokenizer.normalizer = normalizers.Sequence(steps)
    back: list[Any] = [decoders.Replace(_SPACE, " ")]
    if byte_fallback:
        back += [decoders.ByteFallback(), decoders.Fuse()]
    if spec.add_dummy_prefix:
        back += [*([] if byte_fallback else [decoders.Fuse()]), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(back)
