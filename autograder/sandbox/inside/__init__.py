"""What is mounted inside the sandbox: the warm parent and the way it shuts a job in. Standard library only."""

# on a busy machine a job may take so many times its wall clock longer, for as long as it was ready and had no processor
STRETCH = 3.0
