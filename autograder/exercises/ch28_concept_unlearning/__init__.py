"""The exercises of chapter 28."""
