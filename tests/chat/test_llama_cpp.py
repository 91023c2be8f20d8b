"""llama.cpp's server, with the packaged template, renders the golden prompts.

It needs a model to start: one of a layer, with random weights and Mi:dm's special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from template_requests import PROMPTS, REFUSED

from midm_vllm.chat import PACKAGED_TEMPLATE

pytestmark = pytest.mark.slow
SPECIAL = ["<|begin_of_text|>", "<|pad|>", "<|end_of_text|>", "<|start_header_id|>",
           "<|end_header_id|>", "<|eot_id|>"]
WIDTH = 32


def write_model(path: Path) -> None:
    import gguf
    import numpy
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = [*bytes_to_unicode().values(), "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([*SPECIAL, *letters])
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * len(letters)
    )
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)  # Mi:dm's template writes it.
    shapes = {name: (WIDTH, WIDTH) for name in (
        "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"
    )}
    shapes |= {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(SPECIAL) + len(letters), WIDTH),
        "output.weight": (len(SPECIAL) + len(letters), WIDTH),
        "output_norm.weight": (WIDTH,),
        **{f"blk.0.{name}.weight": shape for name, shape in shapes.items()},
    }
    random = numpy.random.default_rng(0)
    for name, shape in tensors.items():
        writer.add_tensor(name, random.standard_normal(shape).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import xllamacpp

    model = tmp_path_factory.mktemp("llama") / "tiny.gguf"
    write_model(model)
    options = xllamacpp.CommonParams()
    options.model.path = str(model)
    options.chat_template = PACKAGED_TEMPLATE.read_text("utf-8")
    options.use_jinja = True
    options.prefill_assistant = False  # Else it continues a last message of the assistant.
    options.fit_params = False
    options.warmup = False
    options.n_ctx = 512
    options.port = 0
    server = xllamacpp.Server(options)
    yield server.listening_address


def apply(address: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{address}/apply-template", json=body, timeout=60)


@pytest.mark.parametrize("name", sorted(path.stem for path in PROMPTS.glob("*.json")))
def test_the_golden_prompts(name: str, llama_cpp: str) -> None:
    body = json.loads((PROMPTS / f"{name}.json").read_text("utf-8"))
    wanted = (PROMPTS / f"{name}.txt").read_text("utf-8")
    if body.pop("continue_final_message", False):
        wanted += "<|eot_id|>"
    for message in body["messages"]:
        for call in message.get("tool_calls", []):
            arguments = call["function"]["arguments"]
            if not isinstance(arguments, str):
                call["function"]["arguments"] = json.dumps(arguments, ensure_ascii=False)
            elif not arguments:
                call["function"]["arguments"] = "{}"  # It refuses text that is no JSON.
    response = apply(llama_cpp, body)
    assert response.status_code == 200, response.text
    assert response.json()["prompt"] == wanted


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_rendered_is_refused_with_a_sentence(case: str, llama_cpp: str) -> None:
    messages, sentence = REFUSED[case]
    response = apply(llama_cpp, {"messages": messages})
    assert response.status_code >= 400
    assert sentence in response.json()["error"]["message"]
