"""The demo model's tokenizer: byte-level BPE learnt from its own lines, with a ChatML template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

START: Final = "<|im_start|>"
END: Final = "<|im_end|>"
PAD: Final = "<|endoftext|>"
TEMPLATE: Final = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_OFTEN: Final = 20  # a word is shown once for so many texts, so that it becomes one token
_ROLES: Final = ("system", "user", "assistant")


def make_tokenizer(
    texts: Iterable[str], words: Iterable[str], size: int
) -> PreTrainedTokenizerFast:
    """Learn at most `size` tokens from `texts`; each of `words` becomes a token of its own.

    The same input gives the same tokenizer.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    read = list(texts)
    times = _OFTEN + len(read) // _OFTEN
    shown = [f"{word}\n" for word in (*_ROLES, *words) for _ in range(times)]
    bpe.train_from_iterator([*read, *shown], trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START, END],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer
