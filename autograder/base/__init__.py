"""What every room stands on: places of files, whole writes and the cache, words of verdicts."""
