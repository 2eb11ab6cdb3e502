"""MinHash signatures of texts and the banding that proposes which of them may be near duplicates.

Signatures go to a file (4 bytes a permutation and row); memory holds only one 32-bit hash a band
and row. Source: Broder, "On the resemblance and containment of documents", 1997; Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rensa import RMinHash

from llmclf_core.config import DuplicateConfig
from llmclf_core.corpus.fields import hashes

_SEED = 42
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_RECALL = 0.95

UInt64s = npt.NDArray[np.uint64]


def bands(threshold: float, permutations: int) -> tuple[int, int]:
    """Number of bands b and rows r of each, b * r <= permutations.

    The largest r whose bands still propose a pair of similarity ``threshold`` with probability
    1 - (1 - threshold^r)^b >= 0.95: fewest false candidates at that recall.
    """
    for rows in range(permutations, 1, -1):
        if detection(threshold, permutations // rows, rows) >= _RECALL:
            return permutations // rows, rows
    return permutations, 1


def detection(similarity: float, n_bands: int, rows: int) -> float:
    """Probability that banding proposes a pair of this Jaccard similarity."""
    return float(1.0 - (1.0 - similarity**rows) ** n_bands)


def split_words(texts: pa.Array) -> pa.Array:
    """Texts to lists of words, divided at any white space."""
    return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts))


def text_hashes(words: pa.Array) -> UInt64s:
    """64-bit hash of each text with its white space normalised, shape (n,)."""
    return hashes(pc.binary_join(words, pa.scalar(" ", pa.large_string())))


class Signatures:
    """MinHash signatures of a stream of texts, computed beside the reading of the next ones.

    Args:
        config: threshold, shingle length and number of permutations.
        path: file for the signatures; removed by the caller.
    """

    def __init__(self, config: DuplicateConfig, path: Path) -> None:
        self._config, self._path = config, path
        self.bands, self.band_rows = bands(config.threshold, config.permutations)
        self._file = path.open("wb")
        self._band_hashes: list[npt.NDArray[np.uint32]] = []
        self._worker = ThreadPoolExecutor(1, "minhash")
        self._pending: Future[None] | None = None

    def add(self, words: pa.Array) -> None:
        """Append the signatures of texts given as word lists; one call is computed at a time."""
        self._wait()
        if len(words):
            self._pending = self._worker.submit(self._append, words)

    def _wait(self) -> None:
        """For the last call; what it raised is raised."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def _append(self, words: pa.Array) -> None:
        signatures = _signatures(words, self._config)
        self._file.write(signatures.tobytes())
        used = signatures[:, : self.bands * self.band_rows]
        self._band_hashes.append(_fold(used.reshape(len(words), self.bands, self.band_rows)))

    def finish(self) -> tuple[npt.NDArray[np.uint32], SignatureFile]:
        """Band hashes, shape (n, bands), and the signatures on disk."""
        self._wait()
        self._file.close()
        all_bands = np.concatenate(self._band_hashes)
        self._band_hashes.clear()
        return all_bands, SignatureFile(self._path, self._config.permutations)

    def close(self) -> None:
        """Release the thread and the file."""
        self._worker.shutdown()
        self._file.close()


class SignatureFile:
    """Signatures of chosen rows, read from disk.

    Not memory-mapped: the kernel maps pages around each one that is touched, so that a few rows
    here and there would hold the whole file in memory.
    """

    def __init__(self, path: Path, permutations: int) -> None:
        self._path, self._slots = path, permutations

    def rows(self, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """Signatures of these rows, shape (len(wanted), permutations)."""
        unique, places = np.unique(wanted, return_inverse=True)
        size = 4 * self._slots
        with self._path.open("rb") as file:
            read = [os.pread(file.fileno(), size, row * size) for row in unique.tolist()]
        return np.frombuffer(b"".join(read), np.uint32).reshape(-1, self._slots)[places]


def _signatures(words: pa.Array, config: DuplicateConfig) -> npt.NDArray[np.uint32]:
    shingles, offsets = shingle_hashes(words, config.shingle)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        shingles, offsets, config.permutations, _SEED
    )
    size = len(words) * config.permutations
    flat = np.fromiter(chain.from_iterable(matrix.to_rows()), np.uint32, size)
    return flat.reshape(len(words), config.permutations)


def shingle_hashes(words: pa.Array, length: int) -> tuple[UInt64s, UInt64s]:
    """Hashes of all runs of ``length`` words, case ignored; a shorter text is one shingle.

    Args:
        words: lists of words, n of them.
        length: words in a shingle.

    Returns:
        Flat hashes, and the n + 1 offsets at which each text's hashes start.
    """
    lengths = pc.list_value_length(words).to_numpy().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    flat = words.flatten().dictionary_encode()
    word_hashes = hashes(pc.utf8_lower(flat.dictionary))[flat.indices.to_numpy()]
    # Words left in the text from each position on, itself included.
    left = np.repeat(starts[1:], lengths) - np.arange(len(word_hashes))
    combined = np.zeros(len(word_hashes), np.uint64)
    for j in range(length):
        combined *= _MULTIPLIER
        inside = np.flatnonzero(left > j)
        combined[inside] += word_hashes[inside + j]
    keep = left >= length
    keep[starts[:-1][(lengths > 0) & (lengths < length)]] = True
    counts = np.concatenate([[0], np.cumsum(keep)])[starts]
    return _mix(combined[keep]), counts.astype(np.uint64)


def _mix(values: UInt64s) -> UInt64s:
    """Spread every bit over the whole word (the finaliser of MurmurHash3)."""
    for multiplier in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        values ^= values >> np.uint64(33)
        values *= multiplier
    return values ^ (values >> np.uint64(33))


def _fold(slots: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Hash the last axis away."""
    folded = np.zeros(slots.shape[:-1], np.uint64)
    for j in range(slots.shape[-1]):
        folded = folded * _MULTIPLIER + slots[..., j] + np.uint64(1)
    return (_mix(folded) >> np.uint64(32)).astype(np.uint32)
