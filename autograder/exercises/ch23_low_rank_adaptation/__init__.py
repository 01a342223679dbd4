"""The exercises of chapter 23: low-rank adaptation."""
