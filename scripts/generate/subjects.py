"""btcnode/rpc/methods/subject_table.py: in which module a method is declared."""

from __future__ import annotations

from btcnode.rpc.methods import by_subject

HEAD = '''# ruff: noqa: E501
"""In which module of this folder each method is declared: made by scripts/docs, so that one can be loaded alone."""

METHODS = {
'''
TAIL = """}
SUBJECT_OF = {name: subject for subject, names in METHODS.items() for name in names.split()}
"""


def table() -> str:
    """The whole file."""
    lines = [f'    "{subject}": "{" ".join(names)}",\n' for subject, names in by_subject().items()]
    return HEAD + "".join(lines) + TAIL
