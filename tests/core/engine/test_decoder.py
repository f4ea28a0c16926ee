"""Our own forward against the library's, on small random models of every kind it knows."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings as hypothesis_settings, strategies as st
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from core.engine.local import decoder as decoder_module
from core.engine.local.cache import Cache
from core.engine.local.checkpoint import Checkpoint
from core.engine.local.decoder import Decoder, Part
from core.engine.local.linear import Kernels
from core.engine.local.model import Model
from core.engine.local.turns import Counters, Settings
from core.errors import SetupError
from tests.checkpoints import make_checkpoint

SMALL: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
KINDS: dict[str, PreTrainedConfig] = {
    "qwen1.5": Qwen2Config(**{**SMALL, "num_key_value_heads": 4}, tie_word_embeddings=True),
    "qwen2.5": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SMALL, head_dim=32, tie_word_embeddings=True),
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False, mlp_bias=True, attention_bias=True),
    "llama3": LlamaConfig(**SMALL, tie_word_embeddings=True, rope_parameters=LLAMA3),
    "mistral": MistralConfig(**SMALL, sliding_window=None, tie_word_embeddings=False),
}


def write(folder: Path, config: PreTrainedConfig, *, shards: bool = False) -> Any:
    """Write a random model with a tokenizer into `folder` and return it."""
    make_checkpoint(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config).eval().requires_grad_(requires_grad=False)
    for name, tensor in network.named_parameters():
        if name.endswith("bias"):
            tensor.normal_(std=0.5)
    network.save_pretrained(folder, max_shard_size="100KB" if shards else "1GB")
    return network


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a network of the library and the same in our own decoder."""
    folder = tmp_path_factory.mktemp("models") / request.param
    network = write(folder, KINDS[request.param], shards=request.param == "llama")
    checkpoint = Checkpoint(str(folder))
    assert Decoder.knows(checkpoint.config)
    decoder = Decoder(checkpoint, Kernels(precision="fp32", packed=False))
    assert not decoder.strange
    return network, decoder


