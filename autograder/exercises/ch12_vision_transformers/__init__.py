"""The exercises of chapter 12: vision transformers."""
