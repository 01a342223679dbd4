"""From a row to what students get: notebooks, packs, the repository, and the proof that it works."""
