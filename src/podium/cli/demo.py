"""podium demo: rank the guide's documents with the bundled model, as strings and as records."""

from __future__ import annotations

import click

from podium.cli.examples import DOCUMENTS, QUERY
from podium.cli.tables import print_ranking, shown_texts
from podium.load import load

__all__ = ["demo"]


@click.command()
def demo() -> None:
    """Rank five documents. Nothing is downloaded."""
    texts = [document["passage"] for document in DOCUMENTS]
    fields = ["passage", "source"]
    with load("podium-mini") as reranker:
        print(f"{QUERY}\n")
        ranking = reranker.rerank(QUERY, texts)
        print_ranking(ranking, dict(enumerate(texts)))
        usage = ranking.usage
        cost = f"{usage.pairs} documents, {usage.tokens} tokens, {usage.seconds * 1000:.0f} ms on this machine"
        print(f"\n{cost}, without a network")
        print('\nThe same documents as records, with rank_by=["passage", "source"]:\n')
        print_ranking(reranker.rerank(QUERY, DOCUMENTS, rank_by=fields), shown_texts(enumerate(DOCUMENTS), fields))
