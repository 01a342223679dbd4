"""What is said about marks afterwards: pages, class reports, the smallest failing case."""
