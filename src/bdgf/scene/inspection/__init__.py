"""What is in files, what looks wrong with them, and a scene file to start from."""
