"""The model families, in the order of the table in docs/models.md. To add one, add its module to this list."""

from podium.local.families import bert, deberta, distilbert, electra, late, modernbert, roberta

__all__ = ["FAMILIES"]

FAMILIES = tuple(module.FAMILY for module in (bert, electra, roberta, distilbert, deberta, modernbert, late))
