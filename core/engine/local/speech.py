"""From logits to the next token, and from tokens to text in whole characters."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from core.errors import EngineFailed
from core.prompts import Sampling


def pick(logits: torch.Tensor, sampling: Sampling, said: list[int], chance: torch.Generator) -> int:
    """Return the next token from logits [vocabulary].

    The penalty weighs on tokens of this reply alone. Top-k goes first, so that temperature and
    top-p look at a few candidates and the vocabulary is never sorted.
    """
    if sampling.repetition != 1 and said:
        seen = torch.tensor(sorted(set(said)))
        old = logits[seen]
        logits = logits.clone()
        logits[seen] = torch.where(old > 0, old / sampling.repetition, old * sampling.repetition)
    if sampling.temperature == 0:
        best = int(logits.argmax())
        if logits[best].isnan():  # it would be taken for the largest
            raise EngineFailed("the model's logits are no numbers")
        return best
    width = logits.shape[0]
    values, tokens = logits.float().topk(min(sampling.top_k or width, width))
    shares = (values / sampling.temperature).softmax(-1)
    shares[shares.cumsum(-1) - shares >= max(sampling.top_p, 1e-6)] = 0  # the first one stays
    return int(tokens[torch.multinomial(shares, 1, generator=chance)])


class Speech:
    """The tokens of one reply, and how much of their text has been handed over."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self.tokens: list[int] = []
        self.chance = torch.Generator().manual_seed(seed)
        self._tokenizer = tokenizer
        self._from = 0  # tokens before it are no longer looked at
        self._given = 0  # characters handed over of the text from there on

    def add(self, token: int) -> str:
        """Take one token in and return the text that is complete with it, often empty."""
        self.tokens.append(token)
        text = self._text()
        if text.endswith("\ufffd"):  # a character of several tokens is still unfinished
            return ""
        return self._hand_over(text)

    def rest(self) -> str:
        """Return what was held back, without a character that stayed unfinished."""
        return self._hand_over(self._text().rstrip("\ufffd"))

    def _text(self) -> str:
        found = self._tokenizer.decode(
            self.tokens[self._from :],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return str(found)

    def _hand_over(self, text: str) -> str:
        piece = text[self._given :]
        self._given = max(self._given, len(text))
        if len(self.tokens) - self._from > 32 and piece:
            # Keep the last token in view: some tokenizers write a space only between two words.
            self._from = len(self.tokens) - 1
            self._given = len(self._text())
        return piece
