"""A tiny checkpoint that knows one harmless reply by heart, and is in two minds about every label.

It is made like every other test checkpoint; then its head is set so that each word of the reply
follows from the one before. What it says passes the guards because it is harmless, and not because
the guards look away. Its layers keep a small say, so that the label probabilities depend on what
was written.
"""

from __future__ import annotations

from pathlib import Path

import core.prompts
from tests.checkpoints import make_checkpoint

SPOKEN = "I am sorry to hear that. Tell me a little more! Write human and one person comes;"
_SURE = 20.0  # logit of the word that follows
_SAY = 0.004  # what the layers keep of their own
LABELS = {
    "negative": 18.0,
    "neutral": 19.2,
    "positive": 18.4,
    "help": 17.6,
    "chats": 18.2,
    "confides": 17.2,
    "question": 17.4,
}
PACKAGED = Path(core.prompts.__file__).parent
REPLY = (PACKAGED / "reply.toml").read_text(encoding="utf-8")
REPLY = REPLY.replace("temperature = 0.7", "temperature = 0").replace("1.05", "1.0")


def make_pupil(folder: Path, spoken: str = SPOKEN) -> Path:
    """Write a checkpoint that says `spoken`, greedily, into `folder` and return it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_checkpoint(folder, hidden=128)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    words = tokenizer.encode(spoken, add_special_tokens=False)
    assert len(set(words)) == len(words), "no word of the reply may come twice"
    start = tokenizer.encode("\n", add_special_tokens=False)[-1]
    known = torch.nn.functional.normalize(network.get_input_embeddings().weight.detach(), dim=1)
    known = known / known.shape[1] ** 0.5
    head = torch.zeros_like(known)
    for one, following in zip([start, *words], [*words, tokenizer.eos_token_id], strict=True):
        head[following] += _SURE * known[one]
    for label, logit in LABELS.items():
        [token] = tokenizer.encode(label, add_special_tokens=False)
        head[token] += logit * known[start]
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.mul_(_SAY)
            layer.mlp.down_proj.weight.mul_(_SAY)
    network.config.tie_word_embeddings = False
    network.lm_head.weight = torch.nn.Parameter(head)
    network.save_pretrained(folder)
    return folder


def write_prompts(folder: Path, **more: str) -> Path:
    """Write the greedy reply prompt, and more files by name, into a prompts folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"reply": REPLY, **more}.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder
