"""The web book: pages from rows and executed lessons."""
