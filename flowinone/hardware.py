"""What the machine's processors support."""

import torch


def cpu_computes_in_bfloat16() -> bool:
    """Whether the CPU has bfloat16 arithmetic; others convert every product from and to float32."""
    # Older versions of torch lack get_capabilities.
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def accelerator() -> torch.device | None:
    """The GPU or other accelerator that torch can use, None without one."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
