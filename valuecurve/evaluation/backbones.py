"""Sizes of the published backbones that the recipes name, for drawing and counting without a download.

Only the shape of a model is here, as its configuration on the Hub gives it (SigLIP: Zhai et al. 2023, in the
SO400M shape of Alabdulmohsin et al. 2023; Gemma 3: Gemma Team 2025). Where a backbone is on disk, its own
configuration is read instead.
"""

SO400M = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
}
GEMMA_3_270M = {
    "model_type": "gemma3_text",
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_hidden_layers": 18,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "vocab_size": 262144,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "max_position_embeddings": 32768,
}
BACKBONES = {
    "google/siglip-so400m-patch14-224": SO400M | {"image_size": 224},
    "google/siglip-so400m-patch14-384": SO400M | {"image_size": 384},
    "google/siglip2-so400m-patch14-224": SO400M | {"image_size": 224},
    "google/siglip2-so400m-patch14-384": SO400M | {"image_size": 384},
    "google/gemma-3-270m": GEMMA_3_270M,
    "google/gemma-3-270m-it": GEMMA_3_270M,
}
