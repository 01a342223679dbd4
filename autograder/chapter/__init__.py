"""One row read and checked: its lesson, sources, cards, methods, ledger and place in the book."""
