"""Prints the sentences of the documents, and where the hub keeps each: ``python -m tests.seeds``."""

from tests.seeds import test_seeds
from tests.seeds.walk import DOCUMENTS, SENTENCES

if __name__ == "__main__":
    print("| document | sentence | where it lives |", "|---|---|---|", sep="\n")
    for name in DOCUMENTS:
        for one in SENTENCES:
            if one.document == name:
                changed = f"; changed: {one.changed}" if one.changed else ""
                print(f"| {name} | {one.text} | {one.lives}{changed} |")
    print(f"\n{len(SENTENCES)} sentences, {len(test_seeds.WALKS)} walks")
