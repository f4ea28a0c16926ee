"""A tiny checkpoint that has learnt its part: labels by a few words, and three harmless replies.

It is made like every other test checkpoint and then trained for some seconds on the very prompts
that the engine renders, so that what it says passes the guards because it is harmless, and not
because the guards look away.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from core.engine.local.chat import Chat
from core.prompts import LEVELS, PromptBook
from tests.checkpoints import make_checkpoint

GLAD = "You are welcome. I am glad that it works now. Write again when you like."
SORRY = "I am sorry to hear that. Tell me a little more. We look at it now."
HELLO = "Hello and welcome. I am here to help you. What is it about?"
HEARD = "I hear you. That is hard. Write human and a person comes."
UPSET = "upset"

SAID = {
    "positive": ("thanks, that fixed it, you are great!", "Thank you, that was quick!"),
    "negative": ("the order is late and nobody answers", "this is slow and it is late again"),
    "neutral": ("hello", "my order is the blue one", "Where is my parcel?", "ok"),
}
INTENT = {"positive": "chats", "negative": "help", "neutral": "question"}
REPLY = {"positive": GLAD, "negative": SORRY, "neutral": HELLO}
_STEPS = 220
_BATCH = 6


def make_pupil(folder: Path, book: PromptBook | None = None) -> Path:
    """Write a checkpoint that has learnt its part into `folder` and return it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_checkpoint(folder, layers=2, hidden=96)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    lessons = _lessons(Chat(tokenizer, "pupil", 512), book or PromptBook())
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(0.3 if weight.ndim > 1 else 1.0)
    steps = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.0)
    slower = torch.optim.lr_scheduler.OneCycleLR(steps, 4e-3, total_steps=_STEPS)
    network.train()
    for _ in range(_STEPS):
        batch = [next(lessons) for _ in range(_BATCH)]
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([one + [0] * (longest - len(one)) for one, _ in batch])
        asked = torch.tensor([[-100] * (longest + 0)] * _BATCH)
        for row, (one, taught) in enumerate(batch):
            asked[row, len(one) - taught : len(one)] = ids[row, len(one) - taught : len(one)]
        loss = network(input_ids=ids, labels=asked).loss
        steps.zero_grad()
        loss.backward()
        steps.step()
        slower.step()
    network.eval().save_pretrained(folder)
    return folder


def _lessons(chat: Chat, book: PromptBook) -> Iterator[tuple[list[int], int]]:
    """Yield token ids, and how many of them at the end are to be learnt."""
    dice = random.Random(0)  # noqa: S311
    end = chat.encode("<|im_end|>")
    reply, tasks = book.reply(), [book.task("sentiment"), book.task("intent")]
    while True:
        lines: list[tuple[str, str]] = []
        for _ in range(dice.randrange(3)):
            feeling = dice.choice(tuple(SAID))
            lines += [("user", dice.choice(SAID[feeling])), ("assistant", REPLY[feeling])]
        feeling = dice.choice(tuple(SAID))
        text = dice.choice(SAID[feeling])
        level = dice.choice(LEVELS)
        whole = chat.conversation(reply.render("Ann", "en"), [*lines, ("user", text)]).ids
        task = dice.choice(tasks)
        label = feeling if task.name == "sentiment" else INTENT[feeling]
        words = HEARD if level == UPSET else REPLY[feeling]
        spoken = chat.encode(words) + end
        yield whole + chat.tail(reply.header[level]).ids + spoken, len(spoken)
        named = chat.encode(label) + end
        yield whole + chat.tail(task.instruction, task.opening).ids + named, len(named)
