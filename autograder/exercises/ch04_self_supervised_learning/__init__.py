"""Exercises of chapter 4: self-supervised learning."""
