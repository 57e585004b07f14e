"""Training FlowInOne: losses, data, the loop, LoRA."""
