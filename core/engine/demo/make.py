"""Make a demo model: read the lines, train by the clock, say how well it learnt, write a folder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.engine.files import PARTS
from core.errors import SetupError
from core.prompts import PromptBook

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

    from core.engine.demo.lines import Line
    from core.engine.demo.rows import Asking
    from core.engine.demo.train import Shape

_HELD: Final = 300  # kept-out lines that are asked about at the end
_SHOWN: Final = ("hello", "where is my order?", "我的订单在哪里？", "thank you!")
_PROMPTS: Final = 20  # times that the prompts are shown to the tokenizer


def _quiet(_: str) -> None:
    """Tell nobody."""


def make_demo(
    folder: Path,
    *,
    seconds: float = 240,
    tell: Callable[[str], object] = _quiet,
    seed: int = 0,
    shape: Shape | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Train a demo model for about `seconds` into a fresh or empty folder.

    Returns one sentence that says what to do next. The same seed gives the same model for the
    same number of steps. Raises SetupError, and then the folder is as it was.
    """
    began = clock()
    target = folder.expanduser().resolve()
    with _making(target) as making:
        try:
            import torch
            import transformers
        except ImportError as fault:
            raise SetupError(
                "heed model demo needs torch and transformers: install heed[local]."
            ) from fault
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        before, threads = torch.get_num_threads(), max(1, (os.cpu_count() or 1) - 1)
        tell(f"Training for about {seconds:.0f} s on {threads} thread(s).")
        torch.set_num_threads(threads)
        try:
            model, tokenizer = _trained(shape, seed, tell, lambda: seconds - (clock() - began))
        finally:
            torch.set_num_threads(before)
        _write(making, model, tokenizer)
    name = shlex.quote(str(target))
    return (
        f"{target} holds a demo model that shows the mechanism, its words mean nothing: "
        f"start Heed with HEED_MODEL__NAME={name} heed run and write to it on the try-it page."
    )


def _trained(
    shape: Shape | None, seed: int, tell: Callable[[str], object], left: Callable[[], float]
) -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast]:
    """Learn a tokenizer, train a model, and tell how well both did."""
    from core.engine.demo.lines import read_lines
    from core.engine.demo.rows import Asking, Lesson
    from core.engine.demo.train import Shape, batches, make_model, train

    shape, prompts = shape or Shape(), PromptBook()
    learnt, kept = read_lines()
    tokenizer = learn_tokenizer(learnt, prompts, shape.vocabulary)
    model = make_model(tokenizer, shape, seed)
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    tell(f"{len(learnt)} lines of English and Chinese, {size:.1f} million weights")
    asking = Asking(tokenizer, prompts)
    course = batches(Lesson(asking, learnt, seed), seed)
    rest = left() * 0.05  # for the figures at the end
    steps = train(model, course, tell, lambda: left() - rest)
    tell(f"{steps} steps made")
    _examine(model, tokenizer, asking, kept, tell)
    return model, tokenizer


def learn_tokenizer(
    lines: Sequence[Line], prompts: PromptBook, size: int
) -> PreTrainedTokenizerFast:
    """Learn a tokenizer from the lines and the prompts, each label a token of its own."""
    from core.engine.demo.tokenizer import make_tokenizer

    tasks, reply = [prompts.task(name) for name in prompts.names()], prompts.reply()
    asked = [reply.render(), *reply.header.values(), *(task.instruction for task in tasks)]
    said = [text for line in lines for text in (line.text, line.calm, line.tense)]
    words = [label for task in tasks for label in task.labels]
    return make_tokenizer([*said, *asked * _PROMPTS], words, size)


def _examine(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    asking: Asking,
    kept: Sequence[Line],
    tell: Callable[[str], object],
) -> None:
    """Tell how often the sentiment of kept-out lines is right, and what is answered to a few."""
    from core.engine.demo.train import label_rows, speak

    lines = kept[:: max(1, len(kept) // _HELD)][:_HELD]
    names = asking.tasks["sentiment"].labels
    labels = [asking.words(name)[0] for name in names]
    truth = [names.index(line.label) for line in lines]
    most = max(truth.count(at) for at in range(len(names))) / len(truth)
    for alone, where in ((True, "alone"), (False, "in a conversation")):
        prefix = asking.prefixes["sentiment"] if alone else asking.system()
        end = asking.suffix("sentiment", alone=alone)
        found = label_rows(model, prefix, [asking.words(line.text) + end for line in lines], labels)
        right = sum(one == other for one, other in zip(found, truth, strict=True)) / len(truth)
        tell(
            f"sentiment of {len(lines)} lines never seen, {where}: {right:.0%} right "
            f"(always the commonest label: {most:.0%})"
        )
    for text in _SHOWN:
        ids = [*asking.system(), *asking.words(text), *asking.header("calm")]
        said = speak(model, ids, asking.end[0])
        shown = tokenizer.decode(said, skip_special_tokens=True)
        tell(f"{text} -> {shown}{'' if said[-1:] == asking.end else ' ... (does not end)'}")


def _write(folder: Path, model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write an ordinary checkpoint that says of itself that it is a demo."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, about files it does not write
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    file = folder / "config.json"
    about: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    about["heed_demo"] = True
    file.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _making(target: Path) -> Iterator[Path]:
    """Lend a folder beside `target` that takes its place once all is written, and else is gone."""
    making = target.with_name(f"{PARTS}-{target.name}-{os.getpid()}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise SetupError(f"{target} is not empty: give the demo model a new folder.")
        making.mkdir(parents=True)
        try:
            yield making
            if target.exists():
                target.rmdir()
            making.rename(target)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as fault:
        raise SetupError(
            f"The demo model cannot be written to {target}: {fault.strerror or fault}."
        ) from fault
