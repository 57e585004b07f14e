"""Weight files: opened, identified, validated, converted, quantised and downloaded.

weightfile          any safetensors or PyTorch file, sharded or wrapped, as a lazy mapping from name to tensor
identify            what kind of model a file holds, told from its keys
mapping             how each known layout's tensors become this package's, and back
checkpoint          FlowInOne's three files (network, vision tower, VAE): opened once, validated, then read
eightbit            8-bit weights: ComfyUI's file format, and torchao in a loaded network
lora                LoRA files, and merging them into a network
conversion          `flowinone convert`: any of these files to one safetensors file
hub, download       `flowinone download`: resumable transfers, and what is made of them
safetensors_header             helper of the above
"""
