"""RedisIndex: an index on Redis that documents are loaded into. RedisSource searches it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from podium.embedding import document_vectors, embedder_name, probe_vector
from podium.errors import InvalidInput, SourceError
from podium.ranking import Reranker
from podium.sources.encodings import encode_documents, encoding_keys, kept_model
from podium.sources.loading import check_ids_from
from podium.sources.redis.admin import index_info, index_infos
from podium.sources.redis.commands import Command
from podium.sources.redis.description import (
    Description,
    check_embedder,
    default_prefix,
    description_key,
    is_reserved,
    keys_pattern,
    lease_key,
    prefixes_overlap,
    read_description,
    with_separator,
)
from podium.sources.redis.encodings import index_encodings, possible_encoding_keys
from podium.sources.redis.failures import NoSuchIndex
from podium.sources.redis.lease import Lease
from podium.sources.redis.replies import IndexInfo, as_string
from podium.sources.redis.schema import Storage, check_compatible, checked_schema, create_command
from podium.sources.redis.server import Server
from podium.sources.redis.storage import storage_for
from podium.sources.redis.words import has_escaped_word
from podium.types import Embed, Progress

__all__ = ["RedisIndex"]

SCAN_SECONDS = 600.0  # how long to wait until the server has scanned its keys for a new index
SCAN_POLL_SECONDS = 0.05  # the time between two requests for the state of the scan
# About the size of a transaction. A larger one could take longer on a slow connection than the lease lasts.
TRANSACTION_BYTES = 1 << 20


class RedisIndex:
    """An index at a URL, to load documents into. `prepare` creates it if it does not exist.

    - `text`: the fields to search, with weights as {name: weight}. Other fields are stored and returned.
    - `embed`, `vector`: the embedder, and the field for its vectors, which is not used without an embedder.
    - `tags`, `numbers`: the fields to filter by. `tag_separator`: the character between tags.
    - `storage`: "hash" or "json". `prefix`: the beginning of the documents' keys.
    - `m`, `ef_construction`: the parameters of an HNSW graph.
    - `ids_from`: the field that ids are taken from, "" if they are digests of documents, None if unknown. Later runs must use
      the same field.

    A document is written completely or not at all. `unchanged` finds the documents that need not be written, so that an
    interrupted run can be repeated. They must not be written again: RediSearch goes on counting the words of replaced documents
    in the average length of a document, which changes all BM25 scores. `notes` are warnings for the user, complete after
    `finish`. Methods raise InvalidInput or SourceError.
    """

    batch = 500  # how many documents callers should pass to `add`

    def __init__(
        self,
        url: str,
        index: str,
        *,
        text: str | Sequence[str] | Mapping[str, float] = ("content",),
        embed: Embed | None = None,
        vector: str = "embedding",
        tags: Sequence[str] = (),
        numbers: Sequence[str] = (),
        storage: Storage = "hash",
        prefix: str | None = None,
        tag_separator: str = ",",
        m: int | None = None,
        ef_construction: int | None = None,
        ids_from: str | None = None,
        timeout: float = 30.0,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        self.server = Server.from_url(url, index, timeout, connection)
        self.embed = embed
        self.notes: list[str] = []
        self._schema = checked_schema(
            text=text,
            vector=vector if embed is not None else None,
            tags=tags,
            numbers=numbers,
            storage=storage,
            tag_separator=tag_separator,
            m=m,
            ef_construction=ef_construction,
        )
        self._storage = storage_for(self._schema)
        self._requested_prefix = None if prefix is None else with_separator(prefix)
        self._prefix = self._requested_prefix or default_prefix(index)
        self._ids_from = ids_from
        self._lease: Lease | None = None
        self._failures_before = 0  # how many documents the server could not index before this run
        self._expected_count = 0  # how many documents the index should have
        self._escaped_count = 0  # how many documents have words that a backslash hides from searches
        self._nul_count = 0  # how many documents have a NUL character
        self._prepared_info: IndexInfo | None = None
        self._description: Description | None = None

    @property
    def kept_models(self) -> list[str]:
        """The names of the models whose encodings the index has, [] before `prepare`."""
        return [] if self._description is None else [model.model for model in self._description.models]

    def prepare(self, count: int, progress: Progress = lambda percent: None) -> None:
        """Create the index for about `count` documents if it does not exist, and keep other processes from adding to it.

        If the server is still scanning its keys for the index, this waits, because documents that are written meanwhile
        could be counted twice. `progress` is called with the additional percentage that is done.
        """
        info = self._info()
        if info is not None:
            self._prefix = self._prefix_of(info)
        self._lease = Lease(self.server, lease_key(self._prefix))
        self._lease.acquire()
        if info is None and (info := self._info()) is not None and info.key_prefix != self._prefix:
            raise SourceError(f"another process has just created {self.server.index_label} with other keys; run this again")
        probe = () if self.embed is None else probe_vector(self.embed)
        if info is None:
            self._create(count, probe)
        else:
            check_compatible(info, self._schema, len(probe), self.server.address)
            self._check_description(info, probe)
        info = self._wait_for_scan(progress)
        self._failures_before = info.failure_count  # the server never resets this count
        self._expected_count = info.document_count
        self._prepared_info = info

    def check(self, document: Any, document_id: str, number: int) -> None:
        """Raise InvalidInput if `add` would refuse this document. Nothing is written."""
        self._key(document_id)
        self._storage.encode(document, number)

    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]:
        """Return the ids of those documents that are stored in exactly this form."""
        records = [self._storage.encode(document, number) for number, document in enumerate(documents)]
        keys = [self._key(document_id) for document_id in ids]
        commands = [self._storage.read_commands(key, fields) for key, fields in zip(keys, records, strict=True)]
        replies = iter(self.server.execute_many(list(chain.from_iterable(commands))))
        unchanged_ids = set()
        without_vector = {}  # the id of a document that is stored without a vector → the texts of its fields
        for document_id, fields, own_commands in zip(ids, records, commands, strict=True):
            own_replies = list(islice(replies, len(own_commands)))
            if self._storage.is_same(own_replies, fields, has_vector=False):
                without_vector[document_id] = self._storage.texts(fields)
            elif self.embed is not None and self._storage.is_same(own_replies, fields, has_vector=True):
                unchanged_ids.add(document_id)
        vectors = self._vectors(list(without_vector.values()))
        return unchanged_ids | {key for key, vector in zip(without_vector, vectors, strict=True) if vector is None}

    def add(self, documents: Sequence[Any], ids: Sequence[str], *, keep: Reranker | None = None) -> None:
        """Write documents. A document replaces the one that has its id.

        `keep` is a reranker with late interaction, whose encodings of the documents are stored, too. Encodings of replaced
        documents are deleted.
        """
        records = [self._storage.encode(document, number) for number, document in enumerate(documents)]
        if keep is not None:
            self.keep(documents, keep)
        keys_of_replaced_encodings = self._encoding_keys([self._key(document_id) for document_id in ids])
        texts = [self._storage.texts(fields) for fields in records]
        writes = [
            self._storage.write_commands(self._key(document_id), fields, vector)
            for document_id, fields, vector in zip(ids, records, self._vectors(texts), strict=True)
        ]
        for commands in _transactions(writes):
            replies = self._write(commands)
            del_replies = [reply for command, reply in zip(commands, replies, strict=True) if command[0] == "DEL"]
            self._expected_count += del_replies.count(0)  # DEL replies 0 for a new document
        self._escaped_count += sum(any(map(has_escaped_word, field_texts)) for field_texts in texts)
        self._nul_count += sum(any("\0" in text for text in field_texts) for field_texts in texts)
        self._delete_encodings(keys_of_replaced_encodings, records)

    def keep(self, documents: Sequence[Any], reranker: Reranker) -> int:
        """Store a reranker's encodings of documents of the index, and return how many were computed.

        Encodings that are stored already are not computed again. Raises InvalidInput or SourceError.
        """
        model = kept_model(reranker)
        description = self._description or Description(ids_from=self._ids_from)
        if model not in description.models:
            self._set_description(replace(description, models=model.added_to(description.models)))
        records = [self._storage.encode(document, number) for number, document in enumerate(documents)]
        stored = [self._storage.document(fields) for fields in records]
        store = index_encodings(self.server, self._prefix)
        return encode_documents(stored, list(self._schema.text), reranker, store, self.server.address)

    def finish(self) -> None:
        """Raise SourceError if documents that were written, or existed before, cannot be found. Add warnings to `notes`."""
        info = self._existing_info()
        failed_count = info.failure_count - self._failures_before
        if failed_count > 0:
            raise SourceError(
                f"{self.server.address} stores every document, but could not index {failed_count} of them: "
                f"{info.last_failure}; correct these documents and index the file again"
            )
        policy = self._eviction_policy()
        missing_count = self._expected_count - info.document_count
        if missing_count > 0 and not info.filter:
            raise SourceError(
                f"{missing_count} of {self._expected_count} documents are missing from {self.server.index_label}: they were "
                f"deleted meanwhile, or evicted (maxmemory-policy {policy or 'unknown'}); give Redis more memory, set "
                "maxmemory-policy noeviction, and index the file again"
            )
        if missing_count > 0:
            self.notes.append(
                f"{missing_count} documents do not pass the index's FILTER ({info.filter}), so no search finds them"
            )
        if self._escaped_count:
            self.notes.append(
                f"{self._escaped_count} documents have a backslash beside a word in {', '.join(self._schema.text)}: RediSearch "
                "reads it as an escape, so searches by text do not find these words; replace backslashes in the file, for "
                "example with spaces, or use an index in a folder"
            )
        if self._nul_count:
            self.notes.append(
                f"{self._nul_count} documents have a NUL character in {', '.join(self._schema.text)}: searches by text do not "
                "find the words after it; remove it from the file"
            )
        if policy.startswith("allkeys-"):
            self.notes.append(
                f"maxmemory-policy is {policy}: when its memory is full, {self.server.address} deletes documents without an "
                "error; set it to noeviction"
            )

    def close(self) -> None:
        """Let other processes add to the index, and close the connections."""
        if self._lease is not None:
            try:
                self._lease.release()
            except SourceError:  # the server cannot be reached, so the lease will expire
                pass
            self._lease = None
        self.server.close()

    def _key(self, document_id: str) -> str:
        """Return the key of a document. Raises InvalidInput if podium uses the id for itself, or if UTF-8 cannot encode it."""
        if is_reserved(document_id):
            raise InvalidInput(f"a document cannot have the id {document_id!r}, which podium uses for itself; rename it")
        try:
            document_id.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"a document cannot have the id {document_id!a:.80}, which has an unpaired surrogate; rename it"
            ) from error
        return self._prefix + document_id

    def _encoding_keys(self, keys: Sequence[str]) -> set[bytes]:
        """Return the keys of all encodings that the documents may have that are stored under `keys` now."""
        if self._description is None or not self._description.models or self._prepared_info is None:
            return set()
        return possible_encoding_keys(self.server, self._prepared_info, keys, self._description.models)

    def _delete_encodings(self, keys: set[bytes], records: Sequence[dict[str, Any]]) -> None:
        """Delete the encodings with these keys, except those that the new documents (`records`) also have."""
        if keys and self._description is not None:
            documents = [self._storage.document(fields) for fields in records]
            used_keys = encoding_keys(self._description.models, documents, list(self._schema.text))
            index_encodings(self.server, self._prefix).delete(keys - used_keys)

    def _vectors(self, texts: Sequence[list[str]]) -> list[Any]:
        """Return the vector of each document, given the texts of its fields; None for blank texts, or without an embedder.

        It is also None for a vector of zeros: its distance is NaN, which would disturb the server's order of the others.
        """
        vectors: list[Any] = [None] * len(texts)
        joined_texts = {i: " ".join(field_texts).strip() for i, field_texts in enumerate(texts)}
        non_blank = {i: text for i, text in joined_texts.items() if text}
        if self.embed is not None and non_blank:
            for i, vector in zip(non_blank, document_vectors(self.embed, list(non_blank.values())), strict=True):
                vectors[i] = vector if vector.any() else None
        return vectors

    def _write(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one transaction and return their replies. Raises SourceError if the lease is lost."""
        if self._lease is None:
            raise InvalidInput("call prepare() first")
        return self._lease.write(commands)

    def _info(self) -> IndexInfo | None:
        """Return the server's information about the index, None if the index does not exist."""
        try:
            return index_info(self.server, self.server.index)
        except NoSuchIndex:
            return None

    def _existing_info(self) -> IndexInfo:
        """Return the server's information about the index. Raises SourceError if it does not exist any more."""
        info = self._info()
        if info is None:
            raise SourceError(f"{self.server.index_label} was dropped meanwhile; index the file again")
        return info

    def _wait_for_scan(self, progress: Progress) -> IndexInfo:
        """Wait until the server has scanned its keys for the index, and return the server's information about the index."""
        deadline = time.monotonic() + SCAN_SECONDS
        percent = 0
        while (info := self._existing_info()).is_indexing:
            if time.monotonic() > deadline:
                raise SourceError(f"the server is still scanning its keys for {self.server.index_label}; try again later")
            new_percent = int(100 * info.indexed_share)
            progress(max(0, new_percent - percent))
            percent = max(new_percent, percent)
            time.sleep(SCAN_POLL_SECONDS)
        return info

    def _create(self, count: int, probe: tuple[float, ...]) -> None:
        self._check_prefix()
        self._write_description(probe)
        command = create_command(self.server.index, self._prefix, self._schema, dimensions=len(probe), document_count=count)
        self._write([command])

    def _write_description(self, probe: tuple[float, ...]) -> None:
        embedder = embedder_name(self.embed)
        vector = self._schema.vector or ""
        self._set_description(Description(vector=vector, embedder=embedder, probe=probe, ids_from=self._ids_from))

    def _set_description(self, description: Description) -> None:
        """Write the description of the index, and remember it."""
        self._write([("SET", description_key(self._prefix), description.to_json())])
        self._description = description

    def _check_prefix(self) -> None:
        """Raise SourceError if keys of other data or another index begin with the prefix. Searches would find them, too."""
        pattern = keys_pattern(self._prefix)

        def first_key() -> str | None:
            keys = map(as_string, self.server.client().scan_iter(match=pattern, count=1000))
            return next((key for key in keys if not is_reserved(key.removeprefix(self._prefix))), None)

        remedy = "choose another prefix with --prefix (prefix=), or another index"
        key = self.server.attempt(first_key)
        if key is not None:
            raise SourceError(
                f"{self.server.address} has keys that begin with {self._prefix!r}, such as {key[:80]!r}; index "
                f"{self.server.index!r} would overwrite or find them: {remedy}"
            )
        for info in index_infos(self.server):
            prefix = next((prefix for prefix in info.prefixes if prefixes_overlap(self._prefix, prefix)), None)
            if prefix is not None:
                raise SourceError(
                    f"the prefix {self._prefix!r} overlaps with {prefix!r} of index {info.name!r} on {self.server.address}: "
                    f"each index would find documents of the other: {remedy}"
                )

    def _prefix_of(self, info: IndexInfo) -> str:
        """Return the prefix of an existing index. Raises InvalidInput if another prefix was requested."""
        if self._requested_prefix not in (None, info.key_prefix):
            raise InvalidInput(f"the keys of index {info.name!r} begin with {info.key_prefix!r}; leave --prefix (prefix=) out")
        return info.key_prefix

    def _check_description(self, info: IndexInfo, probe: tuple[float, ...]) -> None:
        """Raise SourceError if the index was made with another embedder, InvalidInput if its ids come from another field.

        If the index has no description, nothing can be compared. If it also has no documents, it gets a description.
        """
        description = read_description(self.server.execute("GET", description_key(self._prefix)))
        self._description = description
        if description is None and not info.document_count:
            self._write_description(probe)
        if description is not None:
            check_embedder(description, self._schema.vector or "", probe, info.name)
            check_ids_from(f"index {info.name!r}", description.ids_from, self._ids_from)

    def _eviction_policy(self) -> str:
        """Return the server's maxmemory-policy, "" if it cannot be read, for example because this user may not read it."""
        try:
            memory = self.server.attempt(lambda: self.server.client().info("memory"))
        except SourceError:
            return ""
        # A cluster's reply has a dict for each node.
        nodes = [memory, *(node for node in memory.values() if isinstance(node, dict))]
        return next((str(node["maxmemory_policy"]) for node in nodes if "maxmemory_policy" in node), "")


def _transactions(writes: Sequence[Sequence[Command]]) -> Iterator[list[Command]]:
    """Yield groups of commands of about TRANSACTION_BYTES. The commands of one document, an item of `writes`, stay together."""
    group: list[Command] = []
    size = 0
    for commands in writes:
        group += commands
        size += sum(len(part) for command in commands for part in command if isinstance(part, str | bytes))
        if size >= TRANSACTION_BYTES:
            yield group
            group = []
            size = 0
    if group:
        yield group
