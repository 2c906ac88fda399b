"""How a setting is described: reason, unit and the roles that it belongs to, beside its type and default."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Role = Literal["municipality", "prefecture", "center", "gateway", "witness", "disclosure"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True)
class Setting:
    """What a reader needs to know of a key; stands in the key's `Annotated` type.

    Args:
        why: what it is for, or why the default is what it is.
        unit: unit or form of the value.
        needed_by: roles that do not start without it.
        only: roles that may have it.
    """

    why: str
    unit: str = ""
    needed_by: tuple[Role, ...] = ()
    only: tuple[Role, ...] = ROLES
