"""The exercises of chapter 2: neural networks."""
