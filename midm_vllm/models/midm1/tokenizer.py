"""Mi:dm 1.0's tokenizer. Source: ``midm_bitext_tokenization`` of the vendor's checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from transformers import PreTrainedTokenizer

MODEL_FILE = "midm_bitext_tokenizer.model"

#: Pieces for characters that SentencePiece would normalize to spaces.
WHITESPACE_PIECES = {"<[!newline]>": "\n", "<[!tab]>": "\t"}


class Midm_bitext_Tokenizer(PreTrainedTokenizer):
    """SentencePiece, with ``</s>`` at the end, and 100 ``<extra_id_N>`` after the pieces.

    A conversion to ``tokenizers`` is not equal: its normalizer looks up whole
    graphemes, so that decomposed Hangul (a file name from macOS) becomes ``<unk>``.
    With NFKC before it, other combining marks and single jamo still differ.

    The class has the vendor's name, because ``tokenizer_config.json`` refers to it.

    Args:
        vocab_file: The path of the SentencePiece model.
        extra_ids: The number of ``<extra_id_N>``; their ids count down from
            ``vocab_size - 1``.
        restore_whitespace: Whether :meth:`decode` turns ``<[!newline]>`` and
            ``<[!tab]>`` back into the characters; the vendor's does not.
            :meth:`convert_tokens_to_string`, which vLLM uses, always does.
        spm_file: Replaces a missing ``vocab_file``, for which Transformers tries
            the usual names.

    Raises:
        ValueError: There is no SentencePiece model.
    """

    # Without an spm_file, Transformers mistakes the end of MODEL_FILE's name for a
    # file "tokenizer.model", and passes that as vocab_file.
    vocab_files_names = {"vocab_file": MODEL_FILE, "spm_file": MODEL_FILE}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab_file: str | None,
        eos_token: str = "</s>",
        unk_token: str = "<unk>",
        pad_token: str = "<pad>",
        extra_ids: int = 100,
        restore_whitespace: bool = False,
        sp_model_kwargs: dict[str, Any] | None = None,
        spm_file: str | None = None,
        **kwargs: Any,
    ) -> None:
        vocab_file = vocab_file or spm_file
        if vocab_file is None:
            raise ValueError(f"The checkpoint lacks the SentencePiece model {MODEL_FILE}.")
        self.vocab_file = vocab_file
        self.extra_ids = extra_ids
        self.restore_whitespace = restore_whitespace
        self.sp_model_kwargs = sp_model_kwargs or {}
        self.sp_model = SentencePieceProcessor(model_file=vocab_file, **self.sp_model_kwargs)
        last = self.vocab_size - 1
        self._extra_tokens = {f"<extra_id_{n}>": last - n for n in range(extra_ids)}
        if not kwargs.get("additional_special_tokens") and not kwargs.get("extra_special_tokens"):
            kwargs["extra_special_tokens"] = list(self._extra_tokens)
        super().__init__(
            eos_token=eos_token,
            unk_token=unk_token,
            pad_token=pad_token,
            extra_ids=extra_ids,
            restore_whitespace=restore_whitespace,
            sp_model_kwargs=self.sp_model_kwargs,
            **kwargs,
        )

    @property
    def vocab_size(self) -> int:
        """The number of pieces, ``<extra_id_N>`` included."""
        return self.sp_model.get_piece_size() + self.extra_ids

    def get_vocab(self) -> dict[str, int]:
        vocab = {self._convert_id_to_token(i): i for i in range(self.vocab_size)}
        vocab.update(self.added_tokens_encoder)
        return vocab

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        for piece, character in WHITESPACE_PIECES.items():
            text = text.replace(character, piece)
        pieces: list[str] = self.sp_model.encode(text, out_type=str)
        return pieces

    def _convert_token_to_id(self, token: str) -> int:
        extra = self._extra_tokens.get(token)
        return int(self.sp_model.piece_to_id(token)) if extra is None else extra

    def _convert_id_to_token(self, index: int) -> str:
        if index < self.sp_model.get_piece_size():
            return str(self.sp_model.id_to_piece(index))
        return f"<extra_id_{self.vocab_size - 1 - index}>"

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens to text, with newlines and tabs restored, and nothing stripped."""
        return _restore_whitespace(self._join(tokens))

    def _decode(
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        text = self._join(self.convert_ids_to_tokens(ids, skip_special_tokens)).strip()
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        if clean_up_tokenization_spaces:
            text = self.clean_up_tokenization(text)
        return _restore_whitespace(text) if self.restore_whitespace else text

    def _join(self, tokens: list[str]) -> str:
        # As the vendor does: a special token is followed by a space, and the pieces
        # between two of them are decoded separately.
        special = set(self.all_special_tokens)
        text = ""
        pieces: list[str] = []
        for token in tokens:
            if token in special:
                text += self.sp_model.decode_pieces(pieces) + token + " "
                pieces = []
            else:
                pieces.append(token)
        return text + str(self.sp_model.decode_pieces(pieces))

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Append ``</s>`` to the text and to its pair, unless they end with it."""
        ids = self._with_eos(token_ids_0)
        return ids if token_ids_1 is None else ids + self._with_eos(token_ids_1)

    def _with_eos(self, ids: list[int]) -> list[int]:
        return ids if ids and ids[-1] == self.eos_token_id else [*ids, self.eos_token_id]

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str]:
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        target = Path(save_directory) / (prefix + MODEL_FILE)
        if not target.exists() or not target.samefile(self.vocab_file):
            shutil.copyfile(self.vocab_file, target)
        return (str(target),)


def _restore_whitespace(text: str) -> str:
    for piece, character in WHITESPACE_PIECES.items():
        text = text.replace(piece, character)
    return text
