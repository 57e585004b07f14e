"""What tests, scripts and benchmarks share; nothing of the pack or the library imports it."""
