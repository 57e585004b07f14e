"""What the machine can do."""

import torch


def cpu_computes_in_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16; others convert every product from and to float32."""
    # Older ones of torch cannot tell.
    able = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def accelerator() -> torch.device | None:
    """The GPU or its like that torch can use here, None without one."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
