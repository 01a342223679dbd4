"""What is mounted inside the sandbox: the warm parent and the way it shuts a job in. Standard library only."""
