"""`braid embed`: features of a stream of texts to a file, whitened by option.

Shape legend: n texts, D size of the features, K size after whitening.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braid.data.example import Example
from braid.errors import BraidError
from braid.predict.feature_files import FeatureFile, check_name, feature_file
from braid.predict.vectors import Pooled, Pooling
from braid.predict.whitening import Moments, Whitening

if TYPE_CHECKING:
    from braid.predict.features import Reader

Told = Callable[[str, int, int | None], None]
"""Hears what is being done, how much is done, and of how much (None: not known)."""


@dataclass(frozen=True)
class FeatureOptions:
    """Which features. *layer*, *pooling*, *task*: as for `braid.predict.features.pooling_of`; *tokens*: of every token,
    not pooled; *whiten*: dimensions to whiten to, `full` for all, None: none; *fit*: the texts that this is fitted on
    (None: those that are embedded); *whitening*: a saved one to use."""

    layer: int | None = None
    pooling: str | None = None
    task: str | None = None
    tokens: bool = False
    whiten: int | str | None = None
    fit: Iterable[Example] | None = None
    whitening: Path | None = None

    def check(self) -> None:
        """Raises BraidError for what does not go together."""
        if self.tokens and (self.pooling is not None or self.task is not None):
            raise BraidError("--tokens gives every token's vector, so there is no --pooling and no --task beside it")
        if self.tokens and (self.whiten is not None or self.whitening is not None):
            raise BraidError("whitening is of texts' vectors; it does not go with --tokens")
        if self.whiten is not None and self.whitening is not None:
            raise BraidError("--whiten fits a whitening, --whitening uses a saved one: give one of them")
        if self.fit is not None and self.whiten is None:
            raise BraidError("--whiten-on names the texts that --whiten is fitted on: give --whiten too")
        if self.whiten is not None:
            self.dimensions()

    def dimensions(self) -> int | None:
        """K; None: all."""
        if self.whiten == "full":
            return None
        try:
            return int(str(self.whiten))
        except ValueError:
            raise BraidError(f"--whiten {self.whiten}: give a number of dimensions, or full") from None


@dataclass(frozen=True)
class Embedded:
    """What was written: of *texts* as many *vectors* of *size* numbers, how many texts were *cut*, what the features
    are *of*, and where a whitening was saved."""

    texts: int
    vectors: int
    size: int
    cut: int
    of: str
    whitening: Path | None = None


def embed_to(
    reader: Reader | None,
    encoder_sha256: str,
    examples: Iterable[Example],
    out: Path,
    options: FeatureOptions,
    *,
    told: Told = lambda doing, done, total: None,
    choose: Callable[..., tuple[str, Pooling]] | None = None,
) -> Embedded:
    """Write the features of texts, which are streamed; what is held does not grow with their number, but a file with
    every token's. *reader*: None where the model gives no hidden states; *choose*: what pools (`Predictor.vectors`);
    None: `vectors_of` the reader.

    Raises BraidError before anything is computed for wrong options or a wrong file name; what stood at *out* is
    replaced when all is done, not before."""
    options.check()
    check_name(out)
    if options.tokens:
        return _tokens(reader, examples, out, -1 if options.layer is None else options.layer, told)
    if choose is None:
        from braid.predict.features import vectors_of

        assert reader is not None, "one of the two makes vectors"
        choose = partial(vectors_of, reader)
    of, pool = choose(task=options.task, layer=options.layer, pooling=options.pooling)
    known = {"encoder_sha256": encoder_sha256, "features": of}
    whitening = None if options.whitening is None else Whitening.load(options.whitening, of=known)
    if options.whiten is None:
        return _written(_counted(pool(examples), "embedding", told), whitening, out, of)
    saved = out.with_name(f"{out.stem}.whitening.safetensors")
    if options.fit is not None:
        moments = _moments(options.fit, pool, options.dimensions(), told)
        whitening = moments.whitening(of=known)
        found = _written(_counted(pool(examples), "embedding", told), whitening, out, of)
    else:
        with tempfile.TemporaryDirectory(prefix=".braid-", dir=out.parent) as folder:
            spool = _Spool(Path(folder))
            moments = spool.fill(_counted(pool(examples), "embedding", told), options.dimensions())
            whitening = moments.whitening(of=known)
            found = _written(iter(spool), whitening, out, of)
    whitening.save(saved)
    return replace(found, whitening=saved)


def _tokens(reader: Reader | None, examples: Iterable[Example], out: Path, layer: int, told: Told) -> Embedded:
    from braid.predict.features import check_layer, of_tokens

    if reader is None:
        raise BraidError("--tokens: an exported graph gives no hidden states; use the run itself")
    check_layer(reader.network, layer)
    size, of = reader.network.encoder.hidden_size, f"tokens of layer {layer % reader.network.encoder.n_states}"
    texts = vectors = cut = 0
    with feature_file(out, size, tokens=True) as file:
        for some in of_tokens(reader, examples, layer=layer):
            file.add_tokens(some.examples, some.features)
            texts, cut = texts + len(some.examples), cut + some.cut
            vectors += sum(len(one.tokens) for one in some.features)
            told(f"embedding: {texts:,} texts", texts, None)
        _some(texts)
    return Embedded(texts, vectors, size, cut, of)


def _written(parts: Iterator[Pooled], whitening: Whitening | None, out: Path, of: str) -> Embedded:
    first = next(parts, None)
    texts, cut = 0, 0
    _some(0 if first is None else len(first.examples))
    assert first is not None
    size = first.vectors.shape[1] if whitening is None else whitening.size
    with feature_file(out, size, tokens=False) as file:
        for part in chain([first], parts):
            _add(file, part, whitening)
            texts, cut = texts + len(part.examples), cut + part.cut
    return Embedded(texts, texts, size, cut, of)


def _add(file: FeatureFile, part: Pooled, whitening: Whitening | None) -> None:
    file.add(part.examples, part.vectors if whitening is None else whitening(part.vectors))


def _some(texts: int) -> None:
    if not texts:
        raise BraidError("there is no text to embed")


def _counted(parts: Iterator[Pooled], doing: str, told: Told) -> Iterator[Pooled]:
    texts = 0
    for part in parts:
        texts += len(part.examples)
        yield part
        told(f"{doing}: {texts:,} texts", texts, None)


def _moments(examples: Iterable[Example], pool: Pooling, keep: int | None, told: Told) -> Moments:
    moments: Moments | None = None
    for part in _counted(pool(examples), "fitting the whitening", told):
        moments = moments or Moments(part.vectors.shape[1], keep)
        moments.add(part.vectors)
    if moments is None:
        raise BraidError("there is no text to fit the whitening on")
    return moments


class _Spool:
    """Features with their texts on disk, to be read again once their moments are known: so the encoder runs once, and
    texts may come from a pipe."""

    def __init__(self, folder: Path) -> None:
        self.vectors, self.texts = folder / "vectors", folder / "texts"
        self.parts: list[tuple[int, int]] = []
        self.size = 0

    def fill(self, parts: Iterator[Pooled], keep: int | None) -> Moments:
        """Keep all parts."""
        moments: Moments | None = None
        with self.vectors.open("wb") as vectors, self.texts.open("w", encoding="ascii") as texts:
            for part in parts:
                moments = moments or Moments(part.vectors.shape[1], keep)
                moments.add(part.vectors)
                vectors.write(np.ascontiguousarray(part.vectors, dtype=np.float32).tobytes())
                texts.writelines(json.dumps([example.text, example.pair]) + "\n" for example in part.examples)
                self.parts.append((len(part.examples), part.cut))
        _some(0 if moments is None else moments.count)
        assert moments is not None
        self.size = len(moments.mean)
        return moments

    def __iter__(self) -> Iterator[Pooled]:
        with self.vectors.open("rb") as vectors, self.texts.open(encoding="ascii") as texts:
            for count, cut in self.parts:
                examples = [Example(*json.loads(next(texts))) for _ in range(count)]
                found = np.frombuffer(vectors.read(count * self.size * 4), dtype=np.float32)
                yield Pooled(examples, found.reshape(count, self.size), cut)
