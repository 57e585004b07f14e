"""What knows ComfyUI's insides: folders, memory management, the native model, progress."""
