"""Training: fine-tuning, LoRA, and networks from scratch.

`loop.train` runs a `run_config.TrainingConfig`. `build` makes the modules, `objective` and `losses` the loss,
`sources`, `data` and `cache` the batches, `optimizers` and `ema` the updates, `snapshots` and `export` the files.
Sources of pairs are handed in by their names; other paths are folders and shards.
"""
