"""The exercises of chapter 5: segmentation."""
