"""The exercises of chapter 3: convolutional networks."""
