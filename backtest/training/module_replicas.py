"""Replicas of any torch module: stacked parameters, one call for all.

Source: torch.func (functorch), "Model ensembling": `functional_call` under `vmap`. Shapes: R replicas, B rows,
N assets, L rows of history, K features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from backtest.errors import SettingsError
from backtest.training.samples import Inputs, windows

__all__ = ["ModuleReplicas"]

LARGEST_INPUT = 2**24
"""Numbers that go through a module at once when no graph is kept: 64 MB."""


@dataclass(frozen=True, eq=False)
class ModuleReplicas:
    """R copies of one module, each with its own parameters.

    The module maps features (B, N, K), or with a history (B, N, L, K + 1) oldest first, to (B, N) or (B, N, 1), in
    units of `scale`. It sees all assets of a date at once, so it may look across them; a date's forecast must not
    depend on which other dates are asked for with it.

    Attributes:
        module: the template; its own parameters are not used.
        names: of the parameters, in the module's order.
        parameters: for each name (R, ...); (R, 1) for a number.
        fixed: what training does not move, buffers and frozen parameters, by name, each (R, ...).
        scale: unit of the output, a return per period.
        gains: (R,) float64, forecasts are multiplied by.
        history: L; 1 gives the module the features of the row alone, without a mark of what is available.
        vectorised: one call for all replicas, or one call each: on a processor the second is as fast or faster, since
            a call is long already, takes any module, and a replica's numbers are the same in any company.
    """

    module: nn.Module
    names: tuple[str, ...]
    parameters: tuple[Tensor, ...]
    fixed: dict[str, Tensor]
    scale: float
    gains: Tensor
    history: int
    vectorised: bool

    @staticmethod
    def initial(
        make: Callable[[int], nn.Module],
        *,
        n_features: int,
        history: int,
        seeds: Sequence[int],
        scale: float,
        vectorised: bool = False,
    ) -> ModuleReplicas:
        """Make one module a seed; a seed gives the same replica in any company.

        Args:
            make: called with the number of inputs of a row, K or with a history K + 1, right after torch is seeded.
            n_features: K.
            history: L.
            seeds: one a replica.
            scale: unit of the output.
            vectorised: one call for all replicas through `vmap`, which needs a rule for every operation; else one call
                each.

        Raises:
            SettingsError: what `make` returns cannot be replicated.
        """
        n_inputs = n_features if history == 1 else n_features + 1
        with torch.random.fork_rng(devices=[]):
            modules = []
            for seed in seeds:
                torch.manual_seed(seed)
                modules.append(make(n_inputs))
            for module in modules:
                _check(module)
            template = modules[0]
            names = tuple(name for name, value in template.named_parameters() if value.requires_grad)
            states = [dict(module.named_parameters()) | dict(module.named_buffers()) for module in modules]
            stacked = {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}
            return ModuleReplicas(
                module=template,
                names=names,
                parameters=tuple(stacked.pop(name).reshape(len(modules), *_shape(template, name)) for name in names),
                fixed=stacked,
                scale=scale,
                gains=torch.ones(len(modules), dtype=torch.float64),
                history=history,
                vectorised=vectorised,
            )

    @property
    def n_replicas(self) -> int:
        """R."""
        return len(self.gains)

    def with_parameters(self, parameters: Sequence[Tensor]) -> ModuleReplicas:
        """Return this model with other `parameters`, ordered and shaped as those of the field of that name."""
        return replace(self, parameters=tuple(parameters))

    def replicas(self, index: Tensor) -> ModuleReplicas:
        """Return the replicas `index`, which may repeat."""
        return replace(
            self,
            parameters=tuple(parameter[index].clone() for parameter in self.parameters),
            fixed={name: value[index] for name, value in self.fixed.items()},
            gains=self.gains[index],
        )

    def scaled(self, factors: Tensor) -> ModuleReplicas:
        """Return the model whose replicas' forecasts are multiplied by `factors` (R,)."""
        return replace(self, gains=self.gains * factors.reshape(-1).double())

    def stacked(self, others: Sequence[ModuleReplicas]) -> ModuleReplicas:
        """Return one model with the replicas of this one and of all `others`, in order."""
        models = (self, *others)
        return replace(
            self,
            parameters=tuple(torch.cat(parts) for parts in zip(*(model.parameters for model in models), strict=True)),
            fixed={name: torch.cat([model.fixed[name] for model in models]) for name in self.fixed},
            gains=torch.cat([model.gains for model in models]),
        )

    def forecast(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Return forecasts (R, ..., N) float64 of `inputs` at `rows` (B,), shared by all replicas, or (R, ...)."""
        shared = rows.ndim == 1
        flat = rows if shared else rows.flatten(1)
        size = inputs.n_assets * self.history * (inputs.n_features + 1) * (1 if shared else self.n_replicas)
        count = flat.shape[-1] if torch.is_grad_enabled() else max(1, LARGEST_INPUT // size)
        parts = [self(self._inputs(inputs, part), shared=shared) for part in flat.split(max(1, count), dim=-1)]
        p = torch.cat(parts, dim=1) if len(parts) != 1 else parts[0]
        return p.reshape(self.n_replicas, *rows.shape[int(not shared) :], inputs.n_assets)

    def __call__(self, x: Tensor, *, shared: bool) -> Tensor:
        """Return forecasts (R, B, N) float64 for inputs `x`: (B, N, ...) if `shared`, or (R, B, N, ...)."""
        if self.vectorised:
            output = vmap(self._one, in_dims=(0, 0, None if shared else 0))(self.parameters, self.fixed, x)
        else:
            each = zip(*(parameter.unbind() for parameter in self.parameters), strict=True)
            output = torch.stack(
                [
                    self._one(own, {name: value[r] for name, value in self.fixed.items()}, x if shared else x[r])
                    for r, own in enumerate(each)
                ]
            )
        return (self.scale * self.gains).reshape(-1, 1, 1) * output.double()

    def _one(self, parameters: Sequence[Tensor], fixed: dict[str, Tensor], x: Tensor) -> Tensor:
        """Return one replica's outputs (B, N) for its inputs (B, N, ...)."""
        state = {
            name: value.reshape(self.module.get_parameter(name).shape)
            for name, value in zip(self.names, parameters, strict=True)
        } | fixed
        output: Tensor = functional_call(self.module, state, (x,))
        if output.shape == (*x.shape[:2], 1):
            output = output.squeeze(-1)
        if output.shape != x.shape[:2]:
            raise SettingsError(
                f"training: the module {type(self.module).__name__} gave {tuple(output.shape)} for features "
                f"{tuple(x.shape)}: it must give one number a date and asset, {tuple(x.shape[:2])}"
            )
        return output

    def _inputs(self, inputs: Inputs, rows: Tensor) -> Tensor:
        return inputs.features[rows] if self.history == 1 else windows(inputs, rows, self.history)


def _shape(module: nn.Module, name: str) -> tuple[int, ...]:
    """Return the shape of a parameter, at least one axis."""
    return tuple(module.get_parameter(name).shape) or (1,)


def _check(module: object) -> None:
    """Refuse what would make a forecast depend on its company or on chance."""
    if not isinstance(module, nn.Module):
        raise SettingsError(
            f"training: model must make a torch module, got {type(module).__name__}: give a function of the number of "
            "inputs that returns a torch.nn.Module"
        )
    for name, part in module.named_modules():
        kind = type(part).__name__
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise SettingsError(
                f"training: {name or 'the module'} is a {kind}: a date's forecast would depend on the dates it is "
                "trained with: use LayerNorm"
            )
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
            raise SettingsError(
                f"training: {name or 'the module'} is a {kind}: forecasts would differ from call to call: use "
                "weight_decay, early stopping and the mean of several seeds"
            )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise SettingsError(f"training: the module {type(module).__name__} has no parameters to train")
