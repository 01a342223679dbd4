"""The pieces of `bench_graders.py`: the class, the other graders, the attacks, and the measuring."""
