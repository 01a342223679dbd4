"""The main job on real input: chapter 3 from lesson to grade, with a small class of sample submissions."""
