"""The published shapes of three small chat models, and checkpoints in them made on the spot.

Weights are random and of the published precision; the tokenizer is real, with as many entries as
the shape says, so that text typed by a person comes to a realistic number of tokens and every
token drawn has a text. What such a model says means nothing, and its config says so.
"""

from __future__ import annotations

import itertools
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import core

CHATML: Final = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_VERSION: Final = 1  # of what lies in a folder; another one is made anew
_LETTERS: Final = "etaoinshrdlucmfwypvbgkjqxz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One decoder: sizes in elements, `positions` in tokens."""

    kind: str  # qwen2 or qwen3
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    positions: int = 32_768
    vocabulary: int = 151_936
    ids: tuple[int, int] = (1_000, 149_999)  # token ids to draw prompts from, both inclusive

    @property
    def weights(self) -> int:
        """Weights that one token is multiplied with; the head is the embedding."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        attention = self.hidden * (2 * queries + 2 * keys)
        return self.layers * (attention + 3 * self.hidden * self.intermediate) + self.head_weights

    @property
    def head_weights(self) -> int:
        """Weights of the vocabulary head alone."""
        return self.vocabulary * self.hidden

    @property
    def kv_elements(self) -> int:
        """Elements of KV that one token leaves behind."""
        return 2 * self.layers * self.kv_heads * self.head


SHAPES: Final = {
    "qwen1.5-0.5b": Shape(
        kind="qwen2", hidden=1024, intermediate=2816, layers=24, heads=16, kv_heads=16, head=64
    ),
    "qwen2.5-0.5b": Shape(
        kind="qwen2", hidden=896, intermediate=4864, layers=24, heads=14, kv_heads=2, head=64
    ),
    "qwen3-0.6b": Shape(
        kind="qwen3",
        hidden=1024,
        intermediate=3072,
        layers=28,
        heads=16,
        kv_heads=8,
        head=128,
        positions=40_960,
    ),
}
TINY: Final = Shape(
    kind="qwen2",
    hidden=128,
    intermediate=320,
    layers=2,
    heads=4,
    kv_heads=2,
    head=32,
    vocabulary=6_144,
    ids=(1_000, 6_000),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """The tokens of one turn, the same for whoever is measured."""

    system: int = 40
    sentiment: int = 60  # the baseline's own prompt for the tag
    history: int = 400
    message: int = 30
    closing: int = 5  # the template's end, before the baseline's tag
    header: int = 8  # before a reply
    suffix: int = 25  # Heed's question for the tag, after the message
    reply: int = 64


TURN: Final = Lengths()


def draw(shape: Shape, size: int, seed: int) -> list[int]:
    """Return `size` token ids, the same for the same seed."""
    import torch

    chance = torch.Generator().manual_seed(seed)
    low, high = shape.ids
    found: list[int] = torch.randint(low, high + 1, (size,), generator=chance).tolist()
    return found


def make(shape: Shape, folder: Path) -> Path:
    """Return `folder` with a checkpoint of that shape in it, made now unless it is there."""
    about = {"version": _VERSION, **asdict(shape)}
    marker = folder / "shape.json"
    if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == _plain(about):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' advice about training and saving
        _save_weights(shape, folder)
        _tokenizer(shape.vocabulary).save_pretrained(folder)
    marker.write_text(json.dumps(about), encoding="utf-8")  # last: only a whole folder has it
    return folder


def _plain(value: Any) -> Any:  # noqa: ANN401
    return json.loads(json.dumps(value))


def _save_weights(shape: Shape, folder: Path) -> None:
    """Draw the weights as the library does for a new model, and save them in bfloat16."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    made: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "heed_demo": True,
    }
    if shape.kind == "qwen2":
        del made["head_dim"]
        network: Any = transformers.Qwen2ForCausalLM
        config: Any = transformers.Qwen2Config(**made)
    else:
        network, config = transformers.Qwen3ForCausalLM, transformers.Qwen3Config(**made)
    torch.manual_seed(0)
    model = network(config).eval().requires_grad_(False)  # noqa: FBT003 - torch's own
    model.to(torch.bfloat16).save_pretrained(folder)


# ---- the tokenizer -------------------------------------------------------------------------


def _tokenizer(size: int) -> Any:  # noqa: ANN401 - PreTrainedTokenizerFast
    """Return a byte-level BPE of exactly `size` entries.

    The first merges are learnt from Heed's own texts, so that ordinary words are one token or
    two. The rest are made-up words; every twelfth of them ends a sentence, because a reply is
    shown sentence by sentence and a model that never ended one would not be measured fairly.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    entries, merges = _learnt(size)
    _fill(entries, merges, size - len(SPECIAL))
    vocabulary = {entry: at for at, entry in enumerate(entries)}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(list(SPECIAL))
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        additional_special_tokens=list(SPECIAL[1:]),
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def _learnt(size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Learn merges from the texts that come with Heed; entries in the order of their ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=min(size * 2 // 3, 60_000),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(_texts(), trainer)
    learnt = json.loads(learner.to_str())["model"]
    entries = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    return entries, [(left, right) for left, right in learnt["merges"]]


def _texts() -> Iterator[str]:
    """Yield the prompts many times over, so that their words come first, then the other texts."""
    rooms = Path(core.__file__).parent
    for file in sorted((rooms / "prompts").glob("*.toml")):
        text = file.read_text(encoding="utf-8")
        yield from itertools.repeat(text, 20)
    for file in sorted(rooms.rglob("*.toml")):
        yield file.read_text(encoding="utf-8")


def _fill(entries: list[str], merges: list[tuple[str, str]], size: int) -> None:
    """Add made-up words of two pairs of letters, behind all that was learnt, up to `size`."""
    known = set(entries)

    def add(left: str, right: str) -> None:
        if left in known and right in known and left + right not in known and len(entries) < size:
            known.add(left + right)
            entries.append(left + right)
            merges.append((left, right))

    pairs = ["".join(pair) for pair in itertools.product(_LETTERS, repeat=2)]
    for pair in pairs:
        add(*pair)
    starts = [f"Ġ{pair}" for pair in pairs]  # Ġ is how a byte-level vocabulary writes a space
    for pair in pairs:
        add("Ġ", pair)
    for count, (start, pair) in enumerate(itertools.product(starts, pairs)):
        if len(entries) >= size:
            return
        add(start, pair)
        if count % 12 == 0:
            add(start + pair, ".")


# ---- what a person types -------------------------------------------------------------------

_TALK: Final = (
    "Hello everybody, I am new here and I like this community. Last week I read about the garden "
    "project and the photos of the small lake. Could you tell me which day is good for a visit, "
    "and what I should bring with me? I have a friend who would come too, with two children. "
    "We both enjoy walking, music and good food. It would be nice to know where we can sit "
    "and how long the whole tour takes in the morning."
)


def message(folder: Path, tokens: int, start: int = 0) -> tuple[str, int]:
    """Return an ordinary friendly message of about `tokens` tokens, and how many it has.

    `start` turns the words, so that two messages of one length differ.
    """
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = _TALK.split()
    words = words[start % len(words) :] + words[: start % len(words)]
    size = 0
    for count in range(1, len(words) + 1):
        found = len(tokenizer.encode(" ".join(words[:count])).ids)
        if found > tokens:
            return " ".join(words[: count - 1]), size
        size = found
    return " ".join(words), size
