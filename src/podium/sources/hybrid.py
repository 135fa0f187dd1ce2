"""HybridSource, the base class of sources that search by text (BM25), by vectors, or by both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from podium.encodings import EncodingStore
from podium.errors import Argument, InvalidInput
from podium.sources.fusion import MODES, Fusion, Hit, Mode, check_fusion, fused_hits
from podium.sources.stages import stage_size_for
from podium.types import Candidates, Embed

__all__ = ["HybridSource", "Page", "SearchRequest", "Steps"]

Result = TypeVar("Result")
Steps = Generator[Any, Any, Result]
"""A generator for `podium.steps`: it yields steps, such as commands to a server, receives their outcomes, returns a Result.

The kind of source defines what its steps are and how they are performed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A search for `count` documents after the `offset` best, with checked values. Sources add fields in subclasses."""

    query: str
    mode: Mode
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Page:
    """The hits of one page of a ranking, best first.

    `total` is the number of documents that match, a function that counts them, or None if it is unknown.
    """

    hits: Sequence[Hit]
    total: int | Callable[[], int] | None


Request = TypeVar("Request", bound=SearchRequest)


class HybridSource(ABC, Generic[Request]):
    """A source with the modes "text", "vector" and "hybrid".

    A subclass searches by text and by vectors, and describes both. Modes, fusion and the fields that every document gets are
    implemented here. `text_hits`, `vector_hits` and `hit_documents` are generators of steps, so that one implementation serves
    blocking and asynchronous callers. The subclass's `search` makes a request of its arguments and runs its steps:

        drive(self.candidates(request), perform)            # perform sends one command and returns the reply
        await adrive(self.candidates(request), aperform)    # in `asearch`

    If these three methods need no steps, decorate each of them with `podium.steps.immediate`. `search` then returns
    `podium.steps.result_of(self.candidates(request))`.
    """

    def __init__(self, *, embed: Embed | None, mode: Mode | None, fusion: Fusion, text_weight: float) -> None:
        check_fusion(fusion, text_weight)
        self.embed = embed
        self.fusion = fusion
        self.text_weight = text_weight
        self.mode: Mode = self.checked_mode(mode or ("text" if embed is None else "hybrid"))

    @abstractmethod
    def search(self, query: str, limit: int, *, offset: int = 0, mode: Mode | None = None) -> Candidates:
        """Return at most `limit` documents after the `offset` best, best first."""

    @property
    @abstractmethod
    def text_fields(self) -> list[str] | None:
        """The fields that are searched by text, None if they are unknown or if each document is one text."""

    @property
    def encodings(self) -> EncodingStore | None:
        """The encodings of the documents, to be read only; None if this source cannot have any."""
        return None

    @abstractmethod
    def text_hits(self, request: Request, offset: int, count: int) -> Steps[Page]:
        """Return at most `count` hits after the `offset` best by text."""

    @abstractmethod
    def vector_hits(self, request: Request, offset: int, count: int) -> Steps[Page]:
        """Return at most `count` hits after the `offset` nearest by vector."""

    @abstractmethod
    def hit_documents(self, request: Request, hits: Sequence[Hit]) -> Steps[Sequence[tuple[str, dict[str, Any]]]]:
        """Return the `source_key` and the fields of each hit, in the same order."""

    @abstractmethod
    def describe_text(self) -> str:
        """Return a phrase that describes the search by text."""

    @abstractmethod
    def describe_vector(self) -> str:
        """Return a phrase that describes the search by vectors."""

    def describe_fusion(self) -> str:
        """Return a phrase that describes how a hybrid search combines its rankings."""
        return "fused by reciprocal rank" if self.fusion == "rrf" else f"fused by a weighted sum, text {self.text_weight:g}"

    def notes(self, request: Request) -> Sequence[str]:
        """Return warnings about a search for the user."""
        return ()

    def document_id(self, source_key: str) -> str:
        """Return the id under which a document was indexed, for the `source_key` that a search returned."""
        return source_key

    def close(self) -> None:
        """Close the connections that this source opened."""

    def explain(self) -> str:
        """Describe how this source searches."""
        if self.mode == "text":
            return self.describe_text()
        if self.mode == "vector":
            return self.describe_vector()
        return f"{self.describe_text()}; {self.describe_vector()}; {self.describe_fusion()}"

    def checked_mode(self, mode: Any) -> Mode:
        """Return the mode. Raises InvalidInput if there is no such mode, or if it needs vectors and this source has none."""
        if not isinstance(mode, str) or mode not in MODES:
            raise InvalidInput(f"mode must be text, vector or hybrid, not {mode!r:.40}")
        if mode != "text":
            self.check_vectors(mode)
        return mode

    def check_vectors(self, mode: Mode) -> None:
        """Raise InvalidInput, which names the mode, if this source cannot search by vectors.

        The constructor calls this, so a subclass that overrides it sets the attributes that it reads before `super().__init__`.
        """
        if self.embed is None:
            raise InvalidInput(
                Argument("mode", mode), " needs vectors of queries; pass an embedder as ", Argument("embed", ...)
            )

    def candidates(self, request: Request) -> Steps[Candidates]:
        """Return the documents of a search, each with `source_key`, `source_score` and `source_rank`."""
        page = yield from self._page_in_mode(request)
        stored_documents = yield from self.hit_documents(request, page.hits)
        documents: list[dict[str, Any]] = []
        for hit, (key, fields) in zip(page.hits, stored_documents, strict=True):
            rank = request.offset + len(documents) + 1
            documents.append(fields | {"source_key": key, "source_score": hit.score, "source_rank": rank})
        return Candidates(documents, total=page.total, notes=self.notes(request))

    def hybrid_hits(self, request: Request) -> Steps[Page]:
        """Return the fused hits of a search by text and a search by vectors.

        `total` is that of the search by vectors, which ranks every document that the source's filter allows.
        """
        end = request.offset + request.count
        # Fused scores depend on the lengths of the rankings, so all pages of a stage fuse rankings of the same lengths.
        depth = stage_size_for(end)
        by_text = yield from self.text_hits(request, 0, depth)
        by_vector = yield from self.vector_hits(request, 0, depth)
        fused = fused_hits(self.fusion, by_text.hits, by_vector.hits, self.text_weight)
        return Page(fused[request.offset : end], by_vector.total)

    def _page_in_mode(self, request: Request) -> Steps[Page]:
        """Return the hits of the search in the request's mode."""
        if request.mode == "text":
            return self.text_hits(request, request.offset, request.count)
        if request.mode == "vector":
            return self.vector_hits(request, request.offset, request.count)
        return self.hybrid_hits(request)
