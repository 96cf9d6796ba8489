"""Generates with llama.cpp: all sequences in one llama_batch, one llama_decode a step."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import llama_cpp
import numpy as np

from benchmarks.peers.engine import gguf_file, timed

_ERROR = 4  # GGML_LOG_LEVEL_ERROR


class NotDecoded(Exception):
    """llama.cpp refused a step; the message holds its code."""


class Batches:
    """One context for up to `sequences` of at most `length` tokens each, in one thread."""

    def __init__(self, model: Any, sequences: int, length: int, prompt: int) -> None:
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = sequences * length, sequences
        settings.n_batch = settings.n_ubatch = max(512, sequences * prompt)
        settings.n_threads = settings.n_threads_batch = 1
        # fp32 as the others keep it, and no flash attention: of its ways the fastest, and the one that rounds least
        settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
        settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = llama_cpp.llama_init_from_model(model, settings)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._batch = llama_cpp.llama_batch_init(settings.n_batch, 0, 1)
        self._tokens, self._positions, self._wanted = (
            np.ctypeslib.as_array(field, (settings.n_batch,))
            for field in (self._batch.token, self._batch.pos, self._batch.logits)
        )

    def generate(self, prompts: list[list[int]], tokens: int) -> list[list[int]]:
        """Raises NotDecoded."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)
        rows, width = len(prompts), len(prompts[0])
        last = np.arange(1, rows + 1) * width - 1
        self._fill(np.array(prompts).ravel(), np.tile(np.arange(width), rows), np.repeat(np.arange(rows), width))
        self._wanted[: rows * width] = 0
        self._wanted[last] = 1
        found = [self._decode(rows)]
        self._fill(found[0], np.full(rows, width), np.arange(rows))
        self._wanted[:rows] = 1
        for _ in range(tokens - 1):
            self._tokens[:rows] = found[-1]
            found.append(self._decode(rows))
            self._positions[:rows] += 1
        ids: list[list[int]] = np.stack(found, axis=1).tolist()
        return ids

    def close(self) -> None:
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)

    def _fill(self, tokens: Any, positions: Any, sequences: Any) -> None:
        count = self._batch.n_tokens = len(tokens)
        self._tokens[:count], self._positions[:count] = tokens, positions
        for place, sequence in enumerate(sequences.tolist()):
            self._batch.n_seq_id[place], self._batch.seq_id[place][0] = 1, sequence

    def _decode(self, rows: int) -> Any:
        """The best next token of each sequence, [rows]."""
        if code := llama_cpp.llama_decode(self._context, self._batch):
            raise NotDecoded(f"llama_decode answered {code}")
        logits = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (rows, self._vocabulary)).argmax(axis=1)


def main(given: str, found: str) -> None:
    asked = timed.read(given)
    llama_cpp.llama_log_set(_say, None)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        gguf_file.write(Path(asked.checkpoint), file)
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(bytes(file), llama_cpp.llama_model_default_params())
        batches = {batch: _rates(model, asked, batch) for batch in asked.batches}
        llama_cpp.llama_model_free(model)
    timed.answer(found, batches, {"llama-cpp-python": version("llama-cpp-python")})


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _say(level: int, text: bytes, _: Any) -> None:
    if level == _ERROR:
        sys.stderr.write(text.decode(errors="replace"))


def _rates(model: Any, asked: timed.Asked, batch: int) -> dict[str, Any]:
    """In a context of that many sequences: a larger one would cost a small batch time."""
    batches = Batches(model, batch, asked.most_tokens, len(asked.prompts[0]))
    try:
        return timed.rates(batches.generate, asked, batch)
    finally:
        batches.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
