"""Tiny chat models made on the spot: random weights, a real tokenizer, an ordinary folder.

They say nothing sensible, but everything about them is real: `from_pretrained` loads them, the
chat template is ChatML, label words are single tokens, and a second is enough to make one.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRICT = (  # no system role, and user and assistant must alternate
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user and assistant') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = (
    *("negative", "neutral", "positive", "help", "confides", "chats", "question"),
    *("joy", "sadness", "anger", "fear", "surprise", "calm", "system", "user", "assistant"),
)
_TEXT = (
    "You are a kind and helpful assistant. Answer in one word. Say what the message is for.",
    "The order is late and nobody answers. Where is my parcel? Thank you, that was quick!",
    "I am sorry to hear that. Tell me a little more, or write human and a person comes.",
    "hello how are you today the person is very upset and wants to talk to somebody",
    "你好，我的订单在哪里？谢谢你，非常满意。太慢了，我很生气。",
)


def make_checkpoint(
    folder: Path,
    *,
    layers: int = 2,
    hidden: int = 64,
    template: str | None = CHATML,
    sliding: int | None = None,
    demo: bool = False,
    seed: int = 0,
) -> Path:
    """Write a random Qwen2-shaped checkpoint into `folder` and return it."""
    import torch
    import transformers
    from transformers import Qwen2Config, Qwen2ForCausalLM

    transformers.utils.logging.disable_progress_bar()
    tokenizer = _tokenizer(template)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        initializer_range=0.2,  # wide enough that the next token depends on the whole past
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        use_sliding_window=sliding is not None,
        sliding_window=sliding,
        max_window_layers=1,
    )
    model = Qwen2ForCausalLM(config)
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if demo:
        file = folder / "config.json"
        about = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**about, "heed_demo": True}), encoding="utf-8")
    return folder


def _tokenizer(template: str | None) -> Any:
    """Train a byte-level BPE on a few lines, each label word a token of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*_TEXT, *(f"{word}\n" for word in WORDS for _ in range(50))], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer
