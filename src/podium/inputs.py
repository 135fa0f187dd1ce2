"""Checks of arguments. Each `checked_…` function returns its valid argument, or raises InvalidInput."""

from __future__ import annotations

import difflib
import functools
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from podium.documents import texts_of
from podium.errors import Argument, InvalidInput, WrongType

__all__ = [
    "check_positive",
    "check_positive_number",
    "checked_batches",
    "checked_documents",
    "checked_fields",
    "checked_instruction",
    "checked_limit",
    "checked_min_score",
    "checked_offset",
    "checked_path",
    "checked_query",
    "checked_return_score",
    "checked_texts",
    "comma_list",
    "fields_to_read",
    "refuse",
    "refuse_unknown_names",
    "without_none",
]

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_INSTRUCTION = 4_000  # characters; every text is read with the instruction
HAS_LIST_OF_ARGUMENTS = 0x04  # inspect.CO_VARARGS; importing inspect would take a tenth of podium's import time
FOREIGN_NAMES = {
    "top_n": "use limit= for the number of results",
    "top_k": "use limit= for the number of results",
    **dict.fromkeys(("budget_ms", "max_tokens", "max_cost"), "budgets are arguments of rerank and podium.Budget"),
    "device": "models run on the CPU; use threads= with podium.load for the number of cores",
    "max_length": "it is an argument of podium.load",
    "min_score": "it is an argument of rerank",
    "threshold": "use min_score= with rerank",
    "fields": "use rank_by= for the fields that are read",
    "passages": "wrap the model: podium.Reranker(podium.Passages(podium.load(name)))",
}
"""An argument's name in other libraries → advice on podium's equivalent."""


def refuse_unknown_names(function: Function) -> Function:
    """Decorate a function so that it raises WrongType for an unknown argument, or for too many without a name.

    The message suggests an argument that exists, or how to pass the others.
    """
    code = function.__code__
    names = [name for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if name not in ("self", "cls")]
    most = None if code.co_flags & HAS_LIST_OF_ARGUMENTS else code.co_argcount
    title = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        for name in keywords.keys() - names:
            similar = difflib.get_close_matches(name, names, n=1)
            remedy = f"did you mean {similar[0]}?" if similar else f"it has {', '.join(names)}"
            raise WrongType(f"{title} has no argument {name}; {FOREIGN_NAMES.get(name, remedy)}")
        if most is not None and len(arguments) > most:
            raise WrongType(_positional_problem(title, names, len(arguments) - most, code.co_kwonlyargcount))
        return function(*arguments, **keywords)

    return checked  # type: ignore[return-value]  # `checked` has the same arguments as `function`


def _positional_problem(title: str, names: Sequence[str], excess: int, named_count: int) -> str:
    """Return the message for `excess` arguments too many without a name. The last `named_count` arguments need one."""
    positional = names[: len(names) - named_count]
    options = ", ".join(f"{name}=" for name in names[len(positional) :])
    known = f" ({', '.join(positional)})" if positional else ""
    remedy = f"name the others: {options}" if options else "leave the others out"
    if len(positional) == 1 and positional[0].endswith("s"):
        remedy = f"pass several {positional[0]} as one list, and {remedy}"
    return f"{title} takes {len(positional)} arguments without a name{known}, not {len(positional) + excess}; {remedy}"


def checked_fields(rank_by: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return `rank_by` as a tuple of field names, None for None.

    Raises InvalidInput unless it is a field name, or a list of at least one field name without repetitions.
    """
    if rank_by is None:
        return None
    fields = (rank_by,) if isinstance(rank_by, str) else rank_by
    if not isinstance(fields, list | tuple) or not all(isinstance(name, str) and name for name in fields):
        raise InvalidInput(Argument("rank_by"), " must be a field name, or a list of field names")
    if not fields or len(set(fields)) < len(fields):
        raise InvalidInput(Argument("rank_by"), " must name at least one field, and each field once")
    return tuple(fields)


def checked_instruction(instruction: Any) -> str:
    """Return an instruction. Raises InvalidInput unless it is a string of at most MAX_INSTRUCTION characters, and not blank."""
    if not isinstance(instruction, str):
        raise InvalidInput(Argument("instruction"), f" must be a string, not a {type(instruction).__name__}")
    if not instruction.strip():
        raise InvalidInput(Argument("instruction"), " is empty; leave it out, or describe relevant documents")
    if len(instruction) > MAX_INSTRUCTION:
        problem = f" has {len(instruction):,} characters, more than {MAX_INSTRUCTION:,}; shorten it to a sentence or two"
        raise InvalidInput(Argument("instruction"), problem)
    return instruction


def checked_texts(documents: Sequence[Any], rank_by: str | Iterable[str] | None) -> list[str | None]:
    """Return the text of each document, as `texts_of` does for the fields in `rank_by`. Raises InvalidInput."""
    return texts_of(documents, fields_to_read(documents, rank_by))


def fields_to_read(documents: Sequence[Any], rank_by: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the fields in `rank_by`. Raises InvalidInput if they are not valid, or if all documents are strings or None."""
    fields = checked_fields(rank_by)
    present_documents = [document for document in documents if document is not None]
    if fields is not None and present_documents and all(isinstance(document, str) for document in present_documents):
        raise InvalidInput(Argument("rank_by"), " names fields, but every document is a string, which has none; leave it out")
    return fields


def checked_batches(queries: Iterable[str], docs_per_query: Iterable[Iterable[Any]]) -> list[tuple[str, Iterable[Any]]]:
    """Return (query, documents) pairs. Raises InvalidInput unless there is one list of documents for each query."""
    if isinstance(queries, str):
        raise InvalidInput("queries is one string; rerank_many takes a list of them, rerank takes one")
    if not isinstance(queries, Iterable) or not isinstance(docs_per_query, Iterable):
        raise InvalidInput("rerank_many takes a list of queries and a list of lists of documents")
    query_list = list(queries)
    docs_list = list(docs_per_query)
    if len(query_list) != len(docs_list):
        raise InvalidInput(
            f"{len(query_list)} queries but {len(docs_list)} lists of documents; rerank_many needs one list for each query"
        )
    return list(zip(query_list, docs_list, strict=True))


def checked_query(query: Any) -> str:
    """Return the query, with unpaired surrogates replaced. Raises WrongType unless it is a string, InvalidInput if blank."""
    if not isinstance(query, str):
        raise WrongType(f"the query must be a string, not {type(query).__name__}; it comes before the documents in the call")
    text = texts_of([query])[0]
    if text is None:
        raise InvalidInput("the query is empty; there is nothing to rank by")
    return text


def checked_documents(docs: Any) -> list[Any]:
    """Return the documents of any iterable as a list. Raises WrongType for one document, None or a data frame."""
    if docs is None:
        raise WrongType("docs is None; pass the list of documents that the search returned, or []")
    if isinstance(docs, str | bytes | Mapping) or not isinstance(docs, Iterable):
        raise WrongType(f"docs must be a list of documents, not one {type(docs).__name__}; pass the query, then a list")
    if hasattr(docs, "columns"):  # a data frame; iterating over it would give the names of its columns
        raise WrongType(f"docs must be a list of documents, not a {type(docs).__name__}; pass its rows as dicts")
    return list(docs)


def check_positive(name: str, value: Any) -> None:
    """Raise InvalidInput, which names the argument, unless the value is a positive int."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(Argument(name), f" must be a positive whole number, not {value!r:.40}")


def check_positive_number(name: str, value: Any) -> None:
    """Raise InvalidInput, which names the argument, unless the value is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidInput(Argument(name), f" must be a positive number, not {value!r:.40}")


def checked_limit(limit: Any) -> int | None:
    if limit is None:
        return None
    try:
        number = None if isinstance(limit, bool) else operator.index(limit)
    except TypeError:
        number = None
    if number is None or number < 1:
        raise InvalidInput(f"limit must be a positive whole number (or None for all), not {limit!r:.40}")
    return number


def checked_offset(offset: Any) -> int:
    try:
        number = None if isinstance(offset, bool) else operator.index(offset)
    except TypeError:
        number = None
    if number is None or number < 0:
        raise InvalidInput(f"offset must be a whole number from 0, not {offset!r:.40}")
    return number


def checked_min_score(min_score: Any) -> float | None:
    if min_score is None:
        return None
    try:
        number = math.nan if isinstance(min_score, bool | str | bytes) else float(min_score)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise InvalidInput(f"min_score must be a number, not {min_score!r:.40}")
    return number


def checked_path(path: Any) -> Path:
    """Return the path. Raises InvalidInput if it is not valid on this system; the file need not exist."""
    try:
        os.stat(Path(path))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (TypeError, ValueError, OSError):
        raise InvalidInput(f"{path!r:.80} is not a valid path of a file or folder") from None
    return Path(path)


def comma_list(names: str | None) -> list[str]:
    """Return the names in a comma-separated string, without white space around them; [] for None."""
    return [name.strip() for name in names.split(",") if name.strip()] if names else []


def checked_return_score(return_score: Any) -> bool:
    if not isinstance(return_score, bool):
        raise InvalidInput(f"return_score must be True or False, not {return_score!r:.40}")
    return return_score


def without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def refuse(options: Mapping[str, Any], reason: str) -> None:
    """Raise InvalidInput if any option is not None. The message is the reason, followed by the names of those options."""
    if refused := sorted(without_none(options)):
        names_after_commas = [part for name in refused for part in (", ", Argument(name))]
        names = names_after_commas[1:]  # without the first comma
        raise InvalidInput(f"{reason} ", *names, "; leave it out" if len(refused) == 1 else "; leave them out")
