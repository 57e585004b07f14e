"""The public checkpoint's tensor names and this package's.

One row a kind of tensor: the name in `flowinone_256px.pth`, then the name here.
"""

from .renaming import Renaming

NETWORK = Renaming("""
adapter.0.*                                            prompt_encoder.adapter.*
token_compressor.*                                     prompt_encoder.token_compressor.*
context_encoder.layers.#.attn.W_Q.*                    prompt_encoder.layers.#.attention.query.*
context_encoder.layers.#.attn.W_K.*                    prompt_encoder.layers.#.attention.key.*
context_encoder.layers.#.attn.W_V.*                    prompt_encoder.layers.#.attention.value.*
context_encoder.layers.#.attn.W_O.*                    prompt_encoder.layers.#.attention.dense.*
context_encoder.layers.#.norm1.g                       prompt_encoder.layers.#.attention_norm.gain
context_encoder.layers.#.norm1.b                       prompt_encoder.layers.#.attention_norm.offset
context_encoder.layers.#.feed_forward.ffn_1.*          prompt_encoder.layers.#.feed_forward.0.*
context_encoder.layers.#.feed_forward.ffn_2.*          prompt_encoder.layers.#.feed_forward.2.*
context_encoder.layers.#.norm2.g                       prompt_encoder.layers.#.feed_forward_norm.gain
context_encoder.layers.#.norm2.b                       prompt_encoder.layers.#.feed_forward_norm.offset
context_encoder.reduction_layers.#.attn.W_Q.*          prompt_encoder.reduction_layers.#.attention.query.*
context_encoder.reduction_layers.#.attn.W_K.*          prompt_encoder.reduction_layers.#.attention.key.*
context_encoder.reduction_layers.#.attn.W_V.*          prompt_encoder.reduction_layers.#.attention.value.*
context_encoder.reduction_layers.#.attn.W_O.*          prompt_encoder.reduction_layers.#.attention.dense.*
context_encoder.reduction_layers.#.norm1.g             prompt_encoder.reduction_layers.#.attention_norm.gain
context_encoder.reduction_layers.#.norm1.b             prompt_encoder.reduction_layers.#.attention_norm.offset
context_encoder.reduction_layers.#.feed_forward.ffn_1.* prompt_encoder.reduction_layers.#.feed_forward.0.*
context_encoder.reduction_layers.#.feed_forward.ffn_2.* prompt_encoder.reduction_layers.#.feed_forward.2.*
context_encoder.reduction_layers.#.norm2.g             prompt_encoder.reduction_layers.#.feed_forward_norm.gain
context_encoder.reduction_layers.#.norm2.b             prompt_encoder.reduction_layers.#.feed_forward_norm.offset
context_encoder.reduction_layers.#.reduction.*         prompt_encoder.reduction_layers.#.reduction.*
context_encoder.linear.*                               prompt_encoder.head.*
stages.0.tensor_true                                   velocity_network.coarse.indicator.null
stages.0.tensor_false                                  velocity_network.coarse.indicator.prompt
stages.0.input_layer.1.*                               velocity_network.coarse.input_layer.projection.*
stages.0.input_layer.3.position_embeddings.weight      velocity_network.coarse.input_layer.positions.table
stages.0.image_latent_layer.1.*                        velocity_network.coarse.image_latent_layer.projection.*
stages.0.image_latent_layer.3.position_embeddings.weight velocity_network.coarse.image_latent_layer.positions.table
stages.0.blocks.#.block1_cross.weight_mlp.*            velocity_network.coarse.blocks.#.cross_attention.gate.*
stages.0.blocks.#.block1_cross.norm_q.*                velocity_network.coarse.blocks.#.cross_attention.norm_query.*
stages.0.blocks.#.block1_cross.norm_kv.*               velocity_network.coarse.blocks.#.cross_attention.norm_key_value.*
stages.0.blocks.#.block1_cross.*                       velocity_network.coarse.blocks.#.cross_attention.*
stages.0.blocks.#.block1.*                             velocity_network.coarse.blocks.#.self_attention.*
stages.0.blocks.#.block2.*                             velocity_network.coarse.blocks.#.mlp.*
stages.0.skip_denses.*                                 velocity_network.coarse.skip_denses.*
stages.0.output_layer.0.*                              velocity_network.coarse.output_layer.norm.*
stages.0.output_layer.2.*                              velocity_network.coarse.output_layer.conv.*
stages.1.input_layer.1.*                               velocity_network.fine.input_layer.projection.*
stages.1.input_layer.3.position_embeddings.weight      velocity_network.fine.input_layer.positions.table
stages.1.upsample.0.*                                  velocity_network.fine.upsample.norm_in.*
stages.1.upsample.1.kernel.*                           velocity_network.fine.upsample.projection.*
stages.1.upsample.2.*                                  velocity_network.fine.upsample.norm_out.*
stages.1.blocks.#.block1.1.*                           velocity_network.fine.blocks.#.depthwise_conv.*
stages.1.blocks.#.block2.*                             velocity_network.fine.blocks.#.mlp.*
stages.1.skip_denses.*                                 velocity_network.fine.skip_denses.*
stages.1.output_layer.0.*                              velocity_network.fine.output_layer.norm.*
stages.1.output_layer.2.*                              velocity_network.fine.output_layer.conv.*
""")

TRAINING_ONLY = ("open_clip.", "open_clip_output.")
"""Prefixes of the public checkpoint's tensors that only its contrastive training loss reads."""


def native_name(name: str) -> str | None:
    """This package's name for a tensor of the public checkpoint; a native name stays, any other gives None."""
    return NETWORK.forward(name) or (name if NETWORK.backward(name) else None)


def upstream_name(name: str) -> str | None:
    """The public checkpoint's name for a tensor; a public name stays, any other gives None."""
    return NETWORK.backward(name) or (name if NETWORK.forward(name) else None)
