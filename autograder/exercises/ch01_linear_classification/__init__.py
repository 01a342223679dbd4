"""The exercises of chapter 1: linear classification."""
