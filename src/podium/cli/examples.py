"""The guide's query and documents, for `podium demo` and `podium check`."""

from __future__ import annotations

__all__ = ["DOCUMENTS", "QUERY"]

QUERY = "What is the capital of the United States?"
DOCUMENTS = [
    {
        "source": "wiki",
        "passage": "Carson City is the capital city of the American state of Nevada. At the 2010 United States Census, "
        "Carson City had a population of 55,274.",
    },
    {
        "source": "encyclopedia",
        "passage": "The Commonwealth of the Northern Mariana Islands is a group of islands in the Pacific Ocean that are a "
        "political division controlled by the United States. Its capital is Saipan.",
    },
    {
        "source": "textbook",
        "passage": "Charlotte Amalie is the capital and largest city of the United States Virgin Islands. It has about 20,000 "
        "people. The city is on the island of Saint Thomas.",
    },
    {
        "source": "textbook",
        "passage": "Washington, D.C. (also known as simply Washington or D.C., and officially as the District of Columbia) is "
        "the capital of the United States. It is a federal district. The President of the USA and many major national "
        "government offices are in the territory. This makes it the political center of the United States of America.",
    },
    {
        "source": "wiki",
        "passage": "Capital punishment (the death penalty) has existed in the United States since before the United States was "
        "a country. As of 2017, capital punishment is legal in 30 of the 50 states. The federal government (including the "
        "United States military) also uses capital punishment.",
    },
]
