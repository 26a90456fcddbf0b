# SPDX-License-Identifier: Apache-2.0
"""Complex tensors as pairs of real ones, for runtimes that know no complex numbers.

The network is written with complex tensors. Within :class:`RealArithmetic` the same code runs on
:class:`ComplexParts`, so that what is traced holds real operations alone. It has the operations
that the network uses, and only those: another one is an AttributeError or TypeError at tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ComplexParts:
    """Real and imaginary part, two tensors of the same shape."""

    def __init__(self, real: Tensor, imag: Tensor) -> None:
        self.real, self.imag = real, imag

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _FUNCTIONS:
            return NotImplemented
        return _FUNCTIONS[func](*args, **(kwargs or {}))

    @property
    def shape(self) -> torch.Size:
        return self.real.shape

    @property
    def device(self) -> torch.device:
        return self.real.device

    @property
    def mH(self) -> ComplexParts:  # noqa: N802  (as torch names it)
        return self.conj().transpose(-2, -1)

    def conj(self) -> ComplexParts:
        return ComplexParts(self.real, -self.imag)

    def abs(self) -> Tensor:
        return (self.real.square() + self.imag.square()).sqrt()

    def detach(self) -> ComplexParts:
        return self

    def is_complex(self) -> bool:
        return True

    def sum(self, dim: int) -> ComplexParts:
        return self._each(lambda part: part.sum(dim))

    def mean(self, dim: int, keepdim: bool = False) -> ComplexParts:
        return self._each(lambda part: part.mean(dim, keepdim))

    def reshape(self, *shape: int) -> ComplexParts:
        return self._each(lambda part: part.reshape(*shape))

    def expand_as(self, other: ComplexParts) -> ComplexParts:
        return ComplexParts(self.real.expand_as(other.real), self.imag.expand_as(other.imag))

    def transpose(self, first: int, second: int) -> ComplexParts:
        return self._each(lambda part: part.transpose(first, second))

    def diagonal(self, dim1: int, dim2: int) -> ComplexParts:
        return self._each(lambda part: part.diagonal(dim1=dim1, dim2=dim2))

    def __getitem__(self, index: Any) -> ComplexParts:
        return self._each(lambda part: part[index])

    def _each(self, operation: Callable[[Tensor], Tensor]) -> ComplexParts:
        return ComplexParts(operation(self.real), operation(self.imag))

    def __add__(self, other: ComplexParts | Tensor) -> ComplexParts:
        if isinstance(other, ComplexParts):
            return ComplexParts(self.real + other.real, self.imag + other.imag)
        return ComplexParts(self.real + other, self.imag)

    def __sub__(self, other: ComplexParts) -> ComplexParts:
        return ComplexParts(self.real - other.real, self.imag - other.imag)

    def __mul__(self, other: ComplexParts | Tensor) -> ComplexParts:
        return _bilinear(torch.mul, self, other)

    def __matmul__(self, other: ComplexParts) -> ComplexParts:
        return _bilinear(torch.matmul, self, other)

    def __truediv__(self, other: ComplexParts | Tensor) -> ComplexParts:
        if isinstance(other, ComplexParts):
            power = other.real.square() + other.imag.square()
            return self * other.conj() / power
        return ComplexParts(self.real / other, self.imag / other)


class RealArithmetic(TorchFunctionMode):
    """Within it, ``torch.complex`` makes :class:`ComplexParts`."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.complex:
            return ComplexParts(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _bilinear(
    product: Callable[[Tensor, Tensor], Tensor], a: ComplexParts, b: ComplexParts | Tensor
) -> ComplexParts:
    if not isinstance(b, ComplexParts):
        return ComplexParts(product(a.real, b), product(a.imag, b))
    return ComplexParts(
        product(a.real, b.real) - product(a.imag, b.imag),
        product(a.real, b.imag) + product(a.imag, b.real),
    )


def _einsum(equation: str, a: ComplexParts, b: ComplexParts) -> ComplexParts:
    return _bilinear(lambda x, y: torch.einsum(equation, x, y), a, b)


def solve_positive(matrix: ComplexParts, right: ComplexParts) -> ComplexParts:
    """``matrix^-1 @ right`` of a Hermitian positive definite matrix ``[..., n, n]``.

    Gauss-Jordan elimination, one column after the other. Pivots of such a matrix are real and
    positive in any order, so that none has to be searched for, which a static graph could not do.
    """
    size = matrix.shape[-1]
    identity = torch.eye(size, device=matrix.device)
    for column in range(size):
        pivot = matrix.real[..., column : column + 1, column : column + 1]
        row, row_right = (x[..., column : column + 1, :] / pivot for x in (matrix, right))
        factors = matrix[..., :, column : column + 1] + -identity[:, column : column + 1]
        matrix, right = matrix - factors * row, right - factors * row_right
    return right


def _join(
    join: Callable[[list[Tensor], int], Tensor], parts: Sequence[ComplexParts], dim: int
) -> ComplexParts:
    return ComplexParts(
        join([part.real for part in parts], dim), join([part.imag for part in parts], dim)
    )


_FUNCTIONS: dict[Any, Callable[..., ComplexParts]] = {
    torch.cat: partial(_join, torch.cat),
    torch.stack: partial(_join, torch.stack),
    torch.einsum: _einsum,
    torch.linalg.solve: solve_positive,
}
