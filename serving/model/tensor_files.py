"""Opens a checkpoint's safetensors files and knows their tensors' names and shapes; imports no torch."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from serving.model.config import CheckpointError, ModelConfig
from serving.model.layout import needed_tensors
from serving.model.packing import packed_type

_FLOATS = ("F64", "F32", "F16", "BF16")
_FP8 = "F8_E4M3"


class TensorFiles:
    """Opened without reading any tensor; a file shorter or longer than its header says is refused."""

    def __init__(
        self, paths: tuple[Path, ...], framework: Literal["pt", "numpy"], fp8_block: tuple[int, int] | None = None
    ) -> None:
        """`framework`: of the tensors that a slice gives. Raises CheckpointError."""
        try:
            self._open: list[Any] = [safe_open(path, framework=framework, device="cpu") for path in paths]
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{paths[0].parent} holds a broken safetensors file: copy it again.") from error
        self._holder = {name: file for file in self._open for name in file.keys()}  # noqa: SIM118 - not a mapping
        self._fp8_block = fp8_block

    def __enter__(self) -> TensorFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._open:
            file.__exit__(kind, error, trace)

    def __contains__(self, name: object) -> bool:
        return name in self._holder

    def slice_of(self, name: str, shape: tuple[int, ...]) -> Any:
        """Raises CheckpointError when there is no such tensor or its shape is another."""
        if name not in self._holder:
            raise CheckpointError(f"The checkpoint lacks the tensor {name}: export it again.")
        part = self._holder[name].get_slice(name)
        if tuple(part.get_shape()) != shape:
            found = tuple(part.get_shape())
            raise CheckpointError(f"The tensor {name} has shape {found}, config.json says {shape}: export it again.")
        return part

    def packed_of(self, name: str, shape: tuple[int, ...]) -> Any:
        """Of packed experts; raises CheckpointError for another type too."""
        part, kind = self.slice_of(name, shape), packed_type(name)
        if part.get_dtype() != kind:
            raise CheckpointError(f"The tensor {name} has type {part.get_dtype()}, not {kind}: pack again.")
        return part

    def floats_of(self, name: str, shape: tuple[int, ...]) -> tuple[Any, Any | None]:
        """Numbers, and their blocks' scales where they are 8-bit floats; raises CheckpointError for other types too."""
        part = self.slice_of(name, shape)
        kind = part.get_dtype()
        if kind in _FLOATS:
            return part, None
        if kind != _FP8 or self._fp8_block is None or len(shape) < 2:
            raise CheckpointError(
                f"The tensor {name} holds {kind}, which nothing in config.json explains: choose another checkpoint."
            )
        blocks = [-(-size // block) for size, block in zip(shape[-2:], self._fp8_block, strict=True)]
        return part, self.slice_of(f"{name}_scale_inv", (*shape[:-2], *blocks))


def check_tensors(paths: tuple[Path, ...], config: ModelConfig) -> None:
    """Whether every tensor that `config` needs is there in its shape. Raises CheckpointError."""
    with TensorFiles(paths, "numpy", config.fp8_block) as files:
        for name, shape in needed_tensors(config, files).items():
            if config.packing is not None and packed_type(name):
                files.packed_of(name, shape)
            else:
                files.floats_of(name, shape)
