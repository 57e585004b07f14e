"""Count the bytes that tensors take, on any device, the meta device included."""

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Within a `with` block, `peak` is the most bytes that results of the block's operations took at one time.

    On the meta device even the released model takes neither memory nor time; `torch.all` is False there.
    """

    def __init__(self):
        super().__init__()
        self.peak = 0
        self._held = 0  # bytes of all entries below, those included that have been freed since the last look
        self._entries: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.all.default and args[0].is_meta:
            return torch.tensor(False)
        given = {_key(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        results = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor) and (key := _key(tensor)) not in given:
                storage = tensor.untyped_storage()
                _, before = self._entries.get(key, (None, 0))
                self._entries[key] = StorageWeakRef(storage), storage.nbytes()
                self._held += storage.nbytes() - before
        if self._held > self.peak:
            self._entries = {key: entry for key, entry in self._entries.items() if not entry[0].expired()}
            self._held = sum(size for _, size in self._entries.values())
            self.peak = max(self.peak, self._held)
        return results


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
