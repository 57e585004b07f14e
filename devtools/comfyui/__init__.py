"""A real ComfyUI server for the tests and the demo: start it, talk to it, stop it. Standard library only."""
