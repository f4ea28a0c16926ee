"""The files of a model: configuration, tokenizer and tensors, read a few at a time.

Nothing is ever downloaded here. Tensors come as views of the mapped file, which leave this
process's memory as soon as nobody holds them: so packing a model layer by layer needs one copy of
its weights and never two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from core.errors import SetupError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_FAULTS = (OSError, ValueError, KeyError, SafetensorError)


class Checkpoint:
    """A model on this machine, by hub id or folder, with a LoRA adapter or without.

    Raises SetupError with the command to run when it is not here or cannot be read.
    """

    def __init__(self, source: str, adapter: str | None = None) -> None:
        self.source = source
        self._adapter = adapter
        self.folder = _folder(source)
        try:
            self.config: PreTrainedConfig = AutoConfig.from_pretrained(self.folder)
            self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.folder)
            self._files = _files(self.folder)
        except _FAULTS as fault:
            raise _unusable(self.folder, fault) from fault
        self._merged: dict[str, torch.Tensor] = {}
        if adapter:
            self._merged = dict(self.network(torch.float32).state_dict())
            self._files = dict.fromkeys(self._merged, self.folder / _WHOLE)

    @property
    def names(self) -> frozenset[str]:
        """The name of every tensor; empty where the weights are no safetensors."""
        return frozenset(self._files)

    @property
    def ends(self) -> frozenset[int]:
        """Every token that ends a reply: a model that says any special token is done speaking."""
        try:
            ends = GenerationConfig.from_pretrained(self.folder).eos_token_id
        except OSError:
            ends = None
        if ends is None:  # an old folder keeps it in config.json
            ends = getattr(self.config, "eos_token_id", None)
        ends = ends if isinstance(ends, list) else [ends]
        return frozenset(
            {*self.tokenizer.all_special_ids, *(end for end in ends if end is not None)}
        )

    def take(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Return tensors by name, those that there are, as they lie in their files."""
        found: dict[str, torch.Tensor] = {}
        wanted = [name for name in names if name in self._files]
        if self._merged:
            return {name: self._merged.pop(name) for name in wanted if name in self._merged}
        try:
            for file in dict.fromkeys(self._files[name] for name in wanted):
                with safe_open(file, "pt") as tensors:
                    for name in wanted:
                        if self._files[name] == file:
                            found[name] = tensors.get_tensor(name)
        except _FAULTS as fault:
            raise _unusable(self.folder, fault) from fault
        return found

    def network(self, dtype: torch.dtype) -> PreTrainedModel:
        """Return the model as the library builds it, the adapter merged in."""
        from transformers import AutoModelForCausalLM  # 85 MB that most never need

        try:
            network: Any = AutoModelForCausalLM.from_pretrained(self.folder, dtype=dtype)
        except _FAULTS as fault:
            raise _unusable(self.folder, fault) from fault
        if self._adapter:
            network = _adapted(network, self._adapter)
        return cast("PreTrainedModel", network.eval().requires_grad_(requires_grad=False))


def missing(source: str) -> str:
    """Return the sentence for a model that is not on this machine."""
    return (
        f"the model {source} is not on this machine: run `heed model pull {source}`, "
        "or `heed model import DIR` with a downloaded copy, "
        "or set model.name to a folder, a server's URL or embedded"
    )


def _folder(source: str) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as fault:
        raise SetupError(missing(source)) from fault


def _files(folder: Path) -> dict[str, Path]:
    """Return which file holds which tensor."""
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        return {name: folder / file for name, file in index["weight_map"].items()}
    if not (folder / _WHOLE).is_file():
        return {}
    with safe_open(folder / _WHOLE, "pt") as tensors:
        return dict.fromkeys(tensors.keys(), folder / _WHOLE)


def _adapted(network: PreTrainedModel, adapter: str) -> PreTrainedModel:
    """Merge a LoRA adapter into the weights."""
    try:
        from peft import PeftModel  # type: ignore[import-not-found,unused-ignore]
    except ImportError as fault:
        raise SetupError("model.adapter needs peft: install heed[lora]") from fault
    try:
        merged: PreTrainedModel = PeftModel.from_pretrained(network, adapter).merge_and_unload()
    except (*_FAULTS, RuntimeError) as fault:
        why = str(fault).strip().partition("\n")[0]
        raise SetupError(
            f"model.adapter {adapter} cannot be used with this model ({why}): "
            "it must be the folder of a LoRA adapter that was trained on it"
        ) from fault
    return merged


def _unusable(folder: Path, fault: BaseException) -> SetupError:
    why = str(fault).strip().partition("\n")[0]
    return SetupError(
        f"the folder {folder} holds no model that can be loaded ({why}): "
        "it needs config.json, the tokenizer and the weights of a chat model"
    )
