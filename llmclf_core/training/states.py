"""Hidden states of texts on disk: memory-mapped Arrow files, written as they come."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llmclf_core.errors import explain_os_errors
from llmclf_core.progress import Ticker
from llmclf_core.tokens.batching import Rows, sorted_batches

_BATCHES = 32
"""In a file: as much is lost at most when the process is killed."""

_SCHEMA = pa.schema({"states": pa.large_binary(), "seconds": pa.float64()})
"""A row a text: its states' bytes, and its share of the time that its batch took."""

Compute = Callable[[Rows], Tensor]
"""Row numbers to hidden states, (rows, longest, hidden), padded on the right."""


class States:
    """Hidden states of n texts, without padding."""

    def __init__(
        self, directory: Path, lengths: Rows, batch_size: int, width: int, dtype: torch.dtype
    ) -> None:
        """Args:
        directory: where they lie; of these texts, layers and settings alone.
        lengths: tokens of each text, (n,).
        batch_size: texts that are computed together.
        width: of a hidden state.
        dtype: of its numbers.
        """
        self._directory, self._lengths = directory, lengths
        self._width, self._dtype = width, dtype
        batches = sorted_batches(lengths, batch_size)
        self._files = [batches[i : i + _BATCHES] for i in range(0, len(batches), _BATCHES)]
        self._place = {
            int(row): (number, i, place)
            for number, group in enumerate(self._files)
            for i, batch in enumerate(group)
            for place, row in enumerate(batch)
        }

    def missing(self) -> list[int]:
        """Numbers of the files that are still to be written."""
        return [n for n in range(len(self._files)) if not self._path(n).exists()]

    def fill(self, numbers: Sequence[int], compute: Compute) -> None:
        """Compute and write some files, each whole or not at all.

        Several processes may do so at the same time: what they write is the same.

        Raises:
            UserError: when they cannot be written.
        """
        rows = sum(len(batch) for number in numbers for batch in self._files[number])
        with explain_os_errors(self._directory), Ticker("frozen layers", rows) as ticker:
            self._directory.mkdir(parents=True, exist_ok=True)
            for number in numbers:
                if not self._path(number).exists():
                    self._write(number, compute, ticker)

    def touch(self) -> None:
        """Note that they are in use."""
        with suppress(OSError):
            os.utime(self._directory)

    @property
    def seconds(self) -> float:
        """That computing what there is took, whenever that was."""
        there = (n for n in range(len(self._files)) if self._path(n).exists())
        columns = (self._table(n).column("seconds") for n in there)
        return float(sum(pc.sum(column).as_py() for column in columns))

    def batch(self, rows: Rows) -> Tensor:
        """Hidden states of some texts, (rows, longest, width), zero behind a text's end."""
        return pad_sequence(self.texts(rows), batch_first=True)

    def texts(self, rows: Rows) -> list[Tensor]:
        """Hidden states of some texts, each (tokens, width)."""
        # Mapped for this batch only: what stays mapped counts as this process's memory.
        tables = {number: self._table(number) for number in {self._place[int(r)][0] for r in rows}}
        places = [self._place[int(row)] for row in rows]
        columns = [tables[number].column("states").chunk(batch) for number, batch, _ in places]
        return [
            self._tensor(column[place].as_buffer())
            for column, (_, _, place) in zip(columns, places, strict=True)
        ]

    def _tensor(self, content: pa.Buffer) -> Tensor:
        # Copied: torch takes no memory that must not be written.
        flat = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())
        return flat.view(self._dtype).view(-1, self._width)

    def _write(self, number: int, compute: Compute, ticker: Ticker) -> None:
        path = self._path(number)
        draft = path.with_suffix(f".{uuid.uuid4().hex[:8]}.draft")
        with pa.ipc.new_file(str(draft), _SCHEMA) as file:
            for rows in self._files[number]:
                begun = time.monotonic()
                content = self._bytes(compute(rows), rows)
                seconds = [(time.monotonic() - begun) / len(rows)] * len(rows)
                columns = [pa.array(content, pa.large_binary()), pa.array(seconds, pa.float64())]
                file.write_batch(pa.record_batch(columns, schema=_SCHEMA))
                ticker.update(len(rows))
        draft.rename(path)

    def _bytes(self, states: Tensor, rows: Rows) -> list[bytes]:
        states = states.detach().to("cpu", self._dtype)
        texts = zip(states, self._lengths[rows], strict=True)
        return [s[: int(n)].contiguous().view(torch.uint8).numpy().tobytes() for s, n in texts]

    def _table(self, number: int) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self._path(number)))).read_all()

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:05d}.arrow"