def words(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 400, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def truth(network: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.tensor([ids])).logits[0]


def gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def test_a_prefill_and_steps_are_the_librarys(pair: Any) -> None:
    network, decoder = pair
    ids, memory = words(90), decoder.memory()
    expected = truth(network, ids)
    assert gap(decoder.forward([Part(memory=memory, trunk=ids[:60])])[0][0], expected[59]) < 1e-4
    for at in range(60, 90):
        found = decoder.forward([Part(memory=memory, trunk=[ids[at]])])[0][0]
        assert gap(found, expected[at]) < 1e-4
    assert memory.ids == ids


@pytest.mark.parametrize("block", [128, 16, 7])
def test_a_tree_is_each_branch_alone(
    pair: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "_BLOCK", block)
    network, decoder = pair
    past, trunk = words(40), words(20, 1)
    branches = [words(8, 2), words(15, 3), words(1, 4)]
    memory = decoder.memory()
    decoder.forward([Part(memory=memory, trunk=past, heard=False)])
    [found] = decoder.forward([Part(memory=memory, trunk=trunk, branches=branches)])
    for row, branch in zip(found, branches, strict=True):
        assert gap(row, truth(network, [*past, *trunk, *branch])[-1]) < 1e-4
    assert memory.ids == [*past, *trunk, *branches[0]]  # the first stays, the others are cut
    onward = decoder.forward([Part(memory=memory, trunk=[7])])[0][0]
    assert gap(onward, truth(network, [*memory.ids[:-1], 7])[-1]) < 1e-4


def test_a_long_prompt_attends_in_blocks(pair: Any) -> None:
    network, decoder = pair
    ids, memory = words(301), decoder.memory()
    decoder.forward([Part(memory=memory, trunk=ids[:20], heard=False)])
    [found] = decoder.forward([Part(memory=memory, trunk=ids[20:297], branches=[ids[297:]])])
    assert gap(found[0], truth(network, ids)[-1]) < 1e-4


def test_company_changes_nothing(pair: Any) -> None:
    """Conversations of different lengths, joining and leaving: each as if it were alone."""
    network, decoder = pair
    pasts = [words(count, count) for count in (3, 50, 17, 90)]
    memories = [decoder.memory() for _ in pasts]
    decoder.forward(
        [Part(memory=memory, trunk=past) for memory, past in zip(memories, pasts, strict=True)]
    )
    for step in range(6):
        some = memories[: 1 + step % 4]
        parts = [Part(memory=memory, trunk=[step]) for memory in some]
        if step == 3:  # somebody's prefill and tag ride along
            parts.append(Part(memory=decoder.memory(), trunk=words(9), branches=[[1], [2, 3]]))
        found = decoder.forward(parts)
        for memory, rows in zip(some, found, strict=False):
            assert gap(rows[0], truth(network, memory.ids)[-1]) < 1e-4


@hypothesis_settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_whatever_is_cut_and_grown_the_past_is_what_the_ids_say(pair: Any, data: Any) -> None:
    network, decoder = pair
    memory = decoder.memory()
    for _ in range(data.draw(st.integers(1, 5))):
        memory.cut(data.draw(st.integers(0, len(memory.ids))))
        if data.draw(st.booleans()):
            memory.compact()
        new = data.draw(st.lists(st.integers(0, 399), min_size=1, max_size=40))
        found = decoder.forward([Part(memory=memory, trunk=new)])[0][0]
        assert gap(found, truth(network, memory.ids)[-1]) < 1e-4


def test_a_forward_that_fails_leaves_every_memory_as_it_was(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, decoder = pair
    memories = [decoder.memory(), decoder.memory()]
    decoder.forward([Part(memory=memory, trunk=words(9)) for memory in memories])
    parts = [Part(memory=memory, trunk=[1]) for memory in memories]
    with monkeypatch.context() as broken:
        broken.setattr(decoder, "_logits", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            decoder.forward(parts)
    assert [memory.ids for memory in memories] == [words(9), words(9)]
    for rows in decoder.forward(parts):
        assert gap(rows[0], truth(network, [*words(9), 1])[-1]) < 1e-4


def test_in_bf16_labels_and_next_token_are_those_of_the_library(pair: Any, tmp_path: Path) -> None:
    """Wherever the two best are further apart than both roundings."""
    network, _ = pair
    folder = tmp_path / "bf16"
    write(folder, network.config)
    decoder = Decoder(Checkpoint(str(folder)), Kernels(precision="bf16", packed=True))
    rounded = copy.deepcopy(network).bfloat16()
    past, branches, sure = words(50), [words(8, 2), words(15, 3)], 0
    ours, theirs = list[float](), list[float]()
    for seed in range(8):
        memory = decoder.memory()
        part = Part(memory=memory, trunk=[*past, seed], branches=branches)
        [found] = decoder.forward([part])
        for row, branch in zip(found, branches, strict=True):
            ids = [*past, seed, *branch]
            exact = truth(network, ids)[-1]
            ours.append(gap(row, exact))
            theirs.append(gap(truth(rounded, ids)[-1].float(), exact))
            first, second = exact.topk(2).values
            if float(first - second) > 2 * ours[-1]:
                sure += 1
                assert int(row.argmax()) == int(exact.argmax())
    assert sum(ours) < 1.3 * sum(theirs)  # no less exact than the library in bf16
    assert sure > 2


# ---- memory -------------------------------------------------------------------------------


def test_room_is_counted_by_what_is_held_and_given_back(pair: Any) -> None:
    _, decoder = pair
    one = decoder.shape
    token = one.layers * 2 * one.heads * one.size * 4
    memory = decoder.memory()
    assert memory.size == 0
    memory.reserve(1000)
    assert memory.size == 1024 * token
    decoder.forward([Part(memory=memory, trunk=words(130), heard=False)])
    assert memory.size == 1024 * token  # nothing moves while there is room
    before = decoder.forward([Part(memory=memory, trunk=[5])])[0][0]
    memory.cut(130)
    memory.compact()
    assert memory.size == 192 * token
    assert gap(decoder.forward([Part(memory=memory, trunk=[5])])[0][0], before) < 1e-5


def test_steps_do_not_copy_the_past(pair: Any) -> None:
    _, decoder = pair
    memory: Cache = decoder.memory()
    memory.reserve(200)
    decoder.forward([Part(memory=memory, trunk=words(100), heard=False)])
    before = memory._kv.data_ptr()
    for _ in range(50):
        decoder.forward([Part(memory=memory, trunk=[1])])
    assert memory._kv.data_ptr() == before


def test_the_head_sees_the_wanted_rows_and_no_batch(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice of a batch in bf16 would copy the whole vocabulary head at every prefill."""
    _, decoder = pair
    head, asked = decoder._head, list[tuple[int, ...]]()
    monkeypatch.setattr(decoder, "_head", lambda rows: (asked.append(rows.shape), head(rows))[1])
    memory, hidden = decoder.memory(), decoder._norm.shape[0]
    decoder.forward([Part(memory=memory, trunk=words(50), heard=False)])
    decoder.forward([Part(memory=memory, trunk=words(30), branches=[[1], [2, 3]])])
    decoder.forward([Part(memory=memory, trunk=[5])])
    assert asked == [(2, hidden), (1, hidden)]


def test_the_library_is_asked_by_an_index_too(tmp_path: Path) -> None:
    write(tmp_path / "gpt2", GPT2)
    model = Model(settings(tmp_path / "gpt2"), Counters())
    network, kept = model._network._network, list[Any]()

    def spy(**how: Any) -> Any:
        kept.append(how["logits_to_keep"])
        return network(**how)

    model._network._network = spy
    spy.config = network.config
    model.grow(model.memory(), words(20), [[1], [2, 3]], keep=True)
    assert all(isinstance(one, torch.Tensor) and one.numel() == 1 for one in kept)
    assert len(kept) == 3


# ---- other models ------------------------------------------------------------------------


def settings(folder: Path, **other: Any) -> Settings:
    usual: dict[str, Any] = {
        "source": str(folder),
        "name": "m",
        "history_tokens": 500,
        "message_tokens": 100,
        "slots": 2,
        "kv_budget": 2**28,
        "threads": 1,
        "precision": "fp32",
        "clock": time.monotonic,
    }
    return Settings(**{**usual, **other})


GPT2 = GPT2Config(vocab_size=400, n_embd=64, n_layer=2, n_head=4, n_positions=256)


def test_another_kind_of_model_runs_on_the_librarys_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    network = write(tmp_path / "gpt2", GPT2)
    model = Model(settings(tmp_path / "gpt2"), Counters())
    assert not model.tree
    assert "the plain path: it is a gpt2 model" in caplog.text
    memories = [model.memory(), model.memory()]
    branches = [words(4, 2), words(3, 3)]
    rows = model.grow(memories[0], words(20), branches, keep=True)
    for row, branch in zip(rows, branches, strict=True):
        assert gap(row, truth(network, [*words(20), *branch])[-1]) < 1e-4
    model.read(memories[1], words(6))
    stepped = model.steps(memories, [5, 6])
    assert gap(stepped[0], truth(network, [*words(20), *branches[0], 5])[-1]) < 1e-4
    assert gap(stepped[1], truth(network, [*words(6), 6])[-1]) < 1e-4
    memories[0].cut(10)
    assert gap(model.step(memories[0], 5), truth(network, [*words(10), 5])[-1]) < 1e-4


def test_a_tensor_we_know_nothing_of_sends_the_model_to_the_library(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import load_file, save_file

    caplog.set_level("INFO")
    network = write(tmp_path / "odd", KINDS["qwen2.5"])
    file = tmp_path / "odd" / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "model.layers.1.mlp.extra": torch.ones(2)}, file, {"format": "pt"})
    model = Model(settings(tmp_path / "odd"), Counters())
    assert not model.tree
    assert "tensors of its own (model.layers.1.mlp.extra)" in caplog.text
    found = model.grow(model.memory(), words(9), [[1]], keep=True)[0]
    assert gap(found, truth(network, [*words(9), 1])[-1]) < 1e-4


def test_a_head_of_its_own_is_used_whatever_the_configuration_says(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write(tmp_path / "own", KINDS["qwen2.5"])
    file = tmp_path / "own" / "model.safetensors"
    tensors = load_file(file)
    head = torch.randn(400, 64, generator=torch.Generator().manual_seed(5))
    save_file({**tensors, "lm_head.weight": head}, file, {"format": "pt"})
    tied = Decoder(Checkpoint(str(tmp_path / "own")), Kernels(precision="fp32", packed=False))
    assert torch.equal(tied._words, head)
    save_file(
        {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()},
        file,
        {"format": "pt"},
    )
    same = Decoder(Checkpoint(str(tmp_path / "own")), Kernels(precision="fp32", packed=False))
    assert same._words is same._table  # kept once


def test_a_vocabulary_that_int4_cannot_pack_stays_in_bf16(tmp_path: Path) -> None:
    config = Qwen2Config(**{**SMALL, "vocab_size": 401}, tie_word_embeddings=True)
    network = write(tmp_path / "m", config)
    model = Model(settings(tmp_path / "m", precision="int4"), Counters())
    found = model.grow(model.memory(), words(20), [[1]], keep=True)[0]
    exact = truth(network, [*words(20), 1])[-1]
    assert float((found - exact).norm() / exact.norm()) < 0.6


def test_an_end_that_only_the_configuration_names_is_known(tmp_path: Path) -> None:
    import json

    folder = make_checkpoint(tmp_path / "m")
    (folder / "generation_config.json").write_text("{}", encoding="utf-8")
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**about, "eos_token_id": 77}), "utf-8")
    assert 77 in Checkpoint(str(folder)).ends


def test_int8_needs_our_own_decoder_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "gpt2", GPT2)
    with pytest.raises(SetupError, match=r"int8 does not suit this model .*: set it to auto"):
        Model(settings(tmp_path / "gpt2", precision="int8"), Counters())


def test_a_device_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "m")
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(SetupError, match=f"model.device is {missing}, and torch finds none here"):
        Model(settings(tmp_path / "m", device=missing), Counters())


@pytest.mark.parametrize("trouble", ["cut", "config", "none"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, trouble: str) -> None:
    folder = make_checkpoint(tmp_path / "m")
    if trouble == "cut":
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
    elif trouble == "config":
        (folder / "config.json").write_text("{", encoding="utf-8")
    else:
        (folder / "model.safetensors").unlink()
    with pytest.raises(SetupError, match="holds no model that can be loaded"):
        Model(settings(folder), Counters())


# ---- LoRA --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # within peft
def test_an_adapter_changes_the_answer_as_the_library_says(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="the extra [lora] is not installed")
    folder = make_checkpoint(tmp_path / "m")
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(folder)
    lora = peft.LoraConfig(
        r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    tuned = peft.get_peft_model(base, lora)
    tuned.save_pretrained(tmp_path / "lora")
    expected = truth(tuned.eval(), words(30))[-1]
    plain = Model(settings(folder), Counters())
    model = Model(settings(folder, adapter=str(tmp_path / "lora")), Counters())
    assert model.tree
    assert (
        gap(model.grow(model.memory(), words(29), [words(30)[29:]], keep=True)[0], expected) < 1e-3
    )
    assert (
        gap(plain.grow(plain.memory(), words(29), [words(30)[29:]], keep=True)[0], expected) > 0.1
    )
    with pytest.raises(SetupError, match="must be the folder of a LoRA adapter"):
        Model(settings(folder, adapter=str(tmp_path / "nowhere")), Counters())


def test_without_peft_an_adapter_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SetupError, match=r"install heed\[lora\]"):
        Model(settings(make_checkpoint(tmp_path / "m"), adapter="x"), Counters())
